"""M6: the rate at which the loss decays at the end of training."""

from __future__ import annotations

import numpy as np
from scipy import special

from ssmbias.evidence.evidence import Assumption, Claim, Evidence, Fit, Kind, judge
from ssmbias.statistics.fits import CONFIDENCE
from ssmbias.subjects.laboratory import Laboratory
from ssmbias.subjects.tail_runs import Tails, tails
from ssmbias.theory import LocalRate

_COARSEST = 0.01
# Residuals fall by sqrt(1000) from one window to the next, and with them what the slope is off. So
# does the second mode's share of the loss if λ_2 is at least this many times λ: 1000^(λ_2/λ - 1).
_SEPARATION = 1.5
# The slope is thus off by a thirtieth of what it has changed; three times that are allowed.
_SHARE = 0.1


def check(lab: Laboratory, control: bool) -> list[Evidence]:
    """Slopes of log L at the end of Theorem 1's and of free flows, clean and poisoned."""
    return [_evidence(found, lab, control) for found in tails(lab)]


def _evidence(found: Tails, lab: Laboratory, control: bool) -> Evidence:
    rate, second = np.asarray(found.predicted.rate), _second(found.predicted)
    if control:
        rate = np.where(np.isfinite(second), second, 0.5 * rate)
    with np.errstate(divide="ignore", invalid="ignore"):  # runs that failed
        ratio = found.rates / rate[:, None]
        # In units of the measured rate: a wrong prediction does not choose its tolerance.
        change = np.abs(1.0 - found.rates[:, 0] / found.rates[:, 1])
        tolerances = _SHARE * change + found.error
        residuals = np.abs(ratio[:, 1] - 1.0)
        worst = int(np.argmax(residuals / tolerances))
    verdict, reason = judge(
        float(residuals[worst]), float(tolerances[worst]), _premises(found, tolerances), found.runs
    )
    return Evidence(
        claim=CLAIMS[0].id,
        setting=lab.setting.name,
        kind=Kind.LAW,
        quantity=f"{found.label}: 2λ and the decay of log L, worst run",
        predicted=2.0 * float(rate[worst]),
        measured=2.0 * float(found.rates[worst, 1]),
        residual=float(residuals[worst]),
        tolerance=float(tolerances[worst]),
        derivation="a tenth of what the slope changes by from the window before, in which the "
        "residuals and with them the correction are thirty times larger, plus the solver's part",
        verdict=verdict,
        reason=reason,
        assumptions=_premises(found, tolerances),
        fit=_fit(ratio[:, 1], tolerances),
        runs=found.runs,
    )


def _second(predicted: LocalRate) -> np.ndarray:
    """The second smallest non-zero eigenvalue [run], infinite where there is one only."""
    values, rank = np.asarray(predicted.eigenvalues), np.asarray(predicted.rank)
    return np.where(rank >= 2, values[np.arange(len(rank)), rank - 2], np.inf)


def _premises(found: Tails, tolerances: np.ndarray) -> tuple[Assumption, ...]:
    complete = np.asarray(found.predicted.is_complete)
    separation = float(np.min(_second(found.predicted) / np.asarray(found.predicted.rate)))
    return (
        Assumption(
            "the kernel has the rank of the data at every limit",
            bool(complete.all()),
            f"{int(complete.sum())} of {complete.size} limits",
        ),
        Assumption(
            f"the second smallest eigenvalue, if any, is at least {_SEPARATION:g} λ",
            separation >= _SEPARATION,
            f"smallest ratio {separation:.3g}",
        ),
        # A run in which the slow mode starts out small has wide tolerances; most must be fine.
        Assumption(
            f"three in four runs tell their rate to {_COARSEST:g}",
            bool(np.mean(tolerances <= _COARSEST) >= 0.75),
            f"{int(np.sum(tolerances <= _COARSEST))} of {tolerances.size}",
        ),
    )


def _fit(ratio: np.ndarray, systematic: np.ndarray) -> Fit:
    """Measured over predicted rate: Student's interval over the runs, and what each may be off."""
    half = float(np.max(systematic))
    if len(ratio) > 1:
        quantile = special.stdtrit(len(ratio) - 1, 0.5 + CONFIDENCE / 2)
        half += float(quantile * np.std(ratio, ddof=1) / np.sqrt(len(ratio)))
    mean = float(np.mean(ratio))
    return Fit(mean, mean - half, mean + half, 1.0, CONFIDENCE, len(ratio))


CLAIMS = (
    Claim(
        id="M6",
        title="Local rate",
        statement=r"L(t) \propto e^{-2 \lambda t}, \quad \lambda = \min_{\lambda_i > 0} "
        r"\lambda_i(K), \quad K_{ik} = \frac{2 \sqrt{w_i w_k}}{\sum_m w_m} "
        r"\nabla\varphi(x_i) \cdot \nabla\varphi(x_k) \text{ at the limit}",
        kind=Kind.LAW,
        assumptions=(
            "the kernel has the rank of the data at every limit",
            f"the second smallest eigenvalue, if any, is at least {_SEPARATION:g} λ",
        ),
        reference="derivation in docs/theory.md (M6)",
        control="the second smallest non-zero eigenvalue, or half the rate where there is one only",
        check=check,
    ),
)
