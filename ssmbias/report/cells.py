"""Cells and columns of a table, and how each kind of cell looks in each format."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from markupsafe import Markup

from ssmbias.core.verdict import Verdict
from ssmbias.report.numbers import (
    Spread,
    format_any,
    number_in_html,
    number_in_latex,
    spread_in_latex,
)
from ssmbias.report.render import latex_cell, markdown_text, one_line

# Signs beside the words: colour alone would tell nothing to many readers.
_SIGNS = {Verdict.HOLDS: "✓", Verdict.VIOLATED: "✗", Verdict.INCONCLUSIVE: "?"}
# Text that may be folded to no less than this gets room of its own in HTML.
_LONG = 20


class Badge(NamedTuple):
    """A cell that is a verdict, with its sign and colour; `label` says more than its one word."""

    verdict: str
    label: str = ""

    def __html__(self) -> Markup:
        """With its sign, which screen readers leave out."""
        verdict = Verdict(self.verdict)
        return Markup(
            '<span class="verdict {}"><span aria-hidden="true">{}</span> {}</span>'
        ).format(verdict.value, _SIGNS[verdict], self.label or verdict.value)


class Text(NamedTuple):
    """A cell of text in the colour of a verdict, or with a link to a place of the page or a file.

    `href` is "#place" or a relative path; anything with a scheme is left out.
    """

    text: str
    tone: str = ""
    href: str = ""


class Note(NamedTuple):
    """A line below a table, about what its `head` names; `tone` is a verdict or ""."""

    head: str
    text: str
    tone: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
      head: plain text.
      value: what of a row it shows; `None` is the entry at the column's own place.
      numeric: whether cells are numbers, which are set to the right. A text in such a column is a
        number as `ssmbias.report.numbers` prints it.
      latex_head: the head where it is a formula in part.
      form: how a value that is no text is printed.
      heading: whether its cells are the headings of their rows.
      width: number of characters that long text may be folded to; 0 for text that is short.
      drop: columns with a larger number are left out first where a terminal is too narrow; those
        with 0 stay.
      extra: whether it is shown only where there is room to spare: on wide terminals, in HTML.
    """

    head: str
    value: Callable[[Any], Any] | None = None
    numeric: bool = False
    latex_head: str = ""
    form: Callable[[Any], str] = format_any
    heading: bool = False
    width: int = 0
    drop: int = 0
    extra: bool = False

    def text(self, cell: Any) -> str:
        """A cell as plain text on one line."""
        if isinstance(cell, Badge):
            cell = cell.label or cell.verdict
        elif isinstance(cell, Text):
            cell = cell.text
        elif isinstance(cell, Spread):
            cell = format_any(cell)
        return one_line(cell if isinstance(cell, str) else self.form(cell))

    def markdown(self, cell: Any) -> str:
        """A cell in Markdown."""
        # Brackets of an interval, that no link follows, stay brackets.
        return self.text(cell) if isinstance(cell, Spread) else markdown_text(self.text(cell))

    def latex(self, cell: Any) -> str:
        """A cell in LaTeX."""
        if isinstance(cell, Spread):
            return spread_in_latex(cell)
        if self.numeric:
            return number_in_latex(self.text(cell))
        text = latex_cell(self.text(cell))
        plain = tone_of(cell) in ("", Verdict.HOLDS) or isinstance(cell, Text)
        return text if plain else f"\\textbf{{{text}}}"

    def html(self, cell: Any) -> dict[str, Any]:
        """A cell for the template: heading or not, class, content."""
        style = "number" if self.numeric else ""
        if isinstance(cell, Verdict):
            cell = Badge(cell)
        if isinstance(cell, Badge):
            content: Any = cell
            style = "last"
        elif self.numeric or isinstance(cell, Spread):
            content = number_in_html(self.text(cell))
        else:
            content = self.text(cell)
            style = "text" if self.width > _LONG else "" if self.width else "nowrap"
        if isinstance(cell, Text) and re.match(r"#|[^:/?#\s]+(/|$)", cell.href):
            content = Markup('<a href="{}">{}</a>').format(cell.href, content)
        elif isinstance(cell, Text) and cell.tone:
            content = Markup('<span class="{}">{}</span>').format(cell.tone, content)
        return {"heading": self.heading, "style": style, "html": content}


class TableRow(Protocol):
    """A row that knows its table, such as a named tuple; rows of one experiment stand together."""

    @property
    def experiment(self) -> str:
        """What the rows that stand together have in common."""
        ...

    @staticmethod
    def columns() -> tuple[Column, ...]:
        """The columns that are shown."""
        ...

    def fields(self) -> Mapping[str, Any]:
        """The columns of CSV by name: text, integers, floats, or `None`."""
        ...


def tone_of(cell: Any) -> str:
    """The verdict whose colour a cell has, or ""."""
    if isinstance(cell, Verdict):
        return cell.value
    return cell.verdict if isinstance(cell, Badge) else cell.tone if isinstance(cell, Text) else ""
