"""The checker: one measurement, two comparisons, and what makes a row inconclusive."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from ssmbias.core.verdict import Verdict
from ssmbias.evidence import (
    Bench,
    CheckedPremise,
    Claim,
    Count,
    Figure,
    Kind,
    Premise,
    Row,
    check,
    judge,
    require_subject,
)


@dataclass(frozen=True)
class Coin:
    """A subject that is no SSM."""

    name: str = "coin"
    bias: float = 0.5


@dataclass(frozen=True)
class Holder:
    name: str
    coin: Coin


def compare(subject: Coin, predicted: float, runs: float) -> list[Row]:
    return [
        Row(
            quantity="share of heads",
            predicted=predicted,
            measured=runs,
            residual=abs(predicted - runs),
            tolerance=0.1,
            derivation="by hand",
        )
    ]


def claim(**changes: Any) -> Claim:
    """A claim that holds, with a control that is rejected."""
    values: dict[str, Any] = {
        "id": "COIN",
        "title": "x",
        "statement": "x",
        "kind": Kind.LIMIT,
        "reference": "none",
        "subject": Coin,
        "measure": lambda subject, bench: 0.5,
        "predict": lambda subject, runs: subject.bias,
        "control": "all heads",
        "wrong": lambda subject, runs: 1.0,
        "compare": compare,
    }
    return Claim(**(values | changes))


class TestJudge:
    def test_holds_at_the_tolerance_and_not_above(self) -> None:
        assert judge(1.0, 1.0, [], Count(1)) == (Verdict.HOLDS, "")
        verdict, reason = judge(np.nextafter(1.0, 2.0), 1.0, [], Count(1))
        assert verdict is Verdict.VIOLATED
        assert "exceeds" in reason

    def test_a_run_that_did_not_converge_is_never_averaged_away(self) -> None:
        verdict, reason = judge(0.0, 1.0, [], Count(16, 1, "seed 3: the step budget was spent"))
        assert verdict is Verdict.INCONCLUSIVE
        assert "seed 3" in reason
        assert "1 of 16" in reason

    def test_an_unmet_premise_is_inconclusive(self) -> None:
        premise = CheckedPremise("entries are positive", False, "a_3 = -1")
        verdict, reason = judge(0.0, 1.0, [premise], Count(1))
        assert verdict is Verdict.INCONCLUSIVE
        assert "a_3 = -1" in reason

    def test_nan_is_inconclusive_and_infinity_a_violation(self) -> None:
        assert judge(math.nan, 1.0, [], Count(1))[0] is Verdict.INCONCLUSIVE
        assert judge(0.0, math.nan, [], Count(1))[0] is Verdict.INCONCLUSIVE
        assert judge(math.inf, 1.0, [], Count(1))[0] is Verdict.VIOLATED


class TestControls:
    def verdict(self, right: float, wrong: float) -> tuple[Verdict, bool | None, str]:
        tried = claim(predict=lambda s, r: right, wrong=lambda s, r: wrong)
        (row,) = check(tried, Coin())
        return row.verdict, row.control_rejected, row.reason

    def test_rejected_control_leaves_the_verdict(self) -> None:
        assert self.verdict(0.5, 1.0) == (Verdict.HOLDS, True, "")

    def test_a_check_that_cannot_fail_is_inconclusive(self) -> None:
        verdict, rejected, reason = self.verdict(0.5, 0.5)
        assert (verdict, rejected) == (Verdict.INCONCLUSIVE, False)
        assert "could not fail" in reason

    def test_an_inconclusive_control_does_not_count_as_rejected(self) -> None:
        verdict, rejected, _ = self.verdict(0.5, math.nan)
        assert (verdict, rejected) == (Verdict.INCONCLUSIVE, False)

    def test_a_violation_stays_one_whatever_the_control_says(self) -> None:
        assert self.verdict(0.0, 0.5)[0] is Verdict.VIOLATED

    def test_another_measurement_may_be_the_control(self) -> None:
        tried = claim(wrong=None, wrong_measure=lambda subject, bench: 1.0)
        (row,) = check(tried, Coin())
        assert (row.verdict, row.control_rejected) == (Verdict.HOLDS, True)

    def test_what_the_control_measures_is_not_saved(self) -> None:
        def measure(subject: Coin, bench: Bench) -> float:
            bench.save("share", 0.5)
            return 0.5

        def other(subject: Coin, bench: Bench) -> float:
            bench.save("share", 1.0)
            return 1.0

        bench = Bench(Coin())
        check(claim(measure=measure, wrong=None, wrong_measure=other), Coin(), bench)
        assert bench.arrays == {"share": 0.5}


def test_a_claim_is_measured_once() -> None:
    measured = []

    def measure(subject: Coin, bench: Bench) -> float:
        measured.append(subject)
        return 0.5

    check(claim(measure=measure), Coin())
    assert measured == [Coin()]


def test_premises_are_tested_on_the_runs() -> None:
    fair = Premise("the coin is fair", lambda s, runs: (s.bias == 0.5, f"bias {s.bias}"))
    (row,) = check(claim(premises=(fair,)), Coin())
    assert row.premises == (CheckedPremise("the coin is fair", True, "bias 0.5"),)
    (row,) = check(claim(premises=(fair,)), Coin(bias=0.45))
    assert row.verdict is Verdict.INCONCLUSIVE
    assert "bias 0.45" in row.reason
    assert claim(premises=(fair,), row_premises=("y",)).premises_in_words == (
        "the coin is fair",
        "y",
    )


def test_a_row_may_rest_on_its_own_premises_only() -> None:
    never = Premise("never", lambda s, runs: False)

    def two(subject: Coin, predicted: float, runs: float) -> list[Row]:
        (row,) = compare(subject, predicted, runs)
        return [row, dataclasses.replace(row, quantity="exact", own_premises_only=True)]

    rows = check(claim(premises=(never,), compare=two), Coin())
    assert [row.verdict for row in rows] == [Verdict.INCONCLUSIVE, Verdict.HOLDS]


def test_arrays_are_saved_from_the_right_prediction() -> None:
    bench = Bench(Coin())
    check(claim(arrays=lambda s, predicted, runs: {"p": predicted}), Coin(), bench)
    assert bench.arrays == {"p": 0.5}


class TestRefused:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"wrong": None}, "no negative control"),
            ({"id": "two words"}, "id='two words'"),
            ({"id": "a/b"}, "id='a/b'"),
            ({"predict": 1.0}, "predict=1.0 is no function"),
            ({"subject": Coin()}, "expected the class"),
            ({"premises": Premise("x", lambda s, r: True)}, "tuple of Premise"),
            ({"figures": ("x",)}, "tuple of Figure"),
            ({"kind": "guess"}, "guess"),
            ({"row_premises": ["x"]}, "expected a tuple of texts"),
        ],
    )
    def test_claims(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            claim(**changes)

    @pytest.mark.parametrize("found", [[False, "x"], math.nan, None, "yes", (True, "a", "b"), 1])
    def test_premises_that_are_neither_true_nor_false(self, found: Any) -> None:
        odd = Premise("odd", lambda s, runs: found)
        with pytest.raises(ValueError, match="premise 'odd': its test returned") as caught:
            check(claim(premises=(odd,)), Coin())
        assert "a premise of claim COIN" in caught.value.__notes__[0]

    @pytest.mark.parametrize("found", [np.True_, np.array(True), (np.bool_(True), 3)])
    def test_premises_by_numpy(self, found: Any) -> None:
        assert Premise("x", lambda s, runs: found).check(None, None).holds is True

    def test_names_of_figures(self) -> None:
        with pytest.raises(ValueError, match="names a file"):
            Figure("a/b", "caption", lambda arrays: None)  # pyright: ignore[reportArgumentType]

    @pytest.mark.parametrize("found", [None, [], ["row"], 0.5])
    def test_comparisons_without_rows(self, found: Any) -> None:
        with pytest.raises(ValueError, match="claim COIN: compare must return"):
            check(claim(compare=lambda s, p, r: found), Coin())

    def test_rows_of_the_control_that_are_others(self) -> None:
        def named(subject: Coin, predicted: float, runs: float) -> list[Row]:
            (row,) = compare(subject, predicted, runs)
            return [dataclasses.replace(row, quantity=f"{predicted}")]

        with pytest.raises(ValueError, match="both must be the same"):
            check(claim(compare=named), Coin())

    def test_two_rows_of_one_quantity(self) -> None:
        with pytest.raises(ValueError, match="same quantity"):
            check(claim(compare=lambda *x: compare(*x) * 2), Coin())

    @pytest.mark.parametrize("value", ["0.5", None, True, np.zeros(2), 1j])
    def test_numbers_of_rows(self, value: Any) -> None:
        with pytest.raises(ValueError, match="one real number"):
            Row(
                quantity="q", predicted=value, measured=0.0, residual=0.0, tolerance=0.0,
                derivation="",
            )  # fmt: skip

    def test_scalars_of_numpy_are_numbers(self) -> None:
        row = Row(
            quantity="q", predicted=np.float64(1.0), measured=np.array(2.0), residual=np.int64(1),
            tolerance=np.float32(0.5), derivation="",
        )  # fmt: skip
        assert (row.predicted, row.measured, row.residual, row.tolerance) == (1.0, 2.0, 1.0, 0.5)
        assert type(row.measured) is float

    def test_subjects(self) -> None:
        @dataclass
        class Loose:
            name: str = "x"

        @dataclass(frozen=True)
        class Nameless:
            name: str = ""

        for subject, message in (
            ("t7", "frozen dataclass with a name"),
            (Coin, "frozen dataclass with a name"),
            (Loose(), "frozen=True"),
            (Nameless(), "needs a name"),
        ):
            with pytest.raises(ValueError, match=message):
                require_subject(subject)

    def test_a_subject_of_another_type(self) -> None:
        with pytest.raises(ValueError, match="COIN does not speak of"):
            check(claim(), Holder("x", Coin()))


def test_what_a_claim_raises_says_whose_it_is() -> None:
    def broken(subject: Coin, runs: float) -> float:
        raise KeyError("mine")

    with pytest.raises(KeyError) as caught:
        check(claim(predict=broken), Coin())
    assert "predict of claim COIN, subject coin" in caught.value.__notes__[0]
