"""Pieces of HTML that several sections of a report use; text that they are given is escaped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from html import escape
from typing import Any

from ssmbias.report.tables import format_size, format_value

# Signs beside the words: colour alone would tell nothing to many readers.
_SIGNS = {"holds": "✓", "violated": "✗", "inconclusive": "?"}

_NUMBERS = frozenset({"predicted", "measured", "difference", "tolerance", "margin", "runs"})
NUMBER_CELL = ' class="number"'


def numbers(row: Mapping[str, Any]) -> str:
    """The four cells that compare a prediction with a measurement."""
    cells = (
        format_value(row.get("predicted")),
        format_value(row.get("measured")),
        format_size(row.get("residual")),
        format_size(row.get("tolerance")),
    )
    return "".join(f"<td{NUMBER_CELL}>{typeset(cell)}</td>" for cell in cells)


def typeset(number: str) -> str:
    """3.2e-12 as 3.2 × 10⁻¹², with a true minus."""
    if number == "-":
        return "–"
    mantissa, _, exponent = number.partition("e")
    mantissa = mantissa.replace("-", "−")
    if not exponent:
        return mantissa
    return f"{mantissa} × 10<sup>{str(int(exponent)).replace('-', '−')}</sup>"


def verdict_badge(verdict: str) -> str:
    """A verdict with its sign and colour; screen readers hear the word only."""
    return (
        f'<span class="verdict {verdict}"><span aria-hidden="true">{_SIGNS[verdict]}</span> '
        f"{verdict}</span>"
    )


def table(
    caption: str, head: Sequence[str], rows: Iterable[str], numeric: Set[str] = _NUMBERS
) -> str:
    """A table that can be scrolled by keyboard where it is wider than the page.

    Heads in `numeric` stand over numbers, at the right.
    """
    labels = "".join(
        f'<th scope="col"{NUMBER_CELL if name in numeric else ""}>{escape(name)}</th>'
        for name in head
    )
    thead = f"<thead><tr>{labels}</tr></thead>" if any(head) else ""
    body = f"<tbody>{''.join(rows)}</tbody>"
    return scrolling(caption, f"<table><caption>{escape(caption)}</caption>{thead}{body}</table>")


def scrolling(label: str, html: str) -> str:
    """Something wide, in a box that can be focused and scrolled on its own."""
    return (
        f'<div class="scroll" role="region" aria-label="{escape(label)}" tabindex="0">{html}</div>'
    )


def slug(text: str) -> str:
    """Text made fit for an id."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")


def anchor(claim: str) -> str:
    """The id of the section about a claim."""
    return f"claim-{slug(str(claim))}"


def mapping_table(title: str, mapping: Mapping[str, Any]) -> str:
    """A table of keys and values; nothing where there are none."""
    rows = [
        f'<tr><th scope="row">{escape(str(key))}</th><td>{escape(plain_value(value))}</td></tr>'
        for key, value in mapping.items()
    ]
    return table(title, ["", ""], rows) if rows else ""


def plain_value(value: Any) -> str:
    """A value of the configuration as text; what is nested stays JSON."""
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, list) and not any(isinstance(v, dict | list) for v in value):
        return ", ".join(plain_value(v) for v in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
