"""The checker of certificates: replays a proof log in ball arithmetic (Arb, by python-flint).

Written from docs/certificates.md alone; it shares no code with the prover and needs nothing of
the package around it. In order of reading: proof_log (text), bounds (inequalities), limits, tube.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from os import PathLike
from typing import NamedTuple

from .proof_log import Box, Failure, Problem, Reader, read_header, split_box

_NONE = (math.nan, math.nan, math.nan)


class Report(NamedTuple):
    """What a file proves, or why it proves nothing.

    Attributes:
      valid: whether every step was checked.
      clean_error_upper, poisoned_error_lower, poisoned_error_upper: the claims of the file, now
        proved: exact doubles, divided by d; nan unless valid.
      reason: what is wrong, else "".
      line: number of the first line that fails, or of the last one.
      seq_len, state_dim, strength, box: what the claims are about; 0 and () if unread. The box is
        the pairs (lo, hi) of a_2, a_1 - a_2, then a_2 - a_j for j = 3..d.
      slabs, leaves: how many slabs were checked, and boxes that the box was split into.
      precision: of the ball arithmetic, in bits.
    """

    valid: bool
    clean_error_upper: float
    poisoned_error_lower: float
    poisoned_error_upper: float
    reason: str
    line: int
    seq_len: int
    state_dim: int
    strength: float
    box: Box
    slabs: int
    leaves: int
    precision: int


def check(
    path: str | PathLike[str],
    *,
    precision: int = 96,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Checks the proof in a file, which may hold anything at all; a bad file is no exception.

    Args:
      path: a gzip-compressed proof log.
      precision: bits of the ball arithmetic; fewer prove less, never something false.
      progress: called with the numbers of slabs and of boxes begun, at every slab.

    Returns:
      The report.

    Raises:
      ImportError: python-flint is not installed.

    Example:
      >>> report = check("no such file")
      >>> report.valid, report.line
      (False, 0)
    """
    try:
        from flint import ctx  # noqa: PLC0415  (here, so that the command can say what is missing)
    except ModuleNotFoundError:
        raise ImportError("python-flint is not installed: pip install python-flint") from None
    from .limits import require_box  # noqa: PLC0415
    from .tube import MAX_WAITING, check_tube  # noqa: PLC0415

    reader, problem, box, claims, reason = None, Problem(0, 0, 0.0), (), _NONE, ""
    leaves = slabs = 0

    def count() -> None:
        nonlocal slabs
        slabs += 1
        if progress is not None:
            progress(slabs, leaves)

    before, ctx.prec = ctx.prec, precision
    try:
        reader = Reader(path)
        problem, box, claims = read_header(reader)
        require_box(problem, box)
        waiting = [box]
        while waiting:
            part, fields = waiting.pop(), reader.record("split", "tube")
            if fields[0] == "tube":
                leaves += 1
                check_tube(problem, part, claims, reader, fields, count)
            elif len(waiting) >= MAX_WAITING:
                raise Failure(f"more than {MAX_WAITING} boxes wait")
            else:
                waiting += reversed(split_box(part, fields))
        reader.record("qed")
        reader.end()
    except Failure as failure:
        at = f"slab {slabs}: " if reader is not None and reader.kind == "slab" else ""
        claims, reason = _NONE, f"{at}{failure}"
    finally:
        ctx.prec = before
        if reader is not None:
            reader.file.close()
    return Report(
        not reason,
        *(claims[0], claims[1], claims[2]),
        reason,
        reader.line if reader is not None else 0,
        *(problem.seq_len, problem.state_dim, problem.strength, box),
        *(slabs, leaves, precision),
    )
