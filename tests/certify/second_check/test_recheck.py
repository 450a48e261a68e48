"""The second checker of proof logs: its arithmetic, its inequalities, and what it rejects."""

import gzip
import math
import sys
from pathlib import Path

import folder_imports
import pytest
from certify import tampering

from ssmbias.certify.second_check import average, recheck


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    """A small log, made by the prover: d = 6, coarse steps."""
    pytest.importorskip("flint")
    from ssmbias.certify.box import default_box
    from ssmbias.certify.certificate import ProverOptions, certify

    options = ProverOptions(step=0.016, splits=0, forks=0)
    certificate = certify(default_box(6, rel=0.1), 7, options=options)
    assert certificate.certified, certificate.reason
    path = tmp_path_factory.mktemp("recheck") / "proof.gz"
    certificate.save(path)
    return path


def test_a_log_is_accepted_with_bounds_at_least_as_good(log):
    report = recheck(log)
    assert report.valid, report
    assert (report.reason, report.line) == ("", 0)
    claims = dict(line.split(" ", 1) for line in tampering.read_lines(log)[9:12])
    assert report.clean_error_upper <= float.fromhex(claims["clean_error_upper"])
    assert report.poisoned_error_lower >= float.fromhex(claims["poisoned_error_lower"])
    assert report.poisoned_error_upper <= float.fromhex(claims["poisoned_error_upper"])


def test_a_moved_knot_is_another_proof(log, tmp_path):
    """Each E is written once, so a knot moved by 1e-12 tears nothing: T4 has room for it."""
    lines = tampering.read_lines(log)
    some = tampering.slabs_of(lines)[100]
    for index, field, change in ((some.index, 1, 1e-12), (some.index, 1, -1e-12)):
        moved = tampering.edit(lines, index, field, lambda x, change=change: x * (1 + change))
        assert recheck(tampering.write_lines(tmp_path / "proof.gz", moved)).valid
    # The first one is not free: the tube must begin before the entry box.
    tube = next(k for k, line in enumerate(lines) if line.startswith("tube "))
    moved = tampering.edit(lines, tube, 1, lambda x: x * (1 + 1e-6))
    assert recheck(tampering.write_lines(tmp_path / "proof.gz", moved)).line == tube + 1


def test_every_tampering_is_rejected_at_its_line(log, tmp_path):
    lines = tampering.read_lines(log)
    wrong = []
    for name, text, first, last in tampering.tamperings(lines):
        report = recheck(tampering.write_lines(tmp_path / "proof.gz", text))
        if report.valid or not first <= report.line <= last or not report.reason:
            wrong.append((name, (first, last), report))
    assert not wrong


def test_claims_hold_to_the_last_bit(log, tmp_path):
    report, lines, path = recheck(log), tampering.read_lines(log), tmp_path / "proof.gz"
    signs = {"clean_error_upper": -1, "poisoned_error_lower": 1, "poisoned_error_upper": -1}
    exact = lines
    for name in signs:
        exact, _ = tampering.with_claim(exact, name, getattr(report, name))
    assert recheck(tampering.write_lines(path, exact)).valid
    for name, sign in signs.items():
        value = math.nextafter(getattr(report, name), sign * math.inf)
        better, line = tampering.with_claim(lines, name, value)
        found = recheck(tampering.write_lines(path, better))
        assert (found.valid, found.line) == (False, line)
        assert math.isnan(found.poisoned_error_lower)


def test_bad_files_are_reported(log, tmp_path):
    whole, path = log.read_bytes(), tmp_path / "bad.gz"
    text = gzip.decompress(whole)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0x10
    bomb = gzip.compress(b"0" * 20_000_000, 1)
    for content, word in (
        (b"", "empty"),
        (gzip.compress(b""), "empty"),
        (whole[: len(whole) // 2], "unpacked"),
        (whole[:-4], "unpacked"),
        (whole + b"more", "unpacked"),
        (bytes(flipped), ""),
        (text, "unpacked"),
        (bytes(range(256)) * 9, "unpacked"),
        (gzip.compress(bytes(range(256)) * 9), "no proof log"),
        (bomb, "too long"),
        (gzip.compress(text[:300] + b"0" * 20_000_000, 1), "too long"),
        (gzip.compress(text.replace(b"certificate 1", b"certificate 2", 1)), "version"),
        (gzip.compress(text.replace(b"\n", b"\r\n")), "version"),
        (gzip.compress(text[: len(text) // 2]), ""),
        (gzip.compress(text.replace(b"proof\n", b"\xff\n", 1)), "ASCII"),
        (gzip.compress(text.replace(b"state_dim 6", b"state_dim 1001", 1)), "whole number"),
        (gzip.compress(text.replace(b"0x1.", b"0x1.00000000000000000000", 1)), "hexadecimal"),
        (gzip.compress(text.replace(b"p-", b"p+9", 1)), ""),
    ):
        path.write_bytes(content)
        report = recheck(path)
        assert not report.valid
        assert word in report.reason, (word, report)
    assert "not a file" in recheck(tmp_path).reason
    assert "not a file" in recheck(tmp_path / "none.gz").reason


def test_it_imports_numpy_and_the_standard_library_only():
    folder = Path(average.__file__).parent
    seen = folder_imports.imported(folder)
    assert seen <= {"numpy"} | set(sys.stdlib_module_names)
