"""The claim of README as a file of its own, run as README says."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

import ssmbias
from ssmbias.evidence.registry import claims_of_file

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    text = (REPO / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(# my_claims\.py\n.*?)```", text, re.DOTALL)
    path = tmp_path / "my_claims.py"
    path.write_text(block, encoding="utf-8")
    return path


def test_it_holds_and_its_control_is_rejected(file: Path) -> None:
    rows = ssmbias.verify(file)
    assert [row.subject for row in rows] == ["doubling", "from three"]
    assert all(row.verdict == "holds" and row.control_rejected for row in rows)


def test_ours_and_theirs_in_one_run(file: Path, tmp_path: Path) -> None:
    rows = ssmbias.verify([file, "M4"], settings="t7", num_seeds=1, folder=tmp_path / "out")
    assert {(row.claim, row.subject) for row in rows} == {
        ("M4", "t7"),
        ("DOUBLE", "doubling"),
        ("DOUBLE", "from three"),
    }
    saved = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert [row["claim"] for row in saved["evidence"]] == [row.claim for row in rows]
    assert saved["claims"]["DOUBLE"]["source"][0]["file"] == "my_claims.py"
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "my_claims.py" in page
    assert saved["claims"]["DOUBLE"]["source"][0]["sha256"] in page


def test_a_changed_file_is_checked_afresh_and_nothing_else(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ssmbias.verification.run as module

    real, seen = module.check, []
    monkeypatch.setattr(module, "check", lambda c, *rest: seen.append(c.id) or real(c, *rest))

    def run() -> list[str]:
        seen.clear()
        ssmbias.verify([file, "M4"], settings="t7", num_seeds=1, folder=tmp_path / "out")
        return sorted(seen)

    assert run() == ["DOUBLE", "DOUBLE", "M4"]
    assert run() == []
    file.write_text(file.read_text(encoding="utf-8").replace("2**10", "2.0**10"), encoding="utf-8")
    assert run() == ["DOUBLE", "DOUBLE"]


def test_a_wrong_prediction_is_violated(file: Path) -> None:
    (claim,), subjects = claims_of_file(file)
    wrong = dataclasses.replace(claim, predict=lambda subject, runs: 1023 * subject.start)
    rows = ssmbias.verify(wrong, subjects)
    assert [row.verdict for row in rows] == ["violated", "violated"]
