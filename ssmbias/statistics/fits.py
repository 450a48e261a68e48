"""Exponents of power laws with their confidence intervals."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Fit:
    """An exponent fitted to a law.

    Attributes:
      exponent: the estimate; low, high: its confidence interval.
      expected: the exponent that the law states.
      confidence: level of the interval.
      num_points: data points behind the estimate.
    """

    exponent: float
    low: float
    high: float
    expected: float
    confidence: float
    num_points: int


def fit_asymptotic_exponent(x: np.ndarray, y: np.ndarray, expected: float) -> Fit:
    r"""The exponent k of y ~ C x^k as x → ∞, from several series.

    Each series [row of `y`] is fitted on its own by least squares for
    $\log y = \log C + k \log x + e/x + f/x^2$: an expansion in $1/x$ at infinity. The estimate is
    the mean of the series' exponents. The interval is Student's over the series, widened by the
    change of the exponents from the expansion without $f$ to the one with it, which is larger
    than what the next order can change as long as the expansion is useful at all.

    Args:
      x: positive abscissae, at least five, shared by all series.
      y: positive values [series, x].
      expected: the exponent that the law states, kept in the result.

    Returns:
      The fit.

    Raises:
      ValueError: fewer than five abscissae, or values that are not positive.

    Example:
      >>> x = np.geomspace(1.0, 1e3, 7)
      >>> fit = fit_asymptotic_exponent(x, np.stack([3 / x * (1 + 0.1 / x)] * 2), -1.0)
      >>> bool(fit.low <= -1.0 <= fit.high), round(fit.exponent, 3)
      (True, -1.0)
    """
    from scipy.special import stdtrit  # noqa: PLC0415  (scipy.stats takes half a second to import)

    if x.ndim != 1 or len(x) < 5 or y.shape[1:] != x.shape:
        raise ValueError(f"x has shape {x.shape}, y {y.shape}: five or more shared abscissae")
    if not (np.all(x > 0) and np.all(y > 0)):
        raise ValueError("x, y: a power law needs positive values")
    exponents = _exponents(x, y, order=2)
    truncation = float(np.max(np.abs(exponents - _exponents(x, y, order=1))))
    mean = float(np.mean(exponents))
    spread = 0.0
    if len(exponents) > 1:
        quantile = stdtrit(len(exponents) - 1, 0.5 + CONFIDENCE / 2)
        spread = float(quantile * np.std(exponents, ddof=1) / np.sqrt(len(exponents)))
    half = spread + truncation
    return Fit(mean, mean - half, mean + half, expected, CONFIDENCE, int(y.size))


def fit_order(step_size: np.ndarray, error: np.ndarray, expected: float) -> Fit:
    r"""The order k of error ~ C η^k as η → 0, from several series.

    The same fit as `fit_asymptotic_exponent`, at $x = 1/\eta$ and with the sign of the exponent
    turned.

    Args:
      step_size: positive, at least five, shared by all series; may be relative to any unit.
      error: positive values [series, step size].
      expected: the order that the law states.

    Returns:
      The fit.

    Raises:
      ValueError: fewer than five step sizes, or values that are not positive.

    Example:
      >>> step = 0.5 ** np.arange(6)
      >>> fit = fit_order(step, np.stack([3 * step**2 * (1 + 0.1 * step)] * 2), 2.0)
      >>> bool(fit.low <= 2.0 <= fit.high), round(fit.exponent, 3)
      (True, 2.0)
    """
    fit = fit_asymptotic_exponent(1.0 / step_size, error, -expected)
    return dataclasses.replace(
        fit, exponent=-fit.exponent, low=-fit.high, high=-fit.low, expected=expected
    )


def _exponents(x: np.ndarray, y: np.ndarray, order: int) -> np.ndarray:
    powers = [x**-n for n in range(1, order + 1)]
    design = np.stack([np.ones_like(x), np.log(x), *powers], axis=1)
    return np.linalg.lstsq(design, np.log(y).T, rcond=None)[0][1]
