"""Ways to tamper with a proof log, on its text lines; every checker must reject each of them.

`tamperings(lines)` yields (name, tampered lines, first, last): the first line that fails must be
one of first..last (from 1), as far as a checker reports where its tests fail.
"""

import gzip
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HEADER = [
    "version",
    "seq_len",
    "state_dim",
    "strength",
    "horizon",
    "a2",
    "delta",
    "gaps",
    "gaps_to",
]


class Slab(NamedTuple):
    """A slab of a log: where its line is (from 0), E at both ends, start and end box."""

    index: int
    from_: float
    to: float
    start: list[float]
    end: list[float]


def read_lines(path: Path) -> list[str]:
    return gzip.decompress(Path(path).read_bytes()).decode("ascii").splitlines()


def write_lines(path: Path, lines: list[str]) -> Path:
    Path(path).write_bytes(gzip.compress(("\n".join(lines) + "\n").encode("ascii"), mtime=0))
    return path


def edit(lines: list[str], index: int, field: int, change) -> list[str]:
    """`lines` with one field of one line replaced by change(its number), as a hex double."""
    fields = lines[index].split(" ")
    fields[field] = change(float.fromhex(fields[field])).hex()
    return [*lines[:index], " ".join(fields), *lines[index + 1 :]]


def edit_named(lines: list[str], name: str, field: int, change) -> tuple[list[str], int]:
    """The same for a line of the header; also its number from 1."""
    index = next(k for k, line in enumerate(lines) if line.startswith(name + " "))
    return edit(lines, index, field, change), index + 1


def slabs_of(lines: list[str]) -> list[Slab]:
    """All slabs of a log's first tube up to its first fork or end, jumps applied."""
    found: list[Slab] = []
    scale, state = 0.0, []
    for index, line in enumerate(lines):
        kind, *fields = line.split(" ")
        if kind == "tube":
            scale, *state = map(float.fromhex, fields)
        elif kind == "jump":
            state[int(fields[0])] = float.fromhex(fields[1])
        elif kind == "slab":
            to, end = float.fromhex(fields[0]), [float.fromhex(field) for field in fields[5:]]
            found.append(Slab(index, scale, to, state, end))
            scale, state = to, [*end]
        elif kind in ("fork", "end"):
            break
    return found


def _end_field(entry: int) -> int:
    return 6 + entry  # after: slab, E1, two hints, two numbers of pieces


def tamperings(lines: list[str]) -> Iterator[tuple[str, list[str], int, int]]:
    """Every tampering of a valid log; the log's d must be at least 4, so that mu moves."""
    slabs = slabs_of(lines)
    tube = next(k for k, line in enumerate(lines) if line.startswith("tube "))
    last_line, box_line = len(lines), lines.index("proof") + 1
    middle = slabs[len(slabs) // 2 :]
    # A slab in the second half where w is bounded from both sides and g's upper face moves.
    some = next(s for s in middle if s.end[2] > 0.0 and s.end[1] > s.start[1] * (1 + 1e-9))
    at, line = some.index, some.index + 1

    def changed(entry: int, change) -> list[str]:
        return edit(lines, at, _end_field(entry), change)

    # Without jumps behind it, which the loss of the slab could make invalid by themselves.
    lone = next(a for a, b in itertools.pairwise(middle) if b.index == a.index + 1)
    yield (
        "slab removed",
        [*lines[: lone.index], *lines[lone.index + 1 :]],
        lone.index + 1,
        lone.index + 1,
    )

    ends = [k for k, text in enumerate(lines) if text == "end"]
    cut = [k for k in range(ends[-1]) if lines[k].startswith("slab ")][-5]
    while not lines[cut - 1].startswith("slab "):  # nor what was to change after that one
        cut -= 1
    yield "tube cut 5 slabs early", [*lines[:cut], *lines[ends[-1] :]], cut + 1, cut + 1

    tampered, _ = edit_named(lines, "delta", 2, lambda x: x * 1.05)
    yield "delta.hi +5 %", tampered, tube + 1, slabs[0].index + 1
    tampered, _ = edit_named(lines, "gaps", 1, lambda x: x * 0.9)
    yield "D_3.lo -10 %", tampered, tube + 1, slabs[0].index + 1
    tampered, _ = edit_named(lines, "gaps_to", 1, lambda x: x * 1.1)
    yield "D_3.hi +10 %", tampered, tube + 1, slabs[0].index + 1

    slope = some.end[1] - some.start[1]
    yield "g upper slope -10 %", changed(1, lambda _: some.start[1] + 0.9 * slope), line, line
    width = some.end[3] - some.end[2]
    low_w, high_w = some.end[2] + 0.02 * width, some.end[3] - 0.02 * width
    yield "w.hi driven below h", changed(3, lambda _: low_w), line, line
    yield "w.lo raised", changed(2, lambda _: high_w), line, line
    yield "negative w", changed(2, lambda _: -1e-6), line, line
    raised = 0.9 * some.end[4] + 0.1 * some.end[5]
    yield "mu_3.lo raised", changed(4, lambda _: raised), line, line
    lowered = 0.1 * some.end[4] + 0.9 * some.end[5]
    yield "mu_3.hi lowered", changed(5, lambda _: lowered), line, line
    yield (
        "bounds of g swapped",
        edit(changed(0, lambda _: some.end[1]), at, 7, lambda _: some.end[0]),
        line,
        line,
    )
    yield "knot moved back", edit(lines, at, 1, lambda _: some.from_), line, line
    yield (
        "no number",
        [*lines[:at], lines[at].replace("0x1.", "0y1.", 1), *lines[at + 1 :]],
        line,
        line,
    )
    yield "nan", edit(lines, at, 1, lambda _: float("nan")), line, line

    inner = 0.5 * (some.end[0] + some.end[1])
    yield (
        "unjustified prune",
        [*lines[:line], f"jump 1 {inner.hex()}", *lines[line:]],
        line + 1,
        line + 1,
    )
    inner = 0.5 * (some.end[4] + some.end[5])
    yield "jump inward", [*lines[:line], f"jump 4 {inner.hex()}", *lines[line:]], line + 1, line + 1
    first = slabs[0].index
    inner = 0.5 * (slabs[0].end[0] + slabs[0].end[1])
    yield (
        "early fork",
        [*lines[: first + 1], f"fork g {inner.hex()}", *lines[first + 1 :]],
        first + 2,
        first + 2,
    )
    # A trajectory that enters late must be inside, however long the tube has been running.
    late = slabs[1]
    yield (
        "late entry forgotten",
        edit(lines, late.index, 6, lambda x: x * 1.0001),
        late.index + 1,
        late.index + 1,
    )

    seq_len, strength = HEADER.index("seq_len"), HEADER.index("strength")
    for other in (5, 9):
        text = [*lines[:seq_len], f"seq_len {other}", *lines[seq_len + 1 :]]
        yield f"seq_len {other}", text, tube + 1, last_line
    yield "other strength", edit(lines, strength, 1, lambda x: 2 * x), tube + 1, last_line
    yield "no strength", edit(lines, strength, 1, lambda x: -x), strength + 1, strength + 1
    tampered, where = edit_named(lines, "delta", 1, lambda _: 0.0)
    yield "tie of the largest entries", tampered, where, box_line
    tampered, where = edit_named(lines, "gaps", 1, lambda _: 0.0)
    yield "tie with the second entry", tampered, where, box_line
    tampered, where = edit_named(lines, "a2", 1, lambda _: 1e-5)
    yield "entries below zero", tampered, where, box_line
    tampered, where = edit_named(lines, "a2", 2, lambda _: 0.9)
    yield "start too large", tampered, where, box_line
    yield "qed missing", lines[:-1], last_line, last_line
    yield "text after qed", [*lines, "qed"], last_line + 1, last_line + 1
    yield "end missing", [*lines[: ends[-1]], *lines[ends[-1] + 1 :]], ends[-1] + 1, ends[-1] + 1


def with_claim(lines: list[str], name: str, value: float) -> tuple[list[str], int]:
    """The log with another claimed bound, and the line of the claim."""
    return edit_named(lines, name, 1, lambda _: value)
