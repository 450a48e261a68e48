"""Modules of flax linen as `ssmbias.poison.Network`."""

from __future__ import annotations

from typing import Any

import flax.linen as nn

from ssmbias.core.types import Array
from ssmbias.poison.batch import Params


class LinenNetwork:
    """A linen module that is called with one input and nothing else.

    Args:
      module: such as `MyNetwork(width=8)`. What it does in training only, such as dropout, must be
        off by default.

    Raises:
      ValueError: a class instead of a module.
    """

    def __init__(self, module: Any) -> None:
        if not isinstance(module, nn.Module):
            raise ValueError(
                f"network={module.__name__}: a class of flax linen; pass a module, such as "
                f"{module.__name__}(...)"
            )
        self.module = self.source = module

    def init(self, key: Array, example: Array) -> Params:
        """Random parameters."""
        variables = dict(self.module.init(key, example))
        params = variables.pop("params", {})
        if variables:
            raise ValueError(
                f"{type(self.module).__name__} keeps {', '.join(sorted(variables))} besides its "
                "parameters; take a norm without running means, such as LayerNorm"
            )
        return params

    def apply(self, params: Params, inputs: Array) -> Array:
        """The outputs for one input."""
        return self.module.apply({"params": params}, inputs)  # pyright: ignore[reportReturnType]
