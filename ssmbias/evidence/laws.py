"""Rows of laws: a fitted exponent against the one that a law states."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ssmbias.evidence.evidence import CheckedPremise, Count, Kind, Row
from ssmbias.statistics.fits import Fit

WIDEST_INTERVAL = 0.2
"""An exponent whose interval is wider cannot be told from its neighbours."""

NARROW = "the interval of the exponent is narrow enough to tell exponents apart"
"""The premise that `law_row` adds, in words for a claim's `row_premises`."""


def law_row(
    quantity: str,
    fit: Fit | None,
    *,
    expected: float,
    derivation: str,
    count: Count,
    premises: Sequence[CheckedPremise] = (),
) -> Row:
    """A row that compares a fitted exponent with the expected one, within half its interval.

    An interval too wide to tell exponents apart cannot confirm a law; one that excludes the law,
    wide or not, refutes it.

    Args:
      quantity: what was fitted.
      fit: the exponent with its interval; `None` where nothing could be fitted.
      expected: the exponent that the law states.
      derivation: what the interval is made of.
      count: simulations behind the fit.
      premises: others that this row has.

    Returns:
      The row; without a fit its numbers are nan.

    Example:
      >>> fit = Fit(-1.01, -1.03, -0.99, expected=-1.0, confidence=0.95, num_points=20)
      >>> row = law_row("exponent", fit, expected=-1.0, derivation="interval", count=Count(4))
      >>> round(row.residual, 3), round(row.tolerance, 3), row.premises[0].holds
      (0.01, 0.02, True)
    """
    exponent, residual, tolerance = math.nan, math.nan, math.nan
    if fit is not None:
        exponent, width = fit.exponent, fit.high - fit.low
        residual, tolerance = abs(exponent - expected), 0.5 * width
        if residual <= tolerance:
            narrow = CheckedPremise(
                f"the interval of the exponent is narrower than {WIDEST_INTERVAL:g}",
                width <= WIDEST_INTERVAL,
                f"[{fit.low:.4f}, {fit.high:.4f}]",
            )
            premises = (*premises, narrow)
    return Row(
        kind=Kind.LAW,
        quantity=quantity,
        predicted=expected,
        measured=exponent,
        residual=residual,
        tolerance=tolerance,
        derivation=derivation,
        premises=tuple(premises),
        fit=fit,
        count=count,
    )
