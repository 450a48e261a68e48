"""Verdicts as a table: on the terminal, in Markdown, in LaTeX."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ssmbias.report.results import count_verdicts

COLUMNS = ("claim", "setting", "predicted", "measured", "difference", "tolerance", "verdict")
_NUMERIC = frozenset({"predicted", "measured", "difference", "tolerance"})
_COLOURS = {"holds": "green", "violated": "bold red", "inconclusive": "yellow"}

# What is left out, in this order, where a terminal is too narrow: numbers cut off would mislead.
_LAYOUTS = (COLUMNS, (*COLUMNS[:2], *COLUMNS[4:]), (*COLUMNS[:2], "verdict"))
# Room that makes another column worth while, which says what was compared.
_QUANTITY_WIDTH = 30
_SETTING_WIDTH = 13


class VerdictRow(NamedTuple):
    """One row of the table, as text."""

    claim: str
    setting: str
    predicted: str
    measured: str
    difference: str
    tolerance: str
    verdict: str


def format_value(value: float | None) -> str:
    """A predicted or measured value: seven significant digits, a dash where there is none.

    Example:
      >>> format_value(0.001184236716), format_value(4.1876e10), format_value(None)
      ('0.001184237', '4.1876e+10', '-')
    """
    return "-" if value is None or not math.isfinite(value) else f"{value:.7g}"


def format_size(value: float | None) -> str:
    """A difference or a tolerance, of which the order of magnitude matters.

    Example:
      >>> format_size(3.24e-12), format_size(0.0), format_size(None)
      ('3.2e-12', '0', '-')
    """
    if value is None or not math.isfinite(value):
        return "-"
    return "0" if value == 0 else f"{value:.1e}"


def verdict_rows(results: Mapping[str, Any]) -> list[VerdictRow]:
    """The table's rows as text, one for each piece of evidence, in its order."""
    return [
        VerdictRow(
            plain(row["claim"]),
            plain(row["setting"]),
            format_value(row.get("predicted")),
            format_value(row.get("measured")),
            format_size(row.get("residual")),
            format_size(row.get("tolerance")),
            row["verdict"],
        )
        for row in results["evidence"]
    ]


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


def open_reasons(results: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Claim, setting, verdict and reason of every row that does not hold."""
    return [
        (plain(row["claim"]), plain(row["setting"]), row["verdict"], plain(row.get("reason") or ""))
        for row in results["evidence"]
        if row["verdict"] != "holds"
    ]


class _FittingTable(Table):
    """A table that leaves out columns, instead of digits, where the terminal is narrow."""

    evidence: Sequence[Mapping[str, Any]] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from Table.__rich_console__(self._fitting(console, options), console, options)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Table.__rich_measure__(self._fitting(console, options), console, options)

    def _fitting(self, console: Console, options: ConsoleOptions) -> Table:
        """The first layout whose columns fit; with a column more where there is room."""
        table: Table = self
        for layout in _LAYOUTS:
            table = self._with(layout)
            free = options.max_width - self._width(table, console, options)
            if layout is COLUMNS and free >= _QUANTITY_WIDTH:
                return self._with((*COLUMNS[:2], "quantity", *COLUMNS[2:]))
            if free >= 0:
                break
        return table

    def _with(self, columns: Sequence[str]) -> Table:
        table = _fill(Table(box=box.SIMPLE_HEAD, pad_edge=False), self.evidence, columns)
        table.title, table.title_style = self.title, self.title_style
        table.caption, table.caption_style = self.caption, self.caption_style
        table.caption_justify = self.caption_justify
        return table

    @staticmethod
    def _width(table: Table, console: Console, options: ConsoleOptions) -> int:
        wide = options.update(max_width=10_000)
        return Table.__rich_measure__(table, console, wide).maximum


def verdict_table(results: Mapping[str, Any]) -> Table:
    """The verdicts of a run for a terminal.

    Columns are claim, setting, predicted, measured, difference, tolerance and verdict; a claim
    holds while its difference is at most its tolerance. Below stand the reasons of all that do
    not hold. Made for 100 columns of text. On a narrower terminal values are left out, then
    differences; on a wider one what was compared is shown as well.

    Args:
      results: as returned by `load_results`.

    Returns:
      A table to print with `rich`.

    Example:
      >>> row = {"claim": "B1", "setting": "t7", "verdict": "holds", "residual": 1e-3}
      >>> table = verdict_table({"evidence": [row]})
      >>> [str(column.header) for column in table.columns][:3], table.row_count
      (['claim', 'setting', 'predicted'], 1)
    """
    table = _FittingTable(box=box.SIMPLE_HEAD, pad_edge=False)
    table.evidence = results["evidence"]
    counts = count_verdicts(results)
    worst = next((v for v in ("violated", "inconclusive") if counts[v]), "holds")
    table.title, table.title_style = Text(headline(results)), _COLOURS[worst]
    reasons = open_reasons(results)
    if reasons:
        caption = Text()
        for claim, setting, verdict, reason in reasons:
            caption.append(f"{claim} {setting} {verdict}", style=_COLOURS[verdict])
            caption.append(f": {reason or 'no reason given'}\n")
        caption.rstrip()
        table.caption, table.caption_justify, table.caption_style = caption, "left", ""
    return _fill(table, table.evidence, COLUMNS)


def _fill(table: Table, evidence: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Table:
    for name in columns:
        numeric = name in _NUMERIC
        table.add_column(
            name,
            justify="right" if numeric else "left",
            no_wrap=numeric or name == "verdict",
            overflow="fold",
            # Names of changed settings are long, and better folded than paid for with a column.
            max_width=_SETTING_WIDTH if name == "setting" else None,
        )
    rows = verdict_rows({"evidence": evidence})
    groups = _groups(rows)
    for index, (row, cells) in enumerate(zip(evidence, rows, strict=True)):
        if index in groups:
            table.add_section()
        # Text, because a string would be read as markup.
        shown = {**cells._asdict(), "quantity": plain(row.get("quantity") or "")}
        coloured = {"claim", "verdict"}
        table.add_row(
            *(
                Text(shown[n], style=_COLOURS[cells.verdict] if n in coloured else "")
                for n in columns
            )
        )
    return table


def _groups(rows: Sequence[VerdictRow]) -> set[int]:
    """Rows that begin a group: of one claim or of one setting, whichever makes fewer."""
    begins = [
        {i for i, (a, b) in enumerate(itertools.pairwise(rows), 1) if a[column] != b[column]}
        for column in (0, 1)
    ]
    return min(begins, key=len)


def to_markdown(results: Mapping[str, Any]) -> str:
    """The same table in Markdown, with the reasons of what does not hold as a list.

    Example:
      >>> row = {"claim": "B1", "setting": "t7", "verdict": "holds", "residual": 1e-3}
      >>> print(to_markdown({"evidence": [row]}))
      | claim | setting | predicted | measured | difference | tolerance | verdict |
      | --- | --- | ---: | ---: | ---: | ---: | --- |
      | B1 | t7 | - | - | 1.0e-03 | - | holds |
    """
    rule = ["---:" if name in _NUMERIC else "---" for name in COLUMNS]
    lines = [_piped(COLUMNS), _piped(rule)]
    for row in verdict_rows(results):
        lines.append(_piped(_escape_markdown(cell) for cell in row))
    reasons = open_reasons(results)
    if reasons:
        lines.append("")
    for claim, setting, verdict, reason in reasons:
        lines.append(_escape_markdown(f"{claim} {setting} {verdict}: {reason}").join(("- ", "")))
    return "\n".join(lines) + "\n"


def to_latex(results: Mapping[str, Any]) -> str:
    r"""The same table as a LaTeX `tabular` with the rules of the booktabs package.

    Example:
      >>> row = {"claim": "B1", "setting": "t7", "verdict": "holds", "residual": 1e-3}
      >>> print(to_latex({"evidence": [row]}).splitlines()[5])
      B1 & t7 & -- & -- & $1.0 \times 10^{-3}$ & -- & holds \\
    """
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{tabular}{llrrrrl}",
        "\\toprule",
        " & ".join(COLUMNS) + " \\\\",
        "\\midrule",
    ]
    rows = verdict_rows(results)
    groups = _groups(rows)
    for index, row in enumerate(rows):
        if index in groups:
            lines.append("\\addlinespace")
        cells = [
            _number_in_latex(cell) if name in _NUMERIC else _escape_latex(cell)
            for name, cell in zip(COLUMNS, row, strict=True)
        ]
        if row.verdict != "holds":
            cells[-1] = f"\\textbf{{{cells[-1]}}}"
        lines.append(" & ".join(cells) + " \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


def plain(text: Any) -> str:
    """Text on one line, without characters that steer a terminal."""
    one_line = " ".join(str(text).split())
    return "".join(char for char in one_line if char.isprintable())


def _piped(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape_markdown(text: str) -> str:
    # A minus or a dot cannot begin anything inside a cell; what could is escaped.
    return re.sub(r"([\\`*_{}\[\]<>|#~$&])", r"\\\1", text)


_LATEX = {
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    **{char: f"\\{char}" for char in "{}#$%&_"},
    **{
        char: f"$\\{name}$"
        for char, name in {
            "α": "alpha",
            "β": "beta",
            "γ": "gamma",
            "κ": "kappa",
            "ρ": "rho",
            "τ": "tau",
            "∞": "infty",
            "→": "to",
            "≤": "le",
            "≥": "ge",
            "×": "times",
            "±": "pm",
        }.items()
    },
}


def _escape_latex(text: str) -> str:
    return "".join(_LATEX.get(char, char) for char in text)


def _number_in_latex(text: str) -> str:
    if text == "-":
        return "--"
    mantissa, _, exponent = text.partition("e")
    return f"${mantissa} \\times 10^{{{int(exponent)}}}$" if exponent else f"${mantissa}$"
