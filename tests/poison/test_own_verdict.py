"""Verdicts on an attack of your own, whatever its controls are."""

from __future__ import annotations

import pytest
import xarray as xr
from poison_results import BY_HAND, dataset

from ssmbias.poison.arms.arm import Words, to_json
from ssmbias.poison.sentences import HELPS, INCONCLUSIVE, NO_HARM, ORDINARY
from ssmbias.poison.verdict import judge


def with_mine(controls: tuple[str, ...], **means: float) -> xr.Dataset:
    results = dataset(BY_HAND | means)
    words = Words("mine", "of my own", role="attack", controls=controls)
    return results.assign_attrs(arms=to_json([words]))


@pytest.mark.parametrize(
    ("mine", "label"), [(0.80, ORDINARY), (0.90, NO_HARM), (0.99, HELPS), (0.85, ORDINARY)]
)
def test_the_baselines_are_those_among_the_controls(mine: float, label: str) -> None:
    found = judge(with_mine(("base", "early"), mine=mine), "mine")
    assert found.label == label
    assert "mine - base = " in found.sentence
    assert "dup" not in found.sentence
    # Negative control: with dup it is dup whose numbers are given.
    both = judge(with_mine(("base", "dup", "early"), mine=mine), "mine")
    assert both.label == label
    assert "mine - dup = " in both.sentence


def test_a_baseline_near_chance_has_nothing_to_lose() -> None:
    found = judge(with_mine(("base",), base=0.52, mine=0.5), "mine")
    assert found.label == INCONCLUSIVE
    assert "the baseline base is near chance" in found.sentence
    assert judge(with_mine(("base",), mine=0.5), "mine").label == ORDINARY


@pytest.mark.parametrize("controls", [("early",), ()])
@pytest.mark.parametrize("mine", [0.80, 0.99])
def test_without_a_baseline_nothing_is_concluded(controls: tuple[str, ...], mine: float) -> None:
    found = judge(with_mine(controls, mine=mine), "mine")
    assert (found.label, found.verdict) == (INCONCLUSIVE, "inconclusive")
    assert "no baseline, such as base or dup, is among the controls of mine" in found.sentence
    # Negative control: with one there is a verdict.
    assert judge(with_mine(("dup", *controls), mine=mine), "mine").label != INCONCLUSIVE
