r"""Intervals of float64 arrays, rounded outward after every operation.

Why this is sound. NumPy's elementwise ``+ - * /`` on float64 are the IEEE 754 operations, rounded
to nearest: no fused or extended precision. The exact result of one operation therefore lies
between the two neighbours of the computed one, x. `down` and `up` reach these neighbours or go
past them: the spacing of doubles next to a normal x is at most 2^-52 |x|, elsewhere it is
2^-1074, and 2^-52 |x| + 2^-1074, rounded, is no less than it (the product is exact, or subnormal
and then off by less than the 2^-1074 that is added). So x + step is at or beyond the neighbour
before it is rounded, and still after, because rounding keeps the order and the neighbour is a
double. This does what `numpy.nextafter` would, in less than half its time.

An overflow gives an infinite bound, or ``nan`` once it meets zero or another infinity; ``nan``
fails every comparison, and a test of this checker passes, and a case is left out, only where a
comparison is true. No library function is trusted: powers are products, `total` adds by rounded
pairs instead of `numpy.sum`, roots are guesses whose power is looked at, and the exponential is a
series with its remainder. `require_ieee` looks whether this process rounds as assumed.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np


def down(x: Any) -> Any:
    """The next double below, or one further below."""
    step = np.abs(x)
    step *= -(2.0**-52)
    step -= 2.0**-1074
    step += x
    return step


def up(x: Any) -> Any:
    """The next double above, or one further above."""
    step = np.abs(x)
    step *= 2.0**-52
    step += 2.0**-1074
    step += x
    return step


def require_ieee() -> None:
    """Refuse to go on where doubles are not rounded to nearest or subnormals are flushed.

    Raises:
      ArithmeticError: the processor is in another mode, which some libraries switch on.
    """
    one = np.ones(16)
    tiny = np.full(16, 2.0**-1022)
    nearest = (one + 2.0**-53 == one) & (one + 1.5 * 2.0**-53 == one + 2.0**-52)
    nearest &= -one - 1.5 * 2.0**-53 == -one - 2.0**-52
    # A product formed in more digits would not be 1 here: (1 + u)(1 - u) = 1 - u^2, u = 2^-52.
    nearest &= (one + 2.0**-52) * (one - 2.0**-52) - one == 0.0
    kept = (tiny * 0.5 == 2.0**-1023) & (tiny * 0.5 > 0.0) & (tiny * 0.5 + tiny * 0.5 == tiny)
    if not np.all(nearest & kept):
        raise ArithmeticError("float64 is not rounded to nearest with subnormals in this process")


class Interval:
    """Numbers known to lie between two float64 arrays, `lo` and `hi` (both included)."""

    __slots__ = ("hi", "lo")
    __array_ufunc__ = None  # an array on the left leaves the operation to this class

    def __init__(self, lo: Any, hi: Any = None):
        self.lo = np.asarray(lo, dtype=np.float64)
        self.hi = self.lo if hi is None else np.asarray(hi, dtype=np.float64)

    def __add__(self, other: Any) -> Interval:
        other = interval(other)
        return Interval(down(self.lo + other.lo), up(self.hi + other.hi))

    def __neg__(self) -> Interval:
        return Interval(-self.hi, -self.lo)

    def __sub__(self, other: Any) -> Interval:
        other = interval(other)
        return Interval(down(self.lo - other.hi), up(self.hi - other.lo))

    def __rsub__(self, other: Any) -> Interval:
        return interval(other) - self

    def __mul__(self, other: Any) -> Interval:
        other = interval(other)
        if _not_negative(self) and _not_negative(other):
            return Interval(np.maximum(down(self.lo * other.lo), 0.0), up(self.hi * other.hi))
        ends = [self.lo * other.lo, self.hi * other.lo]
        if other.hi is not other.lo:
            ends += [self.lo * other.hi, self.hi * other.hi]
        low, high = ends[0], ends[0]
        for end in ends[1:]:
            low, high = np.minimum(low, end), np.maximum(high, end)
        return Interval(down(low), up(high))

    def __truediv__(self, other: Any) -> Interval:
        """The quotient where the divisor is positive, nan elsewhere."""
        other = interval(other)
        low = down(np.minimum(self.lo / other.lo, self.lo / other.hi))
        high = up(np.maximum(self.hi / other.lo, self.hi / other.hi))
        positive = other.lo > 0.0
        return Interval(np.where(positive, low, np.nan), np.where(positive, high, np.nan))

    def __rtruediv__(self, other: Any) -> Interval:
        return interval(other) / self

    def __pow__(self, exponent: int) -> Interval:
        """The power with an integer exponent >= 1; an odd one keeps the sign."""
        if exponent % 2:
            low, high = _power(np.abs(self.lo), exponent), _power(np.abs(self.hi), exponent)
            return Interval(
                np.where(self.lo >= 0.0, low.lo, -low.hi),
                np.where(self.hi >= 0.0, high.hi, -high.lo),
            )
        least = np.maximum(np.maximum(self.lo, -self.hi), 0.0)
        return _power(least, exponent, np.maximum(np.abs(self.lo), np.abs(self.hi)))

    __radd__ = __add__
    __rmul__ = __mul__


def interval(value: Any) -> Interval:
    """A number or an array as an interval of no width."""
    return value if isinstance(value, Interval) else Interval(value)


def _not_negative(value: Interval) -> bool:
    return value.lo.size > 0 and bool(value.lo.min() >= 0.0)


def _power(low: Any, exponent: int, high: Any = None) -> Interval:
    square, result = Interval(low, high), None
    while exponent:
        if exponent % 2:
            result = square if result is None else result * square
        exponent //= 2
        if exponent:
            square = square * square
    assert result is not None
    return result


def total(terms: Any) -> Interval:
    """The sum over the last axis, every partial sum rounded outward."""
    terms = interval(terms)
    while (size := terms.lo.shape[-1]) > 1:
        half = size // 2
        pairs = terms_at(terms, slice(0, half)) + terms_at(terms, slice(half, 2 * half))
        if size % 2:
            rest = terms_at(terms, slice(size - 1, size))
            pairs = Interval(
                np.concatenate([pairs.lo, rest.lo], -1), np.concatenate([pairs.hi, rest.hi], -1)
            )
        terms = pairs
    return terms_at(terms, 0)


def terms_at(terms: Interval, index: Any) -> Interval:
    """Entries of the last axis."""
    return Interval(terms.lo[..., index], terms.hi[..., index])


def root_above(x: Any, degree: int, fallback: float) -> np.ndarray:
    """Numbers r >= 0 with r^degree >= x; `fallback`, which must be such a number, elsewhere."""
    guess = np.maximum(x, 0.0) ** (1.0 / degree) * (1.0 + 2.0**-49)
    return np.where((Interval(guess) ** degree).lo >= x, guess, fallback)


def root_below(x: Any, degree: int) -> np.ndarray:
    """Numbers r >= 0 with r^degree <= x where x > 0, and 0 elsewhere."""
    guess = np.maximum(x, 0.0) ** (1.0 / degree) * (1.0 - 2.0**-49)
    return np.where((Interval(guess) ** degree).hi <= x, guess, 0.0)


def exp_above(x: Any) -> np.ndarray:
    """A bound of e^x from above for 0 <= x < 4; nan for other x.

    For y = x/4 < 1 the terms from y^16/16! on are together at most (y^16/16!)/(1 - y).
    """
    y = Interval(x) / 4.0
    series = term = Interval(np.ones_like(y.lo))
    for k in range(1, 16):
        term = term * y / float(k)
        series = series + term
    series = series + term * y / 16.0 / (1.0 - y)
    return np.where((y.lo >= -1e-300) & (y.hi < 1.0), ((series**4).hi), np.nan)


def fraction_above(x: Fraction) -> float:
    """A double at least as large as an exact rational."""
    return float(up(float(x)))
