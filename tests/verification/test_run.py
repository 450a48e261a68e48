"""The main job from Python: results, resuming, and what makes a stored check stale."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import ssmbias
from ssmbias.evidence.records import evidence_from_json, evidence_to_json
from ssmbias.verification import plan, run_verification

REPO = Path(__file__).resolve().parents[2]
SMALL = plan(["M1-limit", "M4"], "t7", changes={"num_seeds": 2})
SMALLER = plan(["M1-limit", "M4"], "t7", changes={"num_seeds": 1})


def test_verify_returns_evidence():
    rows = ssmbias.verify("M4", "t7", num_seeds=1)
    assert [row.claim for row in rows] == ["M4"]
    assert rows[0].verdict == "holds"
    assert rows[0].residual <= rows[0].tolerance


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"settings": "t8"}, "settings='t8': choose from t7, t9"),
        ({"claims": "Z1"}, "claims='Z1': choose from"),
        ({"num_seeds": 0}, "num_seeds=0"),
        ({"claims": []}, r"claims=\[\]"),
        ({"claims": 3}, "claims=3: expected ids"),
        ({"claims": "no/such.py"}, "no/such.py: there is no such file"),
        ({"subjects": 3}, "subject 3: expected a frozen dataclass"),
        ({"claims": "M4", "subjects": ssmbias.subjects.Passage("x", 7)}, "claim M4: is about"),
        ({"strengths": (-1.0,)}, "strength=-1.0"),
        ({"rtol": 1.0}, "rtol=1.0"),
    ],
)
def test_verify_refuses_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        ssmbias.verify(**arguments)


class TestRecords:
    def test_results_are_complete_and_read_back(self, tmp_path):
        rows = run_verification(SMALL, tmp_path)
        stored = json.loads((tmp_path / "results.json").read_text())
        assert stored["schema"] == "ssmbias.verify/2"
        assert [evidence_from_json(r) for r in stored["evidence"]] == rows
        assert set(stored["claims"]) == {"M1-limit", "M4"}
        assert stored["claims"]["M4"]["source"] == []
        assert [(s["about"], s["name"], s["seq_len"]) for s in stored["subjects"]] == [
            ("Theorem1", "t7", 7)
        ]
        assert stored["summary"] == {"holds": 2, "violated": 0, "inconclusive": 0}
        assert stored["hardware"]["platform"] == "cpu"
        assert str(REPO) not in json.dumps(stored)
        with np.load(tmp_path / "arrays.npz", allow_pickle=False) as arrays:
            assert arrays["t7/error/clean/measured"].shape == (2,)

    def test_numbers_that_are_not_finite_survive(self):
        row = dataclasses.replace(ssmbias.verify("M4", "t7", 1)[0], residual=float("nan"))
        back = evidence_from_json(
            json.loads(json.dumps(evidence_to_json(row)).replace("NaN", "null"))
        )
        assert np.isnan(back.residual)

    def test_interrupted_run_goes_on_where_it_was(self, tmp_path, monkeypatch):
        import ssmbias.verification.run as module

        real, seen = module.check, []

        def fails_on_second(claim, *rest):
            seen.append(claim.id)
            if len(seen) == 2:
                raise KeyboardInterrupt
            return real(claim, *rest)

        monkeypatch.setattr(module, "check", fails_on_second)
        with pytest.raises(KeyboardInterrupt):
            run_verification(SMALL, tmp_path)
        assert not (tmp_path / "results.json").exists()
        resumed = run_verification(SMALL, tmp_path)
        assert seen == ["M1-limit", "M4", "M4"]
        fresh = run_verification(SMALL, tmp_path / "fresh")
        assert resumed == fresh

    @pytest.mark.slow
    def test_stored_checks_of_another_job_or_broken_ones_are_not_used(self, tmp_path, monkeypatch):
        import ssmbias.verification.run as module

        run_verification(SMALL, tmp_path)
        seen = []
        real = module.check
        monkeypatch.setattr(module, "check", lambda c, *rest: seen.append(c.id) or real(c, *rest))
        run_verification(SMALLER, tmp_path)
        assert seen == ["M1-limit", "M4"]
        (tmp_path / "checks" / "t7-Theorem1-M4.json").write_text('{"mark": ')
        run_verification(SMALLER, tmp_path)
        assert seen == ["M1-limit", "M4", "M4"]


def test_folders_of_an_earlier_version_are_refused(tmp_path):
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "t7-M4.json").write_text('{"fingerprint": "x", "evidence": []}')
    with pytest.raises(ValueError, match="another version of ssmbias"):
        run_verification(SMALL, tmp_path)
