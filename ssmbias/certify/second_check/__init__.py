r"""The second checker of proof logs: outward-rounded float64 intervals in NumPy.

It was written from the text of docs/certificates.md alone, shares no code with the prover or with
`ssmbias.certify.check`, and tests thousands of slabs at once. It imports NumPy and the standard
library, nothing else of the package. `interval` has the argument why its arithmetic is rigorous,
`bounds` and `slabs` the inequalities, `log` and `tree` read the file.
"""

from __future__ import annotations

import math
import os
from typing import NamedTuple

import numpy as np

from .interval import Interval, require_ieee
from .log import Lines, Rejected, read_header
from .tree import Tree


class Report(NamedTuple):
    """What a log proves.

    Attributes:
      valid: whether every line of the log passes and its claims follow.
      clean_error_upper: this checker's own bound of the clean flow's error/d over the box, at most
        the claimed one; nan for an invalid log, like the next two.
      poisoned_error_lower, poisoned_error_upper: its bounds of the poisoned flow's error/d.
      reason: what failed; empty for a valid log.
      line: the first line that fails, from 1; 0 for the file itself or a valid log.
    """

    valid: bool
    clean_error_upper: float
    poisoned_error_lower: float
    poisoned_error_upper: float
    reason: str
    line: int


def recheck(path: str | os.PathLike[str]) -> Report:
    """Check a proof log from disk.

    Args:
      path: a file as `Certificate.save` writes it.

    Returns:
      The report. A file that cannot be read, or is no proof, is reported as invalid.

    Raises:
      ArithmeticError: this process does not round float64 as IEEE 754 asks.

    Example:
      >>> recheck("no such file").reason
      "'no such file' is not a file"
    """
    require_ieee()
    try:
        with np.errstate(all="ignore"):
            lines = Lines(path)
            try:
                return _check(lines)
            finally:
                lines.close()
    except Rejected as found:
        return Report(False, math.nan, math.nan, math.nan, found.reason, found.line)


def _check(lines: Lines) -> Report:
    header = read_header(lines)
    tree = Tree(lines, header.model, header.box)
    tree.read()
    num = header.model.state_dim
    lower = float((Interval(tree.batch.lower) / num).lo)
    upper = float((Interval(tree.batch.upper) / num).hi)
    for (claim, line), holds in (
        (header.clean_upper, header.clean_upper[0] >= tree.clean_upper),
        (header.poisoned_lower, header.poisoned_lower[0] <= lower),
        (header.poisoned_upper, header.poisoned_upper[0] >= upper),
    ):
        if not holds:
            raise Rejected(line, f"the claimed bound {claim!r} does not follow from the proof")
    return Report(True, tree.clean_upper, lower, upper, "", 0)
