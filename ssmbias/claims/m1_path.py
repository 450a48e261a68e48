"""M1 in time: the clean flow's path, and the moment at which it escapes from its start."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from ssmbias.evidence import Bench, Claim, Count, Kind, Row
from ssmbias.subjects.accuracy import SOLVER_DERIVATION, Twice, solver_tolerance
from ssmbias.subjects.theorem1 import (
    NUM_TIMES,
    POSITIVE,
    Theorem1,
    limits,
    simulate,
    simulate_twice,
    starts,
)
from ssmbias.theory import clean_path, escape_time

# Away from the escape itself, where a(t) turns by its whole range within 1e-10 of the time that
# has passed and no solver could tell it: there the escape time is what is compared.
_FRACTIONS = np.concatenate([1.0 - np.geomspace(1.0, 0.01, NUM_TIMES - 2), [1.01, 1.1]])
_LEVEL = 0.5
_PASSES = 5
_BISECTION = (NUM_TIMES - 1.0) ** -_PASSES


class Paths(NamedTuple):
    """Clean runs at two tolerances with states at `times` [seed, time]."""

    times: np.ndarray
    both: Twice


class Crossings(NamedTuple):
    """Times [seed] at which S_{κ-1} crosses the level, at two tolerances."""

    times: np.ndarray
    tighter: np.ndarray
    count: Count


def _escape_times(subject: Theorem1) -> np.ndarray:
    seq_len = subject.seq_len
    closed = jax.jit(jax.vmap(lambda a, g: escape_time(a, seq_len, _LEVEL, log_gap=g)))
    return np.asarray(closed(*starts(subject)))


def measure_path(subject: Theorem1, bench: Bench) -> Paths:
    """Clean runs with states at fractions of the escape time."""
    times = _escape_times(subject)[:, None] * _FRACTIONS
    start = starts(subject)
    both = simulate_twice(
        subject, start, (0.0,), bench.rtol, save_times=times[:, None], name="start"
    )
    return Paths(times, both)


def _path(subject: Theorem1, times: np.ndarray) -> np.ndarray:
    """Closed-form states [seed, time, state]."""
    seq_len = subject.seq_len
    a0, log_gap = starts(subject)
    closed = jax.jit(jax.vmap(lambda a, t, g: clean_path(a, seq_len, t, log_gap=g)))
    return np.asarray(closed(a0, times, log_gap))


def predict_path(subject: Theorem1, runs: Paths) -> np.ndarray:
    """States at the saved times."""
    return _path(subject, runs.times)


def wrong_path(subject: Theorem1, runs: Paths) -> np.ndarray:
    """The clock of the unnormalised loss, half as fast."""
    return _path(subject, 0.5 * runs.times)


def compare_path(subject: Theorem1, predicted: np.ndarray, runs: Paths) -> Row:
    """Compare all entries at fractions of the escape time."""
    both = runs.both
    assert both.result.trajectory is not None
    assert both.tight.trajectory is not None
    measured = np.asarray(both.result.trajectory.a)[:, 0]
    change = np.max(np.abs(measured / np.asarray(both.tight.trajectory.a)[:, 0] - 1.0))
    late = NUM_TIMES - 3
    return Row(
        quantity="path up to 1.1 times the escape time (values: mean a_1 at 0.99 of it)",
        predicted=float(np.mean(predicted[:, late, 0])),
        measured=float(np.mean(measured[:, late, 0])),
        residual=float(np.max(np.abs(measured / predicted - 1.0))),
        tolerance=solver_tolerance(float(change)),
        derivation=SOLVER_DERIVATION,
        count=both.count,
    )


def measure_crossings(subject: Theorem1, bench: Bench) -> Crossings:
    """Times at which S_{κ-1} crosses the level.

    Each pass saves states at evenly spaced times between the last one below the level and the
    first one above it, from the whole run down to a bracket of the width `_BISECTION`.
    """
    clean = limits(subject, bench, (0.0,))
    found = []
    for rtol, end in ((bench.rtol, clean.result.time), (bench.rtol / 10, clean.tight.time)):
        low, high = np.zeros(subject.num_seeds), np.asarray(end)[:, 0]
        for _ in range(_PASSES):
            times = np.linspace(low, high, NUM_TIMES, axis=-1)
            run = simulate(subject, starts(subject), (0.0,), rtol, save_times=times[:, None])
            assert run.trajectory is not None
            sums = np.sum(np.asarray(run.trajectory.a)[:, 0] ** (subject.seq_len - 1), axis=-1)
            index = np.clip((sums >= _LEVEL).argmax(1), 1, None)
            row = np.arange(subject.num_seeds)
            low, high = times[row, index - 1], times[row, index]
        found.append(0.5 * (low + high))
    times, tighter = found
    return Crossings(times, tighter, clean.count)


def predict_escape(subject: Theorem1, runs: Crossings) -> np.ndarray:
    """Escape times [seed] in closed form."""
    return _escape_times(subject)


def wrong_escape(subject: Theorem1, runs: Crossings) -> np.ndarray:
    """A clock that has κ in place of κ-1 as its rate."""
    return (subject.seq_len - 1.0) / subject.seq_len * _escape_times(subject)


def compare_escape(subject: Theorem1, predicted: np.ndarray, runs: Crossings) -> Row:
    """Compare with the time at which the simulated S_{κ-1} crosses 1/2, found by bisection."""
    change = float(np.max(np.abs(runs.times / runs.tighter - 1.0)))
    return Row(
        quantity="escape time, relative (values: mean time)",
        predicted=float(np.mean(predicted)),
        measured=float(np.mean(runs.times)),
        residual=float(np.max(np.abs(runs.times / predicted - 1.0))),
        tolerance=solver_tolerance(change) + _BISECTION,
        derivation=SOLVER_DERIVATION + ", plus the width of the last bracket",
        count=runs.count,
    )


CLAIMS = (
    Claim(
        id="M1-path",
        title="Clean flow, path in closed form",
        statement=r"a_j(t) = (q_j - \tau(t))^{-1/(p-1)}, \quad "
        r"t(\tau) = \int_0^\tau \frac{d\tau'}{2(\kappa-1)(p-1)(1 - S_{\kappa-1}(\tau'))}",
        kind=Kind.LIMIT,
        reference="derivation in docs/theory.md (M1)",
        control="the path at half the time (the clock of a loss without its factor 2)",
        subject=Theorem1,
        measure=measure_path,
        predict=predict_path,
        wrong=wrong_path,
        compare=compare_path,
        premises=(POSITIVE,),
        family="limits",
        cost=2.0,
    ),
    Claim(
        id="M1-escape",
        title="Clean flow, escape time",
        statement=r"S_{\kappa-1}(t_{esc}) = 1/2, \quad "
        r"t_{esc} \approx \frac{a_1(0)^{1-p}}{2(\kappa-1)(p-1)}",
        kind=Kind.LIMIT,
        reference="derivation in docs/theory.md (M1)",
        control="the escape time with κ in place of κ-1 as the rate",
        subject=Theorem1,
        measure=measure_crossings,
        predict=predict_escape,
        wrong=wrong_escape,
        compare=compare_escape,
        premises=(POSITIVE,),
        family="limits",
        cost=2.0,
    ),
)
