"""Figures over all starts contain what they are to show; looked at as objects."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import same_color, to_hex

from ssmbias.report import (
    error_parity_figure,
    load_results,
    strong_poison_figure,
)
from ssmbias.report.style import PALE

SAMPLE = Path(__file__).parents[3] / "data" / "verify_sample"
SETTINGS = ("t7", "t9")
Arrays = dict[str, np.ndarray]


@pytest.fixture
def arrays() -> Arrays:
    return load_results(SAMPLE)[1]


def legend_texts(owner: Any) -> list[str]:
    return [text.get_text() for text in owner.get_legend().get_texts()]


def test_error_parity_shows_every_start(arrays: Arrays) -> None:
    figure = error_parity_figure(arrays)
    parity, relative = figure.axes
    for ax in (parity, relative):
        assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    points = [line for line in parity.get_lines() if line.get_linestyle() == "None"]
    gaps = [line for line in relative.get_lines() if line.get_linestyle() == "None"]
    assert len(points) == len(gaps) == 3 * len(SETTINGS)
    expected = [
        (arrays[f"{s}/error/{p}/predicted"], arrays[f"{s}/error/{m}/measured"])
        for s in SETTINGS
        for p, m in (("clean", "clean"), ("poisoned", "poisoned"), ("poisoned", "poisoned_rho1"))
    ]
    for line, gap, (predicted, measured) in zip(points, gaps, expected, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), predicted)
        np.testing.assert_array_equal(line.get_ydata(), measured)
        wanted = np.maximum(np.abs(measured / predicted - 1), 2.0**-53)
        np.testing.assert_allclose(gap.get_ydata(), wanted, rtol=1e-12)
    lines = [line for line in parity.get_lines() if line.get_linestyle() != "None"]
    diagonal = next(line for line in lines if line.get_linestyle() == "-")
    np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    bounds = sorted(float(line.get_ydata()[0]) for line in lines if line is not diagonal)
    assert bounds == sorted(float(arrays[f"{s}/error/bound"]) for s in SETTINGS)
    assert [text.get_text() for text in parity.texts] == ["B1, t7", "B1, t9"]
    assert legend_texts(parity) == ["measured = predicted", *SETTINGS]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "clean, against M1",
        r"poisoned, $\rho=10^{3}$, against M2",
        r"poisoned, $\rho=1$, against M2",
    ]
    # Each setting has its marker, each prediction its colour.
    assert len({line.get_marker() for line in points}) == len(SETTINGS)
    assert len({to_hex(line.get_color()) for line in points}) == 3


def test_subjects_without_errors_take_no_marker(arrays: Arrays) -> None:
    def markers(arrays: Arrays) -> list[str]:
        return [str(line.get_marker()) for line in error_parity_figure(arrays).axes[0].get_lines()]

    first = {"κ=5/passage/defect": np.ones(3)}
    assert markers(first | arrays) == markers(arrays)
    assert len(set(markers(arrays))) > 2  # of each subject one, and of the diagonal


def test_errors_that_have_no_logarithm_are_left_out(arrays: Arrays) -> None:
    arrays["t7/error/clean/measured"][0] = np.nan
    arrays["t9/error/clean/measured"][:] = 0.0
    parity, _ = error_parity_figure(arrays).axes
    sizes = [len(x.get_xdata()) for x in parity.get_lines() if x.get_linestyle() == "None"]
    starts = len(arrays["t7/error/clean/predicted"])
    assert sizes == [starts - 1, starts, starts, starts, starts]


def test_strong_poison_shows_the_fit_it_was_given(arrays: Arrays) -> None:
    figure = strong_poison_figure(arrays)
    assert [ax.get_title() for ax in figure.axes] == list(SETTINGS)
    for ax, setting in zip(figure.axes, SETTINGS, strict=True):
        assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
        assert "strength" in ax.get_xlabel()
        strength = arrays[f"{setting}/strong/strength"]
        difference = arrays[f"{setting}/strong/difference"]
        in_fit = arrays[f"{setting}/strong/in_fit"].astype(bool)
        assert 0 < in_fit.sum() < len(in_fit)
        named = {x.get_label(): x for x in ax.get_lines() if not x.get_label().startswith("_")}
        thin = [x for x in ax.get_lines() if x.get_label().startswith("_")]
        assert len(thin) == len(difference)
        np.testing.assert_array_equal(thin[1].get_ydata(), difference[1])
        chosen = next(x for label, x in named.items() if label.startswith("simulation"))
        np.testing.assert_array_equal(chosen.get_ydata(), difference[:, in_fit].ravel())
        np.testing.assert_array_equal(
            named["not in the fit"].get_ydata(), difference[:, ~in_fit].ravel()
        )
        assert same_color(named["not in the fit"].get_color(), PALE)
        assert not same_color(chosen.get_color(), PALE)
        fit = next(x for label, x in named.items() if label.startswith("fit"))
        guide = named[r"slope $-1$ (guide)"]
        slopes = [
            np.diff(np.log(x.get_ydata()))[0] / np.diff(np.log(x.get_xdata()))[0]
            for x in (fit, guide)
        ]
        # Two logarithms and powers over two decades: about 10 roundings of numbers below 20.
        assert slopes[0] == pytest.approx(float(arrays[f"{setting}/strong/exponent"]), abs=1e-14)
        assert slopes[1] == pytest.approx(-1.0, abs=1e-14)
        # It passes through the geometric mean of the starts at the largest strength.
        mean = np.exp(np.mean(np.log(difference[:, -1])))
        assert float(fit.get_ydata()[1]) == pytest.approx(mean, rel=1e-14)
        assert float(fit.get_xdata()[1]) == strength[-1]
        # The legend states exponent and interval to the interval's two digits.
        numbers = re.findall(r"[−-]?\d+\.\d+", fit.get_label())
        low, high = (float(arrays[f"{setting}/strong/{n}"]) for n in ("low", "high"))
        stated = [float(n.replace("−", "-")) for n in numbers]
        assert stated[0] == pytest.approx(
            float(arrays[f"{setting}/strong/exponent"]), abs=high - low
        )
        assert stated[1:] == pytest.approx([low, high], abs=0.1 * (high - low))
