"""Files that are no proofs are refused in one line, whatever they hold."""

import gzip
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from certify import tampering
from certify.check.proved import BOX, FOLDER, proved

from ssmbias.certify import check, recheck

ROOT = FOLDER.parents[2]


def hostile_files(log: Path) -> Iterator[tuple[str, bytes, str]]:
    """Name, content, and a word that the message must have."""
    whole = log.read_bytes()
    text = gzip.decompress(whole)
    lines = text.decode("ascii").splitlines()
    flipped, crc = bytearray(whole), bytearray(whole)
    flipped[len(whole) // 2] ^= 0x10
    crc[-8] ^= 0x01
    noise = np.random.default_rng(0).integers(0, 256, 3000, dtype=np.uint8).tobytes()
    yield "empty", b"", ""
    yield "nothing packed", gzip.compress(b""), "ends"
    yield "binary", noise, "not gzip"
    yield "binary packed", gzip.compress(noise), "line of ASCII"
    yield "plain text", text, "not gzip"
    yield "gzip cut short", whole[: len(whole) // 2], "cut short"
    yield "last byte gone", whole[:-1], "cut short"
    yield "bit flipped", bytes(flipped), ""
    yield "wrong checksum", bytes(crc), "damaged"
    yield "bytes after gzip", whole + b"more", "damaged"
    yield "another gzip after it", whole + gzip.compress(b"qed\n"), "follows"
    yield "text after qed", gzip.compress(text + b"\n"), "follows"
    yield "no qed", gzip.compress(text[: -len(b"qed\n")]), "ends"
    yield "no last newline", gzip.compress(text[:-1]), "line"
    yield "early end", gzip.compress("\n".join([*lines[:20], "end", "qed", ""]).encode()), "T3"
    yield "text cut short", gzip.compress(text[: len(text) // 2]), ""
    yield "version 2", gzip.compress(text.replace(b"certificate 1", b"certificate 2", 1)), "version"
    yield "windows lines", gzip.compress(text.replace(b"\n", b"\r\n")), ""
    yield "blank line", gzip.compress(text.replace(b"proof\n", b"proof\n\n", 1)), "due"
    yield "other alphabet", gzip.compress(text.replace(b"proof\n", b"\xff\n", 1)), "ASCII"
    # A gibibyte of zeros in a few megabytes, as one line; and lines that never end after a header.
    yield "bomb", gzip.compress(bytes(1 << 24), 1) * 64, "too long"
    yield (
        "endless line",
        gzip.compress("\n".join(lines[:14]).encode() + b"0" * (1 << 26), 1),
        "long",
    )
    mark = "slab "
    at = next(k for k, line in enumerate(lines) if line.startswith(mark))
    fields = lines[at].split(" ")
    for place, number in (
        *((1, word) for word in ("nan", "inf", "-inf", "0x1p+1024", "0x1p+99999", "0.5", "1")),
        *((1, word) for word in ("0x", "", "0x1.8p-3 ", "0X1P-3", "0x2p-3", "١")),
        *((1, "0x1." + "0" * 40 + "p-3"), (1, "0x0.0p+0"), (1, "0x1p-1074")),
        *((2, "0x1.8p+0"), (4, "0"), (4, "65"), (5, "-1"), (5, "1.0"), (5, "9" * 99)),
        *((7, "0x1p+1023"), (9, "0x1p+1023"), (8, "-0x1p-1074"), (6, "0x0.0p+0")),
        *((10, "0x1.fffffffffffffp+1023"), (11, "0x1p-1074")),
    ):
        edited = [*lines[:at], " ".join([*fields[:place], number, *fields[place + 1 :]])]
        content = "\n".join([*edited, *lines[at + 1 :], ""])
        yield f"field {place} is {number[:12]!r}", gzip.compress(content.encode(), 1), ""
    # Sizes, strengths and boxes out of range; a tube that begins nowhere or too late; odd records.
    for name, field, word in (
        ("seq_len", 1, "8"),
        ("seq_len", 1, "3"),
        ("seq_len", 1, "101"),
        ("seq_len", 1, "7.0"),
        ("state_dim", 1, "2"),
        ("state_dim", 1, "1001"),
        ("state_dim", 1, "1000"),
        ("strength", 1, "0x0.0p+0"),
        ("strength", 1, "0x1p+1023"),
        ("strength", 1, "0x1p-1074"),
        ("horizon", 1, "21"),
        ("a2", 1, "0x1p-1"),
        ("delta", 1, "0x1p-1"),
        ("delta", 2, "0x1p-1074"),
        ("gaps", 2, "0x1p-2"),
        ("gaps_to", 1, "-0x1p-9"),
        ("proof", 0, "proof of it"),
        ("tube", 1, "0x0.0p+0"),
        ("tube", 1, "0x1p+0"),
        ("tube", 0, "split b"),
        ("tube", 0, "split gap 5"),
        ("tube", 0, "split a2"),
        ("end", 0, "fork g"),
        ("end", 0, "fork mu 9"),
        ("end", 0, "jump 8 0x1p-3"),
        ("end", 0, "jump"),
    ):
        k = next(k for k, line in enumerate(lines) if line.split(" ")[0] == name)
        fields_k = lines[k].split(" ")
        edited = [*lines[:k], " ".join([*fields_k[:field], word, *fields_k[field + 1 :]])]
        content = "\n".join([*edited, *lines[k + 1 :], ""])
        yield f"{name} {field} is {word!r}", gzip.compress(content.encode(), 1), ""


# The process runs out of memory, and fails, where the checker takes more than this.
_SMALL_MACHINE = """
import contextlib, io, json, resource, sys, time
from ssmbias.certify.check.__main__ import main
resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))
found = []
for path in sys.argv[1:]:
    sys.argv[1:] = [path]
    said, printed, begin = io.StringIO(), io.StringIO(), time.perf_counter()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(printed):
        code = main()
    found.append([code, said.getvalue(), printed.getvalue(), time.perf_counter() - begin])
print(json.dumps(found))
"""


def run_in_small_memory(paths: list[Path]) -> list[Any]:
    done = subprocess.run(
        [sys.executable, "-c", _SMALL_MACHINE, *map(str, paths)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_anything_else_is_refused_in_one_line(log, tmp_path):
    cases = [("missing", tmp_path / "none.gz", "cannot be opened"), ("folder", tmp_path, "opened")]
    for k, (name, content, word) in enumerate(hostile_files(log)):
        path = tmp_path / f"{k}.gz"
        path.write_bytes(content)
        cases.append((name, path, word))
    *results, last = run_in_small_memory([*(path for _, path, _ in cases), log])
    wrong = []
    for (name, _, word), (code, said, printed, seconds) in zip(cases, results, strict=True):
        one_line = said.startswith("not a proof: line ") and said.count("\n") == 1
        if code != 1 or printed or not one_line or word not in said or seconds > 20:
            wrong.append((name, code, said, printed, seconds))
    assert not wrong
    # The same process accepts the proof itself.
    assert last[:2] == [0, ""]
    assert len(results) > 60
    # Nor does the other checker take one of them, but for what is whole except its last byte.
    assert [name for name, path, _ in cases if recheck(path).valid] == ["no last newline"]


# What may stand in a file beside what the prover writes.
_NUMBERS = ["0x0.0p+0", "-0x0.0p+0", "0x1p-1074", "0x1.fffffffffffffp+1023", "0x1p+600"]
_NUMBERS += ["0x1p+0", "-0x1p+0", "0x1.8p+1", "0x1p-30", "3", "64", "0x1p-600"]
_RECORDS = ["jump 0", "jump 1", "jump 3", "jump 5", "fork g", "fork mu 3", "split delta"]
_RECORDS += ["split gap 3", "end", "qed"]


def edited_at_random(lines: list[str], rng: random.Random) -> list[str]:
    """One line of a log changed, doubled, lost or added: near the header, the end, or anywhere."""
    first, last = rng.choice([(0, 20), (13, 60), (len(lines) - 40, len(lines)), (0, len(lines))])
    k, word = rng.randrange(first, last), rng.choice(_NUMBERS)
    fields = lines[k].split(" ")
    j = rng.randrange(len(fields))
    kind = rng.choice(["lost", "doubled", "other", "near", "near", "near", "moved", "cut", "added"])
    if kind == "near" and fields[j].startswith("0x"):
        change = rng.choice([-1, 1]) * 10 ** rng.uniform(-12, -0.1)
        fields[j] = (float.fromhex(fields[j]) * (1 + change)).hex()
    elif kind == "lost":
        del fields[j]
    elif kind == "doubled":
        fields.insert(j, fields[j])
    elif kind == "other":
        fields[j] = word
    changed = {
        "moved": [rng.choice(lines), lines[k]],
        "cut": [],
        "added": [f"{rng.choice(_RECORDS)} {word}", lines[k]],
    }
    return [*lines[:k], *changed.get(kind, [" ".join(fields)]), *lines[k + 1 :]]


@pytest.mark.slow
def test_random_edits_never_crash_nor_divide_the_checkers(tmp_path):
    """Some edits leave a proof. Only claims at their very edge may pass one checker alone."""
    found = proved(BOX, forks=4)
    lines = tampering.read_lines(found.save(tmp_path / "proof.gz"))
    assert any(line.startswith("fork") for line in lines)
    divided, valid, num = [], 0, 250
    for seed in range(num):
        text = edited_at_random(lines, random.Random(seed))
        path = tampering.write_lines(tmp_path / "proof.gz", text)
        first, second = check(path), recheck(path)
        valid += first.valid
        if first.valid != second.valid and "claim" not in first.reason + second.reason:
            divided.append((seed, first, second))
    assert not divided
    assert 10 < valid < num / 2
