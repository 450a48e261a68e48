"""Figures of the experiments: dynamics of the replays, and of many seeds beside them.

Panels are plain arrays. What a panel has no arrays for is said in its place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from ssmbias.report.pages.experiments.panels import DynamicsPanel, effective_rank
from ssmbias.report.style import (
    BLUE,
    DOUBLE,
    GREY,
    PALE,
    RED,
    absolute,
    new_figure,
    print_style,
    save_figure,
)

_NUM_TOP = 5
# Markers of the original on each line: enough to follow it, few enough to see the line.
_NUM_MARKS = 16
_BAND = (0.1, 0.9)
_BAND_TEXT = "10–90 % of the seeds"
# Decades of γ_0 shown on each side of 0.
_DECADES = 3


def dynamics_figure(
    panels: Sequence[DynamicsPanel], path_stem: str | os.PathLike[str]
) -> list[Path]:
    """|a_j|, effective rank and γ_0 along training, a column for each panel.

    `<stem>` shows the replay as lines over what the original recorded as markers, against the
    iteration; `<stem>_seeds` the library's own runs, median and 10-90 % band over the seeds,
    against training progress.

    Args:
      panels: columns, such as standalone clean and poisoned, then in a network.
      path_stem: folder, which exists, and name without suffix.

    Returns:
      The files, PNG and PDF of either figure; a figure that no panel has arrays for is left out.

    Raises:
      ValueError: there are no panels, or none has anything to draw.
    """
    figures = (("", plot_replays, "has_replay"), ("_seeds", plot_seeds, "has_own"))
    chosen = [(name, draw) for name, draw, has in figures if any(getattr(p, has) for p in panels)]
    if not chosen:
        raise ValueError("panels: none holds a replay or runs of our own; pass arrays in one")
    paths = []
    for name, draw in chosen:
        paths += save_figure(draw(panels), f"{os.fspath(path_stem)}{name}")
    return paths


def plot_replays(panels: Sequence[DynamicsPanel]) -> Figure:
    """The figure of replays and originals; see `dynamics_figure`."""

    def draw(column: np.ndarray, panel: DynamicsPanel) -> None:
        if not panel.has_replay:
            _say(column, "no replay:\nnothing exported")
            return
        _draw_lines(column, panel)
        _draw_marks(column, panel)
        if panel.original_step is None:
            _say(column[:1], "not recorded\nby the original")
        for ax in column:
            if panel.eps_step is not None:
                ax.axvline(panel.eps_step, color=GREY, lw=0.9, ls=(0, (3, 2)), zorder=1)
            ax.xaxis.set_major_locator(MaxNLocator(3, integer=True))
            ax.margins(x=0.04)

    handles = [
        Line2D([], [], color="k", lw=1.4, label="replay"),
        Line2D([], [], color="k", label="original", **_MARK),
        Line2D([], [], color=GREY, lw=0.9, ls=(0, (3, 2)), label="training loss ≤ eps"),
    ]
    return _grid(panels, draw, "iteration", [p.title for p in panels], handles)


def plot_seeds(panels: Sequence[DynamicsPanel]) -> Figure:
    """The figure of the library's own runs; see `dynamics_figure`."""

    def draw(column: np.ndarray, panel: DynamicsPanel) -> None:
        if panel.own_progress is None:
            _say(column, "no run ended\nas required" if panel.num_seeds else "no runs")
            return
        _draw_bands(column, panel)
        for ax in column:
            ax.axvline(1.0, color=GREY, lw=0.9, ls=(0, (3, 2)), zorder=1)
            ax.set_xlim(0.0, 2.0)
            ax.xaxis.set_major_locator(FixedLocator([0.0, 1.0, 2.0]))

    titles = []
    for panel in panels:
        shown = next((len(x) for x in _own(panel) if x is not None), 0)
        counted = f"\n({shown} of {panel.num_seeds} seeds)" if panel.num_seeds else ""
        titles.append(panel.title.splitlines()[0] + counted)
    handles: list[Any] = [
        Line2D([], [], color="k", lw=1.4, label="median"),
        Patch(color=PALE, alpha=0.5, lw=0, label=_BAND_TEXT),
        Line2D([], [], color=GREY, lw=0.9, ls=(0, (3, 2)), label="training loss ≤ eps"),
    ]
    return _grid(panels, draw, "progress in phases 1 and 2", titles, handles)


# Hollow, so that the line is seen inside.
_MARK = {"ls": "", "marker": "o", "ms": 3.2, "mew": 0.7, "mfc": "white"}


def _grid(
    panels: Sequence[DynamicsPanel],
    draw: Callable[[np.ndarray, DynamicsPanel], None],
    xlabel: str,
    titles: Sequence[str],
    handles: list[Any],
) -> Figure:
    """Rows of the three quantities with common axes, a column for each panel."""
    with print_style():
        figure = new_figure(DOUBLE if len(panels) > 2 else 0.55 * DOUBLE, 5.2)
        axes = figure.subplots(3, len(panels), sharex="col", sharey="row", squeeze=False)
        for column, panel, title in zip(axes.T, panels, titles, strict=True):
            column[0].set_title(title, fontsize=8.0)
            draw(column, panel)
            column[-1].set_xlabel(xlabel if any(ax.lines for ax in column) else "")
        axes[0, 0].set_ylabel(f"five largest {absolute('a_j')}")
        axes[1, 0].set_ylabel("effective rank")
        axes[2, 0].set_ylabel(r"$\gamma_0$")
        for ax in axes[:2, 0]:
            top = ax.get_ylim()[1]
            ax.set_ylim(-0.02 * top, 1.02 * top)
        axes[1, 0].yaxis.set_major_locator(MaxNLocator(5, integer=True))
        _symmetric_log(axes[2])
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
        figure.align_ylabels(axes[:, 0])
    return figure


def _draw_lines(column: np.ndarray, panel: DynamicsPanel) -> None:
    if panel.replay_step is None:
        _say(column[:1], "not replayed")
        return
    colours = _shades(panel.title)
    if panel.replay_a is not None:
        for line, colour in zip(_top(panel.replay_a).T, colours, strict=False):
            column[0].plot(panel.replay_step, line, color=colour, zorder=3)
    for ax, values in zip(column[1:], (panel.replay_rank, panel.replay_gamma0), strict=True):
        if values is None:
            _say([ax], "not replayed")
        else:
            ax.plot(panel.replay_step, values, color=colours[0], zorder=3)
    if panel.replay_gamma0 is not None:
        _say_zero(column[2], panel.replay_gamma0)


def _draw_marks(column: np.ndarray, panel: DynamicsPanel) -> None:
    """The original's entries, evenly spread over the iterations."""
    if panel.original_step is None:
        return
    colours, step = _shades(panel.title), np.asarray(panel.original_step)
    spread = np.linspace(step[0], step[-1], _NUM_MARKS)
    chosen = np.unique(np.abs(step[None] - spread[:, None]).argmin(1))

    def mark(ax: Axes, values: np.ndarray, colour: str) -> None:
        ax.plot(step[chosen], values[chosen], color=colour, zorder=4, **_MARK)

    if panel.original_a is not None:
        for line, colour in zip(_top(panel.original_a).T, colours, strict=False):
            mark(column[0], line, colour)
        mark(column[1], effective_rank(panel.original_a), colours[0])
    if panel.original_gamma0 is not None:
        mark(column[2], panel.original_gamma0, colours[0])


def _draw_bands(column: np.ndarray, panel: DynamicsPanel) -> None:
    colours = _shades(panel.title)
    a, rank, gamma0 = _own(panel)
    groups = [None if a is None else list(np.moveaxis(_top(a), -1, 0))]
    groups += [None if values is None else [values] for values in (rank, gamma0)]
    for ax, group in zip(column, groups, strict=True):
        if group is None or not len(group[0]):
            _say([ax], "not run" if group is None else "no finite run")
            continue
        for values, colour in zip(group, colours, strict=False):
            low, middle, high = np.quantile(values, (_BAND[0], 0.5, _BAND[1]), axis=0)
            style = {"color": colour, "alpha": 0.22, "lw": 0, "zorder": 2}
            ax.fill_between(panel.own_progress, low, high, **style)
            ax.plot(panel.own_progress, middle, color=colour, zorder=3)
    if gamma0 is not None:
        _say_zero(column[2], gamma0)


def _own(panel: DynamicsPanel) -> list[np.ndarray | None]:
    """|a|, effective rank and γ_0 of the seeds in which all of them are finite throughout."""
    arrays = [panel.own_a, panel.own_rank, panel.own_gamma0]
    finite = [np.isfinite(x).reshape(len(x), -1).all(1) for x in arrays if x is not None]
    kept = np.logical_and.reduce(finite) if finite else []
    return [None if x is None else np.asarray(x)[kept] for x in arrays]


def _top(a: np.ndarray) -> np.ndarray:
    """The largest |a_j| on the last axis, descending at every step."""
    return np.sort(np.abs(a), axis=-1)[..., ::-1][..., :_NUM_TOP]


def _shades(title: str) -> list[str]:
    """Colours from the largest entry to the fifth: the arm's own, then paler."""
    red, green, blue = (1.0 - x for x in to_rgb(RED if "poisoned" in title.lower() else BLUE))
    inks = [1.0 - 0.17 * k for k in range(_NUM_TOP)]
    return [to_hex((1.0 - red * ink, 1.0 - green * ink, 1.0 - blue * ink)) for ink in inks]


def _symmetric_log(row: np.ndarray) -> None:
    """Logarithmic on both sides of a linear band, so that sign and size of γ_0 are seen."""
    drawn = [np.asarray(line.get_ydata(), float) for ax in row for line in ax.get_lines()]
    sizes = [np.abs(y[np.isfinite(y)]).max() for y in drawn if len(y) > 2 and np.isfinite(y).any()]
    largest = max(sizes, default=0.0)
    top = int(np.ceil(np.log10(largest))) if largest > 0 else 0
    powers = [10.0 ** (top - k) for k in range(_DECADES)]
    for ax in row:
        ax.set_yscale("symlog", linthresh=powers[-1], linscale=0.8)
        ax.yaxis.set_major_locator(FixedLocator([*powers, 0.0, *(-p for p in powers)]))
        ax.yaxis.set_minor_locator(NullLocator())
        if ax.lines:
            ax.axhspan(-powers[-1], powers[-1], color="#EEEEEE", lw=0, zorder=0)
    # The lower half only as far as something is there.
    low, high = row[0].get_ylim()
    row[0].set_ylim(min(low, -powers[-1]), max(high, powers[0] if largest else powers[-1]))


def _say(axes: Sequence[Axes] | np.ndarray, text: str, height: float = 0.5) -> None:
    """A note in the middle of panels; those that nothing was drawn in lose their ticks."""
    for ax in axes:
        box = {"fc": "white", "ec": "none", "alpha": 0.85, "pad": 1.5}
        place = {"ha": "center", "va": "center", "transform": ax.transAxes, "zorder": 6}
        ax.text(0.5, height, text, color=GREY, fontsize=8.0, bbox=box, **place)
        if not ax.lines:
            ax.xaxis.set_major_locator(NullLocator())


def _say_zero(ax: Axes, gamma0: np.ndarray) -> None:
    if not np.any(gamma0):
        _say([ax], "exactly 0", height=0.75)
