"""Weakly poisoned flows over decades of strength and gap, for three sequence lengths."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ssmbias.core.checks import require_int
from ssmbias.core.types import AnyArray
from ssmbias.dynamics import (
    LimitConfig,
    Outcome,
    Theorem1Config,
    simulate_theorem1,
)
from ssmbias.dynamics.limit.lanes import Limits
from ssmbias.dynamics.limit.solve import Ends, Points, limits_of, run_points
from ssmbias.evidence import Bench, Count
from ssmbias.theory import passage_defect, passage_end, passage_limit, passage_time

SEQ_LENS = (5, 7, 9)
"""Sequence lengths for which strengths, gaps and budgets of the series are known."""

NUM_STATES = 4
"""States of a start. They enter the laws through prefactors only."""

NUM_POINTS = 7
"""Points of a series."""

_NUM_STARTS = 3
_TOP = 0.1  # predicted second entry at the end of passage, the largest one of a series
_DECADES = {5: 3.0, 7: 4.0, 9: 3.0}  # of ρ/Δ, down from there
_SMALL = 0.1  # largest entry of a start, in units of where poison and baseline drive alike
# Defects of the series: where the gap is varied, at the top where the strength is, and largest one
# (the first being the smallest) where the defect is. With smaller ones for κ = 9 the engine takes
# more than `_PASSAGE_STEPS` steps to the end.
_DEFECTS = {5: (1e-3, 1e-3, 0.1), 7: (1e-3, 1e-3, 0.1), 9: (2e-2, 5e-2, 0.2)}
# Limits. In the series for the exponent of the error, what the map leaves out is to change it by
# 2 D/(κ-3) = 2e-4 at most. The strengths follow, 3e-13 (κ = 5) to 1e-29 (κ = 9), and so does the
# rest: at the smallest ratio the second entry is still more than a hundred times (ρ/(κ-1))^(1/p),
# and gaps are so far below the start that further entries are below 3 % of the second.
_LIMIT_TOP = 0.2
_LIMIT_DEFECTS = (1e-3, 0.1)
_ERROR_SHARE, _ERROR_DECADES = 2e-4, 3.0
_PASSAGE_STEPS = 4_000
# A finer tolerance costs more steps than the budgets have and makes no interval narrower.
_FINEST_RTOL, _COARSEST_RTOL = 1e-10, 1e-4
_LANES = 64  # one compiled engine for each κ


@dataclass(frozen=True)
class Passage:
    """Weakly poisoned flows from nearly tied starts, over decades of strength and gap.

    Attributes:
      name: label in tables.
      seq_len: sequence length κ, one of `SEQ_LENS`.
      first_seed: of the starts' smaller entries.
      horizon: number of lags H over which the generalisation error is taken.
    """

    name: str
    seq_len: int
    first_seed: int = 242
    horizon: int = 20

    def __post_init__(self) -> None:
        """Refuse sequence lengths without series."""
        if self.seq_len not in SEQ_LENS:
            raise ValueError(
                f"seq_len={self.seq_len!r}: series of weakly poisoned flows are known for "
                f"{', '.join(map(str, SEQ_LENS))} only"
            )
        require_int("first_seed", self.first_seed, minimum=0)
        require_int("horizon", self.horizon, minimum=2)


class Series(NamedTuple):
    """Starts and strengths along one line through the diagram, [point]."""

    scale: np.ndarray
    gap: np.ndarray
    strength: np.ndarray


class PassageRuns(NamedTuple):
    """Simulations of one series beside their predictions, [start, point].

    Attributes:
      series: what was simulated.
      defect: the predicted defect D.
      a: simulated entries [..., state], and `tight` at a tenth of the tolerance.
      predicted: entries by the passage map.
      wrong: the same without poison (end of passage) or without the drift (limit).
      count: how they ended.
    """

    series: Series
    defect: np.ndarray
    a: np.ndarray
    tight: np.ndarray
    predicted: np.ndarray
    wrong: np.ndarray
    count: Count


def passage_ends(subject: Passage, bench: Bench) -> tuple[PassageRuns, PassageRuns, PassageRuns]:
    """Ends of passage: varied gap, varied strength, and varied defect at constant ρ/Δ."""
    return bench.once("passage", lambda: _passages(subject, bench.rtol))


def passage_limits(subject: Passage, bench: Bench) -> tuple[PassageRuns, PassageRuns, PassageRuns]:
    """Limits: varied defect at constant ρ/Δ, then varied gap, and varied strength."""
    return bench.once("passage limits", lambda: _limits(subject, bench.rtol))


def _crossover(seq_len: int, strength: np.ndarray | float) -> np.ndarray:
    return (strength / (seq_len - 1)) ** (1.0 / (seq_len - 2))


def _strength(seq_len: int, defect: np.ndarray | float) -> np.ndarray:
    """The strength at which small starts have a given defect."""
    power = seq_len - 2
    unit = NUM_STATES * (np.pi / power) / np.sin(np.pi / power)
    return (seq_len - 1) * (defect / unit) ** power


def _gap(seq_len: int, strength: np.ndarray, second: np.ndarray | float) -> np.ndarray:
    """The gap that leaves a given second entry, to leading order."""
    return strength / ((seq_len - 1) * (seq_len - 3) * second ** (seq_len - 3))


def _passages(subject: Passage, rtol: float) -> tuple[PassageRuns, PassageRuns, PassageRuns]:
    seq_len = subject.seq_len
    ones = np.ones(NUM_POINTS)
    shallow, top, deep = _DEFECTS[seq_len]
    fall = np.geomspace(1.0, 10.0 ** -_DECADES[seq_len], NUM_POINTS)
    fixed, strength = _strength(seq_len, shallow) * ones, _strength(seq_len, top) * fall
    by_gap = Series(
        _SMALL * _crossover(seq_len, fixed),
        _gap(seq_len, fixed, _TOP * fall ** (1.0 / (seq_len - 3))),
        fixed,
    )
    by_strength = Series(
        _SMALL * _crossover(seq_len, strength[-1]) * ones,
        _gap(seq_len, strength[0], _TOP) * ones,
        strength,
    )
    strength = _strength(seq_len, np.geomspace(shallow, deep, NUM_POINTS))
    by_defect = Series(
        _SMALL * _crossover(seq_len, strength), _gap(seq_len, strength, _TOP), strength
    )
    gap, strength, defect = _simulate(subject, rtol, (by_gap, by_strength, by_defect), False)
    return gap, strength, defect


def _limits(subject: Passage, rtol: float) -> tuple[PassageRuns, PassageRuns, PassageRuns]:
    seq_len = subject.seq_len
    strength = _strength(seq_len, np.geomspace(*_LIMIT_DEFECTS, NUM_POINTS))
    by_defect = Series(
        _SMALL * _crossover(seq_len, strength), _gap(seq_len, strength, _LIMIT_TOP), strength
    )
    ones, fall = np.ones(NUM_POINTS), np.geomspace(1.0, 10.0**-_ERROR_DECADES, NUM_POINTS)
    top = _strength(seq_len, 0.5 * (seq_len - 3) * _ERROR_SHARE)
    gap = _gap(seq_len, top, _LIMIT_TOP)
    by_gap = Series(_SMALL * _crossover(seq_len, top) * ones, gap / fall, top * ones)
    scale = _SMALL * _crossover(seq_len, top * fall[-1])
    by_strength = Series(scale * ones, gap * ones, top * fall)
    defect, by_gap, by_strength = _simulate(subject, rtol, (by_defect, by_gap, by_strength), True)
    return defect, by_gap, by_strength


def _simulate(
    subject: Passage, rtol: float, series: tuple[Series, ...], to_limit: bool
) -> list[PassageRuns]:
    """All series from all starts in one batch."""
    seq_len = subject.seq_len
    rng = np.random.default_rng([subject.first_seed, seq_len])
    rest = np.sort(rng.uniform(0.1, 0.5, (_NUM_STARTS, NUM_STATES - 2)))[:, ::-1]
    shape = np.concatenate([np.ones((_NUM_STARTS, 2)), rest], axis=1)
    # [series, start, point], in one axis of lanes that is filled up with repeats.
    scale, gap, strength = (
        np.stack([np.broadcast_to(s[i], (_NUM_STARTS, NUM_POINTS)) for s in series])
        for i in range(3)
    )
    lanes = np.resize(np.arange(scale.size), _LANES)
    start = (scale[..., None] * shape[:, None]).reshape(-1, NUM_STATES)[lanes]
    log_gap, rho = np.log(gap).ravel()[lanes], strength.ravel()[lanes]
    predicted = [np.asarray(x) for x in _predictions(seq_len)(start, log_gap, rho)]
    limit, end, clean, defect, time = predicted
    # Passage ends late by 0.28 D (κ = 5) to 0.38 D (κ = 9) of its time. The drift in what is then
    # left of D/2 moves entries by a second order of D.
    times = time * (1.0 + 0.5 * defect)
    found, outcomes = [], []
    coarse = min(max(rtol, _FINEST_RTOL), _COARSEST_RTOL)
    for tolerance in (coarse, coarse / 10):
        if to_limit:
            a, outcome = _ends(seq_len, tolerance)(start, log_gap, rho)
        else:
            a, outcome = _on_the_way(seq_len, tolerance)(start, log_gap, rho, times[:, None])
        found.append(np.asarray(a))
        outcomes.append(np.asarray(outcome))
    outcome = np.maximum(*outcomes)
    shown = (len(series), _NUM_STARTS, NUM_POINTS)

    def unfold(x: np.ndarray) -> np.ndarray:
        return x[: scale.size].reshape(*shown, *x.shape[1:])

    a, tight, right = (unfold(x) for x in (*found, limit if to_limit else end))
    wrong, defect, outcome = (unfold(x) for x in (end if to_limit else clean, defect, outcome))
    return [
        PassageRuns(s, defect[i], a[i], tight[i], right[i], wrong[i], _count(outcome[i], s))
        for i, s in enumerate(series)
    ]


def _count(outcome: np.ndarray, series: Series) -> Count:
    bad = np.argwhere(outcome != Outcome.CONVERGED)
    reason = ""
    if len(bad):
        run, point = bad[0]
        why = Outcome(int(outcome[run, point])).explanation
        reason = f"start {run + 1}, ρ = {series.strength[point]:.3g}: {why}"
    return Count(outcome.size, len(bad), reason)


def _on_the_way(seq_len: int, rtol: float) -> Callable:
    """States at one time each, and CONVERGED where it was reached."""
    config = Theorem1Config(rtol=rtol, max_steps=_PASSAGE_STEPS)

    def one(a0, log_gap, strength, times):
        run = simulate_theorem1(
            a0, seq_len, strength, log_gap=log_gap, save_times=times, config=config
        )
        assert run.trajectory is not None
        reached = run.trajectory.reached[0]
        return run.trajectory.a[0], jnp.where(reached, int(Outcome.CONVERGED), run.outcome)

    return jax.vmap(one)


def _ends(seq_len: int, rtol: float) -> Callable:
    """Limits and outcomes of starts in descending order."""

    def run(a0, log_gap, strength):
        points = Points(jnp.asarray(a0).T, jnp.asarray(log_gap), jnp.asarray(strength))
        found = _engine(seq_len)(points, limits_of(LimitConfig(rtol=rtol)))
        return found.a.T, found.outcome

    return run


@functools.cache
def _engine(seq_len: int) -> Callable[[Points, Limits], Ends]:
    """What `theorem1_limit` runs. Mapping that over starts would trace it twice, half a second."""
    count = jnp.int32(_LANES)
    return jax.jit(lambda points, limits: run_points(points, count, limits, seq_len, _LANES))


@functools.cache
def _predictions(seq_len: int) -> Callable:
    """Limit, end of passage, that without poison, defect, and physical time, lane by lane."""

    def one(a0: Float[AnyArray, " state"], log_gap, strength):
        def predict(function, rho=strength):
            return function(a0, seq_len, rho, log_gap=log_gap)

        return (
            predict(passage_limit),
            predict(passage_end),
            predict(passage_end, jnp.zeros_like(strength)),
            predict(passage_defect),
            predict(passage_time),
        )

    return jax.jit(jax.vmap(one))
