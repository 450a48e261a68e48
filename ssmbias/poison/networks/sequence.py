"""Our sequence networks as `ssmbias.poison.Network`."""

from __future__ import annotations

from typing import Any

from ssmbias.core.types import Array
from ssmbias.models.networks.config import SequenceConfig
from ssmbias.models.networks.groups import parameter_groups
from ssmbias.models.networks.sequence import SequenceNetwork
from ssmbias.poison.batch import Params


class PlainSequence:
    """A `SequenceNetwork` without anything random or any running mean.

    Args:
      config: which.
    """

    def __init__(self, config: SequenceConfig) -> None:
        self.module = SequenceNetwork(config)

    def init(self, key: Array, example: Array) -> Params:
        """Random parameters."""
        return self.module.init(key, example)["params"]

    def apply(self, params: Params, inputs: Array) -> Array:
        """The outputs for one input."""
        return self.module.apply({"params": params}, inputs)  # pyright: ignore[reportReturnType]

    def groups(self, params: Params) -> Any:
        """The dynamics of S4D layers are a group of their own."""
        return parameter_groups(params)
