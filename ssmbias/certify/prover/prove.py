"""Find a proof for a box: one tube, or a tree of halves of the box with a tube each.

Nothing here is trusted: what is found counts only once `ssmbias.certify.check` accepts it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ssmbias.certify.box import Box
from ssmbias.certify.prover.entry import clean_bound, entry_box
from ssmbias.certify.prover.limits import LimitBounds, limit_bounds
from ssmbias.certify.prover.slab import Plan
from ssmbias.certify.prover.system import Slab, System
from ssmbias.certify.prover.tube import walk_tube

_BITS = 28
Progress = Callable[[str], object]


@dataclass(frozen=True)
class ProverOptions:
    """How hard to look for a proof.

    Attributes:
      step: relative length of a slab in E; shorter is sharper and slower.
      num_e: pieces of e on a slab's faces; `None` chooses by state_dim (entries near -a_2, as for
        d = 3, need more).
      num_g: pieces of g on the faces of w.
      fork_ratio: cut g at a knot where its upper end exceeds the lower one by this factor.
      late_ratio: the same near the limits, where cuts cost little and sharpen the bounds.
      forks: how many such cuts per tube at most.
      splits: how many cuts of the box at most, first where no tube is found.
      target: go on splitting where the error's lower bound (divided by d) is below this.
      max_slabs: give up a tube beyond.

    Raises:
      ValueError: a number is out of range.
    """

    step: float = 2e-3
    num_e: int | None = None
    num_g: int = 8
    fork_ratio: float = 100.0
    late_ratio: float = 1.2
    forks: int = 16
    splits: int = 8
    target: float = 0.0
    max_slabs: int = 20_000

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 1e-5 <= self.step <= 0.02:
            raise ValueError(f"step={self.step!r}: must be in 1e-5..0.02")
        for name, least, most in (
            ("num_e", 1, 64),
            ("num_g", 1, 64),
            ("forks", 0, 10_000),
            ("splits", 0, 100_000),
            ("max_slabs", 1, 10_000_000),
        ):
            value = getattr(self, name)
            if name == "num_e" and value is None:
                continue
            if not isinstance(value, int) or not least <= value <= most:
                raise ValueError(f"{name}={value!r}: must be an integer in {least}..{most}")
        for name in ("fork_ratio", "late_ratio"):
            if not getattr(self, name) > 1:
                raise ValueError(f"{name}={getattr(self, name)!r}: must be greater than 1")
        if not self.target >= 0:
            raise ValueError(f"target={self.target!r}: must be 0 or greater")

    def plan(self, state_dim: int) -> Plan:
        """What a tube is walked with."""
        num_e = self.num_e if self.num_e is not None else {3: 12, 4: 8}.get(state_dim, 3)
        return Plan(
            step=self.step,
            num_e=num_e,
            num_g=self.num_g,
            fork_ratio=self.fork_ratio,
            late_ratio=self.late_ratio,
            forks=self.forks,
            max_slabs=self.max_slabs,
            bits=_BITS,
        )


@dataclass
class Node:
    """A box in the proof tree: a tube, or two halves.

    Attributes:
      box: the starts.
      clean: upper bound of the clean error / d.
      limits: bounds of the poisoned error / d.
      records: the tube's records.
      slabs: the tube's slabs.
      reason: why there is no proof; empty if there is one.
      cut: the record of the split, with `children`.
    """

    box: Box
    clean: float = math.inf
    limits: LimitBounds | None = None
    records: list[tuple[Any, ...]] = field(default_factory=list)
    slabs: list[Slab] = field(default_factory=list)
    reason: str = ""
    cut: tuple[Any, ...] = ()
    children: tuple[Node, ...] = ()

    def leaves(self) -> Iterator[Node]:
        """The boxes with a tube each, lower halves first."""
        if not self.children:
            yield self
        for child in self.children:
            yield from child.leaves()

    def all_records(self) -> Iterator[tuple[Any, ...]]:
        """The records of the tree, depth first."""
        if self.children:
            yield self.cut
        else:
            yield from self.records
        for child in self.children:
            yield from child.all_records()

    @property
    def lower(self) -> float:
        """The lower bound of the poisoned error / d; below every number where none was found."""
        return -math.inf if self.reason or self.limits is None else self.limits.lower


def prove_leaf(
    box: Box, seq_len: int, strength: float, plan: Plan, progress: Progress | None = None
) -> Node:
    """Look for one tube that holds every trajectory from the box.

    Args:
      box: the starts.
      seq_len: κ.
      strength: ρ.
      plan: how the tube is walked.
      progress: called with a line of text now and then.
    """
    node = Node(box)
    system = System(box.state_dim, seq_len, strength)
    entry = entry_box(box, seq_len, strength)
    if entry is None:
        node.reason = "before w = 0: the gaps cannot be bounded (q > 0 or the bootstrap fails)"
        return node
    tell = None if progress is None else (lambda clock: progress(f"E = {clock:.4g}"))
    walk = walk_tube(system, entry, plan, tell)
    node.records, node.slabs, node.reason = walk.records, walk.slabs, walk.reason
    if not node.reason:
        node.clean = clean_bound(box, seq_len)
        node.limits = limit_bounds(system, walk.slabs)
        if not node.limits.kept:
            node.reason = "no limit is left: the tube excludes every one"
    return node


def prove(
    box: Box,
    seq_len: int,
    strength: float,
    options: ProverOptions,
    progress: Progress | None = None,
) -> Node:
    """Look for a proof, cutting the box where none is found or the bound is below the target.

    Args:
      box: the starts.
      seq_len: κ.
      strength: ρ.
      options: how hard to look.
      progress: called with a line of text now and then.

    Returns:
      The proof tree; a leaf with a `reason` has no proof.
    """
    plan = options.plan(box.state_dim)
    root = prove_leaf(box, seq_len, strength, plan, progress)
    for number in range(options.splits):
        # Where no tube was found first, then where the bound is least.
        worst = min(root.leaves(), key=lambda leaf: leaf.lower)
        if worst.lower >= options.target:
            break
        _split(worst)
        for child in worst.children:
            done = prove_leaf(child.box, seq_len, strength, plan, progress)
            child.__dict__.update(done.__dict__)
        if progress is not None:
            progress(f"{number + 1} cuts of the box; least bound {worst.lower:.4g}")
    return root


def _split(node: Node) -> None:
    """Cut the box in two across the coordinate that moves the trajectories most.

    g starts as d δ / Σ D_j, so a relative change of δ counts as much as one of Σ D_j; δ alone
    leaves the shape (the μ_j) as it is and counts half.
    """
    box = node.box
    low, high = box.gaps
    total = (sum(low) + sum(high)) / 2
    widths = [(b - a) / total for a, b in zip(low, high, strict=True)]
    widest = max(range(len(widths)), key=widths.__getitem__)
    ratio = math.log(box.delta[1] / box.delta[0])
    if 0.25 * ratio > widths[widest]:
        cut = math.sqrt(box.delta[0] * box.delta[1])
        node.cut = ("split", "delta", cut)
        halves = box.halves("delta", cut)
    else:
        cut = (low[widest] + high[widest]) / 2
        node.cut = ("split", "gap", widest + 3, cut)
        halves = box.halves(widest + 3, cut)
    node.children = tuple(Node(half) for half in halves)
    node.records, node.slabs = [], []
