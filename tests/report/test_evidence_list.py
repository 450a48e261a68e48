"""Lists of evidence: shown, sliced, turned into a frame, and written as a report."""

from __future__ import annotations

import copy
import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from ssmbias.report import load_results, write_report
from ssmbias.report.evidence_list import EvidenceList
from ssmbias.report.style import new_figure, save_figure

SAMPLE = Path(__file__).parents[1] / "data" / "verify_sample"
EVIL = "<script>alert(1)</script>"


@pytest.fixture
def results() -> dict[str, Any]:
    return load_results(SAMPLE)[0]


@pytest.fixture
def found(results: dict[str, Any]) -> EvidenceList:
    arrays = load_results(SAMPLE)[1]
    few = {name: value for name, value in arrays.items() if name.startswith("t7/strong")}
    return EvidenceList(results["evidence"], results, few)


def test_it_is_a_list_whose_slices_are_lists_of_evidence(found: EvidenceList) -> None:
    assert isinstance(found, list)
    assert len(found) == 36
    part = found[2:5]
    assert isinstance(part, EvidenceList)
    assert list(part) == list(found)[2:5]
    assert part[0] is found[2]
    assert part.results == found.results
    for again in (copy.copy(found), pickle.loads(pickle.dumps(found))):
        assert list(again) == list(found)
        assert again.results == found.results


def test_a_frame_has_a_row_for_each_piece(found: EvidenceList, results: dict[str, Any]) -> None:
    frame = found.to_dataframe()
    assert len(frame) == len(results["evidence"])
    assert frame["verdict"].tolist() == [row["verdict"] for row in results["evidence"]]
    assert frame["residual"].tolist() == [row["residual"] for row in results["evidence"]]
    law = next(i for i, row in enumerate(results["evidence"]) if row["fit"])
    assert frame["fit_exponent"][law] == results["evidence"][law]["fit"]["exponent"]
    assert math.isnan(frame["fit_exponent"][0])
    assert all(frame[name].dtype == float for name in ("predicted", "residual", "fit_low"))
    # Also where no row has the number.
    assert found[:1].to_dataframe()["fit_low"].dtype == float
    assert EvidenceList().to_dataframe().empty


def test_a_terminal_shows_the_table(found: EvidenceList, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    lines = str(found[:3]).splitlines()
    assert lines[0].strip() == "All 3 checks hold"
    assert sum(line.rstrip().endswith("holds") for line in lines) == 3
    assert max(map(len, lines)) <= 100
    assert repr(found[:3]) == str(found[:3])
    console = Console(width=100, color_system=None)
    with console.capture() as capture:
        console.print(found[:3])
    assert "All 3 checks hold" in capture.get()


def test_a_notebook_shows_the_table_and_no_markup(found: EvidenceList) -> None:
    found[0] = found[0] | {"quantity": EVIL, "verdict": "violated", "reason": EVIL}
    html = found[:2]._repr_html_()
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 2
    assert "1 of 2 checks is violated" in html


def test_the_report_is_about_these_rows(found: EvidenceList, tmp_path: Path) -> None:
    page = found[:2].write_report(tmp_path / "new" / "run")
    folder = page.parent
    assert {p.name for p in folder.iterdir()} == {
        "results.json", "arrays.npz", "figures", "report.html",
    }  # fmt: skip
    results, arrays = load_results(folder)
    assert len(results["evidence"]) == 2
    assert results["summary"] == {"holds": 2, "violated": 0, "inconclusive": 0}
    assert list(results["claims"]) == ["B1"]
    assert arrays.keys() == found.arrays.keys()
    # The same page again, from what was saved.
    before = page.read_bytes()
    assert write_report(folder).read_bytes() == before


def test_rows_alone_make_a_report(found: EvidenceList, tmp_path: Path) -> None:
    page = EvidenceList(found[:3]).write_report(tmp_path)
    assert "All 3 checks hold" in page.read_text("utf-8")
    assert load_results(tmp_path)[1] == {}
    assert not list(tmp_path.rglob("*.png"))


def test_figures_of_a_claim_are_drawn_and_shown(found: EvidenceList, tmp_path: Path) -> None:
    def draw(folder: Path) -> list[dict[str, str]]:
        figure = new_figure(1.0, 1.0)
        figure.subplots().plot(np.arange(3))
        png, _ = save_figure(figure, folder / "figures" / "own")
        entry = {"claim": "B1", "subject": "t7", "name": "own", "file": f"figures/{png.name}"}
        failed = {"claim": "B1", "subject": "t9", "name": "other", "error": f"KeyError: {EVIL}"}
        return [
            entry | {"caption": EVIL},
            entry | {"claim": "I1", "file": "../secret.png"},
            failed | {"caption": "x"},
        ]

    (tmp_path / "secret.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64))
    listed = EvidenceList(found[:3], found.results, draw=draw)
    text = listed.write_report(tmp_path / "run").read_text("utf-8")
    assert text.count('id="figure-own"') == 1
    assert "t7: &lt;script&gt;" in text
    assert "<small>figures/own.pdf</small>" in text
    assert "other of t9: KeyError: &lt;script&gt;" in text
    # A file outside of the folder is no figure of the run.
    assert "secret" not in text
    assert json.loads((tmp_path / "run" / "results.json").read_text("utf-8"))["figures"]
