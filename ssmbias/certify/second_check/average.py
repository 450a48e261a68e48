r"""A = sum(mu_j P(z_j))/d from both sides, over all mu in a box whose sum is d.

Without the sum the bounds would be too wide for a tube: any c allows
A = c + sum(mu_j (P(z_j) - c))/d, and the right c makes the terms' bounds nearly those of A itself
(docs/certificates.md, "Bounds on the faces"). Here z = 1 - mu e and P(z) = 1 + z + ... + z^(p-1),
which is convex, positive, and rising for z >= -1/2.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from .bounds import Model, equal_cuts
from .interval import Interval, fraction_above, interval, total

LEAST_Z = -1.25


def geometric_sum(z: Interval, power: int) -> Interval:
    """P(z) = 1 + z + ... + z^(p-1) by Horner's rule, for intervals of next to no width."""
    result = interval(1.0)
    for _ in range(power - 1):
        result = result * z + 1.0
    return result


def steepest(z: np.ndarray, power: int) -> np.ndarray:
    """A bound L of -P' from -5/4 or, where z >= -1, from -1 on; 0 where z >= -1/2 (P' >= 0)."""
    at = Fraction(LEAST_Z)
    steepest = fraction_above(sum((-i * at ** (i - 1) for i in range(1, power)), Fraction(0)))
    return np.where(z >= -0.5, 0.0, np.where(z >= -1.0, (power - 1) / 2.0, steepest))


class Multiplier:
    """phi(mu) = mu (P(1 - mu e) - c) with c = p zeta^(p-1): A = c + sum(phi(mu_j))/d.

    phi' = p (z^(p-1) - zeta^(p-1)), so over an interval phi is least at an end or at z = -zeta,
    and largest at an end or at z = zeta.
    """

    def __init__(self, power: int, e: np.ndarray, zeta: np.ndarray):
        self.power, self.e, self.zeta = power, e, zeta
        self.slope = power * interval(zeta) ** (power - 1)

    def _at_ends(self, mu_lo: np.ndarray, mu_hi: np.ndarray) -> tuple[Interval, Interval]:
        left, right = (
            interval(mu) * (geometric_sum(1.0 - interval(mu) * self.e, self.power) - self.slope)
            for mu in (mu_lo, mu_hi)
        )
        return left, right

    def _at(self, z: np.ndarray, mu_lo: np.ndarray, mu_hi: np.ndarray) -> tuple[Interval, Any]:
        """The value where 1 - mu e = z, and whether that lies outside for certain."""
        value = geometric_sum(interval(z), self.power) - self.slope
        value = (1.0 - interval(z)) / self.e * value
        lowest, highest = (1.0 - interval(mu_hi) * self.e).lo, (1.0 - interval(mu_lo) * self.e).hi
        return value, (lowest > z) | (highest < z)

    def least(self, mu_lo: np.ndarray, mu_hi: np.ndarray) -> np.ndarray:
        """A bound of phi from below on [mu_lo, mu_hi]."""
        left, right = self._at_ends(mu_lo, mu_hi)
        ends = np.minimum(left.lo, right.lo)
        inner, outside = self._at(-self.zeta, mu_lo, mu_hi)
        return np.where(outside, ends, np.minimum(ends, inner.lo))

    def largest(self, mu_lo: np.ndarray, mu_hi: np.ndarray) -> np.ndarray:
        """A bound of phi from above on [mu_lo, mu_hi]."""
        left, right = self._at_ends(mu_lo, mu_hi)
        ends = np.maximum(left.hi, right.hi)
        inner, outside = self._at(self.zeta, mu_lo, mu_hi)
        return np.where(outside, ends, np.maximum(ends, inner.hi))


class Average(NamedTuple):
    """A on pieces [left, right] of e, with the parts that a mu face changes.

    Attributes:
      left, right: shape [slab, face, piece].
      low, high: bounds of A.
      terms_lo, terms_hi: bounds of every phi(mu_j), [slab, face, piece, j].
      loss: by how much A may rise with e over a piece, from above.
      least_z: a bound of z_j from below at `right`.
    """

    left: np.ndarray
    right: np.ndarray
    low: np.ndarray
    high: np.ndarray
    terms_lo: np.ndarray
    terms_hi: np.ndarray
    loss: np.ndarray
    least_z: np.ndarray


def multipliers(power: int, left: Any, right: Any, zeta: Any) -> tuple[Multiplier, Multiplier]:
    """At the right end for lower bounds of A, at the left end for upper ones."""
    axes = (slice(None),) + (None,) * left.ndim
    return (
        Multiplier(power, right[..., None], zeta[:, 0][axes]),
        Multiplier(power, left[..., None], zeta[:, 1][axes]),
    )


def average(model: Model, e_lo: Any, e_hi: Any, ne: int, mu: Any, zeta: Any) -> Average:
    """Bounds of A over mu in a box with sum d, on `ne` pieces of [e_lo, e_hi].

    dA/de = -sum(mu_j^2 P'(z_j))/d: A falls with e but for the j with z_j < -1/2.
    """
    power, num = model.seq_len - 2, float(model.state_dim)
    cuts = equal_cuts(e_lo, e_hi, ne)
    left, right = cuts[..., :-1], cuts[..., 1:]
    mu_lo, mu_hi = (side[:, None, None, :] for side in mu)
    below, above = multipliers(power, left, right, zeta)
    terms_lo, terms_hi = below.least(mu_lo, mu_hi), above.largest(mu_lo, mu_hi)
    least_z = (1.0 - interval(mu_hi) * right[..., None]).lo
    loss = np.zeros_like(left)
    if not np.all(least_z >= -0.5):
        rising = total(interval(steepest(least_z, power)) * interval(mu_hi) ** 2)
        loss = (rising / num * (interval(right) - left)).hi
    slopes = [Interval(m.slope.lo[..., 0], m.slope.hi[..., 0]) for m in (below, above)]
    return Average(
        left,
        right,
        (slopes[0] + total(terms_lo) / num - loss).lo,
        (slopes[1] + total(terms_hi) / num + loss).hi,
        terms_lo,
        terms_hi,
        loss,
        least_z,
    )
