"""M1 in time: the clean flow's path, and the moment at which it escapes from its start."""

from __future__ import annotations

import jax
import numpy as np

from ssmbias.claims.evidence import Assumption, Claim, Evidence, Kind, judge
from ssmbias.claims.laboratory import (
    NUM_TIMES,
    SOLVER_DERIVATION,
    Laboratory,
    Twice,
    solver_tolerance,
)
from ssmbias.dynamics import Theorem1Result
from ssmbias.theory import clean_path, escape_time

# Away from the escape itself, where a(t) turns by its whole range within 1e-10 of the time that
# has passed and no solver could tell it: there the escape time is what is compared.
_FRACTIONS = np.concatenate([1.0 - np.geomspace(1.0, 0.01, NUM_TIMES - 2), [1.01, 1.1]])
_BRACKET = 4e-9
_LEVEL = 0.5


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
    """Find where S_{κ-1} crosses 1/2 among saved times around the prediction."""
    predicted = _escape_times(lab)
    offsets = np.linspace(-_BRACKET, _BRACKET, NUM_TIMES)
    both = _simulate(lab, predicted[:, None] * (1.0 + offsets))
    measured, tighter = (
        _crossing(r, offsets, lab.setting.seq_len) for r in (both.result, both.tight)
    )
    change = float(np.max(np.abs(measured - tighter)))
    # The control's clock has κ in place of κ-1 as its rate.
    wrong = lab.setting.seq_len / (lab.setting.seq_len - 1.0) - 1.0 if control else 0.0
    residual = float(np.max(np.abs(measured - wrong)))
    spacing = float(offsets[1] - offsets[0])
    tolerance = solver_tolerance(change) + spacing
    # A crossing outside of the bracket is a violation, not a failure of the measurement.
    residual = residual if np.isfinite(residual) else 1.0
    assumptions = (Assumption("all entries are positive", bool(np.all(lab.starts[0] > 0))),)
    verdict, reason = judge(residual, tolerance, assumptions, both.runs)
    return [
        Evidence(
            claim="M1-escape",
            setting=lab.setting.name,
            kind=Kind.LIMIT,
            quantity="escape time, relative (values: mean time)",
            predicted=float(np.mean(predicted * (1.0 + wrong))),
            measured=float(np.mean(predicted * (1.0 + measured))),
            residual=residual,
            tolerance=tolerance,
            derivation=SOLVER_DERIVATION + ", plus the spacing of the saved times",
            verdict=verdict,
            reason=reason,
            assumptions=assumptions,
            runs=both.runs,
        )
    ]


def _crossing(result: Theorem1Result, offsets: np.ndarray, seq_len: int) -> np.ndarray:
    """Relative offset at which each run first reaches the level; inf outside of the bracket."""
    assert result.trajectory is not None
    sums = np.sum(np.asarray(result.trajectory.a)[:, 0] ** (seq_len - 1), axis=-1)
    above = sums >= _LEVEL
    found = above.any(1) & ~above[:, 0]
    index = np.clip(above.argmax(1), 1, None)
    row = np.arange(len(sums))
    low, high = sums[row, index - 1], sums[row, index]
    share = (_LEVEL - low) / np.where(high > low, high - low, 1.0)
    step = offsets[1] - offsets[0]
    return np.where(found, offsets[index - 1] + share * step, np.inf)


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
