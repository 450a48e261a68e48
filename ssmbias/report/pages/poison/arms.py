"""Figures of the poison experiments: accuracies of arms, and of windows of poison.

Reds are attacks and blues are what nothing was done to, as everywhere; other arms are grey.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ssmbias.report.pages.poison.saved import ROLES, MeanInterval
from ssmbias.report.style import (
    BLUE,
    DOUBLE,
    GREY,
    ORANGE,
    PALE,
    RED,
    SINGLE,
    SKY,
    new_figure,
    print_style,
    save_figure,
)


@dataclass(frozen=True)
class ArmDots:
    """Accuracies of one arm.

    Attributes:
      arm: its name.
      values: [seed], nan where the run did not end as required.
      mean: over the others.
    """

    arm: str
    values: np.ndarray
    mean: MeanInterval


@dataclass(frozen=True)
class ControlDots:
    """Paired differences, attack - control, in points.

    Attributes:
      control: its name.
      values: [pair].
      mean: of them.
      shown: whether the attack was shown to be lower; hollow marks where not.
    """

    control: str
    values: np.ndarray
    mean: MeanInterval
    shown: bool


@dataclass(frozen=True)
class WindowScan:
    """Accuracy against the place of a window of poison.

    Attributes:
      start: first element of each window [window].
      values: [window, seed], nan where a run did not end as required.
      means: one for each window.
      levels: further arms to compare with, by name.
      width: elements in a window, where known.
    """

    start: np.ndarray
    values: np.ndarray
    means: Sequence[MeanInterval]
    levels: Mapping[str, MeanInterval]
    width: int | None = None

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        if np.ndim(self.start) != 1 or np.ndim(self.values) != 2:
            raise ValueError(
                f"start and values have {np.ndim(self.start)} and {np.ndim(self.values)} axes: "
                "pass [window] and [window, seed]"
            )
        if not 0 < len(self.start) == len(self.values) == len(self.means):
            raise ValueError(
                f"start, values and means have {len(self.start)}, {len(self.values)} and "
                f"{len(self.means)} windows: pass the same number, one at least"
            )


def arms_figure(
    arms: Sequence[ArmDots],
    attack: str,
    controls: Sequence[ControlDots],
    path_stem: str | os.PathLike[str],
    *,
    chance: float,
    label: str = "test accuracy",
    roles: Mapping[str, str] = ROLES,
) -> list[Path]:
    """Every seed of every arm, beside the paired differences of the attack to its controls.

    Args:
      arms: in the order from top to bottom.
      attack: the arm that the differences are of.
      controls: in the order from top to bottom.
      path_stem: folder, which exists, and name without suffix.
      chance: accuracy of guessing.
      label: of the accuracy.
      roles: of the arms by name: "attack", "baseline", or something else.

    Returns:
      `<stem>.png` and `<stem>.pdf`.

    Raises:
      ValueError: there are no arms or no controls.
    """
    if not arms or not controls:
        raise ValueError("arms, controls: pass at least one of each")
    with print_style():
        figure = new_figure(DOUBLE, max(1.9, 0.9 + 0.24 * max(len(arms), len(controls))))
        left, right = figure.subplots(1, 2, width_ratios=(1.15, 1.0))
        for row, arm in enumerate(arms):
            colour = RED if arm.arm == attack else _COLOURS.get(roles.get(arm.arm, ""), GREY)
            _dots(left, row, arm.values, arm.mean, colour, filled=True)
        _rows(left, [arm.arm for arm in arms], label)
        low, high = left.get_xlim()
        if low < chance:
            left.axvline(chance, color=GREY, lw=0.9, ls=(0, (3, 2)), zorder=1)
            left.text(
                chance, 1.0, "chance", transform=left.get_xaxis_transform(),
                ha="left" if chance - low < 0.2 * (high - low) else "center",
                va="bottom", fontsize=7.0, color=GREY,
            )  # fmt: skip
        right.axvline(0.0, color="k", lw=0.8, zorder=1)
        for row, control in enumerate(controls):
            colour = RED if control.shown and control.mean.mean < 0 else GREY
            _dots(right, row, control.values, control.mean, colour, filled=control.shown)
        _rows(
            right, [f"− {control.control}" for control in controls], f"{attack} − control, points"
        )
    return save_figure(figure, path_stem)


_COLOURS = {"baseline": BLUE, "attack": ORANGE}


def _rows(ax: Axes, names: Sequence[str], label: str) -> None:
    ax.set_yticks(range(len(names)), list(names))
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(label)
    ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    ax.grid(axis="x", color=PALE, lw=0.4, alpha=0.6)
    ax.set_axisbelow(True)


def _dots(
    ax: Axes, row: int, values: np.ndarray, mean: MeanInterval, colour: str, *, filled: bool
) -> None:
    """Seeds as dots above the line of the row, their mean with its interval below it."""
    values = np.asarray(values, dtype=np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        ax.text(
            0.5, row, "no usable run", transform=ax.get_yaxis_transform(), va="center",
            ha="center", fontsize=7.0, color=GREY,
        )  # fmt: skip
        return
    # Dots that would cover each other are set one above the other, in a fixed pattern.
    lift = 0.1 + 0.3 * (np.arange(len(values)) * 0.618 % 1.0)
    ax.plot(values, row - lift, ls="", marker="o", ms=2.6, mew=0, color=colour, alpha=0.55)
    if np.isfinite([mean.low, mean.high]).all():
        ax.plot([mean.low, mean.high], [row + 0.2] * 2, color=colour, lw=1.4, zorder=3)
    ax.plot(
        [mean.mean], [row + 0.2], ls="", marker="D", ms=4.2, mew=1.0, color=colour,
        mfc=colour if filled else "white", zorder=4,
    )  # fmt: skip


def window_figure(
    scan: WindowScan,
    path_stem: str | os.PathLike[str],
    *,
    chance: float,
    label: str = "test accuracy",
) -> list[Path]:
    """Accuracy against the place of the poisoned window.

    Args:
      scan: the windows.
      path_stem: folder, which exists, and name without suffix.
      chance: accuracy of guessing; drawn where it is in sight.
      label: of the accuracy.

    Returns:
      `<stem>.png` and `<stem>.pdf`.
    """
    with print_style():
        figure = new_figure(1.35 * SINGLE, 2.7)
        ax = figure.subplots()
        order = np.argsort(scan.start)
        start = np.asarray(scan.start)[order]
        means = np.array([scan.means[i] for i in order])
        for (name, level), colour, dashes in zip(
            scan.levels.items(),
            (BLUE, SKY, GREY, PALE),
            ("-", (0, (4, 2)), ":", "-."),
            strict=False,
        ):
            if np.isfinite([level.low, level.high]).all():
                ax.axhspan(level.low, level.high, color=colour, alpha=0.18, lw=0, zorder=0)
            ax.axhline(level.mean, color=colour, lw=1.1, ls=dashes, zorder=1, label=name)
        values = np.asarray(scan.values, dtype=np.float64)[order]
        ax.plot(
            np.repeat(start, values.shape[1]), values.ravel(), ls="", marker="o", ms=2.0, mew=0,
            color=RED, alpha=0.3, zorder=2,
        )  # fmt: skip
        ax.fill_between(start, means[:, 1], means[:, 2], color=RED, alpha=0.2, lw=0, zorder=2)
        ax.plot(
            start,
            means[:, 0],
            color=RED,
            marker="D",
            ms=3.6,
            mew=0,
            zorder=3,
            label="poisoned window",
        )
        if ax.get_ylim()[0] < chance:
            ax.axhline(chance, color=GREY, lw=0.9, ls=(0, (3, 2)), zorder=1, label="chance")
        ax.set_ylabel(label)
        width = "" if scan.width is None else f" of {scan.width}"
        ax.set_xlabel(f"first element of the window{width}")
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 5, 10]))
        figure.legend(loc="outside upper center", ncols=len(ax.get_legend_handles_labels()[0]))
    return save_figure(figure, path_stem)
