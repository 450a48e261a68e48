"""Figures of replays and of many seeds, looked at as objects."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import same_color
from matplotlib.figure import Figure

from ssmbias.metrics import effective_rank as package_rank
from ssmbias.report.pages.experiments import (
    DynamicsPanel,
    dynamics_figure,
    effective_rank,
    plot_replays,
    plot_seeds,
)
from ssmbias.report.style import BLUE, RED


def panel(title: str = "standalone, clean\n(seed 1)", seed: int = 0, **changes: Any) -> Any:
    """A panel with everything: 30 log entries, 7 state entries, 6 of 8 seeds."""
    rng = np.random.default_rng(seed)
    step = np.arange(30) * 100
    a = rng.normal(size=(30, 7)) * np.linspace(0.1, 1.0, 30)[:, None]
    poisoned = "poisoned" in title
    gamma0 = np.linspace(2.0, -0.5, 30) * poisoned
    own = rng.normal(size=(6, 22, 7))
    fields = {
        "replay_step": step,
        "replay_a": a,
        "replay_rank": effective_rank(a),
        "replay_gamma0": gamma0,
        "original_step": step,
        "original_a": a + 1e-3,
        "original_gamma0": gamma0,
        "eps_step": 1234,
        "own_progress": np.concatenate([np.linspace(0, 1, 11), np.linspace(1, 2, 11)]),
        "own_a": own,
        "own_rank": effective_rank(own),
        "own_gamma0": rng.normal(size=(6, 22)) * poisoned,
        "num_seeds": 8,
    }
    return DynamicsPanel(title, **(fields | changes))


PANELS = [panel(), panel("standalone, poisoned\n(seed 1)", seed=1)]
NO_REPLAY = {f.name: None for f in dataclasses.fields(DynamicsPanel) if "replay" in f.name}
NO_ORIGINAL = {f.name: None for f in dataclasses.fields(DynamicsPanel) if "original" in f.name}
NO_OWN = {f.name: None for f in dataclasses.fields(DynamicsPanel) if "own" in f.name}


def columns(figure: Figure) -> np.ndarray:
    """Axes by column."""
    return np.reshape(figure.axes, (3, -1)).T


def curves(ax: Axes, marker: str = "None") -> list[Any]:
    """Lines of data, without the mark of the phases' boundary."""
    return [x for x in ax.get_lines() if x.get_marker() == marker and len(x.get_xdata()) > 2]


def legend_texts(owner: Any) -> list[str]:
    return [text.get_text() for legend in owner.legends for text in legend.get_texts()]


def notes(column: np.ndarray) -> list[str]:
    return [text.get_text() for ax in column for text in ax.texts]


def test_effective_rank_is_the_packages() -> None:
    a = np.random.default_rng(0).normal(size=(5, 9))
    # Ten terms of size one each with a few roundings.
    expected = [float(package_rank(row)) for row in a]
    np.testing.assert_allclose(effective_rank(a), expected, rtol=1e-14)


def test_replays_are_lines_and_originals_marks() -> None:
    figure = plot_replays(PANELS)
    for column, drawn, colour in zip(columns(figure), PANELS, (BLUE, RED), strict=True):
        entries, rank, gamma0 = column
        top = np.sort(np.abs(drawn.replay_a), axis=1)[:, ::-1]
        lines = curves(entries)
        assert len(lines) == 5
        for j, line in enumerate(lines):
            np.testing.assert_array_equal(line.get_xdata(), drawn.replay_step)
            np.testing.assert_array_equal(line.get_ydata(), top[:, j])
        assert same_color(lines[0].get_color(), colour)
        assert len({line.get_color() for line in lines}) == 5
        np.testing.assert_array_equal(curves(rank)[0].get_ydata(), drawn.replay_rank)
        np.testing.assert_array_equal(curves(gamma0)[0].get_ydata(), drawn.replay_gamma0)
        # Marks are entries of the original, from the first to the last.
        marks = curves(entries, "o")
        assert len(marks) == 5
        chosen = np.isin(drawn.original_step, marks[0].get_xdata())
        assert chosen[0]
        assert chosen[-1]
        original = np.sort(np.abs(drawn.original_a), axis=1)[chosen, ::-1]
        for j, mark in enumerate(marks):
            np.testing.assert_array_equal(mark.get_ydata(), original[:, j])
        expected = effective_rank(drawn.original_a)[chosen]
        np.testing.assert_array_equal(curves(rank, "o")[0].get_ydata(), expected)
        for ax in column:
            boundary = [x for x in ax.get_lines() if len(x.get_xdata()) == 2]
            assert [list(x.get_xdata()) for x in boundary] == [[1234, 1234]]
    assert legend_texts(figure) == ["replay", "original", "training loss ≤ eps"]
    assert [ax.get_ylabel() for ax in columns(figure)[0]] == [
        r"five largest $\mid\!a_j\!\mid$",
        "effective rank",
        r"$\gamma_0$",
    ]
    assert {column[2].get_xlabel() for column in columns(figure)} == {"iteration"}
    assert [column[0].get_title() for column in columns(figure)] == [p.title for p in PANELS]
    assert columns(figure)[0, 2].get_yscale() == "symlog"
    assert [notes(column) for column in columns(figure)] == [["exactly 0"], []]


def test_seeds_are_median_and_band() -> None:
    figure = plot_seeds(PANELS)
    for column, drawn in zip(columns(figure), PANELS, strict=True):
        top = np.sort(np.abs(drawn.own_a), axis=-1)[..., ::-1]
        for ax, values in zip(column, (top[..., 0], drawn.own_rank, drawn.own_gamma0), strict=True):
            low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], axis=0)
            np.testing.assert_array_equal(curves(ax)[0].get_ydata(), middle)
            path = ax.collections[0].get_paths()[0].vertices
            assert (path[:, 1].min(), path[:, 1].max()) == (low.min(), high.max())
        assert len(curves(column[0])) == 5
        assert column[0].get_title() == f"{drawn.title.splitlines()[0]}\n(6 of 8 seeds)"
        assert "progress" in column[2].get_xlabel()
        assert column[2].get_xlim() == (0.0, 2.0)
    assert legend_texts(figure) == ["median", "10–90 % of the seeds", "training loss ≤ eps"]


def test_runs_that_blew_up_are_counted_out() -> None:
    own_a = PANELS[0].own_a.copy()
    own_a[2, 5, 0] = np.inf
    (column,) = columns(plot_seeds([dataclasses.replace(PANELS[0], own_a=own_a)]))
    assert "(5 of 8 seeds)" in column[0].get_title()
    kept = np.delete(PANELS[0].own_rank, 2, axis=0)
    np.testing.assert_array_equal(curves(column[1])[0].get_ydata(), np.median(kept, axis=0))


@pytest.mark.parametrize(
    ("changes", "draw", "expected"),
    [
        (NO_REPLAY | NO_ORIGINAL, plot_replays, ["no replay:\nnothing exported"] * 3),
        (NO_ORIGINAL, plot_replays, ["not recorded\nby the original", "exactly 0"]),
        (NO_REPLAY, plot_replays, ["not replayed"]),
        ({"replay_rank": None}, plot_replays, ["not replayed", "exactly 0"]),
        (NO_OWN, plot_seeds, ["no run ended\nas required"] * 3),
        (NO_OWN | {"num_seeds": 0}, plot_seeds, ["no runs"] * 3),
        ({"own_rank": None}, plot_seeds, ["not run", "exactly 0"]),
    ],
)
def test_what_is_missing_is_said(
    changes: dict[str, None], draw: Any, expected: list[str], tmp_path: Path
) -> None:
    figure = draw([panel(**changes), PANELS[1]])
    assert notes(columns(figure)[0]) == expected
    assert notes(columns(figure)[1]) == []
    figure.savefig(tmp_path / "figure.png", dpi=40)  # without a warning


def test_figures_are_saved_for_print(tmp_path: Path) -> None:
    paths = dynamics_figure(PANELS[:1], tmp_path / "figure2")
    names = ["figure2.png", "figure2.pdf", "figure2_seeds.png", "figure2_seeds.pdf"]
    assert [path.name for path in paths] == names
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    for path in (paths[1], paths[3]):
        assert b"/FontFile2" in path.read_bytes()
        assert b"/Type3" not in path.read_bytes()
    again = dynamics_figure(PANELS[:1], tmp_path / "again")
    other = dynamics_figure([panel(seed=2)], tmp_path / "other")
    for one, two, three in zip(paths, again, other, strict=True):
        assert one.read_bytes() == two.read_bytes()
        assert one.read_bytes() != three.read_bytes()


def test_a_figure_without_data_is_left_out(tmp_path: Path) -> None:
    paths = dynamics_figure([panel(**NO_OWN)], tmp_path / "a")
    assert [path.name for path in paths] == ["a.png", "a.pdf"]
    paths = dynamics_figure([panel(**NO_REPLAY, **NO_ORIGINAL)], tmp_path / "b")
    assert [path.name for path in paths] == ["b_seeds.png", "b_seeds.pdf"]
    for panels in ([], [DynamicsPanel("empty")]):
        with pytest.raises(ValueError, match="none holds a replay or runs"):
            dynamics_figure(panels, tmp_path / "c")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"replay_step": np.arange(30) % 20}, "replay_step .* never decreases; .* second phase"),
        ({"original_step": np.zeros(0)}, "original_step .* one axis"),
        ({"replay_rank": np.ones(29)}, r"replay_rank .* shape \(29,\): .* 30 entries"),
        ({"own_a": np.ones((6, 22))}, r"own_a .* shape \(6, 22\): expected 3 axes"),
        ({"own_gamma0": np.ones((22, 6))}, r"own_gamma0 .* 22 entries as in own_progress"),
    ],
)
def test_arrays_that_do_not_match_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        panel(**changes)
