"""The one table: the same rows in every format, rounded for readers, with all digits in CSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssmbias.core.verdict import Verdict
from ssmbias.report import Column, Table, write_table
from ssmbias.report.cells import Badge, Note, Text
from ssmbias.report.numbers import Spread
from ssmbias.report.terminal import printed

EVIL = "<script>alert(1)</script>|\x1b[2J_x $y$ \\z"
COLUMNS = (
    Column("job", heading=True),
    Column("subject", width=12),
    Column("error", numeric=True, drop=1),
    Column("interval", numeric=True, drop=2),
    Column("what was compared", width=24, extra=True),
    Column("verdict"),
)
ROWS = [
    ["0", "t7", 1 / 3, Spread(0.25, 0.2, 0.3), "a limit", Verdict.HOLDS],
    ["0", "t9", None, Spread(np.nan, None, None), "a limit", Badge("violated", "contradicted")],
    ["1", EVIL, np.float64(2e-12), Spread(1e-9, 1e-10, 1e-8), EVIL, Badge("inconclusive")],
]
TABLE = Table(COLUMNS, ROWS, "All jobs", "violated", breaks=(0,), notes=[Note("1", EVIL, "")])


def test_rows_of_plain_lists_are_shown() -> None:
    lines = TABLE.markdown().splitlines()
    assert lines[0] == "| job | subject | error | interval | verdict |"
    assert lines[1] == "| --- | --- | ---: | ---: | --- |"
    assert lines[2] == "| 0 | t7 | 0.3333 | 0.2500 [0.2000, 0.3000] | holds |"
    assert lines[3] == "| 0 | t9 | - | - | contradicted |"
    assert lines[-1].startswith("- 1: \\<script\\>")


def test_csv_keeps_every_digit_and_all_columns() -> None:
    rows = list(csv.DictReader(io.StringIO(TABLE.csv())))
    assert float(rows[0]["error"]) == 1 / 3
    assert float(rows[2]["error"]) == 2e-12
    assert rows[1]["error"] == ""
    assert [row["verdict"] for row in rows] == ["holds", "violated", "inconclusive"]
    interval = [[row[f"interval{end}"] for end in ("", " low", " high")] for row in rows]
    assert interval == [["0.25", "0.2", "0.3"], ["nan", "", ""], ["1e-09", "1e-10", "1e-08"]]
    assert rows[2]["what was compared"] == EVIL


@pytest.mark.parametrize(
    ("width", "missing"),
    [
        (200, set()),
        (78, {"compared"}),
        (60, {"compared", "interval"}),
        (32, {"compared", "interval", "error"}),
    ],
)
def test_columns_are_left_out_before_digits(width: int, missing: set[str]) -> None:
    table = Table(COLUMNS, ROWS[:2], "All jobs")
    lines = printed(table, width).splitlines()
    assert max(map(len, lines)) <= width
    assert "All jobs" in lines[0]
    text = "\n".join(lines)
    heads = {"job", "subject", "error", "interval", "compared", "verdict"}
    assert {head for head in heads if head in text} == heads - missing
    assert ("0.2500 [0.2000, 0.3000]" in text) == ("interval" not in missing)
    assert ("0.3333" in text) == ("error" not in missing)


def test_a_terminal_is_not_steered() -> None:
    assert "\x1b" not in printed(TABLE, 200)


def test_html_escapes_and_links_to_places_only() -> None:
    html = str(TABLE.html())
    assert "<script" not in html
    assert html.count("<tr>") == 4
    assert '<span class="verdict violated"><span aria-hidden="true">✗</span> contradicted' in html
    assert "2.000 × 10<sup>−12</sup>" in html
    for href, kept in (
        ("#claim-x", True),
        ("jobs/0/report.html", True),
        ("../0/report.html", True),
        ("javascript:alert(1)", False),
        ("http://example.org", False),
        ("//example.org", False),
        (" javascript:alert(1)", False),
    ):
        link = Table([Column("job")], [[Text("0", href=href)]], "t").html()
        assert ("<a href=" in link) == kept, href
    quoted = Table([Column("job")], [[Text("0", href='#"onclick="x')]], "t").html()
    assert 'onclick="' not in quoted


def test_text_among_numbers_stays_text() -> None:
    table = Table([Column("steps", numeric=True)], [["never"], ["1e3 or more"], [1e5]])
    assert "never \\\\\n1e3 or more \\\\\n$1.000 \\times 10^{5}$" in table.latex()
    assert '<td class="number">never</td>' in table.html()


def test_a_tone_colours_text() -> None:
    table = Table([Column("state")], [[Text("failed", "violated")], [Text("odd", "no tone")]])
    assert '<span class="violated">failed</span>' in table.html()
    assert "failed" in printed(table, 40)


def test_latex_marks_what_does_not_hold() -> None:
    text = TABLE.latex()
    assert "& holds \\\\" in text
    assert "\\textbf{contradicted}" in text
    assert "\\textbf{inconclusive}" in text
    assert text.count("\\addlinespace") == 1
    assert "\\begin{table*}" not in text
    assert "\\label{tab:all}" in TABLE.latex("tab:all")


def test_groups_stand_together() -> None:
    table = Table(
        [Column("arm", lambda row: row[1]), Column("error", lambda row: row[2], True)],
        [("first", "clean", 0.5), ("first", "clean", 0.25), ("second", "clean", 1.0)],
        "Groups",
        group=Column("experiment", lambda row: row[0]),
    )
    assert table.markdown().splitlines()[2] == "| first | clean | 0.5000 |"
    lines = table.latex("tab:x").splitlines()
    assert " & $0.2500$ \\\\" in lines  # the arm stands once
    assert sum("\\multicolumn{2}{l}{\\texttt{" in line for line in lines) == 2
    assert table.html().count('<th scope="rowgroup" colspan="2">') == 2
    shown = [line.split() for line in printed(table, 80).splitlines()]
    assert ["first", "clean", "0.2500"] in shown
    # One group alone needs no heading.
    alone = Table(table.columns, table.rows[:2], "Groups", group=table.group)
    assert "rowgroup" not in alone.html()
    assert "experiment" not in printed(alone, 80)


def test_an_empty_table_is_a_head() -> None:
    table = Table([Column("job"), Column("error", numeric=True)], [], "Nothing")
    assert table.markdown().count("\n") == 2
    assert "toprule" in table.latex()
    assert "job" in printed(table, 80)
    assert table.html().count("<tr>") == 1


def test_files_are_written_whole(tmp_path: Path) -> None:
    paths = write_table(tmp_path, "summary", TABLE)
    assert [path.name for path in paths] == ["summary.md", "summary.tex", "summary.csv"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert "\\label{tab:summary}" in paths[1].read_text("utf-8")
    assert paths[0].read_text("utf-8") == TABLE.markdown()
    with pytest.raises(ValueError, match="label='tab}'"):
        write_table(tmp_path, "other", TABLE, label="tab}")


def test_numbers_of_any_kind_are_printed() -> None:
    def shown(value: Any) -> str:
        return Column("x", numeric=True).text(value)

    assert [shown(x) for x in (np.int64(7), np.float32(0.5), True, np.nan, None)] == [
        "7", "0.5000", "yes", "-", "-",
    ]  # fmt: skip
