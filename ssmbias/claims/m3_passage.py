"""M3: weak poison, the passage of nearly tied entries and its range of validity."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from ssmbias.evidence import (
    Bench,
    CheckedPremise,
    Claim,
    Count,
    Fit,
    Kind,
    Premise,
    Row,
    law_row,
)
from ssmbias.evidence.laws import NARROW
from ssmbias.metrics import generalization_error
from ssmbias.statistics.fits import fit_asymptotic_exponent, fit_order
from ssmbias.subjects.passage import Passage, PassageRuns, passage_ends, passage_limits
from ssmbias.theory import passage_error_exponent, passage_exponent, passage_onset

_SMALL = "the defect D is small"
_UNIFORM = "the defect D changes a_2 by less than 1 %"
_DERIVATION = (
    "half the 95 % interval of the exponent: Student's t over the series, plus the change from "
    "first to second order of the correction, plus twice the change of the exponent when the "
    "solver's tolerance is tightened tenfold"
)


def _ratio(found: PassageRuns, seq_len: int) -> np.ndarray:
    """(ρ + ρ_0)/Δ along a series, descending."""
    scale, gap, strength = found.series
    return (strength + np.asarray(passage_onset(scale, seq_len))) / gap


def _error(a: np.ndarray, horizon: int) -> np.ndarray:
    error = jax.vmap(jax.vmap(lambda x: generalization_error(x, horizon)))
    return np.asarray(error(a))


Three = tuple[PassageRuns, PassageRuns, PassageRuns]


class Fitted(NamedTuple):
    """Series of which one exponent is fitted.

    Attributes:
      every: the series; all run down the same ratios, up to the share of the onset in one.
      x: the variable of the fit, ascending from 1.
      root: the exponent of `x` in ρ/Δ.
    """

    every: tuple[PassageRuns, ...]
    x: np.ndarray
    root: float


def measure_ends(subject: Passage, bench: Bench) -> Fitted:
    """Ends of passage while gap and strength vary."""
    by_gap, by_strength, _ = passage_ends(subject, bench)
    x = _ratio(by_gap, subject.seq_len)
    return Fitted((by_gap, by_strength), x[0] / x, 1.0)


def measure_errors(subject: Passage, bench: Bench) -> Fitted:
    """Limits while gap and strength vary; corrections are powers of a_2, the root of the ratio."""
    _, by_gap, by_strength = passage_limits(subject, bench)
    x, root = _ratio(by_gap, subject.seq_len), passage_exponent(subject.seq_len)
    return Fitted((by_gap, by_strength), (x[0] / x) ** root, root)


def measure_defect(subject: Passage, bench: Bench) -> PassageRuns:
    """Ends of passage while the defect varies at constant ρ/Δ."""
    return passage_ends(subject, bench)[2]


def measure_limit(subject: Passage, bench: Bench) -> PassageRuns:
    """Limits while the defect varies at constant ρ/Δ."""
    return passage_limits(subject, bench)[0]


def compare_exponents(subject: Passage, expected: float, runs: Fitted) -> Row:
    """The exponent of the second entry at the end of passage."""

    def fit(entries: str) -> Fit:
        second = np.concatenate([getattr(f, entries)[..., 1] for f in runs.every])
        return _turned(fit_asymptotic_exponent(runs.x, second, -expected))

    quantity = f"κ = {subject.seq_len}: exponent of a_2 at the end of passage in ρ/Δ"
    return _row(quantity, expected, fit, _count(runs))


def compare_errors(subject: Passage, expected: float, runs: Fitted) -> Row:
    """The exponent of the error of the limit."""

    def fit(entries: str) -> Fit:
        error = [_error(getattr(f, entries), subject.horizon) for f in runs.every]
        back = _turned(fit_asymptotic_exponent(runs.x, np.concatenate(error), 0.0))
        scaled = {k: runs.root * getattr(back, k) for k in ("exponent", "low", "high")}
        return dataclasses.replace(back, **scaled)

    quantity = f"κ = {subject.seq_len}: exponent of the error of the limit in ρ/Δ"
    return _row(quantity, expected, fit, _count(runs))


def compare_defect(subject: Passage, predicted: np.ndarray, runs: PassageRuns) -> Row:
    """How the second entry's difference from the passage map vanishes with the defect."""

    def difference(entries: str) -> np.ndarray:
        return np.abs(np.log(predicted[..., 1] / getattr(runs, entries)[..., 1]))

    quantity = f"κ = {subject.seq_len}: order of the relative difference of a_2 in the defect D"
    return _order_row(quantity, runs, difference, 1.0 / (subject.seq_len - 3))


def compare_limit(subject: Passage, predicted: np.ndarray, runs: PassageRuns) -> Row:
    """How the error's difference from the predicted one vanishes with the defect."""
    error = _error(predicted, subject.horizon)

    def difference(entries: str) -> np.ndarray:
        return np.abs(np.log(error / _error(getattr(runs, entries), subject.horizon)))

    quantity = f"κ = {subject.seq_len}: order of the relative difference of the error in D"
    return _order_row(quantity, runs, difference, 2.0 / (subject.seq_len - 3))


def arrays(subject: Passage, predicted: np.ndarray, runs: PassageRuns) -> Mapping[str, Any]:
    """Errors against the defect, for the figure."""
    return {
        "passage/seq_len": subject.seq_len,
        "passage/defect": runs.defect,
        "passage/strength": runs.series.strength,
        "passage/measured": _error(runs.a, subject.horizon),
        "passage/predicted": _error(predicted, subject.horizon),
    }


def _count(runs: Fitted) -> Count:
    first, second = runs.every
    return first.count + second.count


def _decades(subject: Passage, runs: Fitted) -> tuple[bool, str]:
    decades = float(np.log10(runs.x[-1])) / runs.root
    return decades >= 2.0, f"{decades:.1f} decades"


def _small_defect(subject: Passage, runs: Fitted) -> tuple[bool, str]:
    largest = float(max(f.defect.max() for f in runs.every)) / (subject.seq_len - 3)
    return largest <= 0.01, f"largest {largest:.1e}"


def _order_row(
    quantity: str,
    found: PassageRuns,
    difference: Callable[[str], np.ndarray],
    share: float,
) -> Row:
    """Whether the difference vanishes in proportion to D, and what D leaves of the prediction."""
    # Starts differ by what S_1(0) adds to D, a few percent alike at all points.
    defect = found.defect.mean(axis=0)
    measured = difference("a")
    factor = np.exp(np.mean(np.log(measured / found.defect))) / share
    worst = measured.max(axis=0)
    order = np.argsort(worst)
    reach = {
        level: np.exp(np.interp(np.log(level), np.log(worst[order]), np.log(defect[order])))
        for level in (0.01, 0.02, 0.05)
        if worst.min() <= level <= worst.max()
    }
    good = [f"good to {level:.0%} up to D = {limit:.2g}" for level, limit in reach.items()]
    scope = CheckedPremise(
        _SMALL,
        bool(defect.max() <= 0.3),
        f"D = {defect.min():.2g} to {defect.max():.2g}, where the prediction differs by "
        f"{worst.min():.2g} to {worst.max():.2g}, {factor:.2f} of what D says; {', '.join(good)}",
    )

    def fit(entries: str) -> Fit:
        return fit_order(defect, difference(entries), 1.0)

    return _row(quantity, 1.0, fit, found.count, (scope,))


def _turned(fit: Fit) -> Fit:
    """The fit in 1/x."""
    return dataclasses.replace(fit, exponent=-fit.exponent, low=-fit.high, high=-fit.low)


def _row(
    quantity: str,
    expected: float,
    fit_of: Callable[[str], Fit],
    count: Count,
    premises: tuple[CheckedPremise, ...] = (),
) -> Row:
    fit = None
    if not count.unconverged:
        fit = fit_of("a")
        solver = 2.0 * abs(fit.exponent - fit_of("tight").exponent)
        fit = dataclasses.replace(
            fit, low=fit.low - solver, high=fit.high + solver, expected=expected
        )
    return law_row(
        quantity, fit, expected=expected, derivation=_DERIVATION, count=count, premises=premises
    )


_OVER_RATIOS = (Premise("two decades of ρ/Δ or more", _decades), Premise(_UNIFORM, _small_defect))
_REFERENCE = "derivation in docs/theory.md (M3)"

CLAIMS = (
    Claim(
        id="M3-exponent",
        title="Weak poison, second entry at the end of passage",
        statement=r"a_2 \approx \left( \frac{(\kappa-1)(\kappa-3)\, \Delta}{\rho + \rho_0} "
        r"\right)^{-1/(\kappa-3)}, \quad \rho_0 = (\kappa-1)\, a_1(0)^{\kappa-2}",
        kind=Kind.LAW,
        reference=_REFERENCE,
        control="the exponent 1/(κ-2), p in place of p - 1",
        subject=Passage,
        measure=measure_ends,
        predict=lambda subject, runs: passage_exponent(subject.seq_len),
        wrong=lambda subject, runs: 1.0 / (subject.seq_len - 2),
        compare=compare_exponents,
        premises=_OVER_RATIOS,
        row_premises=(NARROW,),
        family="laws",
        cost=8.0,
    ),
    Claim(
        id="M3-error",
        title="Weak poison, error of the limit",
        statement=r"\max_{0 \le l < H} \left| h_l - h^*_l \right| \propto "
        r"\left( \frac{\rho + \rho_0}{\Delta} \right)^{2/(\kappa-3)}",
        kind=Kind.LAW,
        reference=_REFERENCE,
        control="the exponent 1/(κ-3) of the entries",
        subject=Passage,
        measure=measure_errors,
        predict=lambda subject, runs: passage_error_exponent(subject.seq_len),
        wrong=lambda subject, runs: passage_exponent(subject.seq_len),
        compare=compare_errors,
        premises=_OVER_RATIOS,
        row_premises=(NARROW,),
        family="laws",
        cost=8.0,
    ),
    Claim(
        id="M3-defect",
        title="Weak poison, what the passage map leaves out",
        statement=r"\log \frac{\hat a_2}{a_2} \approx \frac{D}{\kappa-3}, \quad D = \rho \left( "
        r"\frac{S_1(0)}{\rho + \rho_0} + d \int_{a_1(0)}^\infty "
        r"\frac{dx}{\rho + (\kappa-1) x^p} \right)",
        kind=Kind.LAW,
        reference=_REFERENCE,
        control="the passage without poison",
        subject=Passage,
        measure=measure_defect,
        predict=lambda subject, runs: runs.predicted,
        wrong=lambda subject, runs: runs.wrong,
        compare=compare_defect,
        row_premises=(_SMALL, NARROW),
        family="laws",
        cost=8.0,
    ),
    Claim(
        id="M3-limit",
        title="Weak poison, limit of the flow",
        statement=r"\dot a_j = \rho + (\kappa-1) a_j^p \ \text{until}\ S_{\kappa-1} = 1, \quad "
        r"da_j \propto -\left( 1 - a_j^p S_p / S_{2p} \right) \ \text{until}\ S_1 = 1, \quad "
        r"\text{up to}\ O(D)",
        kind=Kind.LAW,
        reference=_REFERENCE,
        control="the end of passage, without the drift",
        subject=Passage,
        measure=measure_limit,
        predict=lambda subject, runs: runs.predicted,
        wrong=lambda subject, runs: runs.wrong,
        compare=compare_limit,
        row_premises=(_SMALL, NARROW),
        arrays=arrays,
        family="laws",
        cost=8.0,
    ),
)
