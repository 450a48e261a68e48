"""Modules of flax nnx as `ssmbias.poison.Network`."""

from __future__ import annotations

from typing import Any

import jax
from flax import nnx

from ssmbias.core.types import Array
from ssmbias.poison.batch import Params


class NnxNetwork:
    """An nnx module that is called with one input and nothing else.

    Args:
      make: a function of `rngs`, or the module's class; or a module, whose parameters are then the
        start of every seed.

    Raises:
      ValueError: it cannot be made, or keeps running means.
    """

    def __init__(self, make: Any) -> None:
        self.source = make
        self.start_is_given = isinstance(make, nnx.Module)
        self._make = (lambda rngs: make) if self.start_is_given else make
        try:
            module = self._make(rngs=nnx.Rngs(0))
        except TypeError as err:
            raise ValueError(
                f"network: {getattr(make, '__name__', make)} cannot be made of rngs alone "
                f"({err}); pass a function, as in lambda rngs: MyNetwork(8, rngs=rngs)"
            ) from err
        module = nnx.clone(module)
        module.eval()
        self._graph, params, self._rest = nnx.split(module, nnx.Param, ...)
        if jax.tree.leaves(nnx.state(module, nnx.BatchStat)):
            raise ValueError(
                f"network: {type(module).__name__} keeps running means; take a norm without them, "
                "such as LayerNorm"
            )
        self._form = jax.tree.structure(params)

    def init(self, key: Array, example: Array) -> Params:
        """Random parameters, as nested dictionaries; the example is not looked at."""
        del example
        return nnx.to_pure_dict(nnx.state(self._make(rngs=nnx.Rngs(key)), nnx.Param))

    def apply(self, params: Params, inputs: Array) -> Array:
        """The outputs for one input, as in evaluation."""
        state = jax.tree.unflatten(self._form, jax.tree.leaves(params))
        return nnx.merge(self._graph, state, self._rest)(inputs)
