"""Tampered proofs and false statements are refused by both checkers."""

import dataclasses
import math
from pathlib import Path

import pytest
from certify import tampering
from certify.check.proved import BOX, QUICK, proved

from ssmbias.certify import certify, check, recheck
from ssmbias.certify.box import Box, default_box
from ssmbias.certify.certificate import ProverOptions
from ssmbias.certify.samples import box_points, clean_error, follow


def both_refuse(path: Path) -> bool:
    return not (check(path).valid or recheck(path).valid)


# --- tampering -----------------------------------------------------------------------------------


def test_both_checkers_refuse_every_tampering_at_its_line(log, tmp_path):
    lines, wrong, names = tampering.read_lines(log), [], []
    for name, text, first, last in tampering.tamperings(lines):
        names.append(name)
        path = tampering.write_lines(tmp_path / "proof.gz", text)
        for checker in (check, recheck):
            report = checker(path)
            if report.valid or not first <= report.line <= last or not report.reason:
                wrong.append((name, (first, last), report))
    assert not wrong
    assert len(set(names)) >= 30


def test_both_checkers_refuse_claims_that_are_too_good(log, certificate, tmp_path):
    lines = tampering.read_lines(log)
    for name, factor in (
        ("clean_error_upper", 0.99),
        ("poisoned_error_lower", 1.05),
        ("poisoned_error_upper", 0.95),
    ):
        for change, valid in ((factor, False), (1 / factor, True)):
            value = getattr(certificate, name) * change
            text, _ = tampering.with_claim(lines, name, value)
            path = tampering.write_lines(tmp_path / "proof.gz", text)
            for checker in (check, recheck):
                report = checker(path)
                assert report.valid is valid, (name, change, report)
                assert math.isnan(report.poisoned_error_lower) is not valid


def test_a_proof_for_one_strength_is_none_for_the_limit_nor_the_other_way_round(log, tmp_path):
    strong = certify(BOX, 7, math.inf, options=QUICK)
    assert strong.certified, strong.reason
    strong_log = strong.save(tmp_path / "strong.gz")
    assert recheck(strong_log).valid
    for source, words in ((log, ["inf"]), (strong_log, ["0x1p+0", "0x1p+1023"])):
        lines = tampering.read_lines(source)
        for word in words:
            text = [f"strength {word}" if line.startswith("strength") else line for line in lines]
            assert both_refuse(tampering.write_lines(tmp_path / "proof.gz", text)), word
    # w > 0 has no place in the limit.
    lines = tampering.read_lines(strong_log)
    at = next(k for k, line in enumerate(lines) if line.startswith("slab"))
    text = tampering.edit(lines, at, 9, lambda _: 1e-3)
    assert both_refuse(tampering.write_lines(tmp_path / "proof.gz", text))


# --- false statements ----------------------------------------------------------------------------


def with_box(lines: list[str], box: Box) -> list[str]:
    """The same proof, said of another box."""
    ends = {"a2": box.a2, "delta": box.delta, "gaps": box.gaps[0], "gaps_to": box.gaps[1]}
    texts = {name: " ".join([name, *(x.hex() for x in ends[name])]) for name in ends}
    return [texts.get(line.split(" ")[0], line) for line in lines]


def test_a_generic_box_is_not_certified(log, tmp_path):
    """A gap of a tenth of the entries: the poisoned flow does little harm there."""
    for dim, scale in ((4, 1e-2), (5, 1e-3)):
        box = default_box(dim, rel=0.1, scale=scale, delta=(0.1 * scale, 0.11 * scale))
        found = certify(box, 7, options=dataclasses.replace(QUICK, max_slabs=700))
        assert not found.certified
        assert "slab" in found.reason
        assert math.isnan(found.poisoned_error_lower)
    generic = default_box(4, rel=0.1, scale=1e-2, delta=(1e-3, 1.1e-3))
    forged = with_box(tampering.read_lines(log), generic)
    assert both_refuse(tampering.write_lines(tmp_path / "proof.gz", forged))


def test_a_gap_that_is_not_small_gets_a_small_bound(tmp_path):
    """What is certified is what is true: not much, against 0.22 for a gap of 1e-5."""
    box = default_box(4, rel=0.02, scale=1e-2, delta=(3e-4, 3.03e-4))
    found = proved(box, 5, num_e=8, num_g=4)
    errors = [follow(point, 5, 1.0).error for point in box_points(box, 2, seed=0)]
    assert found.poisoned_error_lower <= min(errors) < 0.04
    assert found.poisoned_error_upper >= max(errors)
    # And a bound as for a small gap is refused.
    lines = tampering.read_lines(found.save(tmp_path / "proof.gz"))
    better, _ = tampering.with_claim(lines, "poisoned_error_lower", 0.2)
    assert both_refuse(tampering.write_lines(tmp_path / "proof.gz", better))


def test_nearly_tied_entries_have_no_small_clean_error(tmp_path):
    """Near a tie the clean flow errs too; a tie itself is refused."""
    box = default_box(4, rel=0.1, delta=(1e-15, 1.1e-15))
    found = proved(box)
    errors = [clean_error(point, 7) for point in box_points(box, 6, seed=0)]
    # At the worst corner the bound is nearly attained.
    assert 0.15 < max(errors) <= found.clean_error_upper < 1.1 * max(errors)
    lines = tampering.read_lines(found.save(tmp_path / "proof.gz"))
    better, _ = tampering.with_claim(lines, "clean_error_upper", 0.004)
    assert both_refuse(tampering.write_lines(tmp_path / "proof.gz", better))

    with pytest.raises(ValueError, match="delta"):
        default_box(4, delta=(0.0, 1e-15))
    tie, _ = tampering.edit_named(lines, "delta", 1, lambda _: 0.0)
    assert both_refuse(tampering.write_lines(tmp_path / "proof.gz", tie))


def test_a_proof_of_a_box_is_one_of_each_of_its_points(log, tmp_path):
    """A box of no width is a box, and where it lies in the proved one nothing else is needed."""
    gaps = [(low + high) / 2 for low, high in zip(*BOX.gaps, strict=True)]
    a2, delta = sum(BOX.a2) / 2, sum(BOX.delta) / 2
    point = Box((a2, a2), (delta, delta), (tuple(gaps), tuple(gaps)))
    text = with_box(tampering.read_lines(log), point)
    path = tampering.write_lines(tmp_path / "proof.gz", text)
    assert check(path).valid
    assert recheck(path).valid
    outside, _ = tampering.edit_named(text, "delta", 2, lambda _: 2 * BOX.delta[1])
    assert both_refuse(tampering.write_lines(path, outside))


@pytest.mark.slow
def test_false_statements_about_ten_entries(tmp_path):
    """A generic box, a gap of 1e-6, a gap of 1e-15, all at κ = 7 and d = 10."""
    options = ProverOptions(splits=0, max_slabs=8000)
    generic = certify(default_box(10, delta=(1e-4, 1.1e-4)), 7, options=options)
    assert not generic.certified

    wide = default_box(10, delta=(1e-6, 1.05e-6))
    found = certify(wide, 7, options=options)
    errors = [follow(point, 7, 1.0).error for point in box_points(wide, 4, seed=0)]
    assert max(errors) < 0.01
    assert not found.certified or found.poisoned_error_lower <= min(errors)

    tied = default_box(10, delta=(1e-15, 1.1e-15))
    found = certify(tied, 7, options=options)
    clean = max(clean_error(point, 7) for point in box_points(tied, 6, seed=0))
    assert found.certified
    assert 0.07 < clean <= found.clean_error_upper < 0.08
    lines = tampering.read_lines(found.save(tmp_path / "proof.gz"))
    better, _ = tampering.with_claim(lines, "clean_error_upper", 0.069)
    assert both_refuse(tampering.write_lines(tmp_path / "proof.gz", better))


def test_entries_of_zero_or_less_are_refused(log, tmp_path):
    (low, high), gaps = BOX.gaps, BOX.gaps[1]
    with pytest.raises(ValueError, match="a2"):
        Box(a2=(max(gaps), 2 * max(gaps)), delta=BOX.delta, gaps=(low, high))
    for entry in (max(gaps), 0.9 * max(gaps), -1.0):
        text, _ = tampering.edit_named(tampering.read_lines(log), "a2", 1, lambda _, x=entry: x)
        assert both_refuse(tampering.write_lines(tmp_path / "proof.gz", text))
