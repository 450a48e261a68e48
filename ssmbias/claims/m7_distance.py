"""M7: how far a flow still has to go, bounded by its loss and the tangent kernel."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssmbias.core.types import AnyArray
from ssmbias.data import theorem1_gram
from ssmbias.dynamics import Outcome, Theorem1Result
from ssmbias.evidence import Bench, CheckedPremise, Claim, Count, Kind, Row
from ssmbias.models import theorem1_student
from ssmbias.subjects.accuracy import Twice, solver_tolerance
from ssmbias.subjects.theorem1 import NUM_TIMES, Theorem1, limits, path, simulate
from ssmbias.theory import distance_bound, local_rate

# States count as long as the solver's error is below this fraction of the bound.
_NOISE = 1e-3
# Far from the end λ is small and the bound says little.
_FROM, _NEAR = 0.25, 1e-2
# Times 1/λ, during which the loss falls by e^-24, until there is little left but noise.
_LITTLE = 12.0
_STRENGTHS = {"clean": 0.0, "poisoned": 1.0}
_ENDS = (
    f"each run has states near its end (L <= {_NEAR:g}) with λ > 0 from there on and a "
    "bound far above the solver's error"
)


class Tail(NamedTuple):
    """The last part of each flow of Theorem 1 at one strength [seed, time].

    Attributes:
      loss, distance: training loss, and distance to the end.
      bound: the bound of it, λ being the smallest one from there on.
      count: simulations behind them.
    """

    loss: np.ndarray
    distance: np.ndarray
    bound: np.ndarray
    count: Count


class ArmRuns(NamedTuple):
    """Limits and tails of the flows at one strength."""

    limits: Twice
    tail: Tail


def measure(subject: Theorem1, bench: Bench) -> dict[str, ArmRuns]:
    """The clean and the poisoned flows near their ends."""
    return {
        arm: ArmRuns(limits(subject, bench, (strength,)), _tail(subject, bench, strength))
        for arm, strength in _STRENGTHS.items()
    }


def compare(subject: Theorem1, share: float, runs: dict[str, ArmRuns]) -> list[Row]:
    """Distance over bound near the ends of the flows; `share` of the bound is claimed."""
    return [_row(subject, share, arm, *found) for arm, found in runs.items()]


def _row(subject: Theorem1, share: float, arm: str, ends: Twice, tail: Tail) -> Row:
    # Each entry of a state and of the limit has the solver's error.
    noise = 2.0 * np.sqrt(subject.state_dim) * solver_tolerance(ends.absolute_error())
    counts = np.isfinite(tail.bound) & (noise <= _NOISE * tail.bound)
    near = counts & (tail.loss <= _NEAR)
    bound = share * tail.bound
    ratio = float(np.max(tail.distance[counts] / bound[counts], initial=0.0))
    every = bool(np.all(np.any(near, axis=1)))
    return Row(
        quantity=f"distance to the end over its bound, {arm} flows",
        predicted=1.0,
        measured=ratio,
        residual=ratio - 1.0,
        tolerance=_NOISE,
        derivation="the largest ratio minus 1: the solver's error is below 1/1000 of the bound",
        premises=(CheckedPremise(_ENDS, every, f"{int(np.sum(near))} states"),),
        margin=1.0 / ratio if ratio > 0 else None,
        count=ends.count + tail.count,
    )


def _tail(subject: Theorem1, bench: Bench, strength: float) -> Tail:
    """Run each flow anew from where its loss was last large, with a clock that starts there.

    A plateau of 1e12 leaves no doubles between the times at which all happens. A first pass finds
    the time of the fall, a second one saves states from there on until little is left.
    """
    flow = jax.tree.map(np.asarray, path(subject, bench, strength))
    seed = np.arange(len(flow.loss))
    last, _ = _around(flow.loss)
    with np.errstate(divide="ignore"):  # an exact tie
        start = flow.a[seed, last], np.log(flow.gaps[seed, last, 0])
    left = flow.time[:, -1] - flow.time[seed, last]
    a, loss, _ = _states(subject, bench, strength, start, np.zeros_like(left), 2.0 * left)
    times = np.linspace(0.0, 2.0 * left, NUM_TIMES, axis=1)
    before, after = _around(loss)
    rest = _LITTLE / _rates(subject, strength, a[:, -1:])[:, 0]
    a, loss, run = _states(
        subject, bench, strength, start, times[seed, before], times[seed, after] + rest
    )
    end = np.asarray(run.a)
    outcomes = np.asarray(run.outcome)
    bad = outcomes[outcomes != Outcome.CONVERGED]
    reason = Outcome(int(bad[0])).explanation if bad.size else ""
    ahead = _rates(subject, strength, a)
    smallest = np.minimum.accumulate(ahead[:, ::-1], axis=1)[:, ::-1]
    bound = np.asarray(jax.jit(jax.vmap(jax.vmap(distance_bound)))(loss, smallest))
    distance = np.linalg.norm(a - end, axis=-1)
    return Tail(loss, distance, bound, Count(outcomes.size, bad.size, reason))


def _around(loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the last state before the fall of the loss and of the first one after it."""
    large, small = loss >= _FROM, loss <= _NEAR
    last = loss.shape[1] - 1 - np.argmax(large[:, ::-1], axis=1)
    return np.where(np.any(large, axis=1), last, 0), np.where(
        np.any(small, axis=1), np.argmax(small, axis=1), loss.shape[1] - 1
    )


def _states(
    subject: Theorem1,
    bench: Bench,
    strength: float,
    start: tuple[np.ndarray, np.ndarray],
    first: np.ndarray,
    last: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, Theorem1Result]:
    """Diagonals and losses [seed, time] at evenly spaced times, and the runs."""
    times = np.linspace(first, last, NUM_TIMES, axis=1)
    run = simulate(subject, start, (strength,), bench.rtol, save_times=times[:, None])
    assert run.trajectory is not None
    return np.asarray(run.trajectory.a)[:, 0], np.asarray(run.trajectory.loss)[:, 0], run


def _rates(subject: Theorem1, strength: float, a: AnyArray) -> np.ndarray:
    """The smallest eigenvalue of the tangent kernel at diagonals [run, point, state]."""
    data = theorem1_gram(subject.state_dim, subject.seq_len, strength)

    def rate(a):
        # Where the kernel is singular to rounding, some part of the residuals has no rate.
        local = local_rate(theorem1_student(a), data, ("a",))
        return jnp.where(local.is_complete, local.rate, 0.0)

    return np.asarray(jax.jit(jax.vmap(jax.vmap(rate)))(a))


CLAIMS = (
    Claim(
        id="M7-distance",
        title="Distance still to go",
        statement=r"\left\| \theta(\infty) - \theta(t) \right\| \le "
        r"\sqrt{2 L(t) / \lambda}, \quad \lambda = \min_{s \ge t} \lambda_{\min}(K(\theta(s)))",
        kind=Kind.BOUND,
        reference="derivation in docs/theory.md (M7)",
        control="half the bound",
        subject=Theorem1,
        measure=measure,
        predict=lambda subject, runs: 1.0,
        wrong=lambda subject, runs: 0.5,
        compare=compare,
        row_premises=(_ENDS,),
        family="descent",
        cost=4.0,
    ),
)
