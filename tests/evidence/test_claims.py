"""Claims: verdict logic, every claim in both settings, and every negative control."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest

from ssmbias.config import SETTINGS
from ssmbias.evidence import (
    Assumption,
    Claim,
    Evidence,
    Kind,
    Laboratory,
    Runs,
    Verdict,
    all_claims,
    check_claim,
    judge,
    select_claims,
)
from ssmbias.statistics.fits import fit_asymptotic_exponent

STRENGTHS = (0.0, 1.0, 10.0, 10**1.5, 1e2, 10**2.5, 1e3)
# In the default run T7 stands for both settings, and M1 is looked at in T9 too: compiling all of it
# for another sequence length takes most of two minutes. `make test-all` has the rest.
QUICK_IN_T9 = {"M1-path"}
# Each takes ten to forty seconds of compiling. The main job runs them all, controls included.
SLOW_IN_T7 = {
    *("B1", "I1", "I2", "I3", "I4", "I5", "M5-fixed"),
    *("M3-defect", "M3-error", "M3-exponent", "M3-limit"),
}
CASES = [
    pytest.param(setting, id, marks=[pytest.mark.slow] if slow else [], id=f"{setting}-{id}")
    for setting in ("t7", "t9")
    for id in all_claims()
    for slow in [id in SLOW_IN_T7 if setting == "t7" else id not in QUICK_IN_T9]
]


@pytest.fixture(scope="module")
def laboratory() -> Callable[[str], Laboratory]:
    """Laboratories with three seeds, one for each setting, shared by the module's tests."""
    labs = {name: Laboratory(SETTINGS[name], 3, STRENGTHS, 1e-10) for name in SETTINGS}
    return labs.__getitem__


@pytest.mark.parametrize(("setting", "claim_id"), CASES)
def test_claim_holds_and_its_control_is_rejected(laboratory, setting, claim_id):
    rows = check_claim(all_claims()[claim_id], laboratory(setting))
    assert rows
    for row in rows:
        assert row.verdict is Verdict.HOLDS, row
        assert row.control_rejected is True, row
        assert row.residual <= row.tolerance
        assert row.claim == claim_id
        assert row.setting == setting
        assert row.derivation


def test_accuracy_that_the_foundation_promises(laboratory):
    for setting in SETTINGS:
        limit = check_claim(all_claims()["M1-limit"], laboratory(setting))[0]
        assert limit.residual < 1e-10
        loss = laboratory(setting).limits((0.0,)).result.loss
        assert float(np.max(np.asarray(loss))) <= 1e-24


def test_catalogue_is_documented_by_its_claims():
    for id, claim in all_claims().items():
        assert claim.id == id
        for text in (claim.title, claim.statement, claim.reference, claim.control):
            assert text.strip()
        assert "$" not in claim.statement


class TestJudge:
    def test_holds_at_the_tolerance_and_not_above(self):
        assert judge(1.0, 1.0, [], Runs(1)) == (Verdict.HOLDS, "")
        verdict, reason = judge(np.nextafter(1.0, 2.0), 1.0, [], Runs(1))
        assert verdict is Verdict.VIOLATED
        assert "exceeds" in reason

    def test_a_run_that_did_not_converge_is_never_averaged_away(self):
        verdict, reason = judge(0.0, 1.0, [], Runs(16, 1, "seed 3: the step budget was spent"))
        assert verdict is Verdict.INCONCLUSIVE
        assert "seed 3" in reason
        assert "1 of 16" in reason

    def test_an_unmet_premise_is_inconclusive(self):
        premise = Assumption("entries are positive", False, "a_3 = -1")
        verdict, reason = judge(0.0, 1.0, [premise], Runs(1))
        assert verdict is Verdict.INCONCLUSIVE
        assert "a_3 = -1" in reason

    def test_nan_is_inconclusive_and_infinity_a_violation(self):
        assert judge(math.nan, 1.0, [], Runs(1))[0] is Verdict.INCONCLUSIVE
        assert judge(0.0, math.nan, [], Runs(1))[0] is Verdict.INCONCLUSIVE
        assert judge(math.inf, 1.0, [], Runs(1))[0] is Verdict.VIOLATED


def _claim(verdicts: dict[bool, Verdict]) -> Claim:
    """A claim that returns a given verdict for the check and for its control."""
    row = Evidence(
        "X", "t7", Kind.IDENTITY, "q", 0.0, 0.0, 0.0, 1.0, "by hand", verdict=Verdict.HOLDS
    )
    return Claim(
        "X", "x", "x", Kind.IDENTITY, (), "none", "none",
        lambda lab, control: [dataclasses.replace(row, verdict=verdicts[control])],
    )  # fmt: skip


class TestControls:
    lab = Laboratory(SETTINGS["t7"], 1, (0.0,), 1e-10)

    def test_a_check_that_cannot_fail_is_inconclusive(self):
        rows = check_claim(_claim({False: Verdict.HOLDS, True: Verdict.HOLDS}), self.lab)
        assert rows[0].verdict is Verdict.INCONCLUSIVE
        assert rows[0].control_rejected is False
        assert "could not fail" in rows[0].reason

    def test_an_inconclusive_control_does_not_count_as_rejected(self):
        rows = check_claim(_claim({False: Verdict.HOLDS, True: Verdict.INCONCLUSIVE}), self.lab)
        assert rows[0].verdict is Verdict.INCONCLUSIVE

    def test_a_violation_stays_one_whatever_the_control_says(self):
        rows = check_claim(_claim({False: Verdict.VIOLATED, True: Verdict.HOLDS}), self.lab)
        assert rows[0].verdict is Verdict.VIOLATED

    def test_rejected_control_leaves_the_verdict(self):
        rows = check_claim(_claim({False: Verdict.HOLDS, True: Verdict.VIOLATED}), self.lab)
        assert rows[0].verdict is Verdict.HOLDS
        assert rows[0].control_rejected is True


@pytest.mark.slow
def test_unconverged_runs_make_claims_inconclusive(monkeypatch):
    """Starved of steps, no limit may hold or be violated."""
    import ssmbias.subjects.laboratory as module

    real = module.Theorem1Config
    monkeypatch.setattr(module, "Theorem1Config", lambda rtol: real(rtol=rtol, max_steps=50))
    lab = Laboratory(SETTINGS["t7"], 2, STRENGTHS, 1e-10)
    for id in ("M1-limit", "M2", "B1", "M4", "M7-distance"):
        for row in check_claim(all_claims()[id], lab):
            assert row.verdict is Verdict.INCONCLUSIVE, row
            assert row.runs.unconverged > 0


def test_m2_without_enough_strengths_is_inconclusive():
    lab = Laboratory(SETTINGS["t7"], 2, (0.0, 1.0, 100.0), 1e-10)
    row = check_claim(all_claims()["M2"], lab)[0]
    assert row.verdict is Verdict.INCONCLUSIVE
    assert "strength=[10,31.6,100,316,1000]" in row.reason


@pytest.mark.slow
def test_b1_outside_of_its_premises_is_inconclusive():
    setting = dataclasses.replace(SETTINGS["t7"], gap=9e-6 * 10, first_seed=3)
    row = check_claim(all_claims()["B1"], Laboratory(setting, 1, (0.0, 1.0), 1e-10))[0]
    assert row.verdict is Verdict.INCONCLUSIVE
    assert "nearly, not exactly, tied" in row.reason


class TestSelection:
    def test_prefixes_and_case(self):
        assert [c.id for c in select_claims(["m1"])] == ["M1-limit", "M1-path", "M1-escape"]
        assert [c.id for c in select_claims(["b1", "M1-LIMIT"])] == ["B1", "M1-limit"]
        assert len(select_claims(["all"])) == len(all_claims())

    def test_unknown_claim_lists_the_known_ones(self):
        with pytest.raises(ValueError, match=r"claims='M9': choose from all, B1, .*M4"):
            select_claims(["M9"])


class TestFit:
    x = np.geomspace(10.0, 1e3, 5)

    def test_recovers_an_exponent_behind_two_corrections(self):
        y = np.stack([c * self.x**-1.0 * (1 + 0.9 / self.x + 2 / self.x**2) for c in (1.0, 3.0)])
        fit = fit_asymptotic_exponent(self.x, y, -1.0)
        assert fit.low <= -1.0 <= fit.high
        # The interval is useful: it would tell -1 from -1.01.
        assert fit.high - fit.low < 0.01

    @pytest.mark.parametrize("wrong", [-2.0, -0.5, -1.1])
    def test_rejects_another_exponent(self, wrong):
        fit = fit_asymptotic_exponent(self.x, np.stack([self.x**wrong * (1 + 0.5 / self.x)]), -1.0)
        assert not fit.low <= -1.0 <= fit.high

    def test_interval_covers_noise(self):
        """95 % intervals over 20 noisy series contain the truth in nearly all of 40 trials."""
        rng = np.random.default_rng(0)
        hits = 0
        for _ in range(40):
            noise = rng.normal(0.0, 1e-3, (20, 5))
            fit = fit_asymptotic_exponent(self.x, self.x**-1.0 * np.exp(noise), -1.0)
            hits += fit.low <= -1.0 <= fit.high
        # Binomial(40, 0.95) is below 34 with probability 2e-3; the systematic term only widens.
        assert hits >= 34

    def test_refuses_too_few_points_and_zeros(self):
        with pytest.raises(ValueError, match="five or more"):
            fit_asymptotic_exponent(self.x[:4], np.ones((2, 4)), -1.0)
        with pytest.raises(ValueError, match="positive"):
            fit_asymptotic_exponent(self.x, np.zeros((2, 5)), -1.0)
