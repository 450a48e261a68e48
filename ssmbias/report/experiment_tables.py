"""Tables of the experiments: outcomes beside what was reported, and paired comparisons.

Rows are plain data. CSV keeps all digits; Markdown and LaTeX print four significant ones, and
reported values with as many as were reported.
"""

from __future__ import annotations

import csv
import io
import itertools
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from ssmbias._files import write_atomically
from ssmbias.report.numbers import (
    Spread,
    format_number,
    format_reported,
    format_spread,
    number_in_latex,
    spread_in_latex,
)
from ssmbias.report.tables import _escape_latex, _escape_markdown, plain


class OwnSummary(NamedTuple):
    """The library's own runs: `OwnSummary(*interval_of_mean(values, seed=0), excluded=3)`.

    Attributes:
      mean, low, high: mean and the interval of it.
      median: of the same values.
      num: runs counted.
      excluded: runs left out, because they did not end as required.
    """

    mean: float
    low: float
    high: float
    median: float
    num: int
    excluded: int = 0


class OutcomeRow(NamedTuple):
    """One quantity of one arm; `None` or nan where there is no number.

    Attributes:
      experiment: its name.
      arm: "clean" or "poisoned".
      quantity: such as "test error".
      reported: what the paper says.
      replayed: mean over the replays.
      replayed_num: how many replays.
      own: the library's own protocol.
    """

    experiment: str
    arm: str
    quantity: str
    reported: float | None
    replayed: float | None
    replayed_num: int
    own: OwnSummary | None


class PairRow(NamedTuple):
    """A paired comparison: `PairRow(experiment, stage, **compare_arms(...).flat())`.

    Attributes:
      experiment: its name.
      stage: "paper's stopping rule" or "convergence".
      num_pairs, num_excluded: pairs compared and left out.
      log_ratio, log_ratio_low, log_ratio_high, log_ratio_median: of log10(poisoned / clean).
      effect_size, effect_size_low, effect_size_high: Cohen's d_z of it.
      fraction_hurt, fraction_hurt_low, fraction_hurt_high: pairs with poisoned > clean.
      verdict: in words.
    """

    experiment: str
    stage: str
    num_pairs: int
    num_excluded: int
    log_ratio: float
    log_ratio_low: float
    log_ratio_high: float
    log_ratio_median: float
    effect_size: float
    effect_size_low: float
    effect_size_high: float
    fraction_hurt: float
    fraction_hurt_low: float
    fraction_hurt_high: float
    verdict: str


Rows: TypeAlias = Sequence[OutcomeRow] | Sequence[PairRow]


class _Column(NamedTuple):
    """A column: what a row shows in it, as text, numbers as "1.234e-05"."""

    head: str
    cell: Callable[[Any], "str | Spread"]
    numeric: bool


def _counted(num: int, excluded: int) -> str:
    return str(num) if not excluded else f"{num} of {num + excluded}"


def _own(pick: Callable[[OwnSummary], "str | Spread"]) -> Callable[[OutcomeRow], "str | Spread"]:
    return lambda row: "-" if row.own is None else pick(row.own)


_OUTCOME_COLUMNS = (
    _Column("arm", lambda row: row.arm, False),
    _Column("quantity", lambda row: row.quantity, False),
    _Column("reported", lambda row: format_reported(row.reported), True),
    _Column("replayed", lambda row: format_number(row.replayed), True),
    _Column("replays", lambda row: str(row.replayed_num), True),
    _Column("own mean, 95 % interval", _own(lambda own: Spread(own.mean, own.low, own.high)), True),
    _Column("own median", _own(lambda own: format_number(own.median)), True),
    _Column("own runs", _own(lambda own: _counted(own.num, own.excluded)), False),
)
_PAIR_COLUMNS = (
    _Column("stage", lambda row: row.stage, False),
    _Column("pairs", lambda row: _counted(row.num_pairs, row.num_excluded), False),
    _Column(
        "log10 poisoned/clean, 95 % interval",
        lambda row: Spread(row.log_ratio, row.log_ratio_low, row.log_ratio_high),
        True,
    ),
    _Column("median", lambda row: format_number(row.log_ratio_median), True),
    _Column(
        "effect size d_z",
        lambda row: Spread(row.effect_size, row.effect_size_low, row.effect_size_high),
        True,
    ),
    _Column(
        "fraction hurt",
        lambda row: Spread(row.fraction_hurt, row.fraction_hurt_low, row.fraction_hurt_high),
        True,
    ),
    _Column("verdict", lambda row: row.verdict, False),
)
# Heads that are formulas in part.
_LATEX_HEADS = {
    "log10 poisoned/clean, 95 % interval": "$\\log_{10}$ poisoned/clean, 95\\,\\% interval",
    "own mean, 95 % interval": "own mean, 95\\,\\% interval",
    "effect size d_z": "effect size $d_z$",
}


def rows_to_markdown(rows: Rows) -> str:
    r"""The rows as a Markdown table.

    Args:
      rows: outcomes or comparisons.

    Raises:
      ValueError: no rows, or rows of both kinds.

    Example:
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


def rows_to_latex(rows: Rows, *, caption: str, label: str) -> str:
    r"""The rows as a LaTeX `table*` with the rules of booktabs, an experiment after the other.

    Args:
      rows: outcomes or comparisons.
      caption: plain text; what LaTeX would take for commands is escaped.
      label: for `\ref`, such as "tab:poison".

    Raises:
      ValueError: no rows, rows of both kinds, or a label with other characters than letters,
        digits and ``:._-``.

    Example:
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
    heads = [_LATEX_HEADS.get(c.head, _escape_latex(c.head)) for c in columns]
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


def rows_to_csv(rows: Rows) -> str:
    """The rows as comma-separated values with a header; every number with all its digits.

    An interval's parts are columns of their own: `own_mean`, `own_low` and so on. A missing number
    is an empty cell, nan is "nan".

    Args:
      rows: outcomes or comparisons.

    Raises:
      ValueError: no rows, or rows of both kinds.

    Example:
      >>> row = OutcomeRow("dyn_nn_len6", "clean", "train loss", None, 1e-6 / 3, 4, None)
      >>> rows_to_csv([row]).splitlines()[1]
      'dyn_nn_len6,clean,train loss,,3.333333333333333e-07,4,,,,,,'
    """
    _columns(rows)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    for index, row in enumerate(rows):
        fields = row._asdict()
        if "own" in fields:
            own = fields.pop("own") or [None] * len(OwnSummary._fields)
            fields |= {f"own_{name}": x for name, x in zip(OwnSummary._fields, own, strict=True)}
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
    rows: Rows, path_stem: str | os.PathLike[str], *, caption: str, label: str
) -> list[Path]:
    """Write the rows as `<stem>.md`, `<stem>.tex` and `<stem>.csv`, each whole or not at all.

    Args:
      rows: outcomes or comparisons.
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


def _columns(rows: Rows) -> tuple[_Column, ...]:
    """The columns of this kind of rows."""
    kinds = {type(row) for row in rows}
    for kind, columns in ((OutcomeRow, _OUTCOME_COLUMNS), (PairRow, _PAIR_COLUMNS)):
        if kinds == {kind}:
            return columns
    names = ", ".join(sorted(kind.__name__ for kind in kinds)) or "none"
    raise ValueError(f"rows of type {names}: pass a list of OutcomeRow, or one of PairRow")
