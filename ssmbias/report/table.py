"""One table: shown on a terminal, in Markdown, in LaTeX, in HTML, and saved as CSV.

A `Column` (`ssmbias.report.cells`) says what of a row it shows and how; a `Table` holds columns and
rows. Rows may be plain lists, one entry a column, or objects of which each column takes its part
(`table_of`). Shown numbers are rounded by `ssmbias.report.numbers`; CSV keeps all digits.
"""

from __future__ import annotations

import csv
import io
import itertools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ssmbias.core.verdict import Verdict
from ssmbias.report.cells import Badge, Column, Note, TableRow, Text, tone_of
from ssmbias.report.numbers import Spread
from ssmbias.report.render import latex_text, markdown_text, one_line, render
from ssmbias.report.terminal import FittingTable, Heading
from ssmbias.runs.files import write_atomically


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
      columns: its columns.
      rows: one entry for each.
      title: plain text: the heading on a terminal, the caption elsewhere.
      tone: of the title on a terminal, a verdict or "".
      group: what rows that stand together have in common. It is the first column in Markdown and,
        where there are several groups, on a terminal; in LaTeX it is a line above each group, and
        in HTML where there are several.
      breaks: places of columns; where one of them changes a little space is set. Of several
        columns the one with the fewest changes counts.
      notes: lines below it, on a terminal and in Markdown.
      records: what CSV holds, one mapping of names to values a row; `None` is what is shown.

    Example:
      >>> table = Table([Column("job"), Column("error", numeric=True)], [["0", 1 / 3]])
      >>> print(table.markdown())
      | job | error |
      | --- | ---: |
      | 0 | 0.3333 |
      >>> print(table.csv())
      job,error
      0,0.3333333333333333
    """

    columns: Sequence[Column]
    rows: Sequence[Any]
    title: str = ""
    tone: str = ""
    group: Column | None = None
    breaks: tuple[int, ...] = ()
    notes: Sequence[Note] = ()
    records: Sequence[Mapping[str, Any]] | None = None

    def cells(self, columns: Sequence[Column] | None = None) -> list[list[Any]]:
        """The values of some columns, all by default, row by row."""
        places = [self.columns.index(column) for column in columns or self.columns]
        return [
            [row[i] if (get := self.columns[i].value) is None else get(row) for i in places]
            for row in self.rows
        ]

    def terminal(self) -> FittingTable:
        """For `rich`: columns are left out, instead of digits, where the terminal is narrow."""
        cells, groups = self.cells(), self._groups()
        # What all rows have in common needs no column.
        grouping = [self.group] if self.group is not None and len({*groups}) > 1 else []
        columns = [*grouping, *self.columns]
        rows = [
            [group, *row][1 - len(grouping) :] for group, row in zip(groups, cells, strict=True)
        ]
        judged = {i for row in rows for i, c in enumerate(row) if isinstance(c, Badge | Verdict)}
        heads = [
            Heading(c.head, c.numeric, i in judged, c.width, c.drop, c.extra)
            for i, c in enumerate(columns)
        ]
        texts = [
            [(column.text(c), tone_of(c)) for column, c in zip(columns, row, strict=True)]
            for row in rows
        ]
        notes = [(one_line(note.head), one_line(note.text), note.tone) for note in self.notes]
        title = one_line(self.title), self.tone
        return FittingTable.of(heads, texts, self._begins(), title, notes)

    def __rich__(self) -> FittingTable:
        """What `rich` prints."""
        return self.terminal()

    def markdown(self) -> str:
        """As a Markdown table, with its notes as a list below."""
        columns = self._shown()
        heads = [column.head for column in columns]
        rule = ["---:" if column.numeric else "---" for column in columns]
        if self.group is not None:
            heads, rule = [self.group.head, *heads], ["---", *rule]
        lines = [_piped(map(markdown_text, heads)), _piped(rule)]
        for group, row in zip(self._groups(), self.cells(columns), strict=True):
            cells = [column.markdown(cell) for column, cell in zip(columns, row, strict=True)]
            lines.append(_piped([markdown_text(group)] * (self.group is not None) + cells))
        notes = [f"- {markdown_text(f'{note.head}: {note.text}')}" for note in self.notes]
        return "\n".join([*lines, *[""] * bool(notes), *notes]) + "\n"

    def latex(self, label: str = "") -> str:
        r"""As a LaTeX `tabular` with the rules of booktabs; with a label, inside of a `table*`.

        Args:
          label: for `\ref`, such as "tab:poison"; the title becomes the caption.

        Raises:
          ValueError: a label with other characters than letters, digits and ``:._-``.
        """
        if not re.fullmatch(r"[A-Za-z0-9:._-]*", label):
            raise ValueError(
                f"label={label!r}: use letters, digits and :._- only, such as 'tab:poison'"
            )
        columns = self._shown()
        lines = [
            f"\\begin{{tabular}}{{{''.join('r' if c.numeric else 'l' for c in columns)}}}",
            "\\toprule",
            " & ".join(c.latex_head or latex_text(c.head) for c in columns) + " \\\\",
        ]
        begins, previous = self._begins(), [""]
        if self.group is None:
            lines.append("\\midrule")
        heading = None
        for index, (group, row) in enumerate(zip(self._groups(), self.cells(columns), strict=True)):
            if self.group is not None and (group != heading or index == 0):
                name = f"\\texttt{{{latex_text(group)}}}"
                lines += ["\\midrule", f"\\multicolumn{{{len(columns)}}}{{l}}{{{name}}} \\\\"]
                heading, previous = group, [""]
            elif index in begins:
                lines.append("\\addlinespace")
            cells = [column.latex(cell) for column, cell in zip(columns, row, strict=True)]
            # Within a group a name stands once, before all that is said about it.
            again = self.group is not None and cells[0] == previous[0]
            lines.append(" & ".join([""] * again + cells[again:]) + " \\\\")
            previous = cells
        lines += ["\\bottomrule", "\\end{tabular}"]
        if label:
            lines = [
                "\\begin{table*}",
                "\\centering\\footnotesize\\setlength{\\tabcolsep}{4pt}",
                f"\\caption{{{latex_text(one_line(self.title))}}}",
                f"\\label{{{label}}}",
                *lines,
                "\\end{table*}",
            ]
        return "\n".join(["% needs \\usepackage{booktabs}", *lines]) + "\n"

    def csv(self) -> str:
        """Comma-separated values with a header; every number with all its digits.

        A missing number is an empty cell, nan is "nan". An interval is three columns.
        """
        records = self._plain_records() if self.records is None else self.records
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        if records:
            writer.writerow(records[0])
        writer.writerows([_csv_cell(value) for value in record.values()] for record in records)
        return stream.getvalue()

    def html(self) -> Markup:
        """For a page: a box that can be focused and scrolled where it is wider than the page."""
        rows = [
            [column.html(cell) for column, cell in zip(self.columns, row, strict=True)]
            for row in self.cells()
        ]
        grouped = [
            (name, [row for _, row in pairs])
            for name, pairs in itertools.groupby(
                zip(self._groups(), rows, strict=True), key=lambda pair: pair[0]
            )
        ]
        several = len(grouped) > 1
        return render(
            "table.html",
            title=one_line(self.title),
            heads=[{"text": c.head, "numeric": c.numeric} for c in self.columns],
            groups=[(name if several else "", rows) for name, rows in grouped],
        )

    __html__ = html

    def _plain_records(self) -> list[dict[str, Any]]:
        """What is shown as a mapping a row; an interval is a number and its two ends."""
        cells = self.cells()
        records: list[dict[str, Any]] = [{} for _ in cells]
        for place, column in enumerate(self.columns):
            spread = any(isinstance(row[place], Spread) for row in cells)
            for record, row in zip(records, cells, strict=True):
                parts = row[place] if isinstance(row[place], Spread) else (row[place], None, None)
                ends = dict(zip(("", " low", " high"), parts, strict=True))
                record |= {f"{column.head}{end}": x for end, x in ends.items() if spread or not end}
        return records

    def _shown(self) -> list[Column]:
        return [column for column in self.columns if not column.extra]

    def _groups(self) -> list[str]:
        """The name of each row's group."""
        group = self.group
        if group is None:
            return [""] * len(self.rows)
        return [group.text(row if group.value is None else group.value(row)) for row in self.rows]

    def _begins(self) -> set[int]:
        """Rows before which a little space is set: the first ones of a group, or of a break."""
        groups = self._groups()
        if self.group is not None:
            return {i for i, (a, b) in enumerate(itertools.pairwise(groups), 1) if a != b}
        texts = [[self.columns[i].text(c) for i, c in enumerate(row)] for row in self.cells()]
        changes = [
            {i for i, (a, b) in enumerate(itertools.pairwise(texts), 1) if a[place] != b[place]}
            for place in self.breaks
        ]
        return min(changes, key=len, default=set())


def table_of(rows: Sequence[TableRow], title: str = "") -> Table:
    """The table of rows that know their columns.

    Args:
      rows: of one kind.
      title: plain text.

    Raises:
      ValueError: no rows, or rows of several kinds.
    """
    kinds = {type(row) for row in rows}
    if len(kinds) != 1:
        names = ", ".join(sorted(kind.__name__ for kind in kinds)) or "none"
        raise ValueError(f"rows of type {names}: pass a list of rows of one kind")
    return Table(
        rows[0].columns(),
        rows,
        title,
        group=Column("experiment", lambda row: row.experiment),
        records=[row.fields() for row in rows],
    )


def write_table(
    folder: str | os.PathLike[str], stem: str, table: Table, *, label: str = ""
) -> list[Path]:
    """Write a table as `<stem>.md`, `<stem>.tex` and `<stem>.csv`, each whole or not at all.

    Args:
      folder: which exists.
      stem: name without suffix; dots in it are part of the name.
      table: its title is the caption in LaTeX.
      label: for LaTeX; `tab:<stem>` by default.

    Returns:
      The three files.

    Raises:
      ValueError: as `Table.latex`.
    """
    texts = {
        "md": table.markdown(),
        "tex": table.latex(label or f"tab:{stem}"),
        "csv": table.csv(),
    }
    return [
        write_atomically(
            Path(folder) / f"{stem}.{suffix}",
            lambda stream, text=text: stream.write(text.encode("utf-8")),
        )
        for suffix, text in texts.items()
    ]


def _piped(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _csv_cell(value: Any) -> Any:
    """Numbers of NumPy as Python's, whose text is the shortest that reads back the same."""
    if isinstance(value, Text | Badge):
        return value[0]
    if value is None or isinstance(value, str | int):
        return value
    return repr(float(value)) if not hasattr(value, "dtype") else repr(value.item())
