"""Flows outside of Theorem 1's setting: all of (a, b, c) trained on random sequences."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ssmbias.config import Setting
from ssmbias.core.types import Array
from ssmbias.data import (
    TrainingSet,
    baseline_sequences,
    combine,
    labels,
    lag_gram,
    special_sequences,
)
from ssmbias.dynamics import FlowConfig, FlowResult, Outcome, gradient_flow
from ssmbias.evidence.evidence import Runs
from ssmbias.models import DiagonalSSM, paper_teacher

_STRENGTHS = (0.0, 1.0)
# The numbers of sequences of the paper's experiments with standalone models.
_NUM_BASELINE, _NUM_SPECIAL = 8, 10
# Long enough that the loss falls by orders of magnitude, short enough for explicit steps.
_HORIZON = 10.0
# Powers of two, which gradient descent with a step that is one hits exactly; some between them.
POWERS = range(-14, 4)
_BETWEEN = [1.5 * 2.0**k for k in range(-8, 3)]
_TIMES = np.sort([0.0, *(2.0**k for k in POWERS), *_BETWEEN, _HORIZON])

# Identities are exact at every state, wherever the solver has put it; only the drift of
# b² - c² feels its error.
FLOW_RTOL = 1e-9
_CONFIG = FlowConfig(
    trainable=("a", "b", "c"),
    rtol=FLOW_RTOL,
    atol=FLOW_RTOL,
    loss_tol=1e-20,
    horizon=_HORIZON,
    max_steps=4096,
    stiff=False,
)


class FreeFlows(NamedTuple):
    """Flows [seed, strength, ...] with their data.

    Attributes:
      start: initial students [seed, state].
      training_set: sequences and weights [seed, strength, ...].
      targets: labels [seed, strength, sample].
      result: the runs, with trajectories.
      runs: how they ended; convergence is not required.
    """

    start: DiagonalSSM
    training_set: TrainingSet
    targets: Float[Array, "seed strength sample"]
    result: FlowResult
    runs: Runs


def simulate_free_flows(setting: Setting, num_seeds: int) -> FreeFlows:
    """Flow of random students on clean (ρ = 0) and poisoned (ρ = 1) random data.

    The teacher has dimension 2 (0.99, 0.8; b = c = 1); baseline sequences are non-zero at lags
    3..κ-1, special ones at lags 0 and 1; a is uniform on (0, 0.9), b and c are normal with
    standard deviation 0.5.
    """
    seq_len, state_dim = setting.seq_len, setting.state_dim
    teacher = paper_teacher(2)

    def data(key: Array, strength: Array) -> tuple[TrainingSet, Array]:
        key_baseline, key_special = jax.random.split(key)
        early = tuple(range(seq_len - 3))
        late = (seq_len - 2, seq_len - 1)
        training_set = combine(
            baseline_sequences(key_baseline, _NUM_BASELINE, seq_len, early),
            special_sequences(key_special, _NUM_SPECIAL, seq_len, late),
            strength,
        )
        return training_set, labels(teacher, training_set.inputs)

    def student(key: Array) -> DiagonalSSM:
        key_a, key_b, key_c = jax.random.split(key, 3)
        return DiagonalSSM(
            a=jax.random.uniform(key_a, (state_dim,), jnp.float64, 0.0, 0.9),
            b=0.5 * jax.random.normal(key_b, (state_dim,), jnp.float64),
            c=0.5 * jax.random.normal(key_c, (state_dim,), jnp.float64),
        )

    def flow(start: DiagonalSSM, training_set: TrainingSet) -> FlowResult:
        gram = lag_gram(training_set, teacher)
        return gradient_flow(start, gram, save_times=_TIMES, config=_CONFIG)

    seeds = setting.first_seed + np.arange(num_seeds)
    keys = jax.vmap(lambda seed: jax.random.split(jax.random.key(seed)))(seeds)
    start = jax.vmap(student)(keys[:, 0])
    over_strength = jax.vmap(data, in_axes=(None, 0))
    training_set, targets = jax.vmap(over_strength, in_axes=(0, None))(
        keys[:, 1], jnp.array(_STRENGTHS)
    )
    # One mapped axis: tracing a solver through a second one would cost seconds.
    lanes = (num_seeds, len(_STRENGTHS))
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), training_set)
    repeated = jax.tree.map(lambda x: jnp.repeat(x, lanes[1], axis=0), start)
    result = jax.jit(jax.vmap(flow))(repeated, flat)
    result = jax.tree.map(lambda x: x.reshape(*lanes, *x.shape[1:]), result)
    outcomes = np.asarray(result.outcome)
    bad = (outcomes == Outcome.FAILED) | (outcomes == Outcome.MAX_STEPS)
    reason = Outcome(int(outcomes[bad][0])).explanation if bad.any() else ""
    return FreeFlows(start, training_set, targets, result, Runs(bad.size, int(bad.sum()), reason))
