"""The clean flow in 60 digits: its conserved differences and its limit."""

from __future__ import annotations

import math

import mpmath
import numpy as np
from mpmath import mpf

EPS = np.finfo(np.float64).eps
# Each entry is a product of three rounded factors, one of them a power of a sum of two terms
# of one sign whose exponent is rounded: at most |log F| <= 10 times eps from there. 4e-16 is
# what was measured.
LIMIT_RTOL = 12 * EPS


def oracle_start(a0, log_gap=None):
    """The start in 60 digits, by the convention for log_gap; `a0` is in descending order."""
    a = [mpf(float(x)) for x in a0]
    if log_gap is not None:
        a[0] = a[1] + (mpf(0) if log_gap == -math.inf else mpmath.exp(mpf(log_gap)))
    return a


def oracle_curve(a, lag):
    """Conserved differences, exponents, S as a function of u, and the root of S = level."""
    p = lag - 1
    q = [x ** (1 - p) for x in a if x > 0]
    differences = [x - min(q) for x in q]
    ratio = mpf(lag) / (p - 1)

    def power_sum(u):
        return sum((x + u) ** -ratio for x in differences)

    def root(level):
        low = mpf(level) ** (-1 / ratio)
        high = (len(q) / mpf(level)) ** (1 / ratio)
        if power_sum(low) == level:  # a single entry, or none near it
            return low
        bracket = (low * (1 - mpf("1e-9")), high * (1 + mpf("1e-9")))
        # `tol` is for the square: 1e-52 relative.
        return mpmath.findroot(
            lambda u: power_sum(u) / level - 1, bracket, solver="anderson", tol=1e-104
        )

    return min(q), differences, power_sum, root


def relative_error(got, want):
    errors = [
        abs(mpf(float(x)) / y - 1) if y != 0 else abs(mpf(float(x)))
        for x, y in zip(np.asarray(got), want, strict=True)
    ]
    return float(max(errors))
