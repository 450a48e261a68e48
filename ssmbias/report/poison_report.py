"""The HTML page of a poison experiment, from text, rows and saved figures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from ssmbias.report.fragments import NUMBER_CELL, mapping_table, scrolling, table, typeset
from ssmbias.report.numbers import Spread
from ssmbias.report.page import page, picture
from ssmbias.report.reproduce import CITATION
from ssmbias.report.row_tables import Row, text_cell
from ssmbias.runs.files import write_atomically

REPORT_FILE = "report.html"

# The style's classes for good, bad and open; every heading says the same in words.
TONES = {"harm": "violated", "open": "inconclusive", "none": "plain"}


@dataclass(frozen=True)
class PoisonPage:
    """What the page says; all text is plain and is escaped here.

    Attributes:
      title: of the experiment.
      headline: the verdict in a few words.
      tone: a key of `TONES`.
      verdicts: what was shown, whole sentences, the main one first.
      limits: what was not shown, whole sentences.
      notes: further remarks.
      controls: rows of the attacks against their controls.
      arms: rows of the arms.
      figures: (file of the PNG, caption, description) each.
      settings: how it was run.
      command: that repeats it, "" if unknown.
    """

    title: str
    headline: str
    tone: str
    verdicts: Sequence[str]
    limits: Sequence[str]
    notes: Sequence[str] = ()
    controls: Sequence[Row] = ()
    arms: Sequence[Row] = ()
    figures: Sequence[tuple[Path, str, str]] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""

    def __post_init__(self) -> None:
        """Refuse a page without a verdict, or without its limits."""
        if self.tone not in TONES:
            raise ValueError(f"tone={self.tone!r}: choose one of {', '.join(TONES)}")
        if not self.verdicts or not self.limits:
            raise ValueError("verdicts, limits: a report says both what was shown and what was not")


def write_page(content: PoisonPage, folder: str | os.PathLike[str]) -> Path:
    """Write `report.html`: style and figures inside, nothing asked for from anywhere.

    Args:
      content: what it says.
      folder: which exists.

    Returns:
      The file, complete or not there.
    """
    text = _page(content)
    path = Path(folder) / REPORT_FILE
    return write_atomically(path, lambda stream: stream.write(text.encode("utf-8")))


def _page(content: PoisonPage) -> str:
    header = (
        f'<p class="kicker">ssmbias poison: {escape(content.title)}</p>'
        f'<h1 class="{TONES[content.tone]}">{escape(content.headline)}</h1>'
    )
    figures = "".join(picture(*figure) for figure in content.figures)
    return page(
        f"{content.headline} – ssmbias poison",
        header,
        [
            ("verdict", "Verdict", _paragraphs(content.verdicts)),
            ("limits", "What this does not show", _list(content.limits)),
            ("controls", "Against every control", _table("Paired differences", content.controls)),
            ("notes", "Remarks", _list(content.notes)),
            ("figures", "Figures", f'<div class="figures">{figures}</div>' if figures else ""),
            ("arms", "All arms", _table("Accuracies, mean ± standard deviation", content.arms)),
            ("run", "This run", mapping_table("Settings", content.settings)),
            ("reproduce", "Reproduce", _command(content.command)),
            ("cite", "Cite", scrolling("How to cite", f"<pre>{escape(CITATION)}</pre>")),
        ],
    )


def _paragraphs(sentences: Sequence[str]) -> str:
    return "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)


def _list(sentences: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f"<ul>{items}</ul>" if items else ""


def _table(caption: str, rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    columns = rows[0].columns()
    lines = [
        f"<tr>{''.join(_cell(column.cell(row), column.numeric) for column in columns)}</tr>"
        for row in rows
    ]
    numeric = {column.head for column in columns if column.numeric}
    return table(caption, [column.head for column in columns], lines, numeric)


def _cell(cell: str | Spread, numeric: bool) -> str:
    if isinstance(cell, Spread):
        text = text_cell(cell)
        return f"<td{NUMBER_CELL}>{'–' if text == '-' else escape(text).replace('-', '−')}</td>"
    if numeric:
        return f"<td{NUMBER_CELL}>{typeset(cell)}</td>"
    return f'<td class="nowrap">{escape(text_cell(cell))}</td>'


def _command(command: str) -> str:
    if not command:
        return ""
    return (
        "<p>In a clone of the repository:</p>"
        + scrolling("Command", f"<pre>{escape(command)}</pre>")
        + "<p>The last digits depend on hardware and versions.</p>"
    )
