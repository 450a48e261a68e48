"""Words of the prover: the reduced system, slabs and their bounds, and small sums of powers.

A state box is an array of shape (2, d): row 0 the lower and row 1 the upper ends of g, w and
μ_3..μ_d.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray
Pair = tuple[float, float]


class System(NamedTuple):
    """The reduced system: d = `dim`, κ = `seq_len`, ρ = `strength`, `inf` for w = 0; p = κ - 2."""

    dim: int
    seq_len: int
    strength: float

    @property
    def p(self) -> int:
        """κ - 2, odd."""
        return self.seq_len - 2


class Cuts(NamedTuple):
    """What a slab's record says beside the boxes: multipliers' hints and numbers of pieces."""

    zeta_lo: float
    zeta_hi: float
    num_e: int
    num_g: int


class Faces(NamedTuple):
    """Bounds on a slab.

    Attributes:
      rate: shape (2, d): below the rates on the lower faces, above those on the upper faces.
        `nan` for a lower face of w where q may not be positive.
      target: the values (lower, upper) that w relaxes to on its faces; lower is 0 if q may not be
        positive, upper is negative if the face cannot be reached.
      relax: smallest and largest relaxation rate of w, on its lower and on its upper face; `inf`
        where q may not be positive.
      growth: an upper bound of d ln g / d ln E + 1.
      q: smallest and largest q / (κ - 1) on the slab.
    """

    rate: Array
    target: Pair
    relax: tuple[Pair, Pair]
    growth: float
    q: Pair


@dataclass(frozen=True)
class Slab:
    """One slab: E at its ends, start and end box, and the piece counts and hints."""

    span: Pair
    start: Array
    end: Array
    cuts: Cuts


class Invalid(Exception):
    """A condition on the slab does not hold; the message says which."""


def power(x: Any, exponent: int) -> Any:
    """x^exponent by repeated squaring; exponent >= 1."""
    out = None
    while True:
        if exponent & 1:
            out = x if out is None else out * x
        exponent >>= 1
        if not exponent:
            return out
        x = x * x


def geometric_sum(z: Any, p: int) -> Any:
    """P(z) = 1 + z + … + z^(p-1)."""
    out = z + 1
    for _ in range(p - 2):
        out = out * z
        out += 1
    return out


def steepest_fall(z: float, p: int) -> float:
    """An upper bound L of -P' on [z, ∞), z >= -5/4."""
    if z >= -0.5:
        return 0.0
    if z >= -1:
        return (p - 1) / 2
    z = -1.25
    return -sum(k * z ** (k - 1) for k in range(1, p))


def round_out(box: Array, bits: int) -> Array:
    """Round row 0 down and row 1 up to `bits` binary digits."""
    mantissa, exponent = np.frexp(box)
    mantissa = np.ldexp(mantissa, bits)
    mantissa[0] = np.floor(mantissa[0])
    mantissa[1] = np.ceil(mantissa[1])
    return np.ldexp(mantissa, exponent - bits)
