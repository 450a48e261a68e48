"""Claims of one's own in a folder: what is stored, and when it is checked again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure as Canvas

import ssmbias
from ssmbias.evidence import Bench, Claim, Figure, Kind, Premise, Row


@dataclass(frozen=True)
class Data:
    """A subject with an array and a function among its fields."""

    name: str = "data"
    x: np.ndarray = dataclasses.field(default_factory=lambda: np.arange(4.0))
    scale: Callable[[float], float] = abs


def draw(arrays: Any) -> Canvas:
    canvas = Canvas()
    canvas.subplots().plot(arrays["x"])
    return canvas


def claim(offset: float = 0.0, **changes: Any) -> Claim:
    """A claim about a mean; it holds for offset 0."""

    def measure(subject: Data, bench: Bench) -> float:
        bench.save("x", subject.x)
        return float(np.mean(subject.x))

    def compare(subject: Data, predicted: float, runs: float) -> Row:
        residual = abs(predicted - runs)
        return Row(
            quantity="mean", predicted=predicted, measured=runs, residual=residual, tolerance=0.1,
            derivation="by hand",
        )  # fmt: skip

    values: dict[str, Any] = {
        "id": "MEAN",
        "title": "x",
        "statement": "x",
        "kind": Kind.LIMIT,
        "reference": "none",
        "subject": Data,
        "measure": measure,
        "predict": lambda subject, runs: 1.5 + offset,
        "control": "the sum",
        "wrong": lambda subject, runs: 6.0,
        "compare": compare,
    }
    return Claim(**(values | changes))


def test_claims_and_subjects_made_in_python_are_recorded(tmp_path: Path) -> None:
    figures = (Figure("mean", "The data.", draw),)
    evidence = ssmbias.verify(
        ["M4", claim(figures=figures, bibtex="@misc{mean}")],
        ["t7", Data(), Data("other, α")],
        num_seeds=1,
        folder=tmp_path,
    )
    assert [(row.claim, row.subject, row.verdict) for row in evidence] == [
        ("M4", "t7", "holds"),
        ("MEAN", "data", "holds"),
        ("MEAN", "other, α", "holds"),
    ]
    results = json.loads((tmp_path / "results.json").read_text("utf-8"))
    (source,) = results["claims"]["MEAN"]["source"]
    assert source["file"] == Path(__file__).name
    assert results["command"].startswith("# claims or subjects were made in Python")
    assert next(s for s in results["subjects"] if s["about"] == "Data") == {
        "about": "Data",
        "name": "data",
        "x": [0.0, 1.0, 2.0, 3.0],
        "scale": "abs",
    }
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "@misc{mean}" in page
    assert [figure["file"] for figure in results["figures"]] == [
        "figures/MEAN-data-mean.png",
        "figures/MEAN-other_α-mean.png",
    ]
    with np.load(tmp_path / "arrays.npz") as arrays:
        assert arrays["data/x"].tolist() == [0, 1, 2, 3]


def test_figures_of_subjects_with_similar_names_do_not_share_a_file(tmp_path: Path) -> None:
    mean = claim(figures=(Figure("mean", "The data.", draw),))
    ssmbias.verify([mean], [Data("a b"), Data("a,b")], folder=tmp_path)
    names = sorted(path.name for path in (tmp_path / "figures").glob("MEAN*"))
    assert names == ["MEAN-a_b-mean.png", "MEAN-a_b-mean_2.png"]


def test_a_figure_that_cannot_be_drawn_costs_no_evidence(tmp_path: Path) -> None:
    def broken(arrays: Any) -> Canvas:
        raise KeyError("no such array")

    mean = claim(figures=(Figure("mean", "The data.", broken),))
    (row,) = ssmbias.verify([mean], [Data()], folder=tmp_path)
    assert row.verdict == "holds"
    (figure,) = json.loads((tmp_path / "results.json").read_text("utf-8"))["figures"]
    assert figure["error"] == "KeyError: 'no such array'"


def never(subject: Any, runs: Any) -> bool:
    return False


@pytest.mark.parametrize(
    "changes",
    [
        {"offset": 1.0},  # captured by a function
        {"kind": Kind.BOUND},
        {"premises": (Premise("never", never),)},
    ],
)
def test_a_claim_that_holds_other_values_is_checked_again(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    def verify(subject: Data, **changes: Any) -> str:
        before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("checks/*.json")}
        ssmbias.verify([claim(**changes)], [subject], folder=tmp_path)
        after = {path: path.stat().st_mtime_ns for path in tmp_path.glob("checks/*.json")}
        return "found" if before == after else "checked"

    assert verify(Data()) == "checked"
    assert verify(Data()) == "found"
    assert verify(Data(), **changes) == "checked"
    assert verify(Data(x=np.arange(5.0)), **changes) == "checked"


def test_a_claim_without_a_file_is_checked_again_when_its_code_changes(tmp_path: Path) -> None:
    def verify(predicted: str) -> str:
        namespace: dict[str, Any] = {"__name__": "cell_of_a_notebook"}
        exec(f"def predict(subject, runs):\n    return {predicted}", namespace)
        made = claim(predict=namespace["predict"])
        (row,) = ssmbias.verify([made], [Data()], folder=tmp_path)
        return row.verdict

    assert [verify("1.5"), verify("2.5"), verify("1.5")] == ["holds", "violated", "holds"]
