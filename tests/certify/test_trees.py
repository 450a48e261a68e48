"""Trees of proofs and what stands at their edges: both checkers must see the same.

Splits, forks, jumps, numbers that are no doubles, and slabs on which a condition of T5 fails.
"""

import itertools
import os

import pytest
from certify import tampering
from certify.check.proved import BOX, proved

from ssmbias.certify import check, recheck
from ssmbias.certify.box import Box
from ssmbias.certify.check import bounds
from ssmbias.certify.check.proof_log import Failure, Problem

both_checkers = pytest.mark.parametrize("replay", [check, recheck])


@pytest.fixture(scope="module")
def halves(log, tmp_path_factory) -> tuple[float, list[list[str]]]:
    """Where the box is cut, and the records of a tube for each half."""
    path = tmp_path_factory.mktemp("halves") / "proof.gz"
    low, high = (float.fromhex(field) for field in tampering.read_lines(log)[6].split()[1:])
    middle, parts = 0.5 * (low + high), []
    for ends in ((low, middle), (middle, high)):
        part = tampering.read_lines(proved(Box(BOX.a2, ends, BOX.gaps)).save(path))
        parts.append(part[next(k for k, x in enumerate(part) if x.startswith("tube ")) : -1])
    return middle, parts


@both_checkers
def test_splits_and_forks_are_followed(replay, log, tmp_path):
    """Trees made by hand: the same tube proves both halves of a box, or of a knot's box."""
    path = tmp_path / "proof.gz"
    lines = tampering.read_lines(log)
    tube = next(k for k, line in enumerate(lines) if line.startswith("tube "))
    leaf = lines[tube:-1]
    low, high = (float.fromhex(field) for field in lines[6].split()[1:])
    gap = float.fromhex(lines[7].split()[1]) * 1.05
    halves = [f"split delta {(0.5 * (low + high)).hex()}"]
    tree = [*lines[:tube], *halves, f"split gap 3 {gap.hex()}", *leaf, *leaf, *leaf, "qed"]
    split = replay(tampering.write_lines(path, tree))
    assert split.valid, split
    # The clean bound is that of the worst part; the poisoned bounds are the same tube's.
    assert split.poisoned_error_lower == replay(log).poisoned_error_lower
    # One part short, one too many, a cut outside, the halves of another cut.
    short = replay(tampering.write_lines(path, [*lines[:tube], *halves, *leaf, "qed"]))
    assert (short.valid, short.line) == (False, tube + len(leaf) + 2)
    more = replay(tampering.write_lines(path, [*lines[:-1], *leaf, "qed"]))
    assert (more.valid, more.line) == (False, len(lines))
    for cut in (low, high, 2 * high):
        bad = [*lines[:tube], f"split delta {cut.hex()}", *leaf, *leaf, "qed"]
        assert replay(tampering.write_lines(path, bad)).line == tube + 1

    all_slabs = tampering.slabs_of(lines)
    later = itertools.pairwise(all_slabs[len(all_slabs) // 2 :])
    some = next(a for a, b in later if b.index == a.index + 1)
    rest = lines[some.index + 1 : -1]

    def forked(kind: str, cut: float, *branches: list[str]):
        body = [text for branch in branches for text in branch]
        tree = [*lines[: some.index + 1], f"fork {kind} {cut.hex()}", *body, "qed"]
        return replay(tampering.write_lines(path, tree))

    for kind, (low, high) in (("g", some.end[:2]), ("mu 4", some.end[6:8])):
        report = forked(kind, 0.5 * (low + high), rest, rest)
        assert report.valid, report
    assert not forked("g", some.end[0] * (1 + 1e-6), rest).valid  # the upper half has no tube
    outside = forked("g", some.end[1], rest, rest)
    assert (outside.valid, outside.line) == (False, some.index + 2)


@both_checkers
def test_every_half_has_a_tube_of_its_own(replay, log, halves, tmp_path):
    """A tube that proves one half of a box, or of a knot's box, does not prove the other one."""
    lines, path = tampering.read_lines(log), tmp_path / "proof.gz"
    tube = next(k for k, line in enumerate(lines) if line.startswith("tube "))
    middle, (lower, upper) = halves

    def split(*leaves: list[str]):
        body = [line for leaf in leaves for line in leaf]
        tree = [*lines[:tube], f"split delta {middle.hex()}", *body, "qed"]
        # Claims that both tubes meet.
        for name, value in (("poisoned_error_lower", 0.0), ("poisoned_error_upper", 1.0)):
            tree, _ = tampering.with_claim(tree, name, value)
        return replay(tampering.write_lines(path, tree))

    assert split(lower, upper).valid
    assert not split(upper, lower).valid
    twice = split(lower, lower)
    # It is the second leaf that fails, at its first slab: the first leaf is whole.
    first = next(k for k, line in enumerate(lower) if line.startswith("slab "))
    assert (twice.valid, twice.line) == (False, tube + 2 + len(lower) + first)
    assert "T3" in twice.reason


@both_checkers
def test_no_jump_comes_before_the_end(replay, log, tmp_path):
    lines, path = tampering.read_lines(log), tmp_path / "proof.gz"
    end = lines.index("end")
    upper = tampering.slabs_of(lines)[-1].end[1]
    jumped = [*lines[:end], f"jump 1 {(2 * upper).hex()}", *lines[end:]]
    report = replay(tampering.write_lines(path, jumped))
    assert (report.valid, report.line) == (False, end + 2)
    assert "without jumps" in report.reason


@both_checkers
@pytest.mark.parametrize("number", ["0x1.8p-1074", "0x1p-1080", "-0x0.8p-1022"])
def test_numbers_that_a_double_would_round_are_refused(replay, number, log, tmp_path):
    lines, path = tampering.read_lines(log), tmp_path / "proof.gz"
    lines[5] = f"a2 {number} {lines[5].split()[2]}"
    report = replay(tampering.write_lines(path, lines))
    assert (report.valid, report.line) == (False, 6)
    assert "too small" in report.reason


@both_checkers
def test_only_regular_files_are_read(replay, tmp_path):
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer
    report = replay(tmp_path / "pipe")
    assert (report.valid, report.line) == (False, 0)


@pytest.mark.parametrize(
    ("span", "state", "condition"),
    [
        ((0.80, 0.801), [0.01, 0.011, 0.0, 1e-3, 0.99, 1.01, 2.99, 3.01], "z_j >= -5/4"),
        ((0.722, 0.7221), [0.01, 0.011, 0.0, 1e-3, 0.99, 1.01, 2.99, 3.01], "S_p > 0"),
        ((2.0, 2.02), [3.4, 4.6, 0.0, 1e-3, 1.2, 1.4, 2.6, 2.8], "a_2 > 0"),
    ],
)
def test_each_condition_of_t5_is_tested(span, state, condition):
    """Slabs on which one condition alone is uncertain."""
    problem = Problem(7, 4, 1.0)
    slab = bounds.Slab(*span, state, state, 0.3, 0.3, 8, 8)
    with pytest.raises(Failure, match=f"T5: {condition}"):
        bounds.face_rates(problem, slab)
    # Control: smaller E, where entries are near each other.
    near = slab._replace(e0=0.01 * span[0], e1=0.01 * span[1])
    assert len(bounds.face_rates(problem, near)) == 8
