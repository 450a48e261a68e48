"""Evidence as an assertion: rows that do not hold are shown whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ssmbias.core.verdict import Verdict

_SHOWN = ("quantity", "predicted", "measured", "residual", "tolerance", "derivation", "reason")


def assert_holds(evidence: Any) -> None:
    """Assert that every row of evidence holds.

    A row that is inconclusive does not hold: nothing was shown. Neither does an empty list, for a
    check without rows cannot fail.

    Args:
      evidence: what `ssmbias.verify` or `ssmbias.evidence.check` returned, or one row of it.

    Raises:
      AssertionError: a row does not hold; the message shows each such row.
      ValueError: it is no evidence.

    Example:
      >>> import ssmbias
      >>> assert_holds(ssmbias.verify("M4", "t7", num_seeds=1))
    """
    __tracebackhide__ = True
    rows = _rows(evidence)
    if not rows:
        raise AssertionError("no evidence: a check without rows shows nothing")
    wrong = [row for row in rows if not holds(row)]
    if wrong:
        shown = "\n".join(describe(row) for row in wrong)
        raise AssertionError(f"{len(wrong)} of {len(rows)} rows do not hold\n{shown}")


def holds(row: Any) -> bool:
    """Whether a row of evidence holds."""
    return value_of(row, "verdict") == Verdict.HOLDS


def describe(row: Any) -> str:
    """A row of evidence in lines: claim, subject and verdict, and below them all its numbers.

    Args:
      row: `Evidence`, or a row of the "evidence" of `results.json`.

    Example:
      >>> row = {"claim": "B1", "subject": "t7", "verdict": "violated", "residual": 0.25}
      >>> print(describe(row))
      B1, t7: violated
        residual   0.25
    """
    lines = [f"{value_of(row, 'claim')}, {value_of(row, 'subject')}: {value_of(row, 'verdict')}"]
    for name in _SHOWN:
        value = value_of(row, name)
        if value not in (None, ""):
            lines.append(_line(name, repr(value) if isinstance(value, float) else value))
    if value_of(row, "control_rejected") is False:
        lines.append(_line("control", "was not rejected"))
    return "\n".join(lines)


def value_of(row: Any, name: str) -> Any:
    """A field of `Evidence`, or of a row that was read from a file."""
    return row.get(name) if isinstance(row, Mapping) else getattr(row, name, None)


def _line(name: str, value: Any) -> str:
    return f"  {name:<10} {value}"


def _rows(evidence: Any) -> list[Any]:
    """Rows of whatever was given, checked."""
    alone = isinstance(evidence, Mapping) or hasattr(evidence, "verdict")
    several = isinstance(evidence, Iterable) and not isinstance(evidence, str)
    rows = [evidence] if alone else list(evidence) if several else [None]
    for row in rows:
        if not isinstance(value_of(row, "verdict"), str):
            raise ValueError(
                f"evidence={evidence!r}: expected what ssmbias.verify returns, or one row of it"
            )
    return rows
