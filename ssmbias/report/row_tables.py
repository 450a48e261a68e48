"""Tables of plain rows: Markdown, LaTeX and CSV of any kind of row that says what it shows.

Rows are plain data. CSV keeps all digits; Markdown and LaTeX print four significant ones.
"""

from __future__ import annotations

import csv
import io
import itertools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ssmbias.report.numbers import Spread, format_spread, number_in_latex, spread_in_latex
from ssmbias.report.tables import _escape_latex, _escape_markdown, plain
from ssmbias.runs.files import write_atomically


class Column(NamedTuple):
    """A column: what a row shows in it, as text, numbers as "1.234e-05".

    Attributes:
      head: plain text.
      cell: of a row.
      numeric: whether cells are numbers, set to the right.
      latex_head: where the head is a formula in part.
    """

    head: str
    cell: Callable[[Any], str | Spread]
    numeric: bool
    latex_head: str = ""


class Row(Protocol):
    """A row of a table; rows of one experiment stand together."""

    @property
    def experiment(self) -> str:
        """Its name, the first column."""
        ...

    @staticmethod
    def columns() -> tuple[Column, ...]:
        """The further columns of Markdown and LaTeX."""
        ...

    def fields(self) -> Mapping[str, Any]:
        """The columns of CSV by name: text, integers, floats, or `None`."""
        ...


def text_cell(cell: str | Spread) -> str:
    """A cell as plain text."""
    return format_spread(cell) if isinstance(cell, Spread) else plain(cell)


def rows_to_markdown(rows: Sequence[Row]) -> str:
    r"""The rows as a Markdown table.

    Args:
      rows: of one kind.

    Raises:
      ValueError: no rows, or rows of several kinds.

    Example:
      >>> from ssmbias.report.experiment_tables import OutcomeRow
      >>> row = OutcomeRow("t7", "clean", "test error", 0.25, None, 0, None)
      >>> print(rows_to_markdown([row]).splitlines()[2])
      | t7 | clean | test error | 0.25 | - | 0 | - | - | - |
    """
    columns = _columns(rows)
    heads = ["experiment", *(column.head for column in columns)]
    rule = ["---", *("---:" if column.numeric else "---" for column in columns)]
    lines = [[_escape_markdown(head) for head in heads], rule]
    for row in rows:
        cells = [_markdown_cell(column.cell(row)) for column in columns]
        lines.append([_escape_markdown(plain(row.experiment)), *cells])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _markdown_cell(cell: str | Spread) -> str:
    # Brackets that no link follows stay brackets.
    return format_spread(cell) if isinstance(cell, Spread) else _escape_markdown(plain(cell))


def rows_to_latex(rows: Sequence[Row], *, caption: str, label: str) -> str:
    r"""The rows as a LaTeX `table*` with the rules of booktabs, an experiment after the other.

    Args:
      rows: of one kind.
      caption: plain text; what LaTeX would take for commands is escaped.
      label: for `\ref`, such as "tab:poison".

    Raises:
      ValueError: no rows, rows of several kinds, or a label with other characters than letters,
        digits and ``:._-``.

    Example:
      >>> from ssmbias.report.experiment_tables import OutcomeRow, OwnSummary
      >>> own = OwnSummary(2.5e-6, 2e-6, 3e-6, 2.4e-6, num=16)
      >>> row = OutcomeRow("dyn_nn_len6", "clean", "train loss", None, 2.2e-6, 4, own)
      >>> text = rows_to_latex([row], caption="Runs", label="tab:runs")
      >>> "$2.500\\,[2.000, 3.000] \\times 10^{-6}$" in text
      True
    """
    columns = _columns(rows)
    if not re.fullmatch(r"[A-Za-z0-9:._-]+", label):
        raise ValueError(
            f"label={label!r}: use letters, digits and :._- only, such as 'tab:poison'"
        )
    heads = [c.latex_head or _escape_latex(c.head) for c in columns]
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table*}",
        "\\centering\\footnotesize\\setlength{\\tabcolsep}{4pt}",
        f"\\caption{{{_escape_latex(plain(caption))}}}",
        f"\\label{{{label}}}",
        f"\\begin{{tabular}}{{{''.join('r' if c.numeric else 'l' for c in columns)}}}",
        "\\toprule",
        " & ".join(heads) + " \\\\",
    ]
    for experiment, group in itertools.groupby(rows, key=lambda row: row.experiment):
        lines.append("\\midrule")
        name = _escape_latex(plain(experiment))
        lines.append(f"\\multicolumn{{{len(columns)}}}{{l}}{{\\texttt{{{name}}}}} \\\\")
        previous = ""
        for row in group:
            first, *cells = (_latex_cell(column.cell(row), column.numeric) for column in columns)
            # An arm stands once, before its quantities.
            lines.append(" & ".join(["" if first == previous else first, *cells]) + " \\\\")
            previous = first
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", "\\end{table*}"]) + "\n"


def _latex_cell(cell: str | Spread, numeric: bool) -> str:
    if isinstance(cell, Spread):
        return spread_in_latex(cell)
    if numeric:
        return number_in_latex(cell)
    if cell == "-":
        return "--"
    # |a_1| is a formula wherever it stands.
    parts = re.split(r"\|a_(\d+)\|", plain(cell))
    parts[::2] = [_escape_latex(part) for part in parts[::2]]
    parts[1::2] = [f"$|a_{{{digits}}}|$" for digits in parts[1::2]]
    return "".join(parts)


def rows_to_csv(rows: Sequence[Row]) -> str:
    """The rows as comma-separated values with a header; every number with all its digits.

    A missing number is an empty cell, nan is "nan".

    Args:
      rows: of one kind.

    Raises:
      ValueError: no rows, or rows of several kinds.

    Example:
      >>> from ssmbias.report.experiment_tables import OutcomeRow
      >>> row = OutcomeRow("dyn_nn_len6", "clean", "train loss", None, 1e-6 / 3, 4, None)
      >>> rows_to_csv([row]).splitlines()[1]
      'dyn_nn_len6,clean,train loss,,3.333333333333333e-07,4,,,,,,'
    """
    _columns(rows)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    for index, row in enumerate(rows):
        fields = row.fields()
        if index == 0:
            writer.writerow(fields)
        writer.writerow(_csv_cell(value) for value in fields.values())
    return stream.getvalue()


def _csv_cell(value: Any) -> Any:
    """Numbers of NumPy as Python's, whose text is the shortest that reads back the same."""
    if value is None or isinstance(value, str | int):
        return value
    return repr(float(value)) if not hasattr(value, "dtype") else repr(value.item())


def write_rows(
    rows: Sequence[Row], path_stem: str | os.PathLike[str], *, caption: str, label: str
) -> list[Path]:
    """Write the rows as `<stem>.md`, `<stem>.tex` and `<stem>.csv`, each whole or not at all.

    Args:
      rows: of one kind.
      path_stem: folder, which exists, and name without suffix; dots in it are part of the name.
      caption: plain text, for LaTeX.
      label: for LaTeX.

    Returns:
      The three files.

    Raises:
      ValueError: as `rows_to_latex`.
    """
    texts = {
        "md": rows_to_markdown(rows),
        "tex": rows_to_latex(rows, caption=caption, label=label),
        "csv": rows_to_csv(rows),
    }
    return [
        write_atomically(
            Path(f"{os.fspath(path_stem)}.{suffix}"),
            lambda stream, text=text: stream.write(text.encode()),
        )
        for suffix, text in texts.items()
    ]


def _columns(rows: Sequence[Row]) -> tuple[Column, ...]:
    """The columns of this kind of rows."""
    kinds = {type(row) for row in rows}
    if len(kinds) != 1:
        names = ", ".join(sorted(kind.__name__ for kind in kinds)) or "none"
        raise ValueError(f"rows of type {names}: pass a list of rows of one kind")
    return rows[0].columns()
