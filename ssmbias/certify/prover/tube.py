"""A tube around every poisoned trajectory of a box, slab by slab (docs/certificates.md, The tube).

The end box of a slab is guessed from the rates of the slab before, the rates' bounds between the
two are computed, and the guess is corrected until the tube is steeper than they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ssmbias.certify.prover.entry import Entry
from ssmbias.certify.prover.rates import (
    Array,
    Cuts,
    Faces,
    Invalid,
    Pair,
    System,
    best_hints,
    corner_power,
    face_bounds,
)

# By how much the tube is steeper than the last rates, as a fraction of them, and in addition for a
# rate near 0; grows by _SLACK_GROWTH every _PATIENCE corrections.
_SLACK = 2e-4
_SLACK_FLAT = 1e-5
_SLACK_GROWTH = 4.0
_PATIENCE = 5
_CORRECTIONS = 20
# Slabs are shortened this much, this often, before giving up.
_SHORTER = 0.4
_ATTEMPTS = 8
# Hints of the multipliers are refreshed every so many slabs.
_HINT_AGE = 10
# w follows its target at once where it relaxes by more than this over a slab.
_STIFF = 0.3
# Margins of float64 against the checker's arithmetic.
_STRICT = 1e-9
_PRUNE_MARGIN = 1e-8
_END_MARGIN = 1e-9
# Near the limits: q below this fraction of κ - 1 is possible.
_LATE = 0.5
# A branch that gains less than a step in so many slabs is given up.
_STALL = 200
_UNKNOWN = (np.inf, np.inf)
_SIGN = np.array([[-1.0], [1.0]])


@dataclass(frozen=True)
class Slab:
    """One slab: E at its ends, start and end box, and the piece counts and hints."""

    span: Pair
    start: Array
    end: Array
    cuts: Cuts


@dataclass
class Walk:
    """A tube so far: the records of the proof in order, and its slabs.

    Attributes:
      records: tuples that begin with the record's name.
      slabs: every slab of every branch.
      reason: why the tube could not be finished; empty if it was.
    """

    records: list[tuple[Any, ...]] = field(default_factory=list)
    slabs: list[Slab] = field(default_factory=list)
    reason: str = ""
    written: Array = field(default_factory=lambda: np.empty((2, 0)))
    hints: Pair | None = None
    e: float = 1.0


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


class _Front(NamedTuple):
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


def round_out(box: Array, bits: int) -> Array:
    """Round row 0 down and row 1 up to `bits` binary digits."""
    mantissa, exponent = np.frexp(box)
    mantissa = np.ldexp(mantissa, bits)
    mantissa[0] = np.floor(mantissa[0])
    mantissa[1] = np.ceil(mantissa[1])
    return np.ldexp(mantissa, exponent - bits)


def walk_tube(
    system: System, entry: Entry, plan: Plan, progress: Callable[[float], object] | None = None
) -> Walk:
    """Walk the tube from the entry box to where S_(κ-1) >= 1 for certain.

    Args:
      system: the flow.
      entry: the entry box.
      plan: step, pieces, forks, limits.
      progress: called with E now and then.

    Returns:
      The walk; its `reason` is empty if it was finished.
    """
    box = round_out(entry.state, plan.bits)
    clock = float(round_out(np.full((2, 1), entry.clock[0]), plan.bits)[0, 0])
    zero = np.zeros_like(box)
    walk = Walk(records=[("tube", clock, box)])
    waiting = [
        _Front(
            clock,
            box,
            zero,
            zero,
            (0.0, 0.0),
            (_UNKNOWN, _UNKNOWN),
            (0.0, 0.0),
            float(system.p),
            plan.forks,
        )
    ]
    try:
        while waiting:
            front = waiting.pop()
            walk.written, walk.hints = front.box, None
            mark = len(walk.slabs), front.clock
            while not _ended(system, entry, walk, front):
                front = _pruned(system, entry, front)
                if _too_wide(entry, plan, front):
                    front, other = _fork(walk, front, plan.bits)
                    waiting.append(other)
                if len(walk.slabs) >= plan.max_slabs:
                    raise Invalid(f"S_(κ-1) >= 1 is not reached by {plan.max_slabs} slabs")
                if len(walk.slabs) >= mark[0] + _STALL:
                    if front.clock < mark[1] * (1 + plan.step):
                        high = front.box[1, 0]
                        raise Invalid(
                            f"S_(κ-1) >= 1 is not reached: E gains less than a step in {_STALL} "
                            f"slabs, since the upper face of g runs away (g = {high:.4g})"
                        )
                    mark = len(walk.slabs), front.clock
                front = _advance(system, entry, plan, walk, front)
                if progress is not None and len(walk.slabs) % 50 == 0:
                    progress(front.clock)
    except Invalid as err:
        walk.reason = f"slab {len(walk.slabs) + 1} at E = {front.clock:.6g}: {err}"
    return walk


def _ended(system: System, entry: Entry, walk: Walk, front: _Front) -> bool:
    """Whether the branch is finished: S_(κ-1) >= 1 on the whole box. Records it if so."""
    if front.clock <= entry.clock[1] or front.q_low > 0.5:
        return False
    if _power_at(system, front, float(front.box[0, 0])) < 1 + _END_MARGIN:
        return False
    walk.records.append(("end",))
    return True


def _power_at(system: System, front: _Front, g: float) -> float:
    """The lower bound of S_(κ-1) at the knot, with g given."""
    box = front.box
    return float(corner_power(system, front.clock, g, float(box[0, 1]), box, box, upper=False))


def _pruned(system: System, entry: Entry, front: _Front) -> _Front:
    """Lower the upper end of g to where q > 0 is still possible."""
    if front.clock <= entry.clock[1] or front.q_low > 0.5:
        return front
    low, high = front.box[:, 0].tolist()
    if _power_at(system, front, high) < 1 + _PRUNE_MARGIN:
        return front
    kept = high
    for _ in range(30):
        middle = (low + kept) / 2
        if _power_at(system, front, middle) >= 1 + _PRUNE_MARGIN:
            kept = middle
        else:
            low = middle
    if kept > high * (1 - 1e-6):
        return front
    box = front.box.copy()
    box[1, 0] = kept
    box[:, :1] = round_out(box[:, :1], 40)
    return front._replace(box=box)


def _too_wide(entry: Entry, plan: Plan, front: _Front) -> bool:
    """Whether g is to be cut."""
    if front.forks < 1 or front.clock <= entry.clock[1]:
        return False
    low, high = front.box[:, 0].tolist()
    return high > low * (plan.fork_ratio if front.q_low > _LATE else plan.late_ratio)


def _fork(walk: Walk, front: _Front, bits: int) -> tuple[_Front, _Front]:
    """Cut g in two, in equal ratios; both halves share the cuts that are left."""
    _write_jumps(walk, front.box)
    low, high = front.box[:, 0].tolist()
    cut = float(round_out(np.full((2, 1), (low * high) ** 0.5), bits)[0, 0])
    walk.records.append(("fork", "g", cut))
    below, above = front.box.copy(), front.box.copy()
    below[1, 0] = above[0, 0] = cut
    walk.written = below
    left = front.forks - 1
    return (
        front._replace(box=below, forks=left // 2),
        front._replace(box=above, forks=left - left // 2),
    )


def _write_jumps(walk: Walk, box: Array) -> None:
    """Record what differs from the box that the records end with."""
    flat, old = box.T.ravel(), walk.written.T.ravel()
    for i in np.nonzero(flat != old)[0].tolist():
        walk.records.append(("jump", i, float(flat[i])))
    walk.written = box


def _advance(system: System, entry: Entry, plan: Plan, walk: Walk, front: _Front) -> _Front:
    """One slab more."""
    start, box = front.clock, front.box
    if len(walk.slabs) % _HINT_AGE == 0 or walk.hints is None:
        g, w = box[:, 0], box[:, 1]
        e = 1 / ((1 + w[::-1]) / (system.dim * start) + 1 - g / system.dim)
        walk.hints = best_hints(system, (float(e[0]), float(e[1])), (box[0, 2:], box[1, 2:]))
        walk.e = float(e[1])
    assert walk.hints is not None
    cuts = Cuts(*walk.hints, plan.num_e, plan.num_g)
    length = plan.step * min(max(0.2 / walk.e, 1.0), 30.0)
    length = min(length, 0.03 / front.growth)
    failure = Invalid("no slab was tried")
    for _ in range(_ATTEMPTS):
        end = _short(start * (1 + length))
        try:
            found = _solve(system, entry, plan, front, (start, end), cuts)
            break
        except Invalid as err:
            failure = err
            length *= _SHORTER
    else:
        raise failure
    slab, faces = found
    _write_jumps(walk, slab.start)
    walk.records.append(("slab", end, cuts, slab.end))
    walk.written = slab.end
    walk.slabs.append(slab)
    return _Front(
        end,
        slab.end,
        faces.rate * start,
        front.slope if front.slope.any() else faces.rate * start,
        faces.target,
        faces.relax,
        front.target,
        faces.growth,
        front.forks,
        faces.q[0],
    )


def _solve(
    system: System,
    entry: Entry,
    plan: Plan,
    front: _Front,
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


def _short(x: float, bits: int = 36) -> float:
    """`x` with few digits."""
    return float(round_out(np.full((2, 1), x), bits)[1, 0])
