"""Verdicts as a table: on the terminal, in Markdown, in LaTeX."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from rich.console import Console

from ssmbias.report import (
    load_results,
    verdict_table,
)
from ssmbias.report.numbers import format_size, format_value
from ssmbias.report.pages.verification.verdicts import COLUMNS

SAMPLE = Path(__file__).parents[3] / "data" / "verify_sample"


@pytest.fixture
def results() -> dict[str, Any]:
    return load_results(SAMPLE)[0]


def spoil_two_rows(results: dict[str, Any]) -> None:
    results["evidence"][1] |= {
        "verdict": "violated",
        "reason": "difference [bold]2[/bold] | too_big",
    }
    results["evidence"][4] |= {
        "verdict": "inconclusive",
        "reason": "seed 3: steps spent",
        "residual": None,
    }


def printed(results: dict[str, Any], width: int) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(verdict_table(results))
    return stream.getvalue().splitlines()


class Shown(NamedTuple):
    """A row of the table as text, without the column that has no room in print."""

    claim: str
    subject: str
    predicted: str
    measured: str
    difference: str
    tolerance: str
    verdict: str


def verdict_rows(results: dict[str, Any]) -> list[Shown]:
    table = verdict_table(results)
    columns = [column for column in table.columns if not column.extra]
    return [
        Shown(*(column.text(cell) for column, cell in zip(columns, row, strict=True)))
        for row in table.cells(columns)
    ]


def test_rows_are_the_evidence(results: dict[str, Any]) -> None:
    spoil_two_rows(results)
    rows = verdict_rows(results)
    assert len(rows) == len(results["evidence"])
    for row, evidence in zip(rows, results["evidence"], strict=True):
        assert (row.claim, row.subject, row.verdict) == (
            evidence["claim"],
            evidence["subject"],
            evidence["verdict"],
        )
        for text, key, digits in (
            (row.predicted, "predicted", 7),
            (row.measured, "measured", 7),
            (row.difference, "residual", 2),
            (row.tolerance, "tolerance", 2),
        ):
            if evidence[key] is None:
                assert text == "-"
            else:
                # Rounded to the nearest of that many significant digits.
                assert float(text) == pytest.approx(evidence[key], rel=0.51 * 10.0 ** (1 - digits))
    assert rows[4].difference == "-"


def test_the_table_holds_the_rows(results: dict[str, Any]) -> None:
    table = verdict_table(results).terminal()
    assert [str(column.header) for column in table.columns] == list(COLUMNS)
    columns = [[str(cell) for cell in column.cells] for column in table.columns]
    assert list(zip(*columns, strict=True)) == [tuple(row) for row in verdict_rows(results)]


@pytest.mark.parametrize("width", [30, 45, 60, 80, 100, 140, 250])
def test_the_table_fits_and_never_cuts_a_number(results: dict[str, Any], width: int) -> None:
    spoil_two_rows(results)
    lines = printed(results, width)
    assert max(map(len, lines)) <= width
    body = "\n".join(lines)
    head = next(line.split() for line in lines if "claim" in line)
    rows = verdict_rows(results)
    shown = [name for name in COLUMNS if name in head]
    assert "verdict" in shown
    if width >= 100:
        assert shown == list(COLUMNS)
    assert ("quantity" in head) == (width >= 140)
    # A row ends with its verdict; reasons below name theirs in the middle.
    ends = [line.split()[-1] for line in lines if line.strip()]
    verdicts = [word for word in ends if word in {"holds", "violated", "inconclusive"}]
    assert verdicts[-len(rows) :] == [row.verdict for row in rows]
    for name in set(shown) - {"claim", "subject", "verdict"}:
        for row in rows:
            assert f" {getattr(row, name)} " in body


def test_reasons_stand_below_and_are_not_markup(results: dict[str, Any]) -> None:
    assert "violated" not in "\n".join(printed(results, 100))
    spoil_two_rows(results)
    text = " ".join(" ".join(printed(results, 100)).split())
    rows = results["evidence"]
    assert (
        f"{rows[1]['claim']} {rows[1]['subject']} violated: difference [bold]2[/bold] | too_big"
        in text
    )
    assert f"{rows[4]['claim']} {rows[4]['subject']} inconclusive: seed 3: steps spent" in text
    assert text.startswith(f"1 of {len(rows)} checks is violated")


def test_a_terminal_is_not_steered(results: dict[str, Any]) -> None:
    results["evidence"][0] |= {
        "verdict": "violated",
        "reason": "\x1b[2J\x07gone\nnext",
        "subject": "t7\x1b[1m",
    }
    text = "\n".join(printed(results, 100))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[2Jgone next" in text


def test_markdown_holds_the_rows(results: dict[str, Any]) -> None:
    spoil_two_rows(results)
    table, reasons = verdict_table(results).markdown().split("\n\n")
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()]
    assert [cell.strip() for cell in lines[0]] == list(COLUMNS)
    cells = [[re.sub(r"\\(.)", r"\1", cell.strip()) for cell in line] for line in lines[2:]]
    assert cells == [list(row) for row in verdict_rows(results)]
    assert r"difference \[bold\]2\[/bold\] \| too\_big" in reasons


def test_latex_holds_the_rows(results: dict[str, Any]) -> None:
    spoil_two_rows(results)
    results["evidence"][0]["subject"] = "t7(seq_len=9, 5%) κ"
    text = verdict_table(results).latex()
    for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}", r"\end{tabular}"):
        assert text.count(rule) == 1
    lines = [line for line in text.splitlines() if line.endswith(r"\\")][1:]
    rows = verdict_rows(results)
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        cells = [cell.strip() for cell in line.removesuffix(r"\\").split(" & ")]
        values = [c.strip("$").replace(r" \times 10^{", "e").replace("}", "") for c in cells[2:6]]
        numbers = [float(v) if v != "--" else None for v in values]
        assert numbers == [float(v) if v != "-" else None for v in row[2:6]]
        assert cells[6] == (row.verdict if row.verdict == "holds" else rf"\textbf{{{row.verdict}}}")
    assert r"t7(seq\_len=9, 5\%) $\kappa$" in lines[0]


def test_numbers_are_rounded_not_cut() -> None:
    assert format_value(0.12345678) == "0.1234568"
    assert format_value(float("nan")) == format_value(float("inf")) == "-"
    assert format_size(9.96e-13) == "1.0e-12"
