"""The figure of the findings: poisoned against clean test errors, seed by seed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from ssmbias.report.style import BLUE, DOUBLE, GREY, PALE, RED, new_figure, print_style, save_figure

# Shapes say the same as colours: up where poison hurts, down where it helps.
_HURT = {"marker": "^", "color": RED, "ls": "", "ms": 4.0, "mew": 0.0, "alpha": 0.75}
_HELPED = {**_HURT, "marker": "v", "color": BLUE}
_LEFT_OUT = {"marker": "x", "color": PALE, "ls": "", "ms": 4.0, "mew": 1.0}
_REPORTED = {"marker": "*", "color": "k", "ls": "", "ms": 11.0, "mew": 0.8, "mfc": "#F0E442"}


@dataclass(frozen=True)
class PairedErrors:
    """Test errors of the same seeds, [seed].

    Attributes:
      clean, poisoned: test errors; anything where not usable.
      usable: both runs of the pair ended as required. Others are drawn as crosses.
      reported: the paper's means (clean, poisoned), where it reports them for this stage.
      verdict: of the comparison, in words; shown above the panel.
    """

    clean: np.ndarray
    poisoned: np.ndarray
    usable: np.ndarray
    reported: tuple[float, float] | None = None
    verdict: str = ""

    def __post_init__(self) -> None:
        """Refuse arrays that are not paired."""
        shapes = [np.shape(x) for x in (self.clean, self.poisoned, self.usable)]
        if len(shapes[0]) != 1 or len(set(shapes)) > 1:
            raise ValueError(f"clean, poisoned, usable: shapes {shapes}; pass one entry a seed")


@dataclass(frozen=True)
class FindingPanel:
    """One experiment at the two ends of training; `None` where a stage was not run.

    Attributes:
      title: the experiment.
      stopping: at the paper's stopping rule.
      converged: at convergence.
    """

    title: str
    stopping: PairedErrors | None
    converged: PairedErrors | None


def findings_figure(
    panels: Sequence[FindingPanel], path_stem: str | os.PathLike[str]
) -> list[Path]:
    """Save the paired test errors of each experiment, at the two ends of training side by side.

    Args:
      panels: one for each experiment.
      path_stem: folder, which exists, and name without suffix.

    Returns:
      `<stem>.png` and `<stem>.pdf`.

    Raises:
      ValueError: there are no panels.
    """
    return save_figure(plot_findings(panels), path_stem)


def plot_findings(panels: Sequence[FindingPanel]) -> Figure:
    """The figure itself: poisoned over clean error, with the line on which they are equal.

    Raises:
      ValueError: there are no panels.
    """
    if not panels:
        raise ValueError("panels: empty; pass a FindingPanel for each experiment")
    with print_style():
        columns = min(2, len(panels))
        rows = -(-len(panels) // columns)
        heights = (2.4 * rows, 0.3 if columns > 1 else 0.45)
        figure = new_figure(DOUBLE * columns / 2, sum(heights))
        # The legend has a part of its own: a grid of parts leaves no room for it outside.
        halves = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)
        grid, below = halves[:, 0]
        parts = grid.subfigures(rows, columns, squeeze=False).ravel()
        for part, panel in zip(parts, panels, strict=False):
            part.suptitle(panel.title, fontsize=9.0)
            axes = part.subplots(1, 2, sharex=True, sharey=True)
            stages = (("stopping rule", panel.stopping), ("convergence", panel.converged))
            limits = _limits([pairs for _, pairs in stages if pairs is not None])
            for ax, (stage, pairs) in zip(axes, stages, strict=True):
                _draw(ax, stage, pairs, limits)
            axes[0].set_ylabel("poisoned test error")
        handles = [
            Line2D([], [], label="poison hurts", **_HURT),
            Line2D([], [], label="poison helps", **_HELPED),
            Line2D([], [], label="left out", **_LEFT_OUT),
            Line2D([], [], label="reported means", **_REPORTED),
            Line2D([], [], color="k", lw=0.8, label="equal"),
        ]
        below.legend(handles=handles, loc="center", ncols=3 if columns == 1 else 5)
    return figure


def _draw(ax: Axes, stage: str, pairs: PairedErrors | None, limits: tuple[float, float]) -> None:
    ax.set(xscale="log", yscale="log", xlim=limits, ylim=limits)
    ax.set_box_aspect(1.0)
    ax.set_anchor("N")
    ax.set_xlabel("clean test error")
    decades = np.log10(limits[1] / limits[0])
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(10.0, numticks=4 if decades > 3 else 5))
        axis.set_minor_locator(NullLocator())
    if pairs is None:
        ax.set_title(stage, fontsize=8.0)
        ax.text(
            0.5,
            0.5,
            "not defined\nor not run",
            transform=ax.transAxes,
            ha="center",
            color=GREY,
            fontsize=8.0,
        )
        return
    ax.plot(limits, limits, color="k", lw=0.8, zorder=1)
    clean, poisoned, usable = (np.asarray(x) for x in (pairs.clean, pairs.poisoned, pairs.usable))
    usable = usable.astype(bool)
    hurt = poisoned > clean
    for chosen, style in ((~usable, _LEFT_OUT), (usable & hurt, _HURT), (usable & ~hurt, _HELPED)):
        if chosen.any():
            inside = (np.clip(x[chosen], *limits) for x in (clean, poisoned))
            ax.plot(*inside, zorder=3, clip_on=False, **style)
    if pairs.reported is not None:
        ax.plot(*([x] for x in pairs.reported), zorder=2, **_REPORTED)
    number = f"{usable.sum()} of {len(usable)} pairs"
    ax.set_title(f"{stage}, {number}\n{pairs.verdict}", fontsize=8.0)


def _limits(stages: Sequence[PairedErrors]) -> tuple[float, float]:
    """Common limits of both axes, around all pairs that count.

    Runs that were left out can be anywhere, up to 1e100: they are put on the edge by `_draw`.
    """
    values = np.concatenate(
        [
            np.ravel(x)
            for s in stages
            for x in (
                np.asarray(s.clean)[np.asarray(s.usable, bool)],
                np.asarray(s.poisoned)[np.asarray(s.usable, bool)],
                s.reported or [],
            )
        ]
        or [[]]
    )
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return 0.1, 1.0
    low, high = float(values.min()) / 2.0, float(values.max()) * 2.0
    if high < 200.0 * low:  # whole decades, for two labels at least
        return 10.0 ** np.floor(np.log10(low)), 10.0 ** np.ceil(np.log10(high))
    return low, high
