"""Evidence as an assertion."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

import ssmbias
from ssmbias.core.verdict import Verdict
from ssmbias.evidence import Evidence, Kind
from ssmbias.evidence.records import evidence_to_json
from ssmbias.report.evidence_list import EvidenceList
from ssmbias.testing import assert_holds

RIGHT = Evidence(
    claim="COIN",
    subject="coin",
    about="Coin",
    kind=Kind.LIMIT,
    quantity="share of heads",
    predicted=0.5,
    measured=0.5,
    residual=0.0,
    tolerance=0.1,
    derivation="by hand",
    verdict=Verdict.HOLDS,
    control_rejected=True,
)
WRONG = dataclasses.replace(
    RIGHT,
    subject="bent coin",
    measured=0.75,
    residual=0.25,
    verdict=Verdict.VIOLATED,
    reason="difference 0.25 exceeds the tolerance 0.1",
)
UNKNOWN = dataclasses.replace(
    RIGHT,
    subject="no coin",
    verdict=Verdict.INCONCLUSIVE,
    reason="the negative control was not rejected",
    control_rejected=False,
)


@pytest.mark.parametrize("evidence", [RIGHT, [RIGHT], (RIGHT, RIGHT), EvidenceList([RIGHT])])
def test_what_holds_passes(evidence: Any) -> None:
    assert_holds(evidence)
    ssmbias.testing.assert_holds(evidence)


def test_rows_of_a_file_pass_as_well() -> None:
    assert_holds([evidence_to_json(RIGHT)])
    with pytest.raises(AssertionError, match="bent coin"):
        assert_holds(evidence_to_json(WRONG))


def test_each_row_that_does_not_hold_is_shown_whole() -> None:
    with pytest.raises(AssertionError) as caught:
        assert_holds([RIGHT, WRONG, UNKNOWN])
    assert str(caught.value).splitlines() == [
        "2 of 3 rows do not hold",
        "COIN, bent coin: violated",
        "  quantity   share of heads",
        "  predicted  0.5",
        "  measured   0.75",
        "  residual   0.25",
        "  tolerance  0.1",
        "  derivation by hand",
        "  reason     difference 0.25 exceeds the tolerance 0.1",
        "COIN, no coin: inconclusive",
        "  quantity   share of heads",
        "  predicted  0.5",
        "  measured   0.5",
        "  residual   0.0",
        "  tolerance  0.1",
        "  derivation by hand",
        "  reason     the negative control was not rejected",
        "  control    was not rejected",
    ]


@pytest.mark.parametrize("evidence", [[], (), EvidenceList([])])
def test_a_check_without_rows_is_a_defect(evidence: Any) -> None:
    with pytest.raises(AssertionError, match="without rows"):
        assert_holds(evidence)


@pytest.mark.parametrize("evidence", [None, "holds", 3, [None], [RIGHT, "x"], {"claim": "x"}])
def test_what_is_no_evidence_is_refused(evidence: Any) -> None:
    with pytest.raises(ValueError, match=r"expected what .* returns"):
        assert_holds(evidence)
