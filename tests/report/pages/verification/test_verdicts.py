"""Saved results: read back or refused, and shown as tables."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from rich.console import Console

from ssmbias.report import (
    load_results,
    save_figures,
    verdict_table,
    write_report,
)
from ssmbias.report.numbers import format_size, format_value
from ssmbias.report.pages.verification.verdicts import COLUMNS
from ssmbias.runs.files import write_atomically

SAMPLE = Path(__file__).parents[3] / "data" / "verify_sample"


@pytest.fixture
def results() -> dict[str, Any]:
    return load_results(SAMPLE)[0]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SAMPLE, tmp_path / "run"))


def save_results(run_dir: Path, results: dict[str, Any]) -> None:
    (run_dir / "results.json").write_text(json.dumps(results), encoding="utf-8")


def test_a_saved_run_is_read_back() -> None:
    results, arrays = load_results(SAMPLE)
    assert set(results["claims"]) == {row["claim"] for row in results["evidence"]}
    assert arrays["t7/trajectory/clean/a"].shape == (*arrays["t7/trajectory/clean/time"].shape, 10)
    assert all(value.dtype != object for value in arrays.values())


def remove_json(run: Path) -> None:
    (run / "results.json").unlink()


def truncate_json(run: Path) -> None:
    text = (run / "results.json").read_text("utf-8")
    (run / "results.json").write_text(text[: len(text) // 2], encoding="utf-8")


def no_text(run: Path) -> None:
    (run / "results.json").write_bytes(b"\xff\xfe\x00")


def change_json(**changes: Any) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        save_results(run, json.loads((run / "results.json").read_text("utf-8")) | changes)

    return change


def change_row(**changes: Any) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        results = json.loads((run / "results.json").read_text("utf-8"))
        results["evidence"][3] |= changes
        results["evidence"][3] = {k: v for k, v in results["evidence"][3].items() if v != "gone"}
        save_results(run, results)

    return change


def remove_arrays(run: Path) -> None:
    (run / "arrays.npz").unlink()


def truncate_arrays(run: Path) -> None:
    data = (run / "arrays.npz").read_bytes()
    (run / "arrays.npz").write_bytes(data[: len(data) // 2])


def one_array(run: Path) -> None:
    with (run / "arrays.npz").open("wb") as stream:
        np.save(stream, np.zeros(3))


class Bomb:
    """Would leave a file behind if it were ever unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("exploded"),))


def pickled_arrays(run: Path) -> None:
    np.savez(run / "arrays.npz", **{"t7/a": np.array([Bomb()], dtype=object)})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "no such folder; give the folder"),
        (remove_json, r"results\.json: missing"),
        (truncate_json, r"results\.json: not readable as JSON"),
        (no_text, r"results\.json: not readable as JSON"),
        (lambda run: (run / "results.json").write_text("[1]"), "schema is None"),
        (change_json(schema="other/1"), r"schema is 'other/1', this version reads"),
        (change_json(claims=[]), "`claims` must map"),
        (change_json(evidence={}), "`evidence` must be a list"),
        (change_json(config=[1]), "`config` must be a mapping"),
        (change_json(subjects=1), "`subjects` must be a mapping"),
        (change_json(figures={}), "`figures` must be a list"),
        (change_json(schema="ssmbias.verify/1"), "use the version of ssmbias that wrote it"),
        (change_json(evidence=["x"]), r"evidence\[0\] lacks claim"),
        (change_row(subject="gone", kind="gone"), r"evidence\[3\] lacks subject, kind"),
        (change_row(verdict="perhaps"), r"evidence\[3\] has verdict 'perhaps'"),
        (change_row(measured="0.1"), r"evidence\[3\] has measured='0.1', not a number"),
        (remove_arrays, r"arrays\.npz: missing"),
        (truncate_arrays, r"arrays\.npz: not a readable archive"),
        (one_array, r"arrays\.npz: not a readable archive"),
        (pickled_arrays, r"arrays\.npz: not a readable archive"),
    ],
)
def test_a_damaged_run_is_refused(
    run_dir: Path,
    damage: Callable[[Path], object],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    damage(run_dir)
    for read in (load_results, save_figures, write_report):
        with pytest.raises(ValueError, match=message):
            read(run_dir)
    assert not Path("exploded").exists()
    assert not (run_dir / "report.html").exists()


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")

    def fail(stream: Any) -> None:
        stream.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


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
