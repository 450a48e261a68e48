"""Gradient descent at a ladder of step sizes, from the starts and on the data of the free flows."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from ssmbias.core.types import Array
from ssmbias.data import LagGram, TrainingSet, labels, lag_gram
from ssmbias.dynamics import DescentConfig, Outcome, gradient_descent
from ssmbias.dynamics.flow import coordinates
from ssmbias.evidence import Bench, Count, Premise, Row, law_row
from ssmbias.models import DiagonalSSM, paper_teacher
from ssmbias.statistics.fits import fit_order
from ssmbias.subjects.free_flows import POWERS, FreeFlows, FreeRuns, free_runs
from ssmbias.theory import balancedness_factor, flow_velocity, velocity_scale

# Every state of every run is kept, 6 MB a seed in T9, and two runs a seed make an interval.
_MOST_SEEDS = 8
# Each step half as long as the one before: a factor of 32 in all, 1.5 decades.
_NUM_SIZES = 6
RELATIVE_SIZES = 0.5 ** np.arange(_NUM_SIZES)
# Updates at the longest step up to the end, and where descent is compared with the flow.
_FEWEST_STEPS = 32
COMPARED = np.array([8, 16, 32])
# The longest step times the largest curvature on the way: above 1 corrections would not be small.
_RESOLUTION = 0.5
_ALL = ("a", "b", "c")

_STEEPEST = optax.sgd(1.0)
_NUM_UPDATES = _FEWEST_STEPS * 2 ** (_NUM_SIZES - 1)
# One update and one slot more than are used: a log is written before an update, and thinned out
# when it is full.
_CONFIG = DescentConfig(
    loss_tol=0.0, max_steps=_NUM_UPDATES + 1, log_every=1, max_logs=_NUM_UPDATES + 2
)


class Rung(NamedTuple):
    """All states of descent at one step size, up to the common end, [run, step, ...].

    Attributes:
      step_size: of each run [run].
      model, loss: from the start to the end, both included.
      velocity: -∇L there as Proposition 1 states it, from samples.
      scale: the sum of the absolute values of its terms, for rounding.
      factor: by which the next step is to multiply b² - c².
    """

    step_size: Float[np.ndarray, " run"]
    model: DiagonalSSM
    loss: Float[np.ndarray, "run step"]
    velocity: DiagonalSSM
    scale: DiagonalSSM
    factor: Float[np.ndarray, "run step state"]

    @property
    def compared(self) -> np.ndarray:
        """Numbers of updates after which it is compared with the flow."""
        return COMPARED * ((self.loss.shape[1] - 1) // _FEWEST_STEPS)


@dataclass(frozen=True)
class Descents:
    """Gradient descent from the starts and on the data of free flows, at a ladder of steps.

    Attributes:
      name: label in tables.
      flows: the flows that descent is to follow; its first eight seeds are used.
    """

    name: str
    flows: FreeFlows


class DescentRuns(NamedTuple):
    """Descents and the flow from the same starts, [run, ...]; a run is a seed at a strength.

    Attributes:
      rungs: one for each step size, the longest first.
      start, data: what all rungs share.
      duration: physical time at the end [run].
      flow: the flow at the times of `COMPARED` [run, time, ...], by the explicit solver.
      flow_at_half: the same at half of these times.
      resolution: the longest step times the largest curvature.
      count: descents and flows behind them.
    """

    rungs: tuple[Rung, ...]
    start: DiagonalSSM
    data: LagGram
    duration: Float[np.ndarray, " run"]
    flow: DiagonalSSM
    flow_at_half: DiagonalSSM
    resolution: float
    count: Count


def descents(subject: Descents, bench: Bench) -> DescentRuns:
    """The descents of a subject, made once."""
    return bench.once(
        "descents", lambda: _simulate(free_runs(subject.flows, bench.on(subject.flows)))
    )


RESOLVED = Premise(
    f"the longest step times the curvature is at most {_RESOLUTION:g}",
    lambda subject, runs: (runs.resolution <= _RESOLUTION, f"{runs.resolution:.2g}"),
)
"""Premise of all orders in the step size."""


def _simulate(flows: FreeRuns) -> DescentRuns:
    """Descend from the free flows' starts, with steps that the curvature on their way allows.

    Step sizes and times are powers of two, so that every step size meets the flow's saved times
    to the last bit.
    """
    trajectory = flows.result.trajectory
    assert trajectory is not None
    num_strengths = flows.targets.shape[1]

    def flat(tree):  # [seed, strength, ...] -> [run, ...]
        return jax.tree.map(lambda x: x[:_MOST_SEEDS].reshape(-1, *x.shape[2:]), tree)

    start = jax.tree.map(lambda x: jnp.repeat(x[:_MOST_SEEDS], num_strengths, axis=0), flows.start)
    path = flat(DiagonalSSM(trajectory.a, trajectory.b, trajectory.c))
    training_set, targets = flat(flows.training_set), flat(flows.targets)
    data, curvature, sizes, outcome, states = jax.jit(_descend)(start, path, training_set, targets)
    curvature, sizes = np.asarray(curvature), np.asarray(sizes)
    times, duration = COMPARED * sizes[:, :1], _FEWEST_STEPS * sizes[:, 0]

    def at(wanted: np.ndarray) -> DiagonalSSM:
        row = np.arange(len(wanted))[:, None]
        index = np.stack(list(map(np.searchsorted, flat(np.asarray(trajectory.time)), wanted)))
        return jax.tree.map(lambda x: np.asarray(x)[row, index], path)

    failed = int(np.sum(np.asarray(outcome) == Outcome.FAILED))
    reason = Outcome.FAILED.explanation if failed else ""
    return DescentRuns(
        rungs=_rungs(sizes, states),
        start=start,
        data=data,
        duration=duration,
        flow=at(times),
        flow_at_half=at(0.5 * times),
        resolution=float(np.max(sizes[:, 0] * curvature)),
        count=Count(sizes.size, failed, reason) + flows.count,
    )


def _descend(start: DiagonalSSM, path: DiagonalSSM, training_set: TrainingSet, targets: Array):
    """All runs at all step sizes, and what Proposition 1 says at each of their states."""
    teacher = paper_teacher(2)
    data = jax.vmap(lambda x: lag_gram(x, teacher))(training_set)

    def curvature(model: DiagonalSSM, data: LagGram) -> Array:
        return coordinates.curvature_scale(model, coordinates.force(model, data), data, _ALL)

    largest = jnp.max(jax.vmap(jax.vmap(curvature, in_axes=(0, None)))(path, data), axis=1)
    power = jnp.floor(jnp.log2(_RESOLUTION / largest))
    # Half of the first compared time and all of the last must have been saved.
    first, last = POWERS[0] + 1 - np.log2(COMPARED[0]), POWERS[-1] - np.log2(COMPARED[-1])
    longest = jnp.ldexp(1.0, jnp.clip(power, first, last).astype(jnp.int32))
    sizes = longest[:, None] * RELATIVE_SIZES[None, :]

    def one(start: DiagonalSSM, data: LagGram, step_size: Array):
        return gradient_descent(start, data, _STEEPEST, step_size=step_size, config=_CONFIG)

    over_size = jax.vmap(one, in_axes=(None, None, 0))
    runs = jax.vmap(over_size)(start, data, sizes)

    def end_to_end(x: Array) -> Array:
        """The rungs of a run one after another, each up to the common end."""
        parts = [x[:, i, : _num_states(i)] for i in range(_NUM_SIZES)]
        return jnp.concatenate(parts, axis=1)

    model, loss = jax.tree.map(end_to_end, (runs.log.value, runs.log.loss))
    repeats = np.concatenate([np.full(_num_states(i), i) for i in range(_NUM_SIZES)])

    def observe(model: DiagonalSSM, step_size: Array, training_set: TrainingSet, targets: Array):
        # The simulation sums over lags, where the teacher's terms do not cancel as in a label.
        sizes_of_terms = labels(teacher, jnp.abs(training_set.inputs))
        return (
            flow_velocity(model, training_set, targets),
            velocity_scale(model, training_set, sizes_of_terms),
            balancedness_factor(model, training_set, targets, step_size),
        )

    over_steps = jax.vmap(observe, in_axes=(0, 0, None, None))
    observed = jax.vmap(over_steps)(model, sizes[:, repeats], training_set, targets)
    return data, largest, sizes, runs.outcome, (model, loss, *observed)


def _num_states(size: int) -> int:
    return _FEWEST_STEPS * 2**size + 1


def _rungs(sizes: np.ndarray, states: tuple) -> tuple[Rung, ...]:
    """Cut what was laid end to end into rungs."""
    cuts = np.cumsum([_num_states(i) for i in range(_NUM_SIZES)])[:-1]
    leaves, structure = jax.tree.flatten(states)
    parts = zip(*(np.split(np.asarray(leaf), cuts, axis=1) for leaf in leaves), strict=True)
    return tuple(
        Rung(sizes[:, i], *jax.tree.unflatten(structure, part)) for i, part in enumerate(parts)
    )


def order_row(
    made: DescentRuns,
    quantity: str,
    errors: np.ndarray,
    expected: float,
    *,
    also: np.ndarray | None = None,
    because: str = "",
) -> Row:
    """A row that fits the order in which errors [run, size] vanish with the step size.

    Args:
      made: the descents that the errors are of.
      quantity: what was compared.
      errors: a positive number for each run and step size.
      expected: the order.
      also: the same errors by another reference; the interval is widened by twice the change of
        the order.
      because: what that other reference is.
    """
    fit = None
    if np.all(errors > 0) and np.all(np.isfinite(errors)):
        fit = fit_order(RELATIVE_SIZES, errors, expected)
        if also is not None:
            change = 2.0 * abs(fit.exponent - fit_order(RELATIVE_SIZES, also, expected).exponent)
            fit = dataclasses.replace(fit, low=fit.low - change, high=fit.high + change)
    return law_row(
        quantity,
        fit,
        expected=expected,
        derivation="half the 95 % interval of the order: Student's t over the runs plus the change "
        "from first to second order of the correction in η" + (because and f", plus {because}"),
        count=made.count,
    )
