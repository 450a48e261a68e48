"""The text of a proof: records one at a time, the header, and what makes a file unreadable.

Everything in a file is untrusted: lines, text and numbers are bounded in size, so that a hostile
file costs little memory. A number in it stands for its double exactly.
"""

from __future__ import annotations

import gzip
import math
import os
import re
import stat
import sys
import zlib
from typing import NamedTuple

HORIZON = 20  # lags 0..19 are compared; a constant of version 1
MAX_FILE, MAX_LINE, MAX_TEXT = 1 << 26, 1 << 17, 1 << 30  # bytes; the last two decompressed
_REAL = re.compile(r"-?0x[01](\.[0-9a-f]{1,13})?p[+-]?[0-9]{1,4}", re.ASCII)
CLAIMS = ("clean_error_upper", "poisoned_error_lower", "poisoned_error_upper")
Box = tuple[tuple[float, ...], ...]
"""Starts: the ranges (lo, hi) of a_2, of delta = a_1 - a_2, then of D_j = a_2 - a_j, j = 3..d."""


class Failure(Exception):
    """The file is no proof; the message says why."""


class Problem(NamedTuple):
    """The network and the poison: kappa, d and rho, inf for the limit of strong poison."""

    seq_len: int
    state_dim: int
    strength: float


class Reader:
    """Reads records from a gzip file; `line` and `kind` are those of the record in work."""

    def __init__(self, path) -> None:
        self.line, self.size, self.kind = 0, 0, ""
        try:
            kind = os.stat(path)
            if not stat.S_ISREG(kind.st_mode) or kind.st_size > MAX_FILE:
                raise OSError(f"no regular file, or more than {MAX_FILE} bytes")
            self.file = gzip.open(path, "rb")  # noqa: SIM115
        except (OSError, ValueError) as error:
            raise Failure(f"the file cannot be opened: {error}") from None

    def _line(self) -> bytes:
        self.line, self.kind = self.line + 1, ""
        try:
            raw = self.file.readline(MAX_LINE + 1)
        except (EOFError, OSError, zlib.error) as error:
            raise Failure(f"the file is damaged, cut short or not gzip: {error}") from None
        self.size += len(raw)
        if len(raw) > MAX_LINE or self.size > MAX_TEXT:
            raise Failure(f"too long: over {MAX_LINE} bytes in a line or {MAX_TEXT} in all")
        return raw

    def record(self, *kinds: str) -> list[str]:
        """The fields of the next line, which must be of one of these kinds."""
        raw = self._line()
        if not raw.endswith(b"\n") or not raw.isascii():
            if raw.endswith(b"\n"):
                raise Failure("not a line of ASCII text")
            raise Failure(f"the text ends {'within a line' if raw else 'before the proof'}")
        fields = raw[:-1].decode("ascii").split(" ")
        if fields[0] not in kinds or (fields[0] in ("proof", "end", "qed") and len(fields) > 1):
            raise Failure(f"{' '.join(fields)[:30]!r} where {' or '.join(kinds)} is due")
        self.kind = fields[0]
        return fields

    def end(self) -> None:
        """Nothing may follow qed; this also makes gzip verify its checksum."""
        if self._line():
            raise Failure("something follows qed")
        self.line -= 1


def reals(fields: list[str], count: int) -> tuple[float, ...]:
    """Exactly so many finite C99 hex doubles."""
    if len(fields) != count:
        raise Failure(f"{len(fields)} numbers where {count} are due")
    for field in fields:
        if not _REAL.fullmatch(field):
            raise Failure(f"{field[:30]!r} is not a hex double such as 0x1.8p-3")
    try:
        values = tuple(map(float.fromhex, fields))
    except OverflowError:
        raise Failure("a number is too large for a double") from None
    for field, value in zip(fields, values, strict=True):  # subnormal numbers may be rounded
        if abs(value) < sys.float_info.min and re.search("x.*[1-9a-f].*p", field):
            raise Failure(f"{field[:30]!r} is too small for a normal double")
    return values


def integer(fields: list[str], low: int, high: int) -> int:
    """Exactly one decimal integer from low to high."""
    text = " ".join(fields)
    if not re.fullmatch("[0-9]{1,6}", text) or not low <= int(text) <= high:
        raise Failure(f"{text[:30]!r} is not an integer from {low} to {high}")
    return int(text)


def read_header(reader: Reader) -> tuple[Problem, Box, tuple[float, ...]]:
    """The lines down to `proof`: the problem, the box, the claims (errors divided by d)."""
    if (version := reader.record("ssmbias-certificate")[1:]) != ["1"]:
        raise Failure(f"version {' '.join(version)[:30]!r}: this checker reads version 1")
    seq_len = integer(reader.record("seq_len")[1:], 5, 99)
    if seq_len % 2 == 0:
        raise Failure("seq_len must be odd")
    state_dim = integer(reader.record("state_dim")[1:], 3, 1000)
    word = reader.record("strength")[1:]
    strength = math.inf if word == ["inf"] else reals(word, 1)[0]
    if not strength > 0:
        raise Failure("strength must be positive")
    integer(reader.record("horizon")[1:], HORIZON, HORIZON)
    a2, delta = (reals(reader.record(name)[1:], 2) for name in ("a2", "delta"))
    ends = [reals(reader.record(name)[1:], state_dim - 2) for name in ("gaps", "gaps_to")]
    claims = [reals(reader.record(name)[1:], 1)[0] for name in CLAIMS]
    reader.record("proof")
    box = (a2, delta, *zip(*ends, strict=True))
    return Problem(seq_len, state_dim, strength), box, tuple(claims)


def split_box(box: Box, fields: list[str]) -> list[Box]:
    """The two closed halves of a box, which share the cut."""
    if fields[1:2] == ["gap"]:
        i = integer(fields[2:3], 3, len(box)) - 1
    elif fields[1:2] in (["a2"], ["delta"]):
        i = int(fields[1] == "delta")
    else:
        raise Failure("a split is in a2, in delta or in gap <j>")
    (low, high), (cut,) = box[i], reals(fields[3 if i > 1 else 2 :], 1)
    if not low < cut < high:
        raise Failure("a split must cut inside its box")
    return [(*box[:i], side, *box[i + 1 :]) for side in ((low, cut), (cut, high))]
