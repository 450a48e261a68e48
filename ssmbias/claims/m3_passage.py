"""M3: weak poison, the passage of nearly tied entries and its range of validity."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from ssmbias.evidence.evidence import Assumption, Claim, Evidence, Fit, Kind, Runs, judge
from ssmbias.metrics import generalization_error
from ssmbias.statistics.fits import fit_asymptotic_exponent, fit_order
from ssmbias.subjects.laboratory import Laboratory
from ssmbias.subjects.passage_runs import (
    SEQ_LENS,
    PassageRuns,
    passage_ends,
    passage_limits,
)
from ssmbias.theory import passage_error_exponent, passage_exponent, passage_onset

_WIDEST_INTERVAL = 0.1
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


def check_exponents(lab: Laboratory, control: bool) -> list[Evidence]:
    """One row for each κ; the control takes the exponent 1/(κ-2), p in place of p-1."""
    rows = []
    for seq_len in SEQ_LENS:
        by_gap, by_strength, _ = passage_ends(lab, seq_len)
        runs = by_gap.runs + by_strength.runs
        every = (by_gap, by_strength)
        # Both series run down the same ratios, up to the share of the onset in the second.
        x = _ratio(by_gap, seq_len)
        x = x[0] / x

        def fit(entries, x=x, every=every, expected=0.0):
            second = np.concatenate([getattr(f, entries)[..., 1] for f in every])
            back = fit_asymptotic_exponent(x, second, -expected)
            return _turned(back)

        expected = 1.0 / (seq_len - 2) if control else passage_exponent(seq_len)
        decades = float(np.log10(x[-1]))
        premises = (
            Assumption("two decades of ρ/Δ or more", decades >= 2.0, f"{decades:.1f} decades"),
            _small_defect(every, seq_len),
        )
        quantity = f"κ = {seq_len}: exponent of a_2 at the end of passage in ρ/Δ"
        rows.append(_row(lab, "M3-exponent", quantity, expected, fit, runs, premises))
    return rows


def check_error(lab: Laboratory, control: bool) -> list[Evidence]:
    """One row for each κ; the control takes the exponent of the entries for that of the error."""
    rows = []
    for seq_len in SEQ_LENS:
        _, by_gap, by_strength = passage_limits(lab, seq_len)
        every, runs = (by_gap, by_strength), by_gap.runs + by_strength.runs
        x = _ratio(by_gap, seq_len)
        # Corrections are powers of a_2, the root of the ratio.
        root = passage_exponent(seq_len)
        x = (x[0] / x) ** root

        def fit(entries, x=x, every=every, root=root):
            error = [_error(getattr(f, entries), lab.setting.horizon) for f in every]
            back = _turned(fit_asymptotic_exponent(x, np.concatenate(error), 0.0))
            scaled = {k: root * getattr(back, k) for k in ("exponent", "low", "high")}
            return dataclasses.replace(back, **scaled)

        expected = (passage_exponent if control else passage_error_exponent)(seq_len)
        decades = float(np.log10(x[-1])) / root
        premises = (
            Assumption("two decades of ρ/Δ or more", decades >= 2.0, f"{decades:.1f} decades"),
            _small_defect(every, seq_len),
        )
        quantity = f"κ = {seq_len}: exponent of the error of the limit in ρ/Δ"
        rows.append(_row(lab, "M3-error", quantity, expected, fit, runs, premises))
    return rows


def check_defect(lab: Laboratory, control: bool) -> list[Evidence]:
    """One row for each κ; the control predicts the end of passage without poison."""
    rows = []
    for seq_len in SEQ_LENS:
        found = passage_ends(lab, seq_len)[2]
        second = (found.wrong if control else found.predicted)[..., 1]

        def difference(entries, found=found, second=second):
            return np.abs(np.log(second / getattr(found, entries)[..., 1]))

        share = 1.0 / (seq_len - 3)
        quantity = f"κ = {seq_len}: order of the relative difference of a_2 in the defect D"
        rows.append(_order_row(lab, "M3-defect", quantity, found, difference, share))
    return rows


def check_limit(lab: Laboratory, control: bool) -> list[Evidence]:
    """One row for each κ; the control leaves out the drift."""
    rows = []
    for seq_len in SEQ_LENS:
        found = passage_limits(lab, seq_len)[0]
        predicted = _error(found.wrong if control else found.predicted, lab.setting.horizon)

        def difference(entries, found=found, predicted=predicted):
            measured = _error(getattr(found, entries), lab.setting.horizon)
            return np.abs(np.log(predicted / measured))

        if not control:
            for name, value in (
                ("defect", found.defect),
                ("strength", found.series.strength),
                ("measured", _error(found.a, lab.setting.horizon)),
                ("predicted", predicted),
            ):
                lab.save(f"passage/{seq_len}/{name}", value)
        share = 2.0 / (seq_len - 3)
        quantity = f"κ = {seq_len}: order of the relative difference of the error in D"
        rows.append(_order_row(lab, "M3-limit", quantity, found, difference, share))
    return rows


def _order_row(lab, claim, quantity, found: PassageRuns, difference, share: float) -> Evidence:
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
    scope = Assumption(
        "the defect D is small",
        bool(defect.max() <= 0.3),
        f"D = {defect.min():.2g} to {defect.max():.2g}, where the prediction differs by "
        f"{worst.min():.2g} to {worst.max():.2g}, {factor:.2f} of what D says; {', '.join(good)}",
    )

    def fit(entries):
        return fit_order(defect, difference(entries), 1.0)

    return _row(lab, claim, quantity, 1.0, fit, found.runs, (scope,))


def _turned(fit: Fit) -> Fit:
    """The fit in 1/x."""
    return dataclasses.replace(fit, exponent=-fit.exponent, low=-fit.high, high=-fit.low)


def _small_defect(every: tuple[PassageRuns, ...], seq_len: int) -> Assumption:
    largest = float(max(f.defect.max() for f in every)) / (seq_len - 3)
    return Assumption(_UNIFORM, largest <= 0.01, f"largest {largest:.1e}")


def _row(
    lab: Laboratory,
    claim: str,
    quantity: str,
    expected: float,
    fit_of,
    runs: Runs,
    premises: tuple[Assumption, ...],
) -> Evidence:
    fit = Fit(np.nan, np.nan, np.nan, expected, 0.95, 0)
    if not runs.unconverged:
        fit = fit_of("a")
        solver = 2.0 * abs(fit.exponent - fit_of("tight").exponent)
        fit = dataclasses.replace(
            fit, low=fit.low - solver, high=fit.high + solver, expected=expected
        )
    residual, tolerance = abs(fit.exponent - expected), 0.5 * (fit.high - fit.low)
    # An interval too wide to tell exponents apart cannot confirm, but may refute.
    if residual <= tolerance:
        narrow = Assumption(
            f"the interval of the exponent is narrower than {2 * _WIDEST_INTERVAL:g}",
            fit.high - fit.low <= 2 * _WIDEST_INTERVAL,
            f"[{fit.low:.4f}, {fit.high:.4f}]",
        )
        premises = (*premises, narrow)
    verdict, reason = judge(residual, tolerance, premises, runs)
    return Evidence(
        claim=claim,
        setting=lab.setting.name,
        kind=Kind.LAW,
        quantity=quantity,
        predicted=expected,
        measured=fit.exponent,
        residual=residual,
        tolerance=tolerance,
        derivation=_DERIVATION,
        verdict=verdict,
        reason=reason,
        assumptions=premises,
        fit=fit,
        runs=runs,
    )


_REFERENCE = "derivation in docs/theory.md (M3)"
_NARROW = "the interval of the exponent is narrow enough to tell exponents apart"

CLAIMS = (
    Claim(
        id="M3-exponent",
        title="Weak poison, second entry at the end of passage",
        statement=r"a_2 \approx \left( \frac{(\kappa-1)(\kappa-3)\, \Delta}{\rho + \rho_0} "
        r"\right)^{-1/(\kappa-3)}, \quad \rho_0 = (\kappa-1)\, a_1(0)^{\kappa-2}",
        kind=Kind.LAW,
        assumptions=("two decades of ρ/Δ or more", _UNIFORM, _NARROW),
        reference=_REFERENCE,
        control="the exponent 1/(κ-2), p in place of p - 1",
        check=check_exponents,
    ),
    Claim(
        id="M3-error",
        title="Weak poison, error of the limit",
        statement=r"\max_{0 \le l < H} \left| h_l - h^*_l \right| \propto "
        r"\left( \frac{\rho + \rho_0}{\Delta} \right)^{2/(\kappa-3)}",
        kind=Kind.LAW,
        assumptions=("two decades of ρ/Δ or more", _UNIFORM, _NARROW),
        reference=_REFERENCE,
        control="the exponent 1/(κ-3) of the entries",
        check=check_error,
    ),
    Claim(
        id="M3-defect",
        title="Weak poison, what the passage map leaves out",
        statement=r"\log \frac{\hat a_2}{a_2} \approx \frac{D}{\kappa-3}, \quad D = \rho \left( "
        r"\frac{S_1(0)}{\rho + \rho_0} + d \int_{a_1(0)}^\infty "
        r"\frac{dx}{\rho + (\kappa-1) x^p} \right)",
        kind=Kind.LAW,
        assumptions=("the defect D is small", _NARROW),
        reference=_REFERENCE,
        control="the passage without poison",
        check=check_defect,
    ),
    Claim(
        id="M3-limit",
        title="Weak poison, limit of the flow",
        statement=r"\dot a_j = \rho + (\kappa-1) a_j^p \ \text{until}\ S_{\kappa-1} = 1, \quad "
        r"da_j \propto -\left( 1 - a_j^p S_p / S_{2p} \right) \ \text{until}\ S_1 = 1, \quad "
        r"\text{up to}\ O(D)",
        kind=Kind.LAW,
        assumptions=("the defect D is small", _NARROW),
        reference=_REFERENCE,
        control="the end of passage, without the drift",
        check=check_limit,
    ),
)
