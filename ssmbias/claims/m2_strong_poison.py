"""M2: the limit for strong poison, approached like 1/ρ."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from ssmbias.evidence import Bench, Claim, Count, Fit, Kind, Premise, Row, law_row
from ssmbias.evidence.laws import NARROW
from ssmbias.metrics import generalization_error
from ssmbias.statistics.fits import fit_asymptotic_exponent
from ssmbias.subjects.accuracy import Twice
from ssmbias.subjects.theorem1 import Theorem1, limits, starts
from ssmbias.theory import strong_poison_limit

_SMALLEST = 10.0  # below, the 1/ρ correction itself is no longer small


class StrongRuns(NamedTuple):
    """Limits [seed, strength, state] at ascending strengths, unless they are too few for a fit."""

    strengths: np.ndarray
    limits: Twice | None

    @property
    def in_fit(self) -> np.ndarray:
        """Strengths at which the correction is small."""
        return self.strengths >= _SMALLEST

    @property
    def enough(self) -> bool:
        """Whether an exponent can be told from them."""
        fitted = self.strengths[self.in_fit]
        return bool(len(fitted) >= 5 and fitted[-1] >= 10 * fitted[0])


def measure(subject: Theorem1, bench: Bench) -> StrongRuns:
    """Limits at all positive strengths of the subject."""
    strengths = tuple(sorted({s for s in subject.strengths if s > 0}))
    runs = StrongRuns(np.array(strengths), None)
    return runs._replace(limits=limits(subject, bench, strengths)) if runs.enough else runs


def predict(subject: Theorem1, runs: StrongRuns) -> np.ndarray:
    """The limit [seed, state] for infinite strength."""
    seq_len = subject.seq_len
    closed = jax.jit(jax.vmap(lambda a, g: strong_poison_limit(a, seq_len, log_gap=g)))
    return np.asarray(closed(*starts(subject)))


def wrong(subject: Theorem1, runs: StrongRuns) -> np.ndarray:
    """Where the fast phase alone ends, a common shift onto S_1 = 1: no flow along it at all."""
    a0 = starts(subject)[0]
    return a0 - a0.mean(1, keepdims=True) + 1.0 / a0.shape[1]


def _differences(runs: Twice, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Largest differences of an entry [seed, strength], at both tolerances."""
    difference, tight = (
        np.max(np.abs(np.asarray(x.a) - predicted[:, None]), axis=-1)
        for x in (runs.result, runs.tight)
    )
    return difference, tight


def _fit(runs: StrongRuns, predicted: np.ndarray) -> Fit | None:
    """The exponent in ρ, its interval widened by the solver's part; `None` if there is none."""
    if runs.limits is None or runs.limits.count.unconverged:
        return None
    difference, tight = _differences(runs.limits, predicted)
    if not (np.all(difference > 0) and np.all(tight > 0)):
        return None
    x = runs.strengths[runs.in_fit]
    fit = fit_asymptotic_exponent(x, difference[:, runs.in_fit], expected=-1.0)
    by_tight = fit_asymptotic_exponent(x, tight[:, runs.in_fit], expected=-1.0)
    solver = 2.0 * abs(fit.exponent - by_tight.exponent)
    return dataclasses.replace(fit, low=fit.low - solver, high=fit.high + solver)


def compare(subject: Theorem1, predicted: np.ndarray, runs: StrongRuns) -> Row:
    """Fit the exponent with which the simulated limit approaches the predicted one."""
    count = Count(0) if runs.limits is None else runs.limits.count
    return law_row(
        "exponent of |a(ρ) - a(∞)| in ρ",
        _fit(runs, predicted),
        expected=-1.0,
        derivation="half the 95 % interval of the exponent: Student's t over the seeds plus "
        "the change from first to second order of the correction in 1/ρ, plus twice the "
        "change of the exponent when the solver's tolerance is tightened tenfold",
        count=count,
    )


def arrays(subject: Theorem1, predicted: np.ndarray, runs: StrongRuns) -> Mapping[str, Any]:
    """Differences against ρ, and errors at the largest ρ, for the figures."""
    fit = _fit(runs, predicted)
    if fit is None or runs.limits is None:
        return {}
    error = jax.vmap(lambda a: generalization_error(a, subject.horizon))
    return {
        "strong/strength": runs.strengths,
        "strong/difference": _differences(runs.limits, predicted)[0],
        "strong/in_fit": runs.in_fit,
        **{f"strong/{name}": getattr(fit, name) for name in ("exponent", "low", "high")},
        "error/poisoned/predicted": error(predicted),
        "error/poisoned/measured": error(runs.limits.a[:, -1]),
        "error/poisoned/strength": runs.strengths[-1],
    }


_ENOUGH = Premise(
    "at least five strengths ρ >= 10 over a decade or more",
    lambda subject, runs: (
        runs.enough,
        f"got {sum(runs.in_fit)}; give for example strength=[10,31.6,100,316,1000]",
    ),
)

CLAIMS = (
    Claim(
        id="M2",
        title="Strong poison, limit approached like 1/ρ",
        statement=r"\left\| a(\infty; \rho) - x(\infty) \right\| = O(1/\rho), \quad "
        r"\dot x_j = (\kappa-1)(1 - S_{\kappa-1}) \left( x_j^p - \overline{x^p} \right), \quad "
        r"x_j(0) = a_j(0) - \overline{a(0)} + 1/d",
        kind=Kind.LAW,
        reference="derivation in docs/theory.md (M2)",
        control="the end of the fast phase, x(0), in place of the limit of the flow from there",
        subject=Theorem1,
        measure=measure,
        predict=predict,
        wrong=wrong,
        compare=compare,
        premises=(_ENOUGH,),
        row_premises=(NARROW,),
        arrays=arrays,
        family="laws",
        cost=2.0,
    ),
)
