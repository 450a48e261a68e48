"""M1 with error bounds: where the clean flow ends, enclosed for one start."""

from __future__ import annotations

import contextlib
import math
import numbers
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

import flint

__all__ = ["CleanEnclosure", "enclose_clean_limit"]

HORIZON = 20
_PRECISIONS = (128, 512, 2048, 8192)


class CleanEnclosure(NamedTuple):
    """Two doubles on either side of each number.

    Attributes:
      lower: below the limit's entries, in the order of the start.
      upper: above them.
      error_lower: below the error / d of the limit.
      error_upper: above it.
    """

    lower: tuple[float, ...]
    upper: tuple[float, ...]
    error_lower: float
    error_upper: float


def enclose_clean_limit(start: Sequence[float | Fraction], seq_len: int) -> CleanEnclosure:
    r"""Enclose the end of the clean flow $a_i' = (\kappa-1)(1 - S_{\kappa-1})\,a_i^p$ (M1).

    With $p = \kappa-2$ the differences $a_i^{1-p} - a_j^{1-p}$ are conserved, so the limit is
    $a_i = (c_i + u)^{-1/(p-1)}$, $c_i = a_i(0)^{1-p} - \max_j a_j(0)^{1-p}$ taken at the largest
    entry, and $u$ is the only root of $S_{\kappa-1} = 1$. That sum falls in $u$: the root lies
    between two numbers where it is certainly above and certainly below 1. All in ball arithmetic
    (Arb), repeated with more digits until the ends are close to neighbouring doubles.

    Args:
      start: any positive numbers; ties are allowed. Doubles and fractions are taken exactly: write
        an entry as `Fraction(a) + Fraction(gap)` where a double cannot hold the gap.
      seq_len: $\kappa$, 4 or more.

    Returns:
      Bounds on every entry and on $\max_{l<20} |S_l - 1| / d$.

    Raises:
      ValueError: an entry is not a positive finite number, there is none, or `seq_len` < 4.

    Example:
      >>> found = enclose_clean_limit([0.02, 0.01], seq_len=7)
      >>> found.lower[1], found.upper[1]
      (0.010162654935991881, 0.010162654935991883)

    References:
      Slutzky et al. (2025), arXiv:2410.10473, Section 3.2; derivation in docs/theory.md (M1).
    """
    if not isinstance(seq_len, numbers.Integral) or isinstance(seq_len, bool) or seq_len < 4:
        raise ValueError(f"seq_len={seq_len!r}: expected an integer >= 4")
    exact = [_exact(i, x) for i, x in enumerate(start)]
    if not exact:
        raise ValueError("start is empty: give at least one positive number")
    for bits in _PRECISIONS:
        with _precision(bits):
            found = _enclose(exact, int(seq_len))
        if found is not None:
            return found
    raise ArithmeticError(f"no close enclosure with {_PRECISIONS[-1]} bits")


def _exact(index: int, value: float | Fraction) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ValueError(f"start[{index}]={value!r}: expected a real number")
    if not math.isfinite(value) or value <= 0:
        raise ValueError(f"start[{index}]={value!r}: must be positive and finite")
    return Fraction(value) if isinstance(value, numbers.Rational) else Fraction(float(value))


@contextlib.contextmanager
def _precision(bits: int) -> Iterator[None]:
    """Arb's working precision is a global number: put it back afterwards."""
    before, flint.ctx.prec = flint.ctx.prec, bits
    try:
        yield
    finally:
        flint.ctx.prec = before


def _enclose(start: list[Fraction], seq_len: int) -> CleanEnclosure | None:
    """Bounds at the present precision; `None` if they are wider than some doubles."""
    p, d = seq_len - 2, len(start)
    powers = [flint.arb(flint.fmpq(x.numerator, x.denominator)) ** (1 - p) for x in start]
    leader = powers[start.index(max(start))]
    # Of equal entries the difference is 0, which balls would not give.
    c = [
        flint.arb(0) if x == max(start) else y - leader for x, y in zip(start, powers, strict=True)
    ]
    root = _root(c, flint.arb(seq_len - 1) / (seq_len - 3), flint.arb(d))
    exponent = flint.arb(-1) / (p - 1)
    limit = [(x + root) ** exponent for x in c]
    worst = flint.arb(0)
    for lag in range(1, HORIZON):
        gap = abs(sum((a**lag for a in limit), flint.arb(0)) - 1)
        worst = worst.max(gap)
    ends = [_doubles(x) for x in [*limit, worst / d]]
    # The error may be 0 (a single entry), which no relative width can be asked of.
    if any(high - low > 4 * math.ulp(high) for low, high in ends[:-1]):
        return None
    *entries, error = ends
    return CleanEnclosure(
        tuple(low for low, _ in entries),
        tuple(high for _, high in entries),
        max(error[0], 0.0),
        error[1],
    )


def _root(c: list[flint.arb], exponent: flint.arb, d: flint.arb) -> flint.arb:
    """The ball of u with Σ (c_i + u)^-exponent = 1, by bisection between certain signs."""

    def total(u: flint.arb) -> flint.arb:
        return sum(((x + u) ** -exponent for x in c), flint.arb(0))

    # At 1 the largest entry alone gives 1; at d^(1/exponent) and above no entry gives over 1/d.
    low, high = flint.arb(1), d ** (1 / exponent) + 1
    for _ in range(2 * flint.ctx.prec):
        middle = ((low + high) / 2).mid()
        value = total(middle)
        if value > 1:
            low = middle
        elif value < 1:
            high = middle
        else:
            break  # as close as this precision can tell
    return low.union(high)


def _doubles(ball: flint.arb) -> tuple[float, float]:
    """The next doubles outside of a ball."""
    low, high = float(ball.lower().mid()), float(ball.upper().mid())
    while not flint.arb(low) <= ball.lower():
        low = math.nextafter(low, -math.inf)
    while not flint.arb(high) >= ball.upper():
        high = math.nextafter(high, math.inf)
    return low, high
