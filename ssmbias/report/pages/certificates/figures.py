"""Figures of certificates: a tube around trajectories, and bounds against the width of a box."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.ticker import LogLocator, NullFormatter

from ssmbias.report.pages.certificates.rows import CertificateRow
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

_COLOURS = (RED, ORANGE, GREY)


def tube_figure(arrays: Mapping[str, np.ndarray], path_stem: str | os.PathLike[str]) -> list[Path]:
    """A tube around sampled trajectories: g, w and some μ_j against E.

    Args:
      arrays: as in the folder `curves` of a run, see docs/results-schema.md.
      path_stem: folder, which exists, and name without suffix.

    Returns:
      `<stem>.png` and `<stem>.pdf`.
    """
    samples = sorted(
        (name.partition("/")[0] for name in arrays if name.endswith("/state")),
        key=lambda name: int(name.removeprefix("sample")),
    )
    index = [int(j) for j in arrays["gap_index"]]
    with print_style():
        figure = new_figure(DOUBLE, 2.55)
        # In the limit of strong poison w is 0, and with one gap only its μ is constant.
        shown: dict[str, Sequence[int]] = {"g": [0]}
        if arrays["tube/high"][:, 1].any():
            shown["w"] = [1]
        if len(index) > 1:
            shown["mu"] = range(2, 2 + len(index))
        axes = figure.subplots(1, len(shown), squeeze=False)[0]
        panels = dict(zip(shown, axes, strict=True))
        for name, columns in shown.items():
            for column, colour in zip(columns, _COLOURS, strict=False):
                _band(panels[name], arrays, samples, column, colour)
            panels[name].set_xscale("log")
            panels[name].set_xlabel(r"clock $E$")
        panels["g"].set_yscale("log")
        panels["g"].set_title(r"$g = (a_1-a_2)\,/\,E$")
        if "w" in panels:
            _scale_loss(panels["w"], arrays["tube/E"], arrays["tube/high"][:, 1])
        if "mu" in panels:
            _name_gaps(panels["mu"], arrays, index)
        handles = [
            panels["g"].fill_between([], [], [], color=RED, alpha=0.45, lw=0, label="proved tube"),
            panels["g"].plot([], [], color=_darker(RED), lw=0.8, label="sampled trajectories")[0],
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return save_figure(figure, path_stem)


def _band(
    ax: Axes, arrays: Mapping[str, np.ndarray], samples: Sequence[str], column: int, colour: str
) -> None:
    """One coordinate: the tube as a band, trajectories as thin dark lines on it."""
    clock = arrays["tube/E"]
    low, high = arrays["tube/low"][:, column], arrays["tube/high"][:, column]
    floor = np.where(low > 0, low, np.finfo(float).tiny)
    ax.fill_between(clock, floor, high, color=colour, alpha=0.45, lw=0, zorder=1)
    for name in samples:
        state = arrays[f"{name}/state"][:, column]
        ax.plot(arrays[f"{name}/E"], state, color=_darker(colour), lw=0.6, zorder=3)


def _scale_loss(ax: Axes, clock: np.ndarray, high: np.ndarray) -> None:
    """Logarithmic, from what w rises to at once: the rise from 0 and the fall to 0 are cut off."""
    ax.set_yscale("log")
    ax.set_title(r"$w = S_1 - 1$")
    ax.set_ylim(0.3 * float(np.interp(3 * clock[0], clock, high)), 2.5 * float(high.max()))
    ax.yaxis.set_major_locator(LogLocator(10, numticks=8))
    ax.yaxis.set_minor_formatter(NullFormatter())


def _name_gaps(ax: Axes, arrays: Mapping[str, np.ndarray], index: Sequence[int]) -> None:
    """Write μ_j before its band."""
    ax.set_title(r"$\mu_j = (a_2-a_j)\,/\,E$")
    start, stop = ax.get_xlim()
    ax.set_xlim(start * (start / stop) ** 0.1, stop)  # room for the names
    for k, (j, colour) in enumerate(zip(index, _COLOURS, strict=False), start=2):
        middle = (arrays["tube/low"][0, k] + arrays["tube/high"][0, k]) / 2
        ax.annotate(
            rf"$\mu_{{{j}}}$", (float(arrays["tube/E"][0]), float(middle)), (-3.0, 0.0),
            textcoords="offset points", ha="right", va="center", color=_darker(colour),
        )  # fmt: skip


def _darker(colour: str) -> tuple[float, ...]:
    """A colour for thin lines on a band of this colour."""
    return tuple(0.5 * part for part in to_rgb(colour))


def width_figure(rows: Sequence[CertificateRow], path_stem: str | os.PathLike[str]) -> list[Path]:
    """X, Y and ε of boxes that differ in the width of their gaps only, with sampled errors.

    Args:
      rows: certified boxes of one series, see `series`; two or more.
      path_stem: folder, which exists, and name without suffix.

    Returns:
      `<stem>.png` and `<stem>.pdf`.

    Raises:
      ValueError: fewer than two rows.
    """
    if len(rows) < 2:
        raise ValueError(f"rows: {len(rows)} of them make no series; pass two or more")
    rows = sorted(rows, key=lambda row: row.rel)
    rel = np.array([row.rel for row in rows])

    def column(name: str) -> np.ndarray:
        return np.array([getattr(row, name) for row in rows])

    with print_style():
        figure = new_figure(1.35 * SINGLE, 2.9)
        ax = figure.subplots()
        lower, upper = column("poisoned_error_lower"), column("poisoned_error_upper")
        ax.fill_between(rel, lower, upper, color=ORANGE, alpha=0.18, lw=0, zorder=0)
        ax.plot(rel, upper, color=ORANGE, marker="v", ms=4, label=r"poisoned $\leq Y$")
        ax.plot(rel, lower, color=RED, marker="^", ms=4, label=r"poisoned $\geq X$")
        ax.plot(rel, column("clean_error_upper"), color=BLUE, marker="s", ms=3.4,
                label=r"clean $\leq \varepsilon$")  # fmt: skip
        for prefix, colour, label in (
            ("sampled", "k", "sampled, poisoned"),
            ("clean_sampled", SKY, "sampled, clean"),
        ):
            low, high = column(f"{prefix}_low"), column(f"{prefix}_high")
            ax.vlines(rel, low, high, color=colour, lw=2.2, label=label, zorder=3)
        dim, seq_len = rows[0].state_dim, rows[0].seq_len
        constant = min(0.1, 1 / (9 * dim)) * (1 - 0.6 ** (1 / (seq_len - 1)))
        ax.axhline(
            constant, color=GREY, lw=0.9, ls=(0, (3, 2)), zorder=1, label="Theorem 1's constant"
        )
        ax.set_yscale("log")
        ax.set_xlabel(r"relative half width of the gaps $a_2 - a_j$")
        ax.set_ylabel(r"error $/\,d$")
        ax.grid(axis="y", color=PALE, lw=0.4, alpha=0.6)
        figure.legend(loc="outside upper center", ncols=2)
    return save_figure(figure, path_stem)


def series(rows: Sequence[CertificateRow]) -> list[list[CertificateRow]]:
    """Certified boxes that differ in the width of their gaps only, three or more of them."""
    groups: dict[tuple, dict[float, CertificateRow]] = {}
    for row in rows:
        if row.status == "certified" and np.isfinite(row.sampled_low):
            key = (row.experiment, row.a2_low, row.a2_high, row.delta_low, row.delta_high)
            groups.setdefault(key, {})[row.rel] = row
    return [list(group.values()) for group in groups.values() if len(group) > 2]
