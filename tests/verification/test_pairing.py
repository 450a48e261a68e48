"""Which claim is checked on which subject, and that none is left out in silence."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import pytest

from ssmbias.evidence import Claim, Kind, Row
from ssmbias.subjects import SETTINGS, Theorem1
from ssmbias.verification import plan


@dataclass(frozen=True)
class Passage:
    """A user's own, of the same name as one of ours."""

    name: str = "mine"


def claim(**changes: Any) -> Claim:
    row = Row(quantity="q", predicted=0, measured=0, residual=0, tolerance=0, derivation="none")
    values: dict[str, Any] = {
        "id": "OWN",
        "title": "x",
        "statement": "x",
        "kind": Kind.LIMIT,
        "reference": "none",
        "subject": Passage,
        "measure": lambda subject, bench: 0.0,
        "predict": lambda subject, runs: 0.0,
        "control": "one",
        "wrong": lambda subject, runs: 1.0,
        "compare": lambda subject, p, runs: dataclasses.replace(row, residual=p),
    }
    return Claim(**(values | changes))


def ids(job: Any) -> set[str]:
    return {claim.id for claim in job.claims}


def test_a_claim_of_ones_own_without_a_subject_is_told_of() -> None:
    for claims in (["all", claim()], claim(), ["M4", claim()]):
        with pytest.raises(ValueError, match="claim OWN: is about Passage"):
            plan(claims, settings="t7")


def test_all_and_families_leave_out_what_has_no_subject() -> None:
    own = Theorem1("mine", 7, 4, init_scale=1e-3, gap=1e-8, num_seeds=1)
    assert ids(plan("all", own)) == {
        *("B1", "I1", "I4", "I5", "I6", "M1-limit", "M1-path", "M1-escape", "M2", "M4"),
        "M7-distance",
    }
    assert ids(plan("identities", own)) == {"I1", "I4", "I5", "I6"}
    with pytest.raises(ValueError, match="claim I2: is about PaperNetworks"):
        plan(["identities", "I2"], own)


def test_nothing_to_check_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing is left to check"):
        plan("laws", settings="t7", max_cost=1e-3)
    with pytest.raises(ValueError, match="nothing is left to check"):
        plan("all", Passage())


def test_claims_named_one_by_one_are_checked_whatever_they_cost() -> None:
    assert ids(plan("M3", settings="t7", max_cost=1e-3)) == {
        "M3-exponent", "M3-error", "M3-defect", "M3-limit",
    }  # fmt: skip


def test_a_subject_of_the_same_name_takes_nothing_away() -> None:
    job = plan(["M3", claim()], [Passage(), "t7"])
    assert sum(subject.name.startswith("κ=") for subject in job.subjects) == 3


def test_numbers_for_settings_do_not_vanish() -> None:
    own = Theorem1("mine", 7, 4, init_scale=1e-3, gap=1e-8)
    with pytest.raises(ValueError, match="num_seeds: only settings that are named are changed"):
        plan("M4", own, changes={"num_seeds": 64})
    (subject,) = plan("M4", settings=own, changes={"num_seeds": 64}).subjects
    assert subject.num_seeds == 64


def test_the_command_asks_for_dear_claims_too() -> None:
    assert plan("M4", settings="t7").words == ("claims=M4", "setting=t7")
    assert plan("M4", settings="t7", max_cost=5.0).words == (
        "claims=M4",
        "setting=t7",
        "max_cost=5.0",
    )


def test_two_subjects_of_one_type_and_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two of type Theorem1 are named 't7'"):
        plan("M4", [SETTINGS["t7"], dataclasses.replace(SETTINGS["t7"], num_seeds=2)])
