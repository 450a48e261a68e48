"""M6: the rate at which the loss decays at the end of training."""

from __future__ import annotations

import numpy as np
from scipy import special

from ssmbias.evidence import CheckedPremise, Claim, Fit, Kind, Row
from ssmbias.statistics.fits import CONFIDENCE
from ssmbias.subjects.tails import TailRates, Tails, tails
from ssmbias.theory import LocalRate

_COARSEST = 0.01
# Residuals fall by sqrt(1000) from one window to the next, and with them what the slope is off. So
# does the second mode's share of the loss if λ_2 is at least this many times λ: 1000^(λ_2/λ - 1).
_SEPARATION = 1.5
_COMPLETE = "the kernel has the rank of the data at every limit"
_SEPARATE = f"the second smallest eigenvalue, if any, is at least {_SEPARATION:g} λ"
# The slope is thus off by a thirtieth of what it has changed; three times that are allowed.
_SHARE = 0.1


def predict(subject: Tails, runs: list[TailRates]) -> list[np.ndarray]:
    """Rates [run] by the smallest non-zero eigenvalue."""
    return [np.asarray(found.predicted.rate) for found in runs]


def wrong(subject: Tails, runs: list[TailRates]) -> list[np.ndarray]:
    """The second smallest non-zero eigenvalue, or half the rate where there is one only."""
    rates = []
    for found, rate in zip(runs, predict(subject, runs), strict=True):
        second = _second(found.predicted)
        rates.append(np.where(np.isfinite(second), second, 0.5 * rate))
    return rates


def compare(subject: Tails, predicted: list[np.ndarray], runs: list[TailRates]) -> list[Row]:
    """Slopes of log L at the end of Theorem 1's and of free flows, clean and poisoned."""
    return [_row(*case) for case in zip(runs, predicted, strict=True)]


def _row(found: TailRates, rate: np.ndarray) -> Row:
    with np.errstate(divide="ignore", invalid="ignore"):  # runs that failed
        ratio = found.rates / rate[:, None]
        # In units of the measured rate: a wrong prediction does not choose its tolerance.
        change = np.abs(1.0 - found.rates[:, 0] / found.rates[:, 1])
        tolerances = _SHARE * change + found.error
        residuals = np.abs(ratio[:, 1] - 1.0)
        worst = int(np.argmax(residuals / tolerances))
    return Row(
        quantity=f"{found.label}: 2λ and the decay of log L, worst run",
        predicted=2.0 * float(rate[worst]),
        measured=2.0 * float(found.rates[worst, 1]),
        residual=float(residuals[worst]),
        tolerance=float(tolerances[worst]),
        derivation="a tenth of what the slope changes by from the window before, in which the "
        "residuals and with them the correction are thirty times larger, plus the solver's part",
        premises=_premises(found, tolerances),
        fit=_fit(ratio[:, 1], tolerances),
        count=found.count,
    )


def _second(predicted: LocalRate) -> np.ndarray:
    """The second smallest non-zero eigenvalue [run], infinite where there is one only."""
    values, rank = np.asarray(predicted.eigenvalues), np.asarray(predicted.rank)
    return np.where(rank >= 2, values[np.arange(len(rank)), rank - 2], np.inf)


def _premises(found: TailRates, tolerances: np.ndarray) -> tuple[CheckedPremise, ...]:
    complete = np.asarray(found.predicted.is_complete)
    separation = float(np.min(_second(found.predicted) / np.asarray(found.predicted.rate)))
    return (
        CheckedPremise(
            _COMPLETE,
            bool(complete.all()),
            f"{int(complete.sum())} of {complete.size} limits",
        ),
        CheckedPremise(
            _SEPARATE,
            separation >= _SEPARATION,
            f"smallest ratio {separation:.3g}",
        ),
        # A run in which the slow mode starts out small has wide tolerances; most must be fine.
        CheckedPremise(
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
        reference="derivation in docs/theory.md (M6)",
        control="the second smallest non-zero eigenvalue, or half the rate where there is one only",
        subject=Tails,
        measure=tails,
        predict=predict,
        wrong=wrong,
        compare=compare,
        row_premises=(_COMPLETE, _SEPARATE),
        family="laws",
        cost=6.0,
    ),
)
