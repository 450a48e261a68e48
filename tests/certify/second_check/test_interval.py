"""Arithmetic of the second checker: intervals hold exact results."""

import math
import sys
from fractions import Fraction

import mpmath
import numpy as np
import pytest

from ssmbias.certify.second_check import interval
from ssmbias.certify.second_check.interval import Interval

HOSTILE = [0.0, 1.0, -1.0, 1 + 2**-52, 1 - 2**-53, 2**-1074, 3 * 2**-1074, -(2**-1022), 2**-1022]
HOSTILE += [1e-308, -1e-160, 1.1e-162, 1e150, -1e154, 0.1, -1 / 3, 4 / 3, 2**53 + 2.0, 1e16 + 2]


def intervals(rng: np.random.Generator, num: int) -> Interval:
    """Random intervals over many orders of magnitude, some of no width, and all hostile values."""
    ends = rng.standard_normal((2, num)) * 10.0 ** rng.uniform(-8, 8, (2, num))
    ends[1, ::3] = ends[0, ::3]
    ends[:, : len(HOSTILE)] = HOSTILE
    ends[1, len(HOSTILE) : 2 * len(HOSTILE)] = HOSTILE
    ends.sort(axis=0)
    return Interval(ends[0], ends[1])


def escapes(rng: np.random.Generator) -> int:
    """How many exact results of operations on exact points lie outside the computed intervals."""
    x, y = intervals(rng, 600), intervals(rng, 600)
    order = rng.permutation(600)
    y = Interval(y.lo[order], y.hi[order])
    with np.errstate(all="ignore"):
        results = [
            (x + y, lambda a, b: a + b),
            (x - y, lambda a, b: a - b),
            (x * y, lambda a, b: a * b),
            (x / y, lambda a, b: a / b if b > 0 else None),
            (x**3, lambda a, b: a**3),
            (x**6, lambda a, b: a**6),
            (2.0 / y, lambda a, b: 2 / b if b > 0 else None),
        ]
    outside = 0
    for found, exact in results:
        low, high = np.broadcast_to(found.lo, 600), np.broadcast_to(found.hi, 600)
        for k in range(600):
            if not (np.isfinite(low[k]) and np.isfinite(high[k])):
                continue  # an overflow, or a divisor that is not positive: no claim
            for a in (Fraction(x.lo[k]), Fraction(x.hi[k])):
                for b in (Fraction(y.lo[k]), Fraction(y.hi[k])):
                    value = exact(a, b)
                    if value is not None:
                        outside += not Fraction(low[k]) <= value <= Fraction(high[k])
    return outside


def test_intervals_hold_exact_results(monkeypatch):
    assert escapes(np.random.default_rng(0)) == 0
    # Rounding to nearest alone loses about half of the inexact results.
    monkeypatch.setattr(interval, "up", lambda x: x)
    monkeypatch.setattr(interval, "down", lambda x: x)
    assert escapes(np.random.default_rng(0)) > 1000


def test_steps_reach_the_neighbours():
    x = np.array([*HOSTILE, sys.float_info.max, -sys.float_info.max, math.pi, 2.0**-1030])
    with np.errstate(over="ignore"):
        above, below = interval.up(x), interval.down(x)
        assert np.all(above >= np.nextafter(x, np.inf))
        assert np.all(below <= np.nextafter(x, -np.inf))
        # And not further than two: nothing is given away.
        assert np.all(above <= np.nextafter(np.nextafter(x, np.inf), np.inf))


def test_sums_roots_and_exponential():
    rng = np.random.default_rng(1)
    terms = rng.standard_normal((5, 13)) * 10.0 ** rng.uniform(-5, 5, (5, 13))
    found = interval.total(terms)
    exact = [sum(map(Fraction, row)) for row in terms]
    for lo, value, hi in zip(found.lo, exact, found.hi, strict=True):
        assert Fraction(lo) <= value <= Fraction(hi)
    # A sum with one rounding each is not exact: the width shows that it was taken care of.
    assert np.all(found.hi > found.lo)

    x = rng.uniform(0, 1, 200)
    for degree in (2, 8, 96):
        above, below = interval.root_above(x, degree, 1.0), interval.root_below(x, degree)
        assert all(Fraction(r) ** degree >= Fraction(v) for r, v in zip(above, x, strict=True))
        assert all(Fraction(r) ** degree <= Fraction(v) for r, v in zip(below, x, strict=True))
        assert np.all(above - below < 1e-13)

    with mpmath.workdps(50):
        for x in (0.0, 1e-12, 6e-5, 2e-3, 0.7, 3.0, 3.99):
            excess = mpmath.mpf(float(interval.exp_above(x))) / mpmath.exp(x) - 1
            # Some 60 roundings, and the remainder's bound for y = x/4, four times over.
            remainder = 4 * (x / 4) ** 16 / math.factorial(16) / (1 - x / 4)
            assert 0 <= excess < 1e-13 + remainder
    assert np.isnan(interval.exp_above(4.5))
    with pytest.raises(ArithmeticError):  # a process that flushes subnormals would show
        _require_ieee_where_tiny_is_flushed()


def _require_ieee_where_tiny_is_flushed():
    full = np.full
    try:
        np.full = lambda shape, value: full(shape, 0.0)  # what flushing leaves of 2^-1022 / 2
        interval.require_ieee()
    finally:
        np.full = full
