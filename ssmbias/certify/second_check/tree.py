"""The proof tree of a log: boxes are split, tubes forked, and slabs tested by the thousand.

What a line claims about the tree itself is looked at as it is read. Slabs, prunings and ends of
tubes wait in a `Batch` until many can be tested at once; a line that fails later is reported only
if nothing that waits fails before it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .bounds import Box, Entry, Model, clean_bound, entry_box, power_sum
from .log import Lines, Rejected
from .slabs import Slabs, limits, simple_tests, tube_tests

_MOST_PIECES = 64
# The next of these is used: slabs are tested together with those of the same numbers of pieces, and
# a log with every number in it would take too long. More pieces only sharpen the bounds.
_PIECES = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, _MOST_PIECES])
_DEEPEST = 256
_BLOCK = 2**16


class Batch:
    """Claims that wait for their test, in the order of their lines.

    Attributes:
      lower, upper: bounds of d*error over all limits tested so far.
    """

    def __init__(self, model: Model):
        self.model = model
        self.lower, self.upper = np.inf, -np.inf
        self._limits: set[int] = set()  # leaves with a limit
        self._most = max(1, min(4096, 2**17 // (4 + 2 * (model.state_dim - 2))))
        self._clear()

    def _clear(self) -> None:
        self._slabs: list[tuple] = []
        self._entries: list[Entry] = []
        self._leaves: list[tuple[int, int]] = []  # leaf, and where its entry is
        self._thresholds: list[tuple] = []
        self._ends: list[tuple[int, int]] = []

    def slab(self, line: int, leaf: int, entry: Entry, slab: tuple) -> None:
        """A slab (E_0, E_1, start, end, zeta, pieces) of a leaf."""
        if not self._entries or self._entries[-1] is not entry:
            self._entries.append(entry)
        self._slabs.append((line, *slab))
        self._leaves.append((leaf, len(self._entries) - 1))
        if len(self._slabs) >= self._most:
            self.flush()

    def unreachable(self, line: int, name: str, scale: float, ratio: float, box: list) -> None:
        """S_(kappa-1) >= 1 at E = `scale`, g = `ratio`, and w, mu in a state box."""
        self._thresholds.append((line, name, scale, ratio, box))
        if len(self._thresholds) >= self._most:
            self.flush()

    def leaf_ends(self, line: int, leaf: int) -> None:
        """A leaf is whole: one of its slabs must hold a limit."""
        self._ends.append((line, leaf))
        if len(self._ends) >= 64:
            self.flush()

    def flush(self) -> None:
        """Test all that waits.

        Raises:
          Rejected: something fails; the first line that does.
        """
        found = [*self._test_slabs(), *self._test_thresholds()]
        found += [
            (line, "no slab of this box holds a limit: its tube is void")
            for line, leaf in self._ends
            if leaf not in self._limits
        ]
        self._clear()
        if found:
            raise Rejected(*min(found))

    def _test_thresholds(self) -> list[tuple[int, str]]:
        if not self._thresholds:
            return []
        lines, names, scales, ratios, boxes = zip(*self._thresholds, strict=True)
        box = np.array(boxes)
        even = self.model.seq_len - 1
        where = np.array(scales), np.array(ratios), box[:, 2]
        sums = power_sum(self.model, *where, box[:, 4::2], box[:, 5::2], even)
        return [(lines[k], names[k]) for k in np.flatnonzero(~(sums.lo >= 1.0))]

    def _test_slabs(self) -> list[tuple[int, str]]:
        if not self._slabs:
            return []
        lines, *fields = zip(*self._slabs, strict=True)
        slabs = Slabs(*(np.array(field) for field in fields))
        leaves, where = np.array(self._leaves).T
        entry = Entry(
            tuple(np.array([e.scale for e in self._entries])[where].T),
            tuple(np.array([e.ratio for e in self._entries])[where].T),
            np.array([e.mu_lo for e in self._entries])[where],
            np.array([e.mu_hi for e in self._entries])[where],
        )
        tests = simple_tests(slabs, entry)
        passed = np.all([ok for _, ok in tests], axis=0)
        results: list[tuple[int, int, str]] = []
        for order, (name, ok) in enumerate(tests):
            results += [(lines[k], order, name) for k in np.flatnonzero(~ok)[:1]]
        # Bounds that are not in order have no meaning below: go as far as they are.
        known = np.flatnonzero(~passed)
        slabs = slabs.take(slice(0, known[0] if known.size else None))
        cuts = _PIECES[np.searchsorted(_PIECES, slabs.cuts)]
        pieces, group = np.unique(cuts, axis=0, return_inverse=True)
        for k, (ne, ngw) in enumerate(pieces):
            some = np.flatnonzero(group.ravel() == k)
            step = max(1, _BLOCK // (max(5 * ne, ngw) * (self.model.state_dim - 2)))
            for first in range(0, some.size, step):
                block = some[first : first + step]
                for order, (name, ok) in enumerate(
                    tube_tests(self.model, slabs.take(block), int(ne), int(ngw))
                ):
                    bad = block[~ok][:1]
                    results += [(lines[i], len(tests) + order, name) for i in bad]
        # Limits of what comes before the first failure: else a box that is whole would seem void.
        sound = lines.index(min(results)[0]) if results else len(lines)
        if sound:
            kept, lower, upper = limits(self.model, slabs.take(slice(0, sound)))
            self._limits.update(leaves[:sound][kept].tolist())
            self.lower = float(np.minimum(self.lower, lower))
            self.upper = float(np.maximum(self.upper, upper))
        return [(line, name) for line, _, name in sorted(results)[:1]]


class Tree:
    """Reads a proof tree, depth first."""

    def __init__(self, lines: Lines, model: Model, box: Box):
        self.lines, self.model = lines, model
        self.batch = Batch(model)
        self.clean_upper = 0.0
        self._boxes, self._leaf = [box], 0

    def read(self) -> None:
        """The whole tree and the record `qed`.

        Raises:
          Rejected: the first line that fails.
        """
        try:
            while self._boxes:
                self._read_box(self._boxes.pop())
            self.lines.expect("qed", 0)
            if self.lines.next() is not None:
                self.lines.reject("text after the end of the proof")
        except Rejected:
            self.batch.flush()
            raise
        self.batch.flush()

    def _fields(self) -> list[str]:
        fields = self.lines.next()
        if fields is None:
            self.lines.reject("the file ends before the proof does")
        return fields

    def _between(self, field: str, low: float, high: float) -> float:
        cut = self.lines.reals([field])[0]
        if not low < cut < high:
            self.lines.reject("the cut is not inside what it cuts")
        return cut

    def _index(self, field: str) -> int:
        return self.lines.integer(field, 3, self.model.state_dim) - 3

    def _read_box(self, box: Box) -> None:
        match self._fields():
            case ["split", "a2", field]:
                cut = self._between(field, *box.a2)
                halves = box._replace(a2=(box.a2[0], cut)), box._replace(a2=(cut, box.a2[1]))
            case ["split", "delta", field]:
                cut = self._between(field, *box.delta)
                halves = (
                    box._replace(delta=(box.delta[0], cut)),
                    box._replace(delta=(cut, box.delta[1])),
                )
            case ["split", "gap", which, field]:
                j = self._index(which)
                cut = self._between(field, box.gaps_lo[j], box.gaps_hi[j])
                low, high = box.gaps_lo.copy(), box.gaps_hi.copy()
                low[j] = high[j] = cut
                halves = box._replace(gaps_hi=high), box._replace(gaps_lo=low)
            case ["tube", start, *state] if len(state) == self._state_size():
                self._read_tube(box, self.lines.reals([start, *state]))
                return
            case _:
                self.lines.reject("expected the record 'split' or 'tube'")
        if len(self._boxes) >= _DEEPEST:
            self.lines.reject("too many splits inside each other")
        self._boxes += [halves[1], halves[0]]

    def _state_size(self) -> int:
        return 4 + 2 * (self.model.state_dim - 2)

    def _read_tube(self, box: Box, numbers: list[float]) -> None:
        self._leaf += 1
        entry = entry_box(self.model, box)
        if entry is None:
            self.lines.reject("phase 0: the gaps cannot be bounded until w = 0")
        self.clean_upper = float(np.maximum(self.clean_upper, clean_bound(self.model, box)))
        if not 0.0 < numbers[0] <= entry.scale[0]:
            self.lines.reject("T1: the tube must start before the entry box")
        at, waiting = _Knot(numbers[0], numbers[1:], None, False), []
        while True:
            match self._fields():
                case ["slab", to, low, high, ne, ngw, *state] if len(state) == self._state_size():
                    at = self._slab(entry, at, self.lines.reals([to, low, high, *state]), ne, ngw)
                case ["jump", which, field]:
                    at = self._jump(at, which, field)
                case ["fork", "g", field]:
                    at = self._fork(entry, at, 0, field, waiting)
                case ["fork", "mu", which, field]:
                    at = self._fork(entry, at, 4 + 2 * self._index(which), field, waiting)
                case ["end"]:
                    self._end(entry, at)
                    if not waiting:
                        break
                    at = waiting.pop()
                case _:
                    self.lines.reject("expected one of the records 'slab', 'jump', 'fork', 'end'")
        self.batch.leaf_ends(self.lines.number, self._leaf)

    def _slab(self, entry: Entry, at: _Knot, numbers: list[float], ne: str, ngw: str) -> _Knot:
        (to, low, high), state = numbers[:3], numbers[3:]
        if not at.scale < to:
            self.lines.reject("T1: the slab must end at a larger E than it starts from")
        if not (0.0 <= low <= 1.0 and 0.0 <= high <= 1.0):
            self.lines.reject("a multiplier's hint is not in 0..1")
        if self.model.state_dim == 3 and not at.state[4:] == state[4:] == [3.0, 3.0]:
            self.lines.reject("T1: mu_3 is exactly 3 for d = 3")
        if self.model.strength == np.inf and not at.state[2:4] == state[2:4] == [0.0, 0.0]:
            self.lines.reject("T1: w stays exactly 0 for an infinite strength")
        pieces = tuple(self.lines.integer(field, 1, _MOST_PIECES) for field in (ne, ngw))
        slab = (at.scale, to, at.state, state, (low, high), pieces)
        self.batch.slab(self.lines.number, self._leaf, entry, slab)
        return _Knot(to, state, state, False)

    def _jump(self, at: _Knot, which: str, field: str) -> _Knot:
        """T2: outward, but g may be cut from above where q <= 0 (T6)."""
        index = self.lines.integer(which, 0, self._state_size() - 1)
        (value,) = self.lines.reals([field])
        if self.model.state_dim == 3 and index >= 4:
            self.lines.reject("T2: mu_3 is exactly 3 for d = 3")
        outward = value <= at.state[index] if index % 2 == 0 else value >= at.state[index]
        if not outward:
            if index != 1 or at.proven is None:
                self.lines.reject("T2: a bound may only jump outward here")
            name = "T6: q may be positive in what is pruned"
            self.batch.unreachable(self.lines.number, name, at.scale, value, at.proven)
        return at._replace(state=[*at.state[:index], value, *at.state[index + 1 :]], jumped=True)

    def _fork(self, entry: Entry, at: _Knot, index: int, field: str, waiting: list) -> _Knot:
        """Cut the state box in two; the upper half waits until the lower one's tube has ended."""
        if at.proven is None or not at.scale > entry.scale[1]:
            self.lines.reject("a fork must come after all trajectories have entered")
        if len(waiting) >= _DEEPEST:
            self.lines.reject("too many forks inside each other")
        cut = self._between(field, at.state[index], at.state[index + 1])
        lower, upper = ([*at.state], [*at.proven]), ([*at.state], [*at.proven])
        lower[0][index + 1], lower[1][index + 1] = cut, min(cut, at.proven[index + 1])
        upper[0][index], upper[1][index] = cut, max(cut, at.proven[index])
        waiting.append(_Knot(at.scale, *upper, at.jumped))
        return _Knot(at.scale, *lower, at.jumped)

    def _end(self, entry: Entry, at: _Knot) -> None:
        if at.proven is None or not at.scale > entry.scale[1]:
            self.lines.reject("T3: the tube ends before all trajectories have entered")
        if at.jumped:
            self.lines.reject("a tube must end at the end box of a slab, without jumps")
        name = "T7: q may be positive where the tube ends"
        self.batch.unreachable(self.lines.number, name, at.scale, at.proven[0], at.proven)


class _Knot(NamedTuple):
    """Where a tube is between two slabs.

    Attributes:
      scale: E.
      state: the box that the next slab starts from.
      proven: the last slab's end box as far as forks left it: there S_(kappa-2) > 0 is tested,
        which T6 and T7 rest on; `None` before the first slab.
      jumped: whether `state` was changed by a jump since.
    """

    scale: float
    state: list[float]
    proven: list[float] | None
    jumped: bool
