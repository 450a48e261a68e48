"""A tube around every poisoned trajectory of a box, slab by slab.

What a tube is: docs/certificates.md, "The tube"; how one slab is found: `slab`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ssmbias.certify.prover.entry import Entry
from ssmbias.certify.prover.rates import best_hints, corner_power
from ssmbias.certify.prover.slab import Front, Plan, next_slab
from ssmbias.certify.prover.system import Array, Cuts, Invalid, Pair, Slab, System, round_out

# Slabs are shortened this much, this often, before giving up.
_SHORTER = 0.4
_ATTEMPTS = 8
# Hints of the multipliers are refreshed every so many slabs.
_HINT_AGE = 10
# Margins of float64 against the checker's arithmetic.
_PRUNE_MARGIN = 1e-8
_END_MARGIN = 1e-9
# Near the limits: q below this fraction of κ - 1 is possible.
_LATE = 0.5
# A branch that gains less than a step in so many slabs is given up.
_STALL = 200
_UNKNOWN = (np.inf, np.inf)


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
        Front(
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


def _ended(system: System, entry: Entry, walk: Walk, front: Front) -> bool:
    """Whether the branch is finished: S_(κ-1) >= 1 on the whole box. Records it if so."""
    if front.clock <= entry.clock[1] or front.q_low > 0.5:
        return False
    if _power_at(system, front, float(front.box[0, 0])) < 1 + _END_MARGIN:
        return False
    walk.records.append(("end",))
    return True


def _power_at(system: System, front: Front, g: float) -> float:
    """The lower bound of S_(κ-1) at the knot, with g given."""
    box = front.box
    return float(corner_power(system, front.clock, g, float(box[0, 1]), box, box, upper=False))


def _pruned(system: System, entry: Entry, front: Front) -> Front:
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


def _too_wide(entry: Entry, plan: Plan, front: Front) -> bool:
    """Whether g is to be cut."""
    if front.forks < 1 or front.clock <= entry.clock[1]:
        return False
    low, high = front.box[:, 0].tolist()
    return high > low * (plan.fork_ratio if front.q_low > _LATE else plan.late_ratio)


def _fork(walk: Walk, front: Front, bits: int) -> tuple[Front, Front]:
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


def _advance(system: System, entry: Entry, plan: Plan, walk: Walk, front: Front) -> Front:
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
            found = next_slab(system, entry, plan, front, (start, end), cuts)
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
    return Front(
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


def _short(x: float, bits: int = 36) -> float:
    """`x` with few digits."""
    return float(round_out(np.full((2, 1), x), bits)[1, 0])
