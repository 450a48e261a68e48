"""Figures along a trajectory contain what they are to show; looked at as objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import same_color

from ssmbias.report import (
    dynamics_figure,
    effective_rank_figure,
    gamma0_figure,
    load_results,
)
from ssmbias.report.style import BLUE, ORANGE, PALE, RED, SKY

SAMPLE = Path(__file__).parents[3] / "data" / "verify_sample"
SETTINGS = ("t7", "t9")
Arrays = dict[str, np.ndarray]


@pytest.fixture
def arrays() -> Arrays:
    return load_results(SAMPLE)[1]


def legend_texts(owner: Any) -> list[str]:
    return [text.get_text() for text in owner.get_legend().get_texts()]


@pytest.mark.parametrize("setting", SETTINGS)
def test_dynamics_show_simulation_over_prediction(arrays: Arrays, setting: str) -> None:
    figure = dynamics_figure(arrays, setting)
    clean, poisoned = figure.axes
    dim = arrays[f"{setting}/trajectory/clean/a"].shape[1]
    assert clean.get_shared_y_axes().joined(clean, poisoned)
    assert clean.get_ylabel() == r"$\mid\!a_j\!\mid$"
    for ax, arm, colours in ((clean, "clean", (BLUE, SKY)), (poisoned, "poisoned", (RED, ORANGE))):
        assert arm in ax.get_title()
        assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
        assert "time" in ax.get_xlabel()
        # One simulated and one predicted line for each entry, and a diamond for the leading two.
        lines = ax.get_lines()
        simulated, predicted, marks = lines[:dim], lines[dim:], []
        marks = [line for line in predicted if line.get_marker() == "d"]
        predicted = [line for line in predicted if line.get_marker() == "None"]
        assert (len(simulated), len(predicted), len(marks)) == (dim, dim, 2)
        time = arrays[f"{setting}/trajectory/{arm}/time"]
        a = np.abs(arrays[f"{setting}/trajectory/{arm}/a"])
        for j, line in enumerate(simulated):
            x, y = (np.asarray(data) for data in line.get_data())
            inside = np.isin(time, x)
            np.testing.assert_array_equal(y[: inside.sum()], a[inside, j])
            assert same_color(line.get_color(), (*colours, PALE)[min(j, 2)])
            assert line.get_linestyle() == "-"
        limit = np.abs(arrays[f"{setting}/trajectory/{arm}/limit"])
        heights = sorted(float(line.get_ydata()[0]) for line in predicted)
        np.testing.assert_array_equal(heights, np.sort(limit))
        # Predictions stand at the right margin, after everything that was simulated.
        start = min(float(line.get_xdata()[0]) for line in predicted)
        assert start >= max(float(line.get_xdata()[-1]) for line in simulated)
        assert {float(line.get_xdata()[0]) for line in marks} == {ax.get_xlim()[1]}
        assert [text.get_text() for text in ax.texts][:2] == [
            r"$\mid\!a_1\!\mid$",
            r"$\mid\!a_2\!\mid$",
        ]
    assert legend_texts(clean) == ["simulation", "prediction (M1)"]
    assert legend_texts(poisoned) == ["simulation", r"prediction, $\rho\to\infty$ (M2)"]


def test_a_run_that_still_moves_is_not_drawn_on(arrays: Arrays) -> None:
    # The sample's runs end at rest; with a force left at the end, the line ends with the data.
    for force, at_rest in ((0.0, True), (1e-3, False)):
        arrays["t7/trajectory/poisoned/gamma"][-1] = force
        line = dynamics_figure(arrays, "t7").axes[1].get_lines()[0]
        last = float(line.get_xdata()[-1])
        assert (last > float(arrays["t7/trajectory/poisoned/time"][-1])) is at_rest


def test_labels_of_lines_do_not_overlap(arrays: Arrays) -> None:
    figure = dynamics_figure(arrays, "t7")
    figure.draw_without_rendering()
    for ax in figure.axes:
        boxes = [text.get_window_extent() for text in ax.texts]
        assert len(boxes) == 3
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_effective_rank_is_drawn_against_time(arrays: Arrays) -> None:
    (ax,) = effective_rank_figure(arrays, "t7").axes
    assert ax.get_xscale() == "log"
    assert ax.get_ylabel() == "effective rank of $a$"
    assert legend_texts(ax) == ["clean", r"poisoned, $\rho=1$"]
    drawn = {line.get_label(): line for line in ax.get_lines()}
    for label, arm in (("clean", "clean"), (r"poisoned, $\rho=1$", "poisoned")):
        time = arrays[f"t7/trajectory/{arm}/time"]
        rank = arrays[f"t7/trajectory/{arm}/effective_rank"]
        np.testing.assert_array_equal(drawn[label].get_ydata(), rank[time > 0])
    low, high = ax.get_ylim()
    assert low <= 1.0
    assert high > 10.0  # d


def test_gamma0_shows_its_sign_and_that_clean_is_exactly_zero(arrays: Arrays) -> None:
    (ax,) = gamma0_figure(arrays, "t7").axes
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "symlog")
    assert ax.get_ylabel() == r"$\gamma_0$"
    assert legend_texts(ax) == ["clean, exactly 0", r"poisoned, $\rho=1$"]
    drawn = {line.get_label(): np.asarray(line.get_ydata()) for line in ax.get_lines()}
    assert not drawn["clean, exactly 0"].any()
    gamma = drawn[r"poisoned, $\rho=1$"]
    np.testing.assert_array_equal(
        gamma, arrays["t7/trajectory/poisoned/gamma"][arrays["t7/trajectory/poisoned/time"] > 0, 0]
    )
    low, high = ax.get_ylim()
    assert gamma.min() < 0  # the case that a logarithm of |γ_0| would hide
    assert low < gamma.min() < gamma.max() < high
    # Negative control: a clean run whose γ_0 is merely small is not said to be zero.
    arrays["t7/trajectory/clean/gamma"][5, 0] = 1e-14
    (ax,) = gamma0_figure(arrays, "t7").axes
    assert legend_texts(ax)[0] == "clean"
