"""Our networks for images of CIFAR-10, in mixed precision."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Float, Shaped

from ssmbias.core.types import Array
from ssmbias.models.networks.config import SequenceConfig
from ssmbias.poison.batch import Params
from ssmbias.poison.tasks.layouts import to_layout


@dataclass(frozen=True)
class ImageNetwork:
    """A `SequenceNetwork` that reads standardised images (32, 32, 3).

    Attributes:
      config: of the network; its `compute_dtype` holds in training only. Parameters, losses and
        the attack are in single precision always: slopes of which only the sign counts are not
        rounded to 8 bits.
      layout: the sequence that it sees, see `ssmbias.poison.tasks.layouts.to_layout`; with
        "tokens" its encoder makes them itself.
    """

    config: SequenceConfig
    layout: str

    @property
    def layer(self) -> str:
        """The kind of its layers."""
        return self.config.layer

    @property
    def num_outputs(self) -> int:
        """One a class."""
        return self.config.num_outputs

    @property
    def features(self) -> int:
        """Colours, or numbers of a patch."""
        return 48 if self.layout == "tokens" else 3

    @property
    def slow_in_loops(self) -> bool:
        """XLA's loops on the CPU take eight times as long for what is convolved in them."""
        return self.layout == "tokens"  # measured with the encoder of "mamba2", JAX 0.10

    def start(self, key: Array, example: Array) -> tuple[Params, dict[str, Any]]:
        """Random parameters and the running means of the batch norm, where there is one."""
        variables = dict(self._module().init(key, self._sequence(example)))
        return variables.pop("params"), variables

    def step(
        self, params: Params, stats: dict[str, Any], inputs: Array, key: Array
    ) -> tuple[Array, Any]:
        """Outputs in training, with dropout."""
        return self._module().apply(
            {"params": params, **stats},
            self._sequence(inputs),
            train=True,
            mutable=list(stats),
            rngs={"dropout": key},
        )

    def answer(
        self, params: Params, stats: dict[str, Any], inputs: Float[Array, "32 32 3"]
    ) -> Float[Array, " classes"]:
        """The trained network's outputs, in single precision."""
        module = self._module("float32")
        return module.apply({"params": params, **stats}, self._sequence(inputs))  # pyright: ignore[reportReturnType]

    def init(self, key: Array, example: Array) -> Params:
        """Parameters alone, for networks without a batch norm."""
        return self.start(key, example)[0]

    def apply(self, params: Params, inputs: Array) -> Array:
        """Outputs of networks without a batch norm."""
        return self.answer(params, {}, inputs)

    def _module(self, dtype: str | None = None) -> Any:
        from ssmbias.models.networks.sequence import SequenceNetwork  # noqa: PLC0415  (flax)

        config = self.config
        if dtype is not None:
            config = dataclasses.replace(config, compute_dtype=dtype)
        return SequenceNetwork(config)

    def _sequence(self, image: Float[Array, "32 32 3"]) -> Shaped[Array, "..."]:
        return jnp.asarray(image) if self.layout == "tokens" else to_layout(image, self.layout)
