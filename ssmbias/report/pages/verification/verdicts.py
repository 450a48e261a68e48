"""The verdicts of a run as one table, and its outcome in one sentence."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from ssmbias.report.cells import Badge, Column, Note, Text
from ssmbias.report.numbers import format_size, format_value
from ssmbias.report.render import one_line, slug
from ssmbias.report.results import count_verdicts, worst_verdict
from ssmbias.report.table import Table

VALUES = (
    Column("predicted", lambda row: row.get("predicted"), True, form=format_value, drop=2),
    Column("measured", lambda row: row.get("measured"), True, form=format_value, drop=2),
    Column("difference", lambda row: row.get("residual"), True, form=format_size, drop=1),
    Column("tolerance", lambda row: row.get("tolerance"), True, form=format_size, drop=1),
)
"""What compares a prediction with a measurement."""

QUANTITY = Column("quantity", lambda row: str(row.get("quantity") or ""), width=27, extra=True)
VERDICT = Column("verdict", lambda row: Badge(row["verdict"]))

_COLUMNS = (
    Column(
        "claim",
        lambda row: Text(str(row["claim"]), row["verdict"], f"#{anchor(row['claim'])}"),
        heading=True,
    ),
    # Names of changed settings are long, and better folded than paid for with a column.
    Column("subject", lambda row: str(row["subject"]), width=13),
    QUANTITY,
    *VALUES,
    VERDICT,
)
COLUMNS = tuple(column.head for column in _COLUMNS if not column.extra)


def anchor(claim: Any) -> str:
    """The id of the section of a page about a claim; another one for every claim."""
    text, plain = str(claim), slug(str(claim))
    return f"claim-{plain}" if plain == text else f"claim-{plain}-{zlib.crc32(text.encode()):08x}"


def verdict_table(results: Mapping[str, Any]) -> Table:
    """The verdicts of a run, with the reasons of all that do not hold below.

    A claim holds while its difference is at most its tolerance. On a terminal the table is made
    for 100 columns of text: on a narrower one values are left out, then differences; on a wider
    one what was compared is shown as well.

    Args:
      results: as returned by `load_results`; its "evidence" will do.

    Returns:
      A table to print with `rich`, or as Markdown, LaTeX, HTML or CSV.

    Example:
      >>> row = {"claim": "B1", "subject": "t7", "verdict": "holds", "residual": 1e-3}
      >>> print(verdict_table({"evidence": [row]}).markdown())
      | claim | subject | predicted | measured | difference | tolerance | verdict |
      | --- | --- | ---: | ---: | ---: | ---: | --- |
      | B1 | t7 | - | - | 1.0e-03 | - | holds |
    """
    return Table(
        _COLUMNS,
        results["evidence"],
        headline(results),
        tone=worst_verdict(results),
        breaks=(0, 1),
        notes=open_reasons(results),
        records=[_record(row) for row in results["evidence"]],
    )


def headline(results: Mapping[str, Any]) -> str:
    """The outcome of a run in one sentence.

    Example:
      >>> headline({"evidence": [{"verdict": "holds"}, {"verdict": "violated"}]})
      '1 of 2 checks is violated'
    """
    counts = count_verdicts(results)
    total = sum(counts.values())
    checks = "check" if total == 1 else "checks"
    if counts["violated"]:
        verb = "is" if counts["violated"] == 1 else "are"
        return f"{counts['violated']} of {total} {checks} {verb} violated"
    if counts["inconclusive"]:
        verb = "is" if counts["inconclusive"] == 1 else "are"
        return f"{counts['inconclusive']} of {total} {checks} {verb} inconclusive, none is violated"
    if not total:
        return "Nothing was checked"
    return "The check holds" if total == 1 else f"All {total} checks hold"


def open_reasons(results: Mapping[str, Any]) -> list[Note]:
    """A note for every row that does not hold: which one, and why."""
    return [
        Note(
            f"{one_line(row['claim'])} {one_line(row['subject'])} {row['verdict']}",
            one_line(row.get("reason") or "no reason given"),
            row["verdict"],
        )
        for row in results["evidence"]
        if row["verdict"] != "holds"
    ]


def evidence_records(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of evidence as flat mappings: one column a number, nothing nested.

    Args:
      rows: of `results["evidence"]`.
    """
    return [_record(row) for row in rows]


def _record(row: Mapping[str, Any]) -> dict[str, Any]:
    fit = row.get("fit") or {}
    flat = {name: row.get(name) for name in _FIELDS}
    flat["premises_met"] = all(premise["holds"] for premise in row.get("premises") or [])
    return flat | {f"fit_{name}": fit.get(name) for name in ("exponent", "low", "high")}


_FIELDS = (
    "claim",
    "subject",
    "about",
    "kind",
    "quantity",
    "predicted",
    "measured",
    "residual",
    "tolerance",
    "verdict",
    "reason",
    "derivation",
    "margin",
    "control_rejected",
    "num_runs",
    "num_unconverged",
)
FLOATS = frozenset(
    ["predicted", "measured", "residual", "tolerance", "margin"]
    + [f"fit_{name}" for name in ("exponent", "low", "high")]
)
"""Fields of `evidence_records` that are numbers."""
