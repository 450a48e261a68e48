"""Networks with running means, dropout and another precision in training, and those without."""

from __future__ import annotations

import functools
from typing import Any, Protocol

from ssmbias.core.types import Array
from ssmbias.poison.batch import Params
from ssmbias.poison.networks.adapt import functions_of


class Remembering(Protocol):
    """What training by minibatches asks of a network; `remembering` makes one of any."""

    slow_in_loops: bool
    """Whether updates are to be called one by one on a CPU."""

    def start(self, key: Array, example: Array) -> tuple[Params, dict[str, Any]]:
        """Random parameters, and running means; empty without."""
        ...

    def step(
        self, params: Params, stats: dict[str, Any], inputs: Array, key: Array
    ) -> tuple[Array, Any]:
        """Outputs for one input in training, mapped over an axis "batch", and new means."""
        ...

    def answer(self, params: Params, stats: dict[str, Any], inputs: Array) -> Array:
        """The trained network's outputs for one input, without anything random."""
        ...


class _Plain:
    """A network that does the same in training and after it."""

    slow_in_loops = False

    def __init__(self, network: Any) -> None:
        self._functions = functions_of(network)

    def start(self, key: Array, example: Array) -> tuple[Params, dict[str, Any]]:
        return self._functions.init(key, example), {}

    def step(
        self, params: Params, stats: dict[str, Any], inputs: Array, key: Array
    ) -> tuple[Array, Any]:
        del stats, key
        return self._functions.apply(params, inputs), {}

    def answer(self, params: Params, stats: dict[str, Any], inputs: Array) -> Array:
        del stats
        return self._functions.apply(params, inputs)


@functools.cache
def remembering(network: Any) -> Remembering:
    """The network for training by minibatches."""
    return network if hasattr(network, "start") and hasattr(network, "step") else _Plain(network)
