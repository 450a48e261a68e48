"""Tables on a terminal, by rich: as many columns as fit, and no number is ever cut."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self, TypeVar

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text as RichText

_T = TypeVar("_T", bound=RichTable)
_COLOURS = {"holds": "green", "violated": "bold red", "inconclusive": "yellow"}

Texts = Sequence[Sequence[tuple[str, str]]]
"""Text and tone of each cell, row by row."""


class Heading(NamedTuple):
    """A column: its name, whether it holds numbers or verdicts, and when it is left out.

    `width`, `drop` and `extra` are those of `ssmbias.report.table.Column`.
    """

    text: str
    numeric: bool
    verdicts: bool
    width: int
    drop: int
    extra: bool


class FittingTable(RichTable):
    """A table that leaves out columns, instead of digits, where the terminal is narrow."""

    heads: Sequence[Heading]
    texts: Texts
    begins: set[int]

    @classmethod
    def of(
        cls,
        heads: Sequence[Heading],
        texts: Texts,
        begins: set[int],
        title: tuple[str, str],
        notes: Sequence[tuple[str, str, str]],
    ) -> Self:
        """The table: columns, cells, rows that begin a group, title with its tone, notes below."""
        table = cls(box=box.SIMPLE_HEAD, pad_edge=False)
        table.heads, table.texts, table.begins = heads, texts, begins
        text, tone = title
        if text:
            table.title, table.title_style = RichText(text), _COLOURS.get(tone, "")
        if notes:
            caption = RichText()
            for name, said, note_tone in notes:
                caption.append(name, style=_COLOURS.get(note_tone, ""))
                caption.append(f": {said}\n")
            caption.rstrip()
            table.caption, table.caption_justify, table.caption_style = caption, "left", ""
        _, plain, *_ = table._layouts()
        return table._fill(table, plain)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The first layout that fits."""
        yield from RichTable.__rich_console__(self._fitting(console, options), console, options)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Of the first layout that fits."""
        return RichTable.__rich_measure__(self._fitting(console, options), console, options)

    def _fitting(self, console: Console, options: ConsoleOptions) -> RichTable:
        wide = options.update(max_width=10_000)
        places: list[int] = []
        for places in self._layouts():
            narrow = self._fill(RichTable(box=box.SIMPLE_HEAD, pad_edge=False), places, folded=True)
            if RichTable.__rich_measure__(narrow, console, wide).maximum <= options.max_width:
                break
        table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
        table.title, table.title_style = self.title, self.title_style
        table.caption, table.caption_style = self.caption, self.caption_style
        table.caption_justify = self.caption_justify
        return self._fill(table, places)

    def _fill(self, table: _T, places: Sequence[int], *, folded: bool = False) -> _T:
        for head in (self.heads[place] for place in places):
            table.add_column(
                RichText(head.text),
                justify="right" if head.numeric else "left",
                no_wrap=head.numeric or head.verdicts,
                overflow="fold",
                max_width=head.width if folded and head.width else None,
            )
        for index, row in enumerate(self.texts):
            if index in self.begins:
                table.add_section()
            # Text, because a string would be read as markup.
            table.add_row(*(RichText(row[i][0], style=_COLOURS.get(row[i][1], "")) for i in places))
        return table

    def _layouts(self) -> Iterator[list[int]]:
        """Places of columns: all of them, without the extra ones, then fewer and fewer."""
        yield list(range(len(self.heads)))
        kept = [i for i, head in enumerate(self.heads) if not head.extra]
        yield kept
        for drop in sorted({self.heads[i].drop for i in kept} - {0}, reverse=True):
            kept = [i for i in kept if self.heads[i].drop < drop]
            yield kept


def printed(renderable: Any, width: int = 100) -> str:
    """What a terminal of some width shows, as plain text."""
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(renderable)
    return stream.getvalue()
