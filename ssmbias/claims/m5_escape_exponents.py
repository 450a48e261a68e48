"""M5: the time to leave a small start, as a power of the start's scale."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from ssmbias.evidence.evidence import Assumption, Claim, Evidence, Fit, Kind, judge
from ssmbias.statistics.fits import fit_asymptotic_exponent
from ssmbias.subjects.escape_runs import FIXED, FREE, SCALES, Escapes, escapes
from ssmbias.subjects.laboratory import Laboratory
from ssmbias.theory import escape_exponent

_WIDEST_INTERVAL = 0.1
_COARSEST = 0.05  # of a prefactor, which the control has wrong by a factor of 2
_LOG_STEP = float(np.log(SCALES[1] / SCALES[0]))
# 1/α at the middle of each step between scales, ascending: the asymptotic variable.
_INVERSE = 1.0 / np.sqrt(SCALES[1:] * SCALES[:-1])[::-1]


def _steepness(times: np.ndarray) -> np.ndarray:
    """-Δt/Δlog α between neighbouring scales [start, step], ordered like `_INVERSE`.

    Over equal steps of log α it is exactly proportional to α^-k wherever t is a constant plus a
    multiple of α^-k, or of log α for k = 0.
    """
    return (times[:, :-1] - times[:, 1:])[:, ::-1] / _LOG_STEP


def _premises(every: list[Escapes]) -> tuple[Assumption, ...]:
    decades = float(np.log10(SCALES[-1] / SCALES[0]))
    force = min(float(found.force.min()) for found in every)
    return (
        Assumption("the first lag pulls away from zero", force > 0, f"smallest force {force:.2g}"),
        Assumption("two decades of scales or more", decades >= 2.0, f"{decades:g} decades"),
        Assumption(
            "smaller starts take longer",
            all(bool(np.all(np.diff(found.times, axis=1) < 0)) for found in every),
        ),
    )


def check_exponents(mode: tuple[str, ...], lab: Laboratory, control: bool) -> list[Evidence]:
    """One row for each smallest lag; the control takes the law of the next larger one."""
    return [_exponent(found, lab, control) for found in escapes(lab, mode)]


def _exponent(found: Escapes, lab: Laboratory, control: bool) -> Evidence:
    expected = float(escape_exponent(found.lag + control, found.trainable))
    assumptions = _premises([found])
    fit = Fit(np.nan, np.nan, np.nan, expected, 0.95, 0)
    if all(a.holds for a in assumptions) and not found.runs.unconverged:
        fit = _fit(found, expected)
        # An interval too wide to tell exponents apart cannot confirm, but may refute.
        if fit.low <= expected <= fit.high:
            narrow = Assumption(
                f"the interval of the exponent is narrower than {2 * _WIDEST_INTERVAL:g}",
                fit.high - fit.low <= 2 * _WIDEST_INTERVAL,
                f"[{fit.low:.4f}, {fit.high:.4f}]",
            )
            assumptions = (*assumptions, narrow)
    residual, tolerance = abs(fit.exponent - expected), 0.5 * (fit.high - fit.low)
    verdict, reason = judge(residual, tolerance, assumptions, found.runs)
    law = {-1: "t tends to a constant", 0: "t ∝ log(1/α)"}
    k = escape_exponent(found.lag, found.trainable)
    return Evidence(
        claim=_claim_id(found.trainable),
        setting=lab.setting.name,
        kind=Kind.LAW,
        quantity=f"{found.label}: exponent k ({law.get(k, 't ∝ 1/α^k')})",
        predicted=expected,
        measured=fit.exponent,
        residual=residual,
        tolerance=tolerance,
        derivation="half the 95 % interval of the exponent: Student's t over the starts, plus the "
        "change from first to second order of the correction in α, plus the solver's tolerance "
        "times its steps, carried through the fit",
        verdict=verdict,
        reason=reason,
        assumptions=assumptions,
        fit=fit,
        runs=found.runs,
    )


def _fit(found: Escapes, expected: float) -> Fit:
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


def check_prefactors(lab: Laboratory, control: bool) -> list[Evidence]:
    """One row for each mode; the control runs the clock of a loss without its factor 2."""
    return [_prefactors(mode, lab, 2.0 if control else 1.0) for mode in (FIXED, FREE)]


def _prefactors(mode: tuple[str, ...], lab: Laboratory, clock: float) -> Evidence:
    every = [e for e in escapes(lab, mode) if escape_exponent(e.lag, mode) >= 0]
    runs = functools.reduce(lambda x, y: x + y, (e.runs for e in every))
    finite = all(bool(np.all(np.isfinite(e.prefactor))) for e in every)
    assumptions = (
        *_premises(every),
        Assumption("some state of every start escapes to leading order", finite),
    )
    residual = tolerance = ratio = np.nan
    if all(a.holds for a in assumptions) and not runs.unconverged:
        rows = np.concatenate([_ratios(e, clock) for e in every])
        residual, tolerance, ratio = rows[np.argmax(rows[:, 0] / rows[:, 1])]
        coarsest = float(rows[:, 1].max())
        fine = Assumption(
            f"every start tells its prefactor to {_COARSEST:g}",
            coarsest <= _COARSEST,
            f"coarsest {coarsest:.1e}",
        )
        assumptions = (*assumptions, fine)
    verdict, reason = judge(float(residual), float(tolerance), assumptions, runs)
    name = "B, C fixed" if mode == FIXED else "a, b, c trained"
    return Evidence(
        claim="M5-prefactor",
        setting=lab.setting.name,
        kind=Kind.LAW,
        quantity=f"{name}, k >= 0: measured over predicted prefactor, worst start",
        predicted=1.0,
        measured=float(ratio),
        residual=float(residual),
        tolerance=float(tolerance),
        derivation="the ratio at the smallest scale may differ from 1 by what it changes over the "
        "decade above (the difference falls like α log(1/α), by more than half over half a "
        "decade), plus the solver's tolerance times its steps",
        verdict=verdict,
        reason=reason,
        assumptions=assumptions,
        runs=runs,
    )


def _ratios(found: Escapes, clock: float) -> np.ndarray:
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


def _claim_id(mode: tuple[str, ...]) -> str:
    return "M5-fixed" if mode == FIXED else "M5-free"


_REFERENCE = "derivation in docs/theory.md (M5)"
_PREMISES = ("the first lag pulls away from zero", "two decades of scales or more")

CLAIMS = (
    Claim(
        id=_claim_id(FIXED),
        title="Escape time, B and C fixed",
        statement=r"t_{esc} \propto \alpha^{-(l_0-2)} \ (l_0 \ge 3), \quad "
        r"\log(1/\alpha) \ (l_0 = 2), \quad O(1) \ (l_0 = 1): \quad "
        r"-\frac{dt_{esc}}{d\log\alpha} \propto \alpha^{-(l_0-2)}",
        kind=Kind.LAW,
        assumptions=_PREMISES,
        reference=_REFERENCE,
        control="the exponent of the next larger lag",
        check=functools.partial(check_exponents, FIXED),
    ),
    Claim(
        id=_claim_id(FREE),
        title="Escape time, all of a, b, c trained",
        statement=r"t_{esc} \propto \alpha^{-l_0} \ (l_0 \ge 1), \quad "
        r"\log(1/\alpha) \ (l_0 = 0): \quad "
        r"-\frac{dt_{esc}}{d\log\alpha} \propto \alpha^{-l_0}",
        kind=Kind.LAW,
        assumptions=_PREMISES,
        reference=_REFERENCE,
        control="the exponent of the next larger lag",
        check=functools.partial(check_exponents, FREE),
    ),
    Claim(
        id="M5-prefactor",
        title="Escape time, leading prefactor",
        statement=r"t_{esc}\, \alpha^{k} \to \min_j \int_0^\infty \frac{ds}{2 |\omega_{l_0}| "
        r"\sqrt{b_j^2 + s}\, \sqrt{c_j^2 + s}\, (a_j^2 + l_0 s)^{l_0/2}}, \quad "
        r"b_j^2, c_j^2 \text{ without } s \text{ where fixed}",
        kind=Kind.LAW,
        assumptions=(*_PREMISES, "some state of every start escapes to leading order"),
        reference=_REFERENCE,
        control="the clock of a loss without its factor 2",
        check=check_prefactors,
    ),
)
