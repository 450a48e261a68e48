"""M5: the time to leave a small start, as a power of the start's scale."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from ssmbias.evidence import Bench, CheckedPremise, Claim, Fit, Kind, Row, law_row
from ssmbias.statistics.fits import fit_asymptotic_exponent
from ssmbias.subjects.escapes import FIXED, FREE, SCALES, Escapes, EscapeTimes, escapes
from ssmbias.theory import escape_exponent

_COARSEST = 0.05  # of a prefactor, which the control has wrong by a factor of 2
_LOG_STEP = float(np.log(SCALES[1] / SCALES[0]))
_PULLS = "the first lag pulls away from zero"
_DECADES = "two decades of scales or more"
_LEADING = "some state of every start escapes to leading order"
# 1/α at the middle of each step between scales, ascending: the asymptotic variable.
_INVERSE = 1.0 / np.sqrt(SCALES[1:] * SCALES[:-1])[::-1]


def _steepness(times: np.ndarray) -> np.ndarray:
    """-Δt/Δlog α between neighbouring scales [start, step], ordered like `_INVERSE`.

    Over equal steps of log α it is exactly proportional to α^-k wherever t is a constant plus a
    multiple of α^-k, or of log α for k = 0.
    """
    return (times[:, :-1] - times[:, 1:])[:, ::-1] / _LOG_STEP


def _premises(every: list[EscapeTimes]) -> tuple[CheckedPremise, ...]:
    decades = float(np.log10(SCALES[-1] / SCALES[0]))
    force = min(float(found.force.min()) for found in every)
    return (
        CheckedPremise(_PULLS, force > 0, f"smallest force {force:.2g}"),
        CheckedPremise(_DECADES, decades >= 2.0, f"{decades:g} decades"),
        CheckedPremise(
            "smaller starts take longer",
            all(bool(np.all(np.diff(found.times, axis=1) < 0)) for found in every),
        ),
    )


def measure(mode: tuple[str, ...], subject: Escapes, bench: Bench) -> list[EscapeTimes]:
    """Escapes by smallest lag."""
    return escapes(subject, bench, mode)


def compare_exponents(
    subject: Escapes, expected: list[float], runs: list[EscapeTimes]
) -> list[Row]:
    """One row for each smallest lag."""
    return [_exponent(*case) for case in zip(runs, expected, strict=True)]


def _law(subject: Escapes, runs: list[EscapeTimes], shift: int = 0) -> list[float]:
    """The exponents of the smallest lags, or of lags larger by `shift`."""
    return [float(escape_exponent(found.lag + shift, found.trainable)) for found in runs]


def _exponent(found: EscapeTimes, expected: float) -> Row:
    premises = _premises([found])
    met = all(p.holds for p in premises) and not found.count.unconverged
    law = {-1: "t tends to a constant", 0: "t ∝ log(1/α)"}
    k = escape_exponent(found.lag, found.trainable)
    return law_row(
        f"{found.label}: exponent k ({law.get(k, 't ∝ 1/α^k')})",
        _fit(found, expected) if met else None,
        expected=expected,
        derivation="half the 95 % interval of the exponent: Student's t over the starts, plus the "
        "change from first to second order of the correction in α, plus the solver's tolerance "
        "times its steps, carried through the fit",
        count=found.count,
        premises=premises,
    )


def _fit(found: EscapeTimes, expected: float) -> Fit:
    """The fitted exponent, its interval widened by what errors of the times can do to it."""
    steep = _steepness(found.times)
    fit = fit_asymptotic_exponent(_INVERSE, steep, expected)
    # An error ε of each time changes log(Δt) by up to 2 ε t/Δt. The fit is linear in log(Δt);
    # what it makes of a change of one in one point is its response to a kick by a factor e.
    kicks = np.exp(np.eye(len(_INVERSE)))
    response = [fit_asymptotic_exponent(_INVERSE, kick[None], 0.0).exponent for kick in kicks]
    ratio = float(np.max(found.times[:, :-1] / steep[:, ::-1])) / _LOG_STEP
    solver = float(np.sum(np.abs(response)) * 2.0 * found.error * ratio)
    return dataclasses.replace(fit, low=fit.low - solver, high=fit.high + solver)


def measure_both(subject: Escapes, bench: Bench) -> dict[tuple[str, ...], list[EscapeTimes]]:
    """Escapes in both modes, where the time grows with the scale going to 0."""
    return {
        mode: [e for e in escapes(subject, bench, mode) if escape_exponent(e.lag, mode) >= 0]
        for mode in (FIXED, FREE)
    }


def compare_prefactors(
    subject: Escapes, clock: float, runs: dict[tuple[str, ...], list[EscapeTimes]]
) -> list[Row]:
    """One row for each mode."""
    return [_prefactors(mode, every, clock) for mode, every in runs.items()]


def _prefactors(mode: tuple[str, ...], every: list[EscapeTimes], clock: float) -> Row:
    count = functools.reduce(lambda x, y: x + y, (e.count for e in every))
    finite = all(bool(np.all(np.isfinite(e.prefactor))) for e in every)
    premises = (
        *_premises(every),
        CheckedPremise(_LEADING, finite),
    )
    residual = tolerance = ratio = np.nan
    if all(p.holds for p in premises) and not count.unconverged:
        rows = np.concatenate([_ratios(e, clock) for e in every])
        residual, tolerance, ratio = rows[np.argmax(rows[:, 0] / rows[:, 1])]
        coarsest = float(rows[:, 1].max())
        fine = CheckedPremise(
            f"every start tells its prefactor to {_COARSEST:g}",
            coarsest <= _COARSEST,
            f"coarsest {coarsest:.1e}",
        )
        premises = (*premises, fine)
    name = "B, C fixed" if mode == FIXED else "a, b, c trained"
    return Row(
        quantity=f"{name}, k >= 0: measured over predicted prefactor, worst start",
        predicted=1.0,
        measured=float(ratio),
        residual=float(residual),
        tolerance=float(tolerance),
        derivation="the ratio at the smallest scale may differ from 1 by what it changes over the "
        "decade above (the difference falls like α log(1/α), by more than half over half a "
        "decade), plus the solver's tolerance times its steps",
        premises=premises,
        count=count,
    )


def _ratios(found: EscapeTimes, clock: float) -> np.ndarray:
    """For each start: |log ratio|, tolerance, ratio of measured and predicted steepness."""
    k = float(escape_exponent(found.lag, found.trainable))
    unit = SCALES**-k if k else -np.log(SCALES)
    predicted = clock * found.prefactor[:, None] * _steepness(unit[None])
    log_ratio = np.log(_steepness(found.times) / predicted)
    smallest = log_ratio[:, -1]
    change = np.max(np.abs(log_ratio[:, -3:-1] - smallest[:, None]), axis=1)
    first, second = found.times[:, 0], found.times[:, 1]
    solver = 2.0 * found.error * first / (first - second)
    return np.stack([np.abs(smallest), change + solver, np.exp(smallest)], axis=1)


_REFERENCE = "derivation in docs/theory.md (M5)"

CLAIMS = (
    Claim(
        id="M5-fixed",
        title="Escape time, B and C fixed",
        statement=r"t_{esc} \propto \alpha^{-(l_0-2)} \ (l_0 \ge 3), \quad "
        r"\log(1/\alpha) \ (l_0 = 2), \quad O(1) \ (l_0 = 1): \quad "
        r"-\frac{dt_{esc}}{d\log\alpha} \propto \alpha^{-(l_0-2)}",
        kind=Kind.LAW,
        reference=_REFERENCE,
        control="the exponent of the next larger lag",
        subject=Escapes,
        measure=functools.partial(measure, FIXED),
        predict=_law,
        wrong=functools.partial(_law, shift=1),
        compare=compare_exponents,
        row_premises=(_PULLS, _DECADES),
        family="laws",
        cost=12.0,
    ),
    Claim(
        id="M5-free",
        title="Escape time, all of a, b, c trained",
        statement=r"t_{esc} \propto \alpha^{-l_0} \ (l_0 \ge 1), \quad "
        r"\log(1/\alpha) \ (l_0 = 0): \quad "
        r"-\frac{dt_{esc}}{d\log\alpha} \propto \alpha^{-l_0}",
        kind=Kind.LAW,
        reference=_REFERENCE,
        control="the exponent of the next larger lag",
        subject=Escapes,
        measure=functools.partial(measure, FREE),
        predict=_law,
        wrong=functools.partial(_law, shift=1),
        compare=compare_exponents,
        row_premises=(_PULLS, _DECADES),
        family="laws",
        cost=8.0,
    ),
    Claim(
        id="M5-prefactor",
        title="Escape time, leading prefactor",
        statement=r"t_{esc}\, \alpha^{k} \to \min_j \int_0^\infty \frac{ds}{2 |\omega_{l_0}| "
        r"\sqrt{b_j^2 + s}\, \sqrt{c_j^2 + s}\, (a_j^2 + l_0 s)^{l_0/2}}, \quad "
        r"b_j^2, c_j^2 \text{ without } s \text{ where fixed}",
        kind=Kind.LAW,
        reference=_REFERENCE,
        control="the clock of a loss without its factor 2",
        subject=Escapes,
        measure=measure_both,
        predict=lambda subject, runs: 1.0,
        wrong=lambda subject, runs: 2.0,
        compare=compare_prefactors,
        row_premises=(_PULLS, _DECADES, _LEADING),
        family="laws",
        cost=1.0,
    ),
)
