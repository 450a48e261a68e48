"""Every claim of the catalogue holds on its subjects, and every negative control is rejected."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from ssmbias.core.verdict import Verdict
from ssmbias.evidence import Bench, Claim, check
from ssmbias.evidence.registry import by_id, claims_of_package, select
from ssmbias.subjects import SETTINGS, Theorem1, accuracy, family, passages, theorem1

STRENGTHS = (0.0, 1.0, 10.0, 10**1.5, 1e2, 10**2.5, 1e3)
CLAIMS = by_id(claims_of_package("ssmbias.claims"))
# In the default run T7 stands for both settings, and M1 is looked at in T9 too: compiling all of it
# for another sequence length takes most of two minutes. `make test-all` has the rest.
QUICK_IN_T9 = {"M1-path"}
# Each takes ten to forty seconds of compiling. The main job runs them all, controls included.
SLOW_IN_T7 = {
    *("B1", "I1", "I2", "I3", "I4", "I5", "M5-fixed"),
    *("M3-defect", "M3-error", "M3-exponent", "M3-limit"),
}


def subjects_of(name: str, num_seeds: int = 3) -> tuple:
    """A setting with few seeds, and all that belongs to it."""
    setting = dataclasses.replace(SETTINGS[name], num_seeds=num_seeds, strengths=STRENGTHS)
    every = family(setting)
    # Passages have no setting; they go with the first one.
    return (*every, *passages(setting)) if name == "t7" else every


# Free flows of (a, b, c) take ten seconds to compile, and I6 is checked on Theorem 1's as well.
SLOW_SUBJECTS = {("I6", "FreeFlows")}

SUBJECTS = {name: subjects_of(name) for name in SETTINGS}


def _is_slow(setting: str, id: str, about: str) -> bool:
    quick = id in QUICK_IN_T9 if setting == "t9" else id not in SLOW_IN_T7
    return not quick or (id, about) in SLOW_SUBJECTS


CASES = [
    pytest.param(
        claim,
        subject,
        marks=[pytest.mark.slow] if _is_slow(setting, id, about) else [],
        id=f"{setting}-{id}-{about}-{number}",
    )
    for setting, every in SUBJECTS.items()
    for id, claim in CLAIMS.items()
    for number, subject in enumerate(s for s in every if claim.speaks_of(s))
    for about in [type(subject).__name__]
]


@pytest.fixture(scope="module")
def bench() -> Bench:
    """One memory for all tests of the module."""
    return Bench(None)


@pytest.mark.parametrize(("claim", "subject"), CASES)
def test_claim_holds_and_its_control_is_rejected(bench: Bench, claim: Claim, subject: Any) -> None:
    rows = check(claim, subject, bench.on(subject))
    assert rows
    for row in rows:
        assert row.verdict is Verdict.HOLDS, row
        assert row.control_rejected is True, row
        assert row.residual <= row.tolerance
        assert (row.claim, row.subject) == (claim.id, subject.name)
        assert row.derivation


def test_every_claim_is_about_some_subject() -> None:
    assert {case.values[0].id for case in CASES} == set(CLAIMS)


def test_accuracy_that_the_foundation_promises(bench: Bench) -> None:
    for name in SETTINGS:
        subject = SUBJECTS[name][0]
        limit = check(CLAIMS["M1-limit"], subject, bench.on(subject))[0]
        assert limit.residual < 1e-10
        loss = theorem1.limits(subject, bench.on(subject), (0.0,)).result.loss
        assert float(np.max(np.asarray(loss))) <= 1e-24


def test_catalogue_is_documented_by_its_claims() -> None:
    for id, claim in CLAIMS.items():
        assert claim.id == id
        for text in (claim.title, claim.statement, claim.reference, claim.control, claim.family):
            assert text.strip()
        assert "$" not in claim.statement
        assert claim.cost > 0


@pytest.mark.slow
def test_unconverged_runs_make_claims_inconclusive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starved of steps, no limit may hold or be violated."""
    real = theorem1.Theorem1Config
    monkeypatch.setattr(theorem1, "Theorem1Config", lambda rtol: real(rtol=rtol, max_steps=50))
    subject = subjects_of("t7", num_seeds=2)[0]
    bench = Bench(subject)
    for id in ("M1-limit", "M2", "B1", "M4", "M7-distance"):
        for row in check(CLAIMS[id], subject, bench):
            if id == "B1" and "box" in row.quantity:
                continue  # proved without a simulation
            assert row.verdict is Verdict.INCONCLUSIVE, row
            assert row.count.unconverged > 0


def _t7(**changes: object) -> Theorem1:
    return dataclasses.replace(SETTINGS["t7"], **changes)  # pyright: ignore[reportArgumentType]


def test_m2_without_enough_strengths_is_inconclusive() -> None:
    row = check(CLAIMS["M2"], _t7(num_seeds=2, strengths=(0.0, 1.0, 100.0)))[0]
    assert row.verdict is Verdict.INCONCLUSIVE
    assert "strength=[10,31.6,100,316,1000]" in row.reason


@pytest.mark.slow
def test_b1_outside_of_its_premises_is_inconclusive() -> None:
    row = check(CLAIMS["B1"], _t7(gap=9e-6 * 10, first_seed=3, num_seeds=1))[0]
    assert row.verdict is Verdict.INCONCLUSIVE
    assert "nearly, not exactly, tied" in row.reason


def test_a_coarse_solver_makes_m1_inconclusive(bench: Bench) -> None:
    claim = CLAIMS["M1-limit"]
    subject = SUBJECTS["t7"][0]
    runs = claim.measure(subject, bench.on(subject))
    off = runs._replace(tight=runs.tight._replace(a=runs.tight.a * (1 + 1e-6)))
    coarse = dataclasses.replace(claim, measure=lambda subject, bench: off)
    row = check(coarse, subject)[0]
    assert row.tolerance > accuracy.COARSEST_TOLERANCE
    assert row.verdict is Verdict.INCONCLUSIVE


class TestSelection:
    def names(self, *words: str) -> list[str]:
        return [claim.id for claim in select(words, CLAIMS)]

    def test_prefixes_and_case(self) -> None:
        assert self.names("m1") == ["M1-limit", "M1-path", "M1-escape"]
        assert self.names("b1", "M1-LIMIT") == ["B1", "M1-limit"]
        assert self.names("all") == list(CLAIMS)

    def test_families(self) -> None:
        assert self.names("descent") == [id for id, c in CLAIMS.items() if c.family == "descent"]
        assert len(self.names("identities", "limits")) > 6

    def test_unknown_claim_lists_the_known_ones(self) -> None:
        with pytest.raises(ValueError, match=r"claims='M9': choose from all, .*B1, .*M4"):
            select(["M9"], CLAIMS)


def test_a_user_can_check_a_claim_of_ours_on_a_subject_of_another_type() -> None:
    """I3 speaks of free flows of any κ and d, I1 of whatever saves its states."""
    claim: Claim = CLAIMS["I1"]

    @dataclasses.dataclass(frozen=True)
    class Borrowed:
        name: str = "borrowed"

        def states(self, bench: Bench):
            return _t7(num_seeds=1, strengths=(0.0,)).states(bench)

    assert claim.speaks_of(Borrowed())
    assert not claim.speaks_of(SETTINGS)
