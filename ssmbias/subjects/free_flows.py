"""Flows outside of Theorem 1's setting: all of (a, b, c) trained on random sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ssmbias.core.checks import require_int
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
from ssmbias.evidence import Bench, Count
from ssmbias.models import DiagonalSSM, paper_teacher
from ssmbias.subjects.states import States

_STRENGTHS = (0.0, 1.0)
# The numbers of sequences of the paper's experiments with standalone models.
_NUM_BASELINE, _NUM_SPECIAL = 8, 10
NUM_SEQUENCES = _NUM_BASELINE + _NUM_SPECIAL
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


@dataclass(frozen=True)
class FreeFlows:
    """Random students, all of (a, b, c) trained on random sequences, clean and poisoned.

    Attributes:
      name: label in tables.
      seq_len: sequence length κ, at least 5.
      state_dim: the student's dimension d.
      first_seed: seeds are first_seed, first_seed + 1, ...
      num_seeds: number of starts, each with data of its own.

    Example:
      >>> FreeFlows("mine", seq_len=7, state_dim=10, num_seeds=2).first_seed
      0
    """

    name: str
    seq_len: int
    state_dim: int
    first_seed: int = 0
    num_seeds: int = 16

    def __post_init__(self) -> None:
        """Refuse data without a lag for every kind of sequence."""
        require_int("seq_len", self.seq_len, minimum=5)
        require_int("state_dim", self.state_dim, minimum=1)
        require_int("first_seed", self.first_seed, minimum=0)
        require_int("num_seeds", self.num_seeds, minimum=1)

    def states(self, bench: Bench) -> States:
        """All saved states, as `HasStates` asks for."""
        return free_states(self, bench)


class FreeRuns(NamedTuple):
    """Flows [seed, strength, ...] with their data.

    Attributes:
      start: initial students [seed, state].
      training_set: sequences and weights [seed, strength, ...].
      targets: labels [seed, strength, sample].
      result: the runs, with trajectories.
      count: how they ended; convergence is not required.
    """

    start: DiagonalSSM
    training_set: TrainingSet
    targets: Float[Array, "seed strength sample"]
    result: FlowResult
    count: Count


def free_runs(subject: FreeFlows, bench: Bench) -> FreeRuns:
    """The flows of a subject, run once; they need not converge."""
    return bench.once("free flows", lambda: _simulate(subject))


def _simulate(subject: FreeFlows) -> FreeRuns:
    """Flow of random students on clean (ρ = 0) and poisoned (ρ = 1) random data.

    The teacher has dimension 2 (0.99, 0.8; b = c = 1); baseline sequences are non-zero at lags
    3..κ-1, special ones at lags 0 and 1; a is uniform on (0, 0.9), b and c are normal with
    standard deviation 0.5.
    """
    seq_len, state_dim = subject.seq_len, subject.state_dim
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

    seeds = subject.first_seed + np.arange(subject.num_seeds)
    keys = jax.vmap(lambda seed: jax.random.split(jax.random.key(seed)))(seeds)
    start = jax.vmap(student)(keys[:, 0])
    over_strength = jax.vmap(data, in_axes=(None, 0))
    training_set, targets = jax.vmap(over_strength, in_axes=(0, None))(
        keys[:, 1], jnp.array(_STRENGTHS)
    )
    # One mapped axis: tracing a solver through a second one would cost seconds.
    lanes = (subject.num_seeds, len(_STRENGTHS))
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), training_set)
    repeated = jax.tree.map(lambda x: jnp.repeat(x, lanes[1], axis=0), start)
    result = jax.jit(jax.vmap(flow))(repeated, flat)
    result = jax.tree.map(lambda x: x.reshape(*lanes, *x.shape[1:]), result)
    outcomes = np.asarray(result.outcome)
    bad = (outcomes == Outcome.FAILED) | (outcomes == Outcome.MAX_STEPS)
    reason = Outcome(int(outcomes[bad][0])).explanation if bad.any() else ""
    return FreeRuns(start, training_set, targets, result, Count(bad.size, int(bad.sum()), reason))


def free_states(subject: FreeFlows, bench: Bench) -> States:
    """All saved states of the flows."""
    flows = free_runs(subject, bench)
    trajectory = flows.result.trajectory
    assert trajectory is not None
    num_times = trajectory.time.shape[-1]
    model = DiagonalSSM(trajectory.a, trajectory.b, trajectory.c)

    def repeat(x: Array) -> Array:  # the data of a run, once for each of its saved times
        x = jnp.repeat(x[:, :, None], num_times, axis=2)
        return x.reshape(-1, *x.shape[3:])

    return States(
        label="free flows of (a, b, c)",
        model=jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), model),
        training_set=jax.tree.map(repeat, flows.training_set),
        targets=repeat(flows.targets),
        teacher=paper_teacher(2),
        trainable=("a", "b", "c"),
        losses=(np.asarray(trajectory.loss).reshape(-1, num_times),),
        count=flows.count,
    )
