"""The figure of paired errors, looked at as an object."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssmbias.report.pages.experiments import (
    FindingPanel,
    PairedErrors,
    findings_figure,
    plot_findings,
)

CLEAN = np.array([0.1, 0.2, 0.3, 0.4, np.nan])
POISONED = np.array([1.0, 2.0, 0.03, 5.0, 1.0])
USABLE = np.array([True, True, True, False, False])


def findings(**changes: Any) -> list[FindingPanel]:
    fields = {"reported": (0.19, 16.6), "verdict": "poison hurts"} | changes
    stage = PairedErrors(CLEAN, POISONED, USABLE, **fields)
    return [FindingPanel("poison_ssm_len6", stage, None), FindingPanel("other", stage, stage)]


def subplots(figure: Figure) -> list[Axes]:
    """Axes in all parts of a figure."""
    return list(figure.axes) if figure.axes else [a for part in figure.subfigs for a in part.axes]


def legend_texts(owner: Any) -> list[str]:
    return [text.get_text() for legend in owner.legends for text in legend.get_texts()]


def notes(column: np.ndarray) -> list[str]:
    return [text.get_text() for ax in column for text in ax.texts]


def points(ax: Axes, marker: str) -> list[tuple[float, float]]:
    return [
        (float(x), float(y))
        for line in ax.get_lines()
        if line.get_marker() == marker
        for x, y in zip(*line.get_data(), strict=True)
    ]


def test_findings_show_every_pair_in_its_kind() -> None:
    figure = plot_findings(findings())
    stopping, converged, *_ = subplots(figure)
    assert points(stopping, "^") == [(0.1, 1.0), (0.2, 2.0)]
    assert points(stopping, "v") == [(0.3, 0.03)]
    assert points(stopping, "x")[0] == (0.4, 5.0)
    assert points(stopping, "*") == [(0.19, 16.6)]
    (identity,) = curves_of_two(stopping)
    np.testing.assert_array_equal(identity.get_xdata(), identity.get_ydata())
    low, high = stopping.get_xlim()
    assert low < 0.03
    assert high > 16.6
    assert stopping.get_ylim() == (low, high)
    assert (stopping.get_xscale(), stopping.get_yscale()) == ("log", "log")
    assert (stopping.get_xlabel(), stopping.get_ylabel()) == (
        "clean test error",
        "poisoned test error",
    )
    assert stopping.get_title() == "stopping rule, 3 of 5 pairs\npoison hurts"
    assert converged.get_title() == "convergence"
    assert notes(np.array([converged])) == ["not defined\nor not run"]
    texts = [text for part in figure.subfigs for text in legend_texts(part)]
    assert texts == ["poison hurts", "poison helps", "left out", "reported means", "equal"]


def curves_of_two(ax: Axes) -> list[Any]:
    return [line for line in ax.get_lines() if line.get_marker() == "None"]


def test_findings_are_saved(tmp_path: Path) -> None:
    paths = findings_figure(findings(), tmp_path / "findings")
    assert [path.name for path in paths] == ["findings.png", "findings.pdf"]
    other = findings_figure(findings(reported=None), tmp_path / "other")
    for one, two in zip(paths, other, strict=True):
        assert one.read_bytes() != two.read_bytes()
    with pytest.raises(ValueError, match="panels: empty"):
        findings_figure([], tmp_path / "none")


def test_findings_without_a_usable_pair_are_drawn(tmp_path: Path) -> None:
    nothing = PairedErrors(np.full(3, np.nan), np.ones(3), np.zeros(3, bool))
    findings_figure([FindingPanel("a", nothing, None)], tmp_path / "findings")
    with pytest.raises(ValueError, match="one entry a seed"):
        PairedErrors(np.ones(3), np.ones(2), np.ones(3, bool))
