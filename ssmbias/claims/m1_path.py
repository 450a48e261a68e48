"""M1 in time: the clean flow's path, and the moment at which it escapes from its start."""

from __future__ import annotations

import jax
import numpy as np

from ssmbias.evidence.evidence import Assumption, Claim, Evidence, Kind, judge
from ssmbias.subjects.laboratory import (
    NUM_TIMES,
    SOLVER_DERIVATION,
    Laboratory,
    Twice,
    solver_tolerance,
)
from ssmbias.theory import clean_path, escape_time

# Away from the escape itself, where a(t) turns by its whole range within 1e-10 of the time that
# has passed and no solver could tell it: there the escape time is what is compared.
_FRACTIONS = np.concatenate([1.0 - np.geomspace(1.0, 0.01, NUM_TIMES - 2), [1.01, 1.1]])
_LEVEL = 0.5
_PASSES = 5
_BISECTION = (NUM_TIMES - 1.0) ** -_PASSES


def _escape_times(lab: Laboratory) -> np.ndarray:
    a0, log_gap = lab.starts
    seq_len = lab.setting.seq_len
    return np.asarray(
        jax.jit(jax.vmap(lambda a, g: escape_time(a, seq_len, _LEVEL, log_gap=g)))(a0, log_gap)
    )


def _simulate(lab: Laboratory, times: np.ndarray) -> Twice:
    """Clean runs with states at `times` [seed, time]."""
    return lab.simulate_twice(*lab.starts, (0.0,), save_times=times[:, None], name="start")


def check_path(lab: Laboratory, control: bool) -> list[Evidence]:
    """Compare all entries at fractions of the escape time."""
    times = _escape_times(lab)[:, None] * _FRACTIONS
    a0, log_gap = lab.starts
    seq_len = lab.setting.seq_len
    # The control runs the clock of the unnormalised loss, half as fast.
    clock = 0.5 if control else 1.0
    predict = jax.jit(jax.vmap(lambda a, t, g: clean_path(a, seq_len, t, log_gap=g)))
    predicted = np.asarray(predict(a0, clock * times, log_gap))
    both = _simulate(lab, times)
    assert both.result.trajectory is not None
    assert both.tight.trajectory is not None
    measured = np.asarray(both.result.trajectory.a)[:, 0]
    change = np.max(np.abs(measured / np.asarray(both.tight.trajectory.a)[:, 0] - 1.0))
    residual = float(np.max(np.abs(measured / predicted - 1.0)))
    tolerance = solver_tolerance(float(change))
    assumptions = (Assumption("all entries are positive", bool(np.all(a0 > 0))),)
    verdict, reason = judge(residual, tolerance, assumptions, both.runs)
    late = NUM_TIMES - 3
    return [
        Evidence(
            claim="M1-path",
            setting=lab.setting.name,
            kind=Kind.LIMIT,
            quantity="path up to 1.1 times the escape time (values: mean a_1 at 0.99 of it)",
            predicted=float(np.mean(predicted[:, late, 0])),
            measured=float(np.mean(measured[:, late, 0])),
            residual=residual,
            tolerance=tolerance,
            derivation=SOLVER_DERIVATION,
            verdict=verdict,
            reason=reason,
            assumptions=assumptions,
            runs=both.runs,
        )
    ]


def check_escape(lab: Laboratory, control: bool) -> list[Evidence]:
    """Compare with the time at which the simulated S_{κ-1} crosses 1/2, found by bisection."""
    # The control's clock has κ in place of κ-1 as its rate.
    factor = (lab.setting.seq_len - 1.0) / lab.setting.seq_len if control else 1.0
    predicted = factor * _escape_times(lab)
    runs = lab.limits((0.0,)).runs
    measured, tighter = _crossings(lab)
    change = float(np.max(np.abs(measured / tighter - 1.0)))
    residual = float(np.max(np.abs(measured / predicted - 1.0)))
    tolerance = solver_tolerance(change) + _BISECTION
    assumptions = (Assumption("all entries are positive", bool(np.all(lab.starts[0] > 0))),)
    verdict, reason = judge(residual, tolerance, assumptions, runs)
    return [
        Evidence(
            claim="M1-escape",
            setting=lab.setting.name,
            kind=Kind.LIMIT,
            quantity="escape time, relative (values: mean time)",
            predicted=float(np.mean(predicted)),
            measured=float(np.mean(measured)),
            residual=residual,
            tolerance=tolerance,
            derivation=SOLVER_DERIVATION + ", plus the width of the last bracket",
            verdict=verdict,
            reason=reason,
            assumptions=assumptions,
            runs=runs,
        )
    ]


def _crossings(lab: Laboratory) -> np.ndarray:
    """Times at which S_{κ-1} crosses the level, at two tolerances: [tolerance, seed].

    Each pass saves states at evenly spaced times between the last one below the level and the
    first one above it, from the whole run down to a bracket of the width `_BISECTION`.
    """
    limits = lab.limits((0.0,))
    found = []
    for rtol, end in ((lab.rtol, limits.result.time), (lab.rtol / 10, limits.tight.time)):
        low, high = np.zeros(lab.num_seeds), np.asarray(end)[:, 0]
        for _ in range(_PASSES):
            times = np.linspace(low, high, NUM_TIMES, axis=-1)
            run = lab.simulate(*lab.starts, (0.0,), rtol=rtol, save_times=times[:, None])
            assert run.trajectory is not None
            sums = np.sum(np.asarray(run.trajectory.a)[:, 0] ** (lab.setting.seq_len - 1), axis=-1)
            index = np.clip((sums >= _LEVEL).argmax(1), 1, None)
            row = np.arange(lab.num_seeds)
            low, high = times[row, index - 1], times[row, index]
        found.append(0.5 * (low + high))
    return np.stack(found)


CLAIMS = (
    Claim(
        id="M1-path",
        title="Clean flow, path in closed form",
        statement=r"a_j(t) = (q_j - \tau(t))^{-1/(p-1)}, \quad "
        r"t(\tau) = \int_0^\tau \frac{d\tau'}{2(\kappa-1)(p-1)(1 - S_{\kappa-1}(\tau'))}",
        kind=Kind.LIMIT,
        assumptions=("all entries of the start are positive",),
        reference="derivation in docs/theory.md (M1)",
        control="the path at half the time (the clock of a loss without its factor 2)",
        check=check_path,
    ),
    Claim(
        id="M1-escape",
        title="Clean flow, escape time",
        statement=r"S_{\kappa-1}(t_{esc}) = 1/2, \quad "
        r"t_{esc} \approx \frac{a_1(0)^{1-p}}{2(\kappa-1)(p-1)}",
        kind=Kind.LIMIT,
        assumptions=("all entries of the start are positive",),
        reference="derivation in docs/theory.md (M1)",
        control="the escape time with κ in place of κ-1 as the rate",
        check=check_escape,
    ),
)
