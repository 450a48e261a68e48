"""Flows that stop at a level of the loss: the time of passage in closed form, and failures."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from ssmbias.data import LagGram
from ssmbias.evidence import Bench, Verdict, check
from ssmbias.evidence.registry import by_id, claims_of_package
from ssmbias.models import DiagonalSSM
from ssmbias.subjects import SETTINGS, Theorem1, family, levels
from ssmbias.subjects.theorem1 import starts
from ssmbias.theory import escape_time

CLAIMS = by_id(claims_of_package("ssmbias.claims"))


def checked(setting: Theorem1, *names: str) -> list:
    """Evidence for some claims on what belongs to a setting."""
    bench = Bench(None)
    return [
        row
        for name in names
        for subject in family(setting)
        if CLAIMS[name].speaks_of(subject)
        for row in check(CLAIMS[name], subject, bench.on(subject))
    ]


def test_passage_of_a_logistic_flow():
    """Lag 2 alone, B = C = 1: S_2' = 8 (1 - S_2) S_2, so that the passage is a logarithm."""
    lanes, size = 6, 9
    rng = np.random.default_rng(0)
    a = 10.0 ** -rng.uniform(1, 4, (lanes, 1)) * rng.uniform(0.1, 1.0, (lanes, 4))
    gram = np.zeros((lanes, size, size))
    gram[:, 2, 2] = 1.0
    data = LagGram(gram, np.ones((lanes, size)))
    ones = np.ones_like(a)
    level = rng.uniform(0.2, 0.9, lanes)
    ends = levels.flows_to_level(DiagonalSSM(a, ones, ones), data, level, ("a",))
    assert ends.count.unconverged == 0
    assert np.all(np.asarray(ends.loss) <= level)
    found = levels.time_at_level(ends, data, level, ("a",))
    reached, start = 1.0 - np.sqrt(level), np.sum(a**2, axis=1)
    expected = (np.log(reached / (1 - reached)) - np.log(start / (1 - start))) / 8.0
    # Some 600 steps of 1e-12, and 32 steps of order four over one step of the solver.
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_passage_of_the_clean_flow():
    setting = dataclasses.replace(SETTINGS["t7"], num_seeds=2)
    ends, _ = levels.theorem1_to_level(7, *starts(setting), 0.0, 0.25, 1e-10)
    gram = np.zeros((2, 7, 7))
    gram[:, 6, 6] = 1.0
    data = LagGram(gram, np.ones((2, 7)))
    found = levels.time_at_level(ends, data, np.full(2, 0.25), ("a",))
    a0, log_gap = starts(setting)
    expected = [
        escape_time(jnp.asarray(a), 7, 0.5, log_gap=g) for a, g in zip(a0, log_gap, strict=True)
    ]
    # The plateau's 1e3 steps of 1e-10, of which the time is the power -4.
    np.testing.assert_allclose(found, expected, rtol=1e-7)


@pytest.mark.slow
def test_runs_out_of_steps_are_inconclusive(monkeypatch):
    monkeypatch.setattr(levels, "_MOST_STEPS", 20)
    levels._free_flow.cache_clear()
    try:
        setting = dataclasses.replace(SETTINGS["t7"], num_seeds=2, strengths=(0.0, 1.0))
        rows = checked(setting, "M5-free", "M5-prefactor", "M6")
    finally:
        levels._free_flow.cache_clear()
    starved = [row for row in rows if "Theorem 1" not in row.quantity]
    assert {row.claim for row in starved} == {"M5-free", "M5-prefactor", "M6"}
    for row in starved:
        assert row.verdict is Verdict.INCONCLUSIVE, row
        assert "step budget" in row.reason


@pytest.mark.slow
@pytest.mark.parametrize("first_seed", range(5))
@pytest.mark.parametrize("seq_len", [5, 11])
def test_claims_hold_from_other_seeds_and_lengths(first_seed, seq_len):
    setting = dataclasses.replace(SETTINGS["t7"], first_seed=first_seed, seq_len=seq_len)
    setting = dataclasses.replace(setting, num_seeds=1, strengths=(0.0, 1.0))
    for row in checked(setting, "M5-fixed", "M5-free", "M5-prefactor", "M6"):
        assert row.verdict is Verdict.HOLDS, row
        assert row.control_rejected is True
