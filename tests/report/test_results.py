"""Saved results of a run: read back, or refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssmbias.report import (
    load_results,
    save_figures,
    write_report,
)
from ssmbias.runs.files import write_atomically

SAMPLE = Path(__file__).parents[1] / "data" / "verify_sample"


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
