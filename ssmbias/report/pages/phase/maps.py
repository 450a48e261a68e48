r"""Figures of a phase diagram: the map with its boundaries, and where the prediction parts.

The arrays are those that `ssmbias.sweeps.phase.diagram` saves. Everything over the plane is
[seed, strength, gap, init scale]; medians are over the seeds, of the runs that converged.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import NullLocator

from ssmbias.report.pages.phase.collapse import collapse_figure
from ssmbias.report.pages.phase.parts import (
    decades,
    draw_plane,
    log_contour,
    median,
    named_power,
    panels,
    require_arrays,
    strength_of_defect,
)
from ssmbias.report.style import DOUBLE, Arrays, print_style, save_figure

__all__ = ["collapse_figure", "parting_figure", "phase_map_figure", "save_phase_figures"]

PARTING = (0.01, 0.1, 0.5)
"""Relative differences of prediction and simulation whose contours are drawn."""

_HALO = [withStroke(linewidth=2.6, foreground="w", alpha=0.7)]
_WHITE: Any = {
    "color": "w",
    "lw": 1.3,
    "path_effects": [withStroke(linewidth=2.5, foreground="k", alpha=0.55)],
}
_PARTING_STYLES = (":", "--", "-")
_NAMES = (
    "strength", "relative_gap", "init_scale", "error", "predicted", "strong", "defect",
    "similarity", "onset",
    "levels", "level_ratio", "fine_defect", "valid_defect", "plateau_defect", "strong_strength",
)  # fmt: skip


def save_phase_figures(arrays: Arrays, folder: str | os.PathLike[str]) -> list[Path]:
    """Draw the three figures of a phase diagram, as PNG and PDF.

    Args:
      arrays: as saved; see `ssmbias.sweeps.phase.diagram`.
      folder: where they go; exists.

    Returns:
      The files: `phase_map`, `phase_collapse` and `phase_parting`.

    Raises:
      ValueError: an array is missing.
    """
    paths = []
    for name, draw in (
        ("phase_map", phase_map_figure),
        ("phase_collapse", collapse_figure),
        ("phase_parting", parting_figure),
    ):
        paths += save_figure(draw(arrays), Path(folder) / name)
    return paths


def phase_map_figure(arrays: Arrays) -> Figure:
    r"""Median error over relative gap and strength, with the predicted boundaries.

    Args:
      arrays: as saved; see `ssmbias.sweeps.phase.diagram`.

    Returns:
      A panel for each init scale, with a strip below for $\rho = 0$.

    Raises:
      ValueError: an array is missing.
    """
    require_arrays(arrays, *_NAMES)
    error = median(arrays["error"])
    norm = LogNorm(*decades(error))
    levels = arrays["levels"]
    with print_style():
        figure, pairs = panels(arrays)
        image = None
        for index, (ax, strip) in enumerate(pairs):
            image = draw_plane(ax, strip, arrays, error[..., index], norm, "viridis")
            positive = arrays["strength"] > 0
            plane = error[positive, :, index]
            x, y = arrays["relative_gap"], arrays["strength"][positive]
            style: Any = {"colors": "k", "linestyles": ":", "linewidths": 1.0}
            log_contour(ax, x, y, plane, levels, **style)
            onset = float(np.nanmedian(arrays["onset"][..., index]))
            reach = strength_of_defect(arrays, index, float(arrays["plateau_defect"]))
            similarity = median(arrays["similarity"])[positive, :, index]
            for level, ratio in zip(levels, arrays["level_ratio"], strict=True):
                _draw_level(ax, x, y[y <= reach], similarity[y <= reach], ratio, level)
                strong = (float(arrays["strong_strength"]), y[-1])
                gap = [_strong_gap(arrays, index, float(level))] * 2
                ax.plot(gap, strong, color="k", lw=1.2, path_effects=_HALO)
            for name, line_style in (("valid_defect", "-."), ("plateau_defect", (0, (5, 1)))):
                height = strength_of_defect(arrays, index, float(arrays[name]))
                ax.axhline(height, **_WHITE, ls=line_style)
            ax.axhline(float(arrays["strong_strength"]), **_WHITE, ls=":")
            ax.axhline(onset, color="k", lw=1.1, ls="--", path_effects=_HALO)
        assert image is not None
        bar = figure.colorbar(image, ax=[a for pair in pairs for a in pair], pad=0.01, aspect=28)
        bar.set_label("generalisation error, median over seeds")
        bar.ax.yaxis.set_minor_locator(NullLocator())
        plain = {"color": "k", "lw": 1.2}
        handles = [
            Line2D([], [], ls=":", **plain, label="simulated error at the level"),
            Line2D([], [], ls="-", **plain, label=r"predicted: M3 ($r$ const.), M2"),
            Line2D([], [], ls="--", **plain, label=r"onset $\rho_0=(\kappa-1)\,a_1(0)^{\kappa-2}$"),
            Line2D([], [], ls="-.", **_WHITE, label=_valid_label(arrays, "valid_defect", "10 %")),
            Line2D([], [], ls=(0, (5, 1)), **_WHITE, label=r"$D=1$: $S_1$ reaches 1 before escape"),
            Line2D([], [], ls=":", **_WHITE, label=r"M2, from $\rho=(\kappa-1)/d$ on"),
        ]
        _legend_below(figure, handles)
    return figure


def parting_figure(arrays: Arrays) -> Figure:
    """Relative difference of predicted and simulated error over the plane.

    Args:
      arrays: as saved; see `ssmbias.sweeps.phase.diagram`.

    Returns:
      A panel for each init scale, with contours at `PARTING` and the predicted limits.

    Raises:
      ValueError: an array is missing.
    """
    require_arrays(arrays, *_NAMES)
    difference = median(np.abs(arrays["predicted"] / arrays["error"] - 1.0))
    shown = np.clip(difference, 1e-6, None)
    norm = LogNorm(1e-6, 1.0)
    with print_style():
        figure, pairs = panels(arrays)
        image = None
        for index, (ax, strip) in enumerate(pairs):
            image = draw_plane(ax, strip, arrays, shown[..., index], norm, "cividis")
            positive = arrays["strength"] > 0
            x, y = arrays["relative_gap"], arrays["strength"][positive]
            plane = shown[positive, :, index]
            for level, line_style in zip(PARTING, _PARTING_STYLES, strict=True):
                log_contour(
                    ax,
                    x,
                    y,
                    plane,
                    np.array(level),
                    colors="k",
                    linestyles=line_style,
                    linewidths=1.1,
                )
            for name, colour in (("fine_defect", "#56B4E9"), ("valid_defect", "w")):
                level = strength_of_defect(arrays, index, float(arrays[name]))
                ax.axhline(level, **{**_WHITE, "color": colour}, ls="-.")
            level = strength_of_defect(arrays, index, float(arrays["plateau_defect"]))
            ax.axhline(level, **_WHITE, ls=(0, (5, 1)))
            level = 10.0 * float(arrays["strong_strength"])
            ax.axhline(level, **_WHITE, ls=":")
        assert image is not None
        bar = figure.colorbar(
            image, ax=[a for pair in pairs for a in pair], pad=0.01, aspect=28, extend="both"
        )
        bar.set_label("|predicted / simulated error − 1|, median")
        bar.ax.yaxis.set_minor_locator(NullLocator())
        handles = [
            Line2D(
                [], [], color="k", lw=1.1, ls=s, label=f"measured: {level:.0%}".replace("%", " %")
            )
            for level, s in zip(PARTING, _PARTING_STYLES, strict=True)
        ]
        handles += [
            Line2D([], [], **{**_WHITE, "color": "#56B4E9"}, ls="-.",
                   label=_valid_label(arrays, "fine_defect", "1 %")),
            Line2D([], [], ls="-.", **_WHITE, label=_valid_label(arrays, "valid_defect", "10 %")),
            Line2D([], [], ls=(0, (5, 1)), **_WHITE, label=r"$D=1$: from M3 to M2"),
            Line2D([], [], ls=":", **_WHITE, label=r"M2, at $\rho=10\,(\kappa-1)/d$"),
        ]  # fmt: skip
        _legend_below(figure, handles)
    return figure


def _draw_level(
    ax: Axes, x: np.ndarray, y: np.ndarray, similarity: np.ndarray, ratio: float, level: float
) -> None:
    """The line on which the similarity variable has a value, and the error a level."""
    style: Any = {"colors": "k", "linewidths": 1.2, "linestyles": "-", "zorder": 4}
    drawn = log_contour(ax, x, y, similarity, np.array(ratio), **style)
    if drawn is None:
        return
    drawn.set_path_effects([*_HALO])
    points = np.asarray(drawn.get_paths()[0].vertices)
    x_at, y_at = points[int(0.4 * len(points))]
    ax.annotate(
        rf"${named_power(level)}$", (x_at, y_at), (-2.5, 0.0), ha="right",
        va="center", textcoords="offset points", fontsize=7, zorder=6,
        bbox={"fc": "w", "ec": "none", "alpha": 0.75, "pad": 0.8},
    )  # fmt: skip


def _strong_gap(arrays: Arrays, scale: int, level: float) -> float:
    """The relative gap at which M2's error falls to a level; nan where it does not."""
    error = median(arrays["strong"])[0, :, scale]
    below = np.flatnonzero(error < level)
    if not len(below) or below[0] == 0:
        return float("nan")
    ends = slice(below[0] - 1, below[0] + 1)
    logs = np.log(error[ends]), np.log(arrays["relative_gap"][ends])
    return float(np.exp(np.interp(-np.log(level), -logs[0], logs[1])))


def _valid_label(arrays: Arrays, name: str, level: str) -> str:
    return rf"$D={float(arrays[name]):.2g}$: M3 good to {level}"


def _legend_below(figure: Figure, handles: list[Line2D]) -> None:
    # Four columns fit under three maps, not under two.
    columns = 3 if len(handles) <= 6 or figure.get_figwidth() < DOUBLE else 4
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, fontsize=7.5, labelcolor="k",
        columnspacing=1.4, handlelength=3.0,
    )  # fmt: skip
