"""The lines of a proof log, read within bounded memory, and what is wrong with one.

A log is gzip-compressed ASCII, one record per line, fields separated by one space; real numbers
are hexadecimal doubles (docs/certificates.md, "Proof log").
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from typing import NamedTuple, NoReturn

import numpy as np

from .bounds import LAST, Box, Model
from .interval import interval

VERSION = "ssmbias-certificate 1"
MOST_BYTES = 2**26
_LEAST_NORMAL = 2.0**-1022
"""Larger files are refused: the log of a box with d = 10 has about 0.3 MB."""
MOST_TEXT = 2**29
"""And so are files that unfold to more than this many characters."""

_REAL = re.compile(r"-?0x[01](\.[0-9a-f]{1,13})?p[+-]?[0-9]{1,4}", re.ASCII)
_INTEGER = re.compile(r"[0-9]{1,9}", re.ASCII)


class Rejected(Exception):
    """The log proves nothing: the first line that fails (0: the file) and why."""

    def __init__(self, line: int, reason: str):
        super().__init__(reason)
        self.line, self.reason = line, reason


class Lines:
    """The lines of a log in turn; `number` is the current one, from 1."""

    def __init__(self, path: str | os.PathLike[str]):
        if not os.path.isfile(path):
            raise Rejected(0, f"{os.fspath(path)!r} is not a file")
        if os.path.getsize(path) > MOST_BYTES:
            raise Rejected(0, f"the file has more than {MOST_BYTES} bytes")
        self._file = gzip.GzipFile(path, "rb")
        self.number, self.longest, self._read = 0, 4096, 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def next(self) -> list[str] | None:
        """The fields of the next line, or `None` at the end of an undamaged file."""
        self.number += 1
        try:
            line = self._file.readline(self.longest + 1)
        except (OSError, EOFError, zlib.error) as problem:
            self.reject(f"the file cannot be unpacked: {problem}")
        self._read += len(line)
        if not line:
            return None
        if len(line) > self.longest or self._read > MOST_TEXT:
            self.reject("the line, or the text so far, is too long")
        try:
            text = line.decode("ascii")
        except UnicodeDecodeError:
            self.reject("not ASCII text")
        return text.removesuffix("\n").split(" ")

    def expect(self, name: str, count: int) -> list[str]:
        """The fields after `name`, of which there must be `count`."""
        fields = self.next()
        if fields is None or fields[0] != name or len(fields) != count + 1:
            self.reject(f"expected the record {name!r} with {count} fields")
        return fields[1:]

    def reals(self, fields: list[str]) -> list[float]:
        """Fields as doubles."""
        for field in fields:
            if _REAL.fullmatch(field) is None:
                self.reject(f"{field[:40]!r} is not a hexadecimal double")
        try:
            values = [float.fromhex(field) for field in fields]
        except OverflowError:
            self.reject("a number is too large for a double")
        # Below the normal doubles digits may have been rounded away.
        for field, value in zip(fields, values, strict=True):
            digits = field.partition("x")[2].partition("p")[0]
            if abs(value) < _LEAST_NORMAL and digits.strip("0."):
                self.reject(f"{field[:40]!r} is too small for a normal double")
        return values

    def integer(self, field: str, low: int, high: int) -> int:
        """A field as a whole number between bounds."""
        if _INTEGER.fullmatch(field) is None or not low <= int(field) <= high:
            self.reject(f"{field[:40]!r} is not a whole number in {low}..{high}")
        return int(field)

    def reject(self, reason: str) -> NoReturn:
        """Stop at this line."""
        raise Rejected(self.number, reason)


class Header(NamedTuple):
    """What a log claims: the network, the box, and (value, line) of each bound of error/d."""

    model: Model
    box: Box
    clean_upper: tuple[float, int]
    poisoned_lower: tuple[float, int]
    poisoned_upper: tuple[float, int]


def read_header(lines: Lines) -> Header:
    """Everything up to the record `proof`; the box must be one the theorem speaks of."""
    fields = lines.next()
    if fields is None:
        lines.reject("the file is empty")
    if " ".join(fields) != VERSION:
        kind = (
            "another version of the log"
            if fields[0] == VERSION.split(maxsplit=1)[0]
            else "no proof log"
        )
        lines.reject(f"{kind}: the first line must be {VERSION!r}")
    seq_len = lines.integer(lines.expect("seq_len", 1)[0], 5, 99)
    if seq_len % 2 == 0:
        lines.reject("seq_len must be odd")
    state_dim = lines.integer(lines.expect("state_dim", 1)[0], 3, 1000)
    lines.longest = 256 + 32 * (4 + 2 * (state_dim - 2))
    fields = lines.expect("strength", 1)
    strength = np.inf if fields[0] == "inf" else lines.reals(fields)[0]
    if not strength > 0.0:
        lines.reject("strength must be positive")
    lines.integer(lines.expect("horizon", 1)[0], LAST + 1, LAST + 1)
    a2 = lines.reals(lines.expect("a2", 2))
    if not 0.0 < a2[0] <= a2[1]:
        lines.reject("a2 must be two positive numbers in order")
    delta = lines.reals(lines.expect("delta", 2))
    if not 0.0 < delta[0] <= delta[1]:
        lines.reject("delta must be two positive numbers in order: ties prove nothing")
    if not (interval(a2[1]) * state_dim + delta[1]).hi < 1.0:
        lines.reject("S_1(0) < 1 is needed: d a2 + delta is too large")
    low = np.array(lines.reals(lines.expect("gaps", state_dim - 2)))
    if not np.all(low > 0.0):
        lines.reject("every gap must be positive: ties prove nothing")
    high = np.array(lines.reals(lines.expect("gaps_to", state_dim - 2)))
    if not np.all(low <= high):
        lines.reject("a lower bound of a gap is above its upper bound")
    if not a2[0] > high.max():
        lines.reject("the box has entries <= 0: a2 must exceed every gap")
    box = Box((a2[0], a2[1]), (delta[0], delta[1]), low, high)
    claims = []
    for name in ("clean_error_upper", "poisoned_error_lower", "poisoned_error_upper"):
        claims.append((lines.reals(lines.expect(name, 1))[0], lines.number))
    lines.expect("proof", 0)
    return Header(Model(seq_len, state_dim, strength), box, *claims)
