"""A box is proved once in a folder, and again if anything that its record depends on changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ssmbias.certify import record as recording
from ssmbias.certify.box import default_box
from ssmbias.certify.certificate import ProverOptions
from ssmbias.certify.task import Task, finished, run_task
from ssmbias.runs import sources
from ssmbias.runs.sources import Tree

# A second: long slabs and no forks.
BOX = Task(
    "k7d3", default_box(3, delta=(5e-9, 5.5e-9)), 7, 1.0, ProverOptions(step=0.02, forks=0), 1
)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("certified")
    return folder, run_task(BOX, folder)


def test_a_lost_figure_is_made_anew(run, monkeypatch) -> None:
    folder, record = run
    curves = folder / record["curves"]
    content = curves.read_bytes()
    assert finished(BOX, folder) == record
    curves.unlink()
    assert finished(BOX, folder) is None
    curves.write_bytes(content)
    assert finished(BOX, folder) == record


@pytest.mark.parametrize(
    ("changed", "stale"),
    [
        ("certify/prover/rates.py", True),
        ("certify/check/bounds.py", True),
        ("certify/second_check/tree.py", True),
        ("certify/samples.py", True),
        ("certify/catalogue.py", False),
        ("certify/widest.py", False),
        ("dynamics/limit/dop853.py", False),
    ],
)
def test_a_record_depends_on_what_proves_and_checks_it(
    run, changed, stale, tmp_path, monkeypatch
) -> None:
    folder, _ = run
    root = tmp_path / "ssmbias"
    shutil.copytree(
        Path(recording.__file__).parents[1], root, ignore=shutil.ignore_patterns("__pycache__")
    )
    path = root / changed
    path.write_text(path.read_text(encoding="utf-8") + "\n_NEW_LINE = 1\n", encoding="utf-8")
    monkeypatch.setattr(sources, "package_tree", lambda: Tree({"ssmbias": root}))
    assert (finished(BOX, folder) is None) == stale


def test_records_of_an_earlier_version_are_refused(run, tmp_path) -> None:
    _, record = run
    (tmp_path / "records").mkdir()
    path = tmp_path / "records" / f"{Path(record['log']).stem}.json"
    path.write_text(json.dumps(record))
    with pytest.raises(
        ValueError, match=r"records': holds results of another version .*new folder"
    ):
        run_task(BOX, tmp_path)
    assert json.loads(path.read_text()) == record
