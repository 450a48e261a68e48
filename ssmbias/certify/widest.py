"""How wide a box can be certified: in the gaps below a start, or in the leading gap."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ssmbias.certify.box import Box, box_around
from ssmbias.certify.certificate import Certificate, ProverOptions, certify

__all__ = ["RELS", "Widest", "largest_delta", "widest_box"]

RELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
"""Relative half widths of the gaps that are tried."""

# Wide steps, and no cuts: a search asks for many proofs, and a failure should be quick.
_QUICK = ProverOptions(step=8e-3, splits=0, forks=0)
# A leading gap over decades needs the cuts that a few more seconds buy.
_QUICK_CUTS = ProverOptions(step=8e-3, splits=0)


class Widest(NamedTuple):
    """The outcome of a search.

    Attributes:
      rel: relative half width of the gaps in the widest box that was certified; 0 for none.
      certificate: of that box; the failure at the least width if there is none.
    """

    rel: float
    certificate: Certificate


def widest_box(
    a2: float,
    delta: float,
    gaps: Sequence[float] | Float[np.ndarray, " gap"],
    seq_len: int,
    strength: float = 1.0,
    *,
    at_least: float = 0.0,
    rels: Sequence[float] = RELS,
    options: ProverOptions = _QUICK,
) -> Widest:
    """Search for the widest box around a start over which Theorem 1 can be proved.

    The boxes are those of `box_around`. The widest is tried first, since a single proof ends the
    search there; then the list of widths is halved, supposing that what can be proved for a box can
    be for the smaller ones in it.

    Args:
      a2: the second entry of the start.
      delta: a_1 - a_2.
      gaps: a_2 - a_j, j = 3..d.
      seq_len: κ.
      strength: ρ.
      at_least: a box counts only if its poisoned error / d is proved to be at least this.
      rels: widths to try, rising.
      options: of the prover.

    Raises:
      ValueError: the widths do not rise, `at_least` is negative or no number, or `box_around` or
        `certify` refuses.

    Example:
      >>> found = widest_box(1e-3, 5e-9, [5e-4], seq_len=7, rels=(0.1, 0.3))
      >>> found.rel, found.certificate.poisoned_error_lower > 0.25
      (0.3, True)
    """
    if not rels or any(x >= y for x, y in itertools.pairwise(rels)):
        raise ValueError(f"rels={list(rels)}: give rising widths, at least one")
    _require_harm(at_least)
    found: dict[int, Certificate] = {}

    def proved(index: int) -> bool:
        box = box_around(a2, delta, gaps, rel=rels[index])
        found[index] = certify(box, seq_len, strength, options=options)
        return found[index].certified and found[index].poisoned_error_lower >= at_least

    low, high = -1, len(rels) - 1
    if proved(high):
        low = high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if proved(middle) else (low, middle)
    return Widest(rels[low], found[low]) if low >= 0 else Widest(0.0, found[0])


def largest_delta(
    box: Box,
    seq_len: int,
    at_least: float,
    strength: float = 1.0,
    *,
    ratio: float = 1.1,
    options: ProverOptions = _QUICK_CUTS,
) -> Certificate:
    """Search for the largest leading gap up to which poison provably does a given harm.

    The certificate is one statement about every leading gap from the lower end of the box's δ up to
    the end that was found: the lower end may be as small as the clean half permits, since only its
    bound ε suffers from a smaller δ.

    Args:
      box: the upper end of its δ is where the search begins.
      seq_len: κ.
      at_least: the harm: the poisoned error / d that is to be proved.
      strength: ρ.
      ratio: the search ends when the end is known up to this factor.
      options: of the prover.

    Returns:
      The certificate of the widest box found; of the given one, if that fails.

    Raises:
      ValueError: `ratio` is not above 1, `at_least` is negative or no number, or `certify` refuses.

    Example:
      >>> box = Box(a2=(9e-4, 1e-3), delta=(1e-12, 1e-10), gaps=([4.9e-4], [5e-4]))
      >>> found = largest_delta(box, 7, at_least=0.2, ratio=1e7)  # so coarse that it ends at once
      >>> found.poisoned_error_lower >= 0.2, found.box.delta
      (True, (1e-12, 1e-10))
    """
    if not ratio > 1:
        raise ValueError(f"ratio={ratio!r}: must be greater than 1")

    _require_harm(at_least)

    def proof(end: float) -> Certificate:
        wider = dataclasses.replace(box, delta=(box.delta[0], end))
        return certify(wider, seq_len, strength, options=options)

    def holds(found: Certificate) -> bool:
        return found.certified and found.poisoned_error_lower >= at_least

    best = proof(box.delta[1])
    # Beyond this S_1 could begin above 1, which the box itself refuses.
    highest = min(0.5 * (1 - box.state_dim * box.a2[1]), box.a2[0])
    if not holds(best):
        return best
    while highest / best.box.delta[1] > ratio:
        end = float(np.sqrt(best.box.delta[1] * highest))
        found = proof(end)
        if holds(found):
            best = found
        else:
            highest = end
    return best


def _require_harm(at_least: float) -> None:
    if not at_least >= 0:
        raise ValueError(f"at_least={at_least!r}: must be 0 or greater")
