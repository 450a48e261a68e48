"""Data and networks as a user would bring them."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ssmbias.poison.settings import Experiment

LENGTH, CHANNELS = 6, 2
RNG = np.random.default_rng(0)


def data(num: int, dtype: Any = np.float64) -> tuple[np.ndarray, np.ndarray]:
    inputs = RNG.normal(size=(num, LENGTH, CHANNELS)).astype(dtype)
    return inputs, (inputs.sum(axis=(1, 2)) > 0).astype(int)


TRAIN, TEST = data(12), data(40)
QUICK = {"steps": 20, "num_poisons": 4, "brew_steps": 3}


def init(key, u):
    return {"w": 0.1 * jax.random.normal(key, (u.size,), u.dtype), "b": jnp.zeros((), u.dtype)}


def apply(params, u):
    return (params["w"] @ u.ravel() + params["b"])[None]


def teacher(u):
    return (jnp.sum(u) > 0).astype(jnp.int32)


def arrays(**changes: Any) -> Experiment:
    given = {"init": init, "apply": apply, "teacher": teacher} | QUICK
    return Experiment.from_arrays(*TRAIN, *TEST, **(given | changes))


class Linen(nn.Module):
    width: int

    @nn.compact
    def __call__(self, u):
        return nn.Dense(1)(nn.relu(nn.Dense(self.width)(u)).mean(0))


class Nnx(nnx.Module):
    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.layers = nnx.List(
            [nnx.Linear(CHANNELS, width, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)]
        )
        self.out = nnx.Linear(width, 2, rngs=rngs)

    def __call__(self, u):
        for layer in self.layers:
            u = layer(u)
        return self.out(nnx.relu(u).mean(0))


class Equinox(eqx.Module):
    cell: eqx.nn.GRUCell
    out: eqx.nn.Linear
    width: int

    def __init__(self, width: int, *, key: jax.Array) -> None:
        first, second = jax.random.split(key)
        self.cell = eqx.nn.GRUCell(CHANNELS, width, key=first)
        self.out = eqx.nn.Linear(width, 1, key=second)
        self.width = width

    def __call__(self, u):
        state, _ = jax.lax.scan(lambda s, x: (self.cell(x, s), None), jnp.zeros(self.width), u)
        return self.out(state)


NETWORKS = {
    "functions": (init, apply),
    "linen": Linen(3),
    "nnx": lambda rngs: Nnx(3, rngs=rngs),
    "equinox": lambda key: Equinox(3, key=key),
}
