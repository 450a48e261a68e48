"""One slab of a tube: an end box that the rates on the slab permit.

The end box is guessed from the rates of the slab before, the rates' bounds between the two are
computed, and the guess is corrected until the tube is steeper than they are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ssmbias.certify.prover.entry import Entry
from ssmbias.certify.prover.rates import face_bounds
from ssmbias.certify.prover.system import (
    Array,
    Cuts,
    Faces,
    Invalid,
    Pair,
    Slab,
    System,
    round_out,
)

# By how much the tube is steeper than the last rates, as a fraction of them, and in addition for a
# rate near 0; grows by _SLACK_GROWTH every _PATIENCE corrections.
_SLACK = 2e-4
_SLACK_FLAT = 1e-5
_SLACK_GROWTH = 4.0
_PATIENCE = 5
_CORRECTIONS = 20
# w follows its target at once where it relaxes by more than this over a slab.
_STIFF = 0.3
# Margin of float64 against the checker's arithmetic.
_STRICT = 1e-9
_SIGN = np.array([[-1.0], [1.0]])


class Plan(NamedTuple):
    """How a tube is walked.

    Attributes:
      step: relative length of a slab.
      num_e, num_g: pieces of e and of g on a slab's faces.
      fork_ratio: cut g in two where its upper end exceeds the lower one by this factor.
      late_ratio: the same near the limits, where narrow pieces sharpen the bounds and cost little.
      forks: how many cuts at most.
      max_slabs: give up beyond.
      bits: digits kept in the end boxes.
    """

    step: float
    num_e: int
    num_g: int
    fork_ratio: float
    late_ratio: float
    forks: int
    max_slabs: int
    bits: int


class Front(NamedTuple):
    """Where a branch of the tube stands: E, its box, and what predicts the next slab."""

    clock: float
    box: Array
    slope: Array
    previous: Array
    target: Pair
    relax: tuple[Pair, Pair]
    before: Pair
    growth: float
    forks: int
    q_low: float = 1.0


def next_slab(
    system: System,
    entry: Entry,
    plan: Plan,
    front: Front,
    span: Pair,
    cuts: Cuts,
) -> tuple[Slab, Faces]:
    """An end box that the rates on the slab permit, or `Invalid`."""
    start, end = span
    length = end - start
    early = start <= entry.clock[1]
    slope = (2 * front.slope - front.previous) / start
    slope[:, 1] = front.slope[:, 1] / start
    target = [
        2 * x - y if 0 < y < 2 * x else x for x, y in zip(front.target, front.before, strict=True)
    ]
    relax, pinned, outward = front.relax, False, [False, False]
    enough = np.zeros_like(front.box, dtype=bool)
    for correction in range(_CORRECTIONS):
        grown = _SLACK_GROWTH ** (correction // _PATIENCE)
        slack = grown * (_SLACK * np.abs(slope) + (_SLACK_FLAT / start) * front.box)
        s = front.box.copy()
        t = s + (slope + _SIGN * slack) * length
        if early:
            t[0] = np.minimum(t[0], s[0])
            t[1] = np.maximum(t[1], s[1])
        w, moves = s[:, 1].tolist(), slope[:, 1].tolist()
        pinned = pinned or early or not target[0] > 0
        # A face that was found to move outward does not move inward in later corrections.
        outward[0] = outward[0] or w[0] > target[0]
        outward[1] = outward[1] or w[1] < target[1]
        faces_of_w = [_Loss(w[k], target[k], relax[k], moves[k]) for k in (0, 1)]
        low, high = (0.0, 0.0), _upper_loss(faces_of_w[1], length, _SLACK * grown, outward[1])
        if not pinned:
            low = _lower_loss(faces_of_w[0], length, _SLACK * grown, outward[0])
        s[0, 1], s[1, 1], t[0, 1], t[1, 1] = low[0], high[0], low[1], high[1]
        if system.dim == 3:
            t[:, 2] = 3.0
        s[:, 1:2] = round_out(s[:, 1:2], plan.bits)
        t = round_out(t, plan.bits)
        faces = face_bounds(system, span, s, t, cuts)
        rate = faces.rate
        need = _SIGN * rate * length
        enough = _SIGN * (t - s) > need + _STRICT * np.abs(need)
        if system.dim == 3:
            enough[:, 2] = True
        if t[0, 1] == 0 and s[0, 1] == 0:
            enough[0, 1] = True
        if np.isinf(system.strength):
            enough[:, 1] = True
        if enough.all():
            return Slab(span, s, t, cuts), faces
        slope, target, relax = rate, list(faces.target), faces.relax
    bad = np.argwhere(~enough)[0]
    names = ("g", "w", *(f"mu_{j}" for j in range(3, system.dim + 1)))
    raise Invalid(
        f"the {('lower', 'upper')[bad[0]]} face of {names[bad[1]]} is not steeper than its rate"
    )


class _Loss(NamedTuple):
    """What moves a face of w: its value, the value it relaxes to, how fast, and its rate."""

    w: float
    target: float
    relax: Pair
    rate: float


def _upper_loss(face: _Loss, length: float, slack: float, outward: bool) -> Pair:
    """Start and end of the upper face of w."""
    w, target, (slow, fast), rate = face
    if w >= target:
        if outward or target < 0 or not np.isfinite(slow):
            return w, w
        weight = length * slow
        return w, max(0.9 * w, (w + weight * target) / (1 + weight) * (1 + slack))
    if length * fast > _STIFF:
        w = target * (1 + slack)
        return w, w
    return w, w + max(rate, 0.0) * length * (1 + slack) + 1e-6 * slack * w


def _lower_loss(face: _Loss, length: float, slack: float, outward: bool) -> Pair:
    """Start and end of the lower face of w."""
    w, target, (slow, fast), rate = face
    if w <= target:
        if outward:
            return w, w
        weight = length * slow
        return w, (w + weight * target) / (1 + weight) * (1 - slack)
    if length * fast > _STIFF:
        w = target * (1 - slack)
        return w, w
    return w, max(0.0, w + min(rate, 0.0) * length * (1 + slack) - 1e-6 * slack * w)
