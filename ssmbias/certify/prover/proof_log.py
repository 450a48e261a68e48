"""Write a proof as text: one record per line, hex doubles, compressed (docs/certificates.md)."""

from __future__ import annotations

import gzip
import io
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ssmbias.certify.box import Box
from ssmbias.runs.files import write_atomically

VERSION = 1
HORIZON = 20


def header_lines(
    box: Box, seq_len: int, strength: float, claims: tuple[float, float, float]
) -> Iterator[str]:
    """The statement: the box, the flow, and the three claimed bounds, divided by d.

    Args:
      box: the starts.
      seq_len: κ.
      strength: ρ, or `inf`.
      claims: upper bound of the clean error, lower and upper bound of the poisoned error.
    """
    yield f"ssmbias-certificate {VERSION}"
    yield f"seq_len {seq_len}"
    yield f"state_dim {box.state_dim}"
    yield f"strength {_hex(strength) if strength < math.inf else 'inf'}"
    yield f"horizon {HORIZON}"
    yield f"a2 {_hexes(box.a2)}"
    yield f"delta {_hexes(box.delta)}"
    yield f"gaps {_hexes(box.gaps[0])}"
    yield f"gaps_to {_hexes(box.gaps[1])}"
    names = ("clean_error_upper", "poisoned_error_lower", "poisoned_error_upper")
    for name, value in zip(names, claims, strict=True):
        yield f"{name} {_hex(value)}"
    yield "proof"


def record_lines(records: Iterable[tuple[Any, ...]]) -> Iterator[str]:
    """The records of a proof tree as text, see `ssmbias.certify.prover.tube.Walk`."""
    for record in records:
        name, *values = record
        if name == "tube":
            clock, state = values
            yield f"tube {_hex(clock)} {_hexes(state.T.ravel().tolist())}"
        elif name == "slab":
            clock, cuts, state = values
            yield (
                f"slab {_hex(clock)} {_hex(cuts.zeta_lo)} {_hex(cuts.zeta_hi)} "
                f"{cuts.num_e} {cuts.num_g} {_hexes(state.T.ravel().tolist())}"
            )
        else:
            yield " ".join([name, *(_hex(x) if isinstance(x, float) else str(x) for x in values)])


def compress(lines: Iterable[str]) -> bytes:
    """The lines, compressed; the same lines give the same bytes."""
    stream = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=stream, compresslevel=6, mtime=0) as out:
        for line in lines:
            out.write(line.encode("ascii") + b"\n")
    return stream.getvalue()


def write_log(path: Path, data: bytes) -> Path:
    """Write a compressed proof; the file is complete or not there."""
    return write_atomically(path, lambda stream: stream.write(data))


def _hex(x: float) -> str:
    """A C99 hex double without trailing zeros."""
    mantissa, _, exponent = float(x).hex().partition("p")
    head, _, digits = mantissa.partition(".")
    digits = digits.rstrip("0")
    if digits:
        return f"{head}.{digits}p{exponent}"
    return f"{head}p{exponent}" if x else "0x0.0p+0"


def _hexes(values: Iterable[float]) -> str:
    return " ".join(map(_hex, values))
