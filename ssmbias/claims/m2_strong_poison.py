"""M2: the limit for strong poison, approached like 1/ρ."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from ssmbias.evidence.evidence import Assumption, Claim, Evidence, Fit, Kind, Runs, Verdict, judge
from ssmbias.metrics import generalization_error
from ssmbias.statistics.fits import fit_asymptotic_exponent
from ssmbias.subjects.laboratory import Laboratory
from ssmbias.theory import strong_poison_limit

_SMALLEST = 10.0  # below, the 1/ρ correction itself is no longer small
_WIDEST_INTERVAL = 0.1
_QUANTITY = "exponent of |a(ρ) - a(∞)| in ρ"


def _predict(lab: Laboratory) -> np.ndarray:
    a0, log_gap = lab.starts
    seq_len = lab.setting.seq_len
    return np.asarray(
        jax.jit(jax.vmap(lambda a, g: strong_poison_limit(a, seq_len, log_gap=g)))(a0, log_gap)
    )


def check(lab: Laboratory, control: bool) -> list[Evidence]:
    """Fit the exponent with which the simulated limit approaches the predicted one."""
    strengths = tuple(sorted({s for s in lab.strengths if s > 0}))
    in_fit = np.array([s >= _SMALLEST for s in strengths])
    enough = Assumption(
        "at least five strengths ρ >= 10 over a decade or more",
        bool(in_fit.sum() >= 5 and strengths[-1] >= 10 * strengths[int(in_fit.argmax())]),
        f"got {sum(in_fit)}; give for example strength=[10,31.6,100,316,1000]",
    )
    assumptions: tuple[Assumption, ...] = (enough,)
    if not enough.holds:
        reason = f"premise not met: {enough.statement} ({enough.detail})"
        return [_inconclusive(lab, assumptions, Runs(0), reason)]
    limits = lab.limits(strengths)
    predicted = _predict(lab)
    # The control predicts the limit of the fast phase only: no flow along S_1 = 1 at all.
    target = _after_jump(lab) if control else predicted
    difference, tight = (
        np.max(np.abs(np.asarray(x.a) - target[:, None]), axis=-1)
        for x in (limits.result, limits.tight)
    )
    if limits.runs.unconverged or not (np.all(difference > 0) and np.all(tight > 0)):
        verdict, reason = judge(np.nan, np.nan, assumptions, limits.runs)
        return [_inconclusive(lab, assumptions, limits.runs, reason)]
    x = np.array(strengths)[in_fit]
    fit = fit_asymptotic_exponent(x, difference[:, in_fit], expected=-1.0)
    by_tight = fit_asymptotic_exponent(x, tight[:, in_fit], expected=-1.0)
    solver = 2.0 * abs(fit.exponent - by_tight.exponent)
    fit = dataclasses.replace(fit, low=fit.low - solver, high=fit.high + solver)
    if not control:
        _save(lab, strengths, in_fit, limits.a, predicted, difference, fit)
    narrow = Assumption(
        f"the interval of the exponent is narrower than {2 * _WIDEST_INTERVAL:g}",
        fit.high - fit.low <= 2 * _WIDEST_INTERVAL,
        f"[{fit.low:.4f}, {fit.high:.4f}]",
    )
    residual = abs(fit.exponent - fit.expected)
    tolerance = 0.5 * (fit.high - fit.low)
    # An interval too wide to tell exponents apart cannot confirm; one that excludes the law, wide
    # or not, refutes it.
    if residual <= tolerance:
        assumptions = (*assumptions, narrow)
    verdict, reason = judge(residual, tolerance, assumptions, limits.runs)
    return [
        Evidence(
            claim=CLAIMS[0].id,
            setting=lab.setting.name,
            kind=Kind.LAW,
            quantity=_QUANTITY,
            predicted=fit.expected,
            measured=fit.exponent,
            residual=residual,
            tolerance=tolerance,
            derivation="half the 95 % interval of the exponent: Student's t over the seeds plus "
            "the change from first to second order of the correction in 1/ρ, plus twice the "
            "change of the exponent when the solver's tolerance is tightened tenfold",
            verdict=verdict,
            reason=reason,
            assumptions=assumptions,
            fit=fit,
            runs=limits.runs,
        )
    ]


def _inconclusive(
    lab: Laboratory, assumptions: tuple[Assumption, ...], runs: Runs, reason: str
) -> Evidence:
    """A row without a fit."""
    return Evidence(
        claim=CLAIMS[0].id,
        setting=lab.setting.name,
        kind=Kind.LAW,
        quantity=_QUANTITY,
        predicted=-1.0,
        measured=np.nan,
        residual=np.nan,
        tolerance=np.nan,
        derivation="",
        verdict=Verdict.INCONCLUSIVE,
        reason=reason,
        assumptions=assumptions,
        runs=runs,
    )


def _after_jump(lab: Laboratory) -> np.ndarray:
    """Where the fast phase alone ends: a common shift onto S_1 = 1."""
    a0 = lab.starts[0]
    return a0 - a0.mean(1, keepdims=True) + 1.0 / a0.shape[1]


def _save(
    lab: Laboratory,
    strengths: tuple[float, ...],
    in_fit: np.ndarray,
    measured: np.ndarray,
    predicted: np.ndarray,
    difference: np.ndarray,
    fit: Fit,
) -> None:
    """Arrays for the figures: differences against ρ, and errors at the largest ρ."""
    lab.save("strong/strength", np.array(strengths))
    lab.save("strong/difference", difference)
    lab.save("strong/in_fit", in_fit)
    for name in ("exponent", "low", "high"):
        lab.save(f"strong/{name}", getattr(fit, name))
    error = jax.vmap(lambda a: generalization_error(a, lab.setting.horizon))
    lab.save("error/poisoned/predicted", error(predicted))
    lab.save("error/poisoned/measured", error(measured[:, -1]))
    lab.save("error/poisoned/strength", strengths[-1])


CLAIMS = (
    Claim(
        id="M2",
        title="Strong poison, limit approached like 1/ρ",
        statement=r"\left\| a(\infty; \rho) - x(\infty) \right\| = O(1/\rho), \quad "
        r"\dot x_j = (\kappa-1)(1 - S_{\kappa-1}) \left( x_j^p - \overline{x^p} \right), \quad "
        r"x_j(0) = a_j(0) - \overline{a(0)} + 1/d",
        kind=Kind.LAW,
        assumptions=(
            "at least five strengths ρ >= 10 over a decade or more",
            "the interval of the exponent is narrow enough to tell exponents apart",
        ),
        reference="derivation in docs/theory.md (M2)",
        control="the end of the fast phase, x(0), in place of the limit of the flow from there",
        check=check,
    ),
)
