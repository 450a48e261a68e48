"""The smallest counterexample, and the budget of the search."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import pytest

from ssmbias.core.verdict import Verdict
from ssmbias.evidence import Bench, Claim, Kind, Premise, Row
from ssmbias.testing import Counterexample, smallest_counterexample

st = importlib.import_module("hypothesis.strategies")


@dataclass(frozen=True)
class Rectangle:
    name: str = "rectangle"
    width: int = 1
    height: int = 1


RANGES = {"width": range(1, 20), "height": range(1, 20)}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hypothesis keeps a folder of its own where it runs."""
    monkeypatch.chdir(tmp_path)


def claim(fails: Callable[[int, int], bool], measured: list[Any] | None = None) -> Claim:
    """A claim that is violated exactly where `fails` says so."""

    def measure(subject: Rectangle, bench: Bench) -> float:
        if measured is not None:
            measured.append((subject.width, subject.height, bench.rtol))
        return float(fails(subject.width, subject.height))

    def compare(subject: Rectangle, predicted: float, runs: float) -> Row:
        residual = abs(predicted - runs)
        return Row(
            quantity="it fails", predicted=predicted, measured=runs, residual=residual,
            tolerance=0.5, derivation="by hand",
        )  # fmt: skip

    return Claim(
        id="RECTANGLE",
        title="x",
        statement="x",
        kind=Kind.IDENTITY,
        reference="none",
        subject=Rectangle,
        premises=(Premise("the width is not 13", lambda s, runs: s.width != 13),),
        measure=measure,
        predict=lambda subject, runs: 0.0,
        control="it is far off",
        wrong=lambda subject, runs: 9.0,
        compare=compare,
    )


@pytest.mark.parametrize("width", [1, 2, 11, 19])
def test_a_claim_that_fails_from_some_size_on(width: int) -> None:
    found = smallest_counterexample(claim(lambda w, h: w >= width), RANGES)
    assert found is not None
    assert found.subject == Rectangle(width=width)
    assert [row.verdict for row in found.evidence] == [Verdict.VIOLATED]
    assert f"width={width}" in str(found)


def test_both_parameters_are_made_small() -> None:
    found = smallest_counterexample(claim(lambda w, h: w >= 6 and h >= 17), RANGES)
    assert found is not None
    assert (found.subject.width, found.subject.height) == (6, 17)


def test_the_same_call_gives_the_same_answer() -> None:
    found, asked = [], []
    for _ in range(2):
        measured: list[Any] = []
        found.append(smallest_counterexample(claim(lambda w, h: w * h > 90, measured), RANGES))
        asked.append(measured)
    assert found[0] == found[1]
    assert asked[0] == asked[1]
    assert len(set(asked[0])) == len(asked[0])  # each subject is checked once


def test_a_right_claim_has_none_and_every_subject_is_tried_within_the_budget() -> None:
    measured: list[Any] = []
    right = claim(lambda w, h: False, measured)
    assert smallest_counterexample(right, {"width": range(1, 40)}, rtol=1e-7) is None
    assert sorted(measured) == [(w, 1, 1e-7) for w in range(1, 40)]


def test_one_counterexample_among_many_subjects_is_found() -> None:
    needle = claim(lambda w, h: (w, h) == (17, 18))
    found = smallest_counterexample(needle, RANGES, max_checks=19 * 19)
    assert found is not None
    assert found.subject == Rectangle(width=17, height=18)


def test_the_budget_is_kept() -> None:
    measured: list[Any] = []
    right = claim(lambda w, h: False, measured)
    assert smallest_counterexample(right, RANGES, max_checks=7) is None
    assert len(measured) == 7


def test_what_is_inconclusive_refutes_nothing() -> None:
    assert smallest_counterexample(claim(lambda w, h: w == 13), {"width": range(1, 20)}) is None
    found = smallest_counterexample(claim(lambda w, h: w >= 13), {"width": range(1, 20)})
    assert found is not None
    assert found.subject.width == 14


def test_a_function_builds_the_subject_or_says_that_values_do_not_go_together() -> None:
    def build(side: int, factor: int) -> Rectangle | None:
        return None if side == 3 else Rectangle("built", side, side * factor)

    sides = {"side": [1, 2, 3, 4, 5], "factor": [2, 4]}
    found = smallest_counterexample(claim(lambda w, h: h >= 6), sides, build)
    assert isinstance(found, Counterexample)
    assert found.subject in (Rectangle("built", 2, 8), Rectangle("built", 4, 8))


def test_lists_of_subjects_and_strategies() -> None:
    wrong = claim(lambda w, h: w >= 3)
    several = [Rectangle(width=w) for w in (1, 2, 5, 9)]
    found = smallest_counterexample(wrong, several)
    assert found is not None
    assert found.subject.width == 5
    drawn = st.builds(Rectangle, width=st.integers(1, 1000), height=st.just(2))
    found = smallest_counterexample(wrong, drawn)
    assert found is not None
    assert found.subject == Rectangle(width=3, height=2)


def test_what_a_claim_raises_is_handed_on_at_once() -> None:
    measured: list[Any] = []

    def fails(w: int, h: int) -> bool:
        if w > 1:
            raise KeyError("mine")
        return False

    with pytest.raises(KeyError, match="mine"):
        smallest_counterexample(claim(fails, measured), RANGES)
    assert sum(w > 1 for w, _, _ in measured) == 1


@pytest.mark.parametrize(
    ("subjects", "changes", "message"),
    [
        ({}, {}, "name at least one parameter"),
        ({"width": []}, {}, "width=\\[\\]: gives no value"),
        ({"width": 3}, {}, "width=3: expected values from the smallest on"),
        ({"width": "wide"}, {}, "width='wide': expected values"),
        ([], {}, "subjects=\\[\\]: gives no value"),
        (3, {}, "subjects=3: expected values"),
        ([Rectangle()], {"build": Rectangle}, "build: is for parameters by name"),
        (RANGES, {"max_checks": 0}, "max_checks=0"),
        (RANGES, {"build": lambda width, height: None}, "build: made no subject"),
        (["x"], {}, "subject 'x': expected a frozen dataclass"),
        ({"depth": [1]}, {}, "depth"),
    ],
)
def test_mistakes_are_named(subjects: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        smallest_counterexample(claim(lambda w, h: False), subjects, **changes)


def test_without_hypothesis_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("hypothesis"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ValueError, match=r"pip install 'ssmbias\[shrink\]'"):
        smallest_counterexample(claim(lambda w, h: False), RANGES)


def test_single_precision_is_refused() -> None:
    with jax.enable_x64(False), pytest.raises(ValueError, match="float64 is needed"):
        smallest_counterexample(claim(lambda w, h: False), RANGES)
