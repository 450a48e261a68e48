"""Modules of equinox as `ssmbias.poison.Network`."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax

from ssmbias.core.types import Array
from ssmbias.poison.batch import Params


class EquinoxNetwork:
    """An equinox module that is called with one input and nothing else.

    Args:
      make: a function of `key`, or the module's class; or a module, whose parameters are then the
        start of every seed. Arrays of real and complex numbers are trained, everything else stays.

    Raises:
      ValueError: it cannot be made.
    """

    def __init__(self, make: Any) -> None:
        self.source = make
        self.start_is_given = isinstance(make, eqx.Module)
        self._make = (lambda key: make) if self.start_is_given else make
        try:
            module = self._make(key=jax.random.key(0))
        except TypeError as err:
            raise ValueError(
                f"network: {getattr(make, '__name__', make)} cannot be made of a key alone "
                f"({err}); pass a function, as in lambda key: MyNetwork(8, key=key)"
            ) from err
        params, self._rest = eqx.partition(module, eqx.is_inexact_array)
        self._form = jax.tree.structure(params)

    def init(self, key: Array, example: Array) -> Params:
        """Random parameters, as the module with nothing else in it; the example is not used."""
        del example
        return eqx.filter(self._make(key=key), eqx.is_inexact_array)

    def apply(self, params: Params, inputs: Array) -> Array:
        """The outputs for one input, as in inference."""
        params = jax.tree.unflatten(self._form, jax.tree.leaves(params))
        return eqx.nn.inference_mode(eqx.combine(params, self._rest))(inputs)
