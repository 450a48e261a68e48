"""The boxes of initialisations that a certificate speaks about.

A start of Theorem 1 has entries a_1 > a_2 > a_3, …, a_d > 0. A box holds them as differences, so
that a gap of 1e-12 between entries of size 1e-3 keeps its digits: the second entry a_2, the
leading gap δ = a_1 - a_2, and the gaps D_j = a_2 - a_j for j = 3..d.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

__all__ = ["Box", "box_around", "default_box"]

# The gaps of the default box reach half of a_2: entries from scale down to scale / 2.
_SPREAD = 0.5
# A gap stays this fraction below a_2's lower end, so that every entry is positive.
_LARGEST_GAP = 0.995

Pair = tuple[float, float]
Floats = tuple[float, ...]


@dataclass(frozen=True)
class Box:
    """All starts with a_2, δ = a_1 - a_2 and D_j = a_2 - a_j (j = 3..d) between two ends.

    Attributes:
      a2: lower and upper end of a_2.
      delta: lower and upper end of δ, the lower one positive.
      gaps: lower ends and upper ends of D_3..D_d, each a sequence of d-2 positive numbers.

    Raises:
      ValueError: an end is not finite, a lower end exceeds its upper end, δ or a gap is not
        positive, an entry may be zero or less (a_2's lower end is not above every gap), or
        S_1(0) = Σ a_i may reach 1 (d a_2 + δ >= 1 at the upper ends).

    Example:
      >>> box = Box(a2=(1e-3, 1.1e-3), delta=(1e-8, 2e-8), gaps=([3e-4], [4e-4]))
      >>> box.state_dim, box.gaps
      (3, ((0.0003,), (0.0004,)))
      >>> Box(a2=(1e-3, 1.1e-3), delta=(0.0, 2e-8), gaps=([3e-4], [4e-4]))
      Traceback (most recent call last):
      ValueError: delta=(0.0, 2e-08): the lower end must be greater than 0; ...
    """

    a2: Pair
    delta: Pair
    gaps: tuple[Floats, Floats]

    def __post_init__(self) -> None:
        """Convert to floats and check, see the class."""
        a2, delta = _pair("a2", self.a2), _pair("delta", self.delta)
        try:
            low, high = self.gaps
        except (TypeError, ValueError) as err:
            raise ValueError(
                f"gaps={self.gaps!r}: expected two sequences, the lower and the upper ends"
            ) from err
        gaps = _floats("gaps[0]", low), _floats("gaps[1]", high)
        for name, value in (("a2", a2), ("delta", delta), ("gaps", gaps)):
            object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        low, high = self.gaps
        if len(low) != len(high):
            raise ValueError(
                f"gaps: {len(low)} lower ends and {len(high)} upper ends; give one each per gap"
            )
        if not low:
            raise ValueError("gaps: at least one gap is needed (state_dim >= 3)")
        for j, (a, b) in enumerate(zip(low, high, strict=True), start=3):
            if a > b:
                raise ValueError(f"gaps: D_{j} has {a!r} > {b!r}; give the lower end first")
            if a <= 0:
                raise ValueError(
                    f"gaps: D_{j} begins at {a!r}; a_2 must exceed a_{j}, give a number > 0"
                )
        if self.delta[0] <= 0:
            raise ValueError(
                f"delta={self.delta!r}: the lower end must be greater than 0; with a tie "
                "a_1 = a_2 the clean flow has no bound"
            )
        if self.a2[0] <= max(high):
            raise ValueError(
                f"a2={self.a2!r}: its lower end must exceed the largest gap {max(high)!r}, or an "
                "entry is 0 or less; raise a2 or lower gaps"
            )
        if self.state_dim * self.a2[1] + self.delta[1] >= 1:
            raise ValueError(
                f"a2={self.a2!r}: S_1(0) = Σ a_i may reach 1 (state_dim {self.state_dim}); lower a2"
            )

    @property
    def state_dim(self) -> int:
        """The number d of entries."""
        return len(self.gaps[0]) + 2

    def halves(self, coordinate: str | int, cut: float) -> tuple[Box, Box]:
        """The two closed halves of the box.

        Args:
          coordinate: "a2", "delta", or j = 3..d for the gap D_j.
          cut: where, strictly between the two ends.

        Raises:
          ValueError: `coordinate` is unknown, or `cut` is not strictly inside.
        """
        if isinstance(coordinate, int) and 3 <= coordinate <= self.state_dim:
            k = coordinate - 3
            ends = self.gaps[0][k], self.gaps[1][k]
        elif coordinate in ("a2", "delta"):
            ends = getattr(self, str(coordinate))
        else:
            raise ValueError(
                f"coordinate={coordinate!r}: choose a2, delta, or 3..{self.state_dim} for a gap"
            )
        if not ends[0] < cut < ends[1]:
            raise ValueError(f"cut={cut!r}: must be strictly between {ends[0]!r} and {ends[1]!r}")
        if not isinstance(coordinate, int):
            pairs = (ends[0], cut), (cut, ends[1])
            below, above = ({"a2": self.a2, "delta": self.delta, coordinate: x} for x in pairs)
            return Box(gaps=self.gaps, **below), Box(gaps=self.gaps, **above)
        low, high = (list(x) for x in self.gaps)
        low[k], high[k] = cut, cut
        return (
            Box(self.a2, self.delta, (self.gaps[0], tuple(high))),
            Box(self.a2, self.delta, (tuple(low), self.gaps[1])),
        )


def default_box(
    state_dim: int,
    *,
    scale: float = 1e-3,
    rel: float = 0.1,
    delta: Pair = (1.5e-8, 1.6e-8),
) -> Box:
    """A box around evenly spread entries.

    a_2 is in scale (1 ± 0.1) and D_j in D̂_j (1 ± rel), D̂_j = scale (j - 2) / (2 (d - 2)).

    Args:
      state_dim: the number d of entries, 3 or more.
      scale: size of the entries.
      rel: relative half width of the gaps, 0 < rel < 0.8 (at 0.8 an entry may be 0).
      delta: the ends of δ = a_1 - a_2.

    Raises:
      ValueError: `state_dim` < 3, `scale` or `rel` is not positive, or `Box` refuses.

    Example:
      >>> box = default_box(4, rel=0.1)
      >>> [f"{x:.3g}" for x in (*box.a2, *box.gaps[1])]
      ['0.0009', '0.0011', '0.000275', '0.00055']
    """
    if not isinstance(state_dim, numbers.Integral) or state_dim < 3:
        raise ValueError(f"state_dim={state_dim!r}: expected an integer >= 3")
    _positive("scale", scale)
    _positive("rel", rel)
    num = int(state_dim) - 2
    centre = scale * _SPREAD * np.arange(1, num + 1) / num
    return Box(
        a2=(scale * (1 - 0.1), scale * (1 + 0.1)),
        delta=delta,
        gaps=(tuple((centre * (1 - rel)).tolist()), tuple((centre * (1 + rel)).tolist())),
    )


def box_around(
    a2: float,
    delta: float,
    gaps: Sequence[float] | Float[np.ndarray, " gap"],
    *,
    rel: float = 0.1,
    rel_delta: float = 0.05,
    rel_a2: float = 0.002,
) -> Box:
    """A box around one start, given by its gaps so that they keep their digits.

    D_j is in D_j (1 ± rel), cut off at 0.995 times a_2's lower end; δ in δ (1 ± rel_delta);
    a_2 in a_2 (1 ± rel_a2).

    Args:
      a2: the second entry.
      delta: a_1 - a_2.
      gaps: a_2 - a_j, j = 3..d.
      rel: relative half width of the gaps.
      rel_delta: that of δ.
      rel_a2: that of a_2.

    Raises:
      ValueError: a number is not positive, or `Box` refuses.

    Example:
      >>> box = box_around(1e-3, 1e-8, [2e-4, 9.5e-4], rel=0.1)
      >>> [f"{x:.4g}" for x in (*box.a2, *box.gaps[1])]
      ['0.000998', '0.001002', '0.00022', '0.000993']
    """
    widths = {"rel": rel, "rel_delta": rel_delta, "rel_a2": rel_a2}
    for name, value in {"a2": a2, "delta": delta, **widths}.items():
        _positive(name, value)
        if name in widths and not value < 1:
            raise ValueError(f"{name}={value!r}: must be below 1, or lower ends are not positive")
    centre = np.asarray(_floats("gaps", gaps))
    lowest = a2 * (1 - rel_a2)
    high = np.minimum(centre * (1 + rel), _LARGEST_GAP * lowest)
    return Box(
        a2=(lowest, a2 * (1 + rel_a2)),
        delta=(delta * (1 - rel_delta), delta * (1 + rel_delta)),
        gaps=(tuple((centre * (1 - rel)).tolist()), tuple(high.tolist())),
    )


def _positive(name: str, value: Any) -> None:
    try:
        known = isinstance(value, numbers.Real) and not isinstance(value, bool)
        positive = known and float(value) > 0
    except OverflowError:  # an integer beyond the doubles
        positive = False
    if not positive:
        raise ValueError(f"{name}={value!r:.60}: expected a number greater than 0")


def _pair(name: str, value: Any) -> Pair:
    """Two finite floats in order."""
    if isinstance(value, numbers.Real):
        raise ValueError(f"{name}={value!r}: expected two numbers, [lower end, upper end]")
    floats = _floats(name, value)
    if len(floats) != 2:
        raise ValueError(f"{name}={value!r}: expected a lower and an upper end")
    if floats[0] > floats[1]:
        raise ValueError(f"{name}={value!r}: the lower end exceeds the upper end; swap them")
    return floats


def _floats(name: str, value: Any) -> Any:
    """A tuple of finite floats."""
    if isinstance(value, str | bytes):
        raise ValueError(f"{name}={value!r}: expected real numbers")
    try:
        array = np.asarray(value)
    except ValueError as err:
        raise ValueError(f"{name}={value!r}: expected a sequence of real numbers") from err
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iuf"):
        raise ValueError(f"{name}={value!r}: expected a sequence of real numbers")
    if array.dtype.kind == "f" and array.dtype.itemsize != 8:
        raise ValueError(
            f"{name} has dtype {array.dtype}: pass float64 numbers that never were in lower "
            "precision"
        )
    floats = tuple(float(x) for x in array)
    if not all(map(math.isfinite, floats)):
        raise ValueError(f"{name}={value!r}: every number must be finite")
    return floats


def require_flow(box: Any, seq_len: Any, strength: Any) -> None:
    """Refuse a flow that certificates do not cover.

    Args:
      box: the starts.
      seq_len: κ, odd, 5..99.
      strength: ρ, positive; `inf` for the limit ρ → ∞.

    Raises:
      ValueError: see above; or the box has more than 1000 entries.
    """
    if not isinstance(box, Box):
        raise ValueError(f"box={box!r}: expected a Box; see ssmbias.certify.Box")
    if not isinstance(seq_len, numbers.Integral) or isinstance(seq_len, bool):
        raise ValueError(f"seq_len={seq_len!r}: expected an integer")
    if not 5 <= int(seq_len) <= 99:
        raise ValueError(f"seq_len={seq_len}: must be in 5..99")
    if seq_len % 2 == 0:
        raise ValueError(
            f"seq_len={seq_len}: must be odd in the setting of Theorem 1; "
            f"use {seq_len - 1} or {seq_len + 1}"
        )
    _positive("strength", strength)
    if box.state_dim > 1000:
        raise ValueError(f"box: state_dim={box.state_dim}: at most 1000")
