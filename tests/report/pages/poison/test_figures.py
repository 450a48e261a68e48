"""Figures of the poison experiments: drawn from arrays, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from ssmbias.report.pages.poison import Said
from ssmbias.report.pages.poison.arms import (
    ArmDots,
    ControlDots,
    WindowScan,
    arms_figure,
    window_figure,
)
from ssmbias.report.pages.poison.saved import MeanInterval, profiled_arms, roles_of
from ssmbias.report.pages.poison.sequences import examples_figure, sensitivity_figure

MEAN = MeanInterval(0.5, 0.4, 0.6)


def test_images_of_both_kinds_are_drawn(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, shape in (("grey", (2, 4, 4)), ("colour", (2, 4, 4, 3)), ("long", (1, 100))):
        images = rng.uniform(size=shape)
        files = examples_figure({"clean": images, "found": images}, tmp_path / name)
        assert [p.suffix for p in files] == [".png", ".pdf"]


def test_the_same_numbers_give_the_same_bytes(tmp_path: Path) -> None:
    shares = {"dup": np.full((3, 4), 0.25), "late": np.full((3, 4), 0.25)}
    first, again = (sensitivity_figure(shares, tmp_path / n) for n in ("a", "b"))
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]
    other = sensitivity_figure(shares | {"late": np.eye(3, 4)}, tmp_path / "c")
    assert other[0].read_bytes() != first[0].read_bytes()


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda stem: arms_figure([], "late", [], stem, chance=0.5), "at least one of each"),
        (lambda stem: sensitivity_figure({}, stem), "no arm with a usable row"),
        (lambda stem: sensitivity_figure({"dup": np.ones(3)}, stem), r"\[seed, position\]"),
        (lambda stem: sensitivity_figure({"dup": np.full((2, 3), np.nan)}, stem), "usable row"),
        (lambda stem: examples_figure({}, stem), "shapes"),
        (lambda stem: examples_figure({"a": np.ones((2, 3)), "b": np.ones((2, 3, 3))}, stem), "sh"),
        (lambda stem: examples_figure({"a": np.ones((2, 3, 3, 4))}, stem), "3 colours"),
        (lambda stem: examples_figure({"a": np.full((2, 3), np.inf)}, stem), "not finite"),
        (lambda stem: examples_figure({"a": np.ones((0, 3))}, stem), "one example at least"),
        (lambda _: WindowScan(np.arange(2), np.ones((3, 4)), [MEAN] * 3, {}), "2, 3 and 3 windows"),
        (lambda _: WindowScan(np.arange(2), np.ones(2), [MEAN] * 2, {}), "1 and 1 axes"),
        (lambda _: Said("h", "bad", ["v"], ["l"]), "tone='bad'"),
        (lambda _: Said("h", "harm", ["v"], []), "what was not"),
    ],
)
def test_bad_figures_and_pages_are_refused(draw: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        draw(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_arms_without_a_usable_run_are_said_so(tmp_path: Path) -> None:
    nothing = MeanInterval(np.nan, np.nan, np.nan)
    arms = [ArmDots("dup", np.array([0.9, np.nan]), MEAN), ArmDots("late", np.zeros(0), nothing)]
    controls = [ControlDots("dup", np.zeros(0), nothing, False)]
    assert len(arms_figure(arms, "late", controls, tmp_path / "a", chance=0.5)) == 2
    scan = WindowScan(np.array([3]), np.full((1, 2), np.nan), [nothing], {"dup": MEAN})
    assert len(window_figure(scan, tmp_path / "w", chance=0.5)) == 2


def test_roles_of_arms_are_read_from_the_results() -> None:
    def saved(**attrs: str) -> xr.Dataset:
        return xr.Dataset(coords={"arm": ["dup", "mine", "late"]}, attrs=attrs)

    words = {"mine": {"role": "attack", "profiled": True}, "dup": {"role": "baseline"}}
    data = saved(arms=json.dumps(words))
    assert roles_of(data) == {"dup": "baseline", "mine": "attack", "late": "attack"}
    assert profiled_arms(data) == ["mine"]
    # Results that say nothing of their arms: the names of ours are known.
    assert roles_of(saved()) == {"dup": "baseline", "mine": "control", "late": "attack"}
    assert profiled_arms(saved()) == ["dup", "late"]


def test_many_arms_of_a_role_all_get_a_look(tmp_path: Path) -> None:
    shares = {f"attack{k}": np.full((2, 3), 1 / 3) for k in range(12)}
    roles = dict.fromkeys(shares, "attack")
    assert len(sensitivity_figure(shares, tmp_path / "many", roles=roles)) == 2
