"""Students of all of (a, b, c)."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from ssmbias.data import (
    LagGram,
    TrainingSet,
    baseline_sequences,
    combine,
    gram_loss,
    special_sequences,
)
from ssmbias.dynamics import (
    FlowConfig,
)
from ssmbias.models import DiagonalSSM, impulse_response

# Large programs for a few small runs: with little optimisation they compile in less than half of
# the time. Examples and claims run what users run.
COMPILER = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
quick = functools.partial(jax.jit, compiler_options=COMPILER)


def log_gaps_of(a0: np.ndarray, top: float | None = None) -> np.ndarray:
    """Logarithms of the gaps of a descending diagonal; `top` replaces the first."""
    with np.errstate(divide="ignore"):
        gaps = np.log(a0[:-1] - a0[1:])
    if top is not None:
        gaps[0] = top
    return gaps


# -- all of (a, b, c) ----------------------------------------------------------------------


ALL = FlowConfig(trainable=("a", "b", "c"), horizon=1e4, max_steps=1600, loss_tol=1e-20)


def student(scale: float) -> DiagonalSSM:
    return DiagonalSSM(
        jnp.asarray(scale * np.array([0.6, 1.0, -0.2])),
        jnp.asarray(scale * np.array([0.8, 0.5, 0.9])),
        jnp.asarray(scale * np.array([-0.4, 0.7, 0.6])),
    )


def random_data(strength: float) -> TrainingSet:
    first, second = jax.random.split(jax.random.key(1))
    baseline = baseline_sequences(first, 4, 6, (0, 1))
    return combine(baseline, special_sequences(second, 3, 6, (4,)), strength)


def loss(model: DiagonalSSM, data: LagGram) -> jax.Array:
    return gram_loss(impulse_response(model, data.response.shape[0]), data)
