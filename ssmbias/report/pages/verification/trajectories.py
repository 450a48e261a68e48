"""Figures along a trajectory: entries, effective rank and γ_0 against time."""

from __future__ import annotations

import itertools

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from ssmbias.report.style import (
    BLUE,
    DOUBLE,
    GREY,
    ORANGE,
    PALE,
    RED,
    SINGLE,
    SKY,
    Arrays,
    absolute,
    new_figure,
    print_style,
    subjects_of,
)

_ARMS = ("clean", "poisoned")
_ARM_COLOURS = {"clean": BLUE, "poisoned": RED}
_LEADING_COLOURS = {"clean": (BLUE, SKY), "poisoned": (RED, ORANGE)}
_LIMIT_LABELS = {
    "clean": "prediction (M1)",
    "poisoned": r"prediction, $\rho\to\infty$ (M2)",
}
_RUN_LABELS = {"clean": "clean", "poisoned": r"poisoned, $\rho=1$"}
_TIME_LABEL = r"gradient-flow time $t$"


def dynamics_figure(arrays: Arrays, subject: str) -> Figure:
    """|a_j|(t) of a clean and of a poisoned run, over the limits that theory predicts.

    Args:
      arrays: as returned by `load_results`.
      subject: which of `subjects_of(arrays)`.

    Returns:
      A panel for each run that was saved, clean on the left.

    Raises:
      ValueError: neither run was saved for this subject.
    """
    arms = _saved_arms(arrays, subject, "a")
    with print_style():
        figure = new_figure(DOUBLE if len(arms) > 1 else SINGLE, 2.5)
        panels = figure.subplots(1, len(arms), sharey=True, squeeze=False)[0]
        for panel, arm in zip(panels, arms, strict=True):
            _draw_entries(panel, arrays, f"{subject}/trajectory/{arm}", arm)
        panels[0].set_ylabel(absolute("a_j"))
        panels[0].set_ylim(bottom=0.0, top=max(1.05, panels[0].get_ylim()[1]))
    return figure


def _draw_entries(ax: Axes, arrays: Arrays, prefix: str, arm: str) -> None:
    time, a = arrays[f"{prefix}/time"], np.abs(arrays[f"{prefix}/a"])
    limit = arrays.get(f"{prefix}/limit")
    start, end = _window(time, a)
    left, right = start, end * (end / start) ** 0.12
    shown = (time >= left) & (time <= right) & (time > 0)
    dim = a.shape[1]
    colours = [*_LEADING_COLOURS[arm], *[PALE] * dim][:dim]
    # The second entry is a thin line on the thick first one: both are seen where they coincide.
    time, a = time[shown], a[shown]
    if _is_at_rest(arrays.get(f"{prefix}/gamma")) and time[-1] < end * (right / end) ** 0.2:
        time, a = np.append(time, end * (right / end) ** 0.2), np.append(a, a[-1:], axis=0)
    for j in range(dim):
        width, order = ((2.4, 3), (1.1, 4))[j] if j < 2 else (0.8, 2)
        ax.plot(time, a[:, j], color=colours[j], lw=width, zorder=order)
    if limit is not None:
        mark = (end * (right / end) ** 0.3, right)
        for j in reversed(range(dim)):
            leading = j < 2
            style = {"color": colours[j] if leading else GREY, "lw": 1.2 if leading else 0.8}
            ax.plot(mark, [abs(limit[j])] * 2, ls=(0, (2.5, 1.2)), zorder=5, **style)
            if leading:
                marker = {"mfc": "white", "ms": 4, "zorder": 6, "clip_on": False}
                ax.plot(right, abs(limit[j]), "d", **marker, **style)
    final = np.abs(limit) if limit is not None else a[-1]
    rest = rf"{absolute('a_3')}$,\dots,${absolute(f'a_{{{dim}}}')}" if dim > 3 else absolute("a_3")
    labels = [(final[0], absolute("a_1"), colours[0]), (final[1], absolute("a_2"), colours[1])]
    labels += [(float(np.mean(final[2:])), rest, GREY)] if dim > 2 else []
    heights = _spread([height for height, _, _ in labels], 0.09)
    for height, (_, text, colour) in zip(heights, labels, strict=True):
        ax.annotate(
            text,
            (1.0, height),
            (5.0, 0.0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            color=_darker(colour),
            va="center",
        )
    handles = [Line2D([], [], color="k", lw=1.4, label="simulation")]
    if limit is not None:
        handles.append(
            Line2D(
                [], [], color="k", lw=1.2, ls=(0, (2.5, 1.2)), marker="d", mfc="white", ms=4,
                label=_LIMIT_LABELS[arm],
            )
        )  # fmt: skip
    ax.legend(handles=handles, loc="upper left")
    ax.set_title(_RUN_LABELS[arm])
    _log_time(ax, left, right)


def effective_rank_figure(arrays: Arrays, subject: str) -> Figure:
    """Effective rank of a against time, clean and poisoned.

    Args:
      arrays: as returned by `load_results`.
      subject: which of `subjects_of(arrays)`.

    Raises:
      ValueError: neither run was saved for this subject.
    """
    arms = _saved_arms(arrays, subject, "effective_rank")
    with print_style():
        figure = new_figure(SINGLE, 2.4)
        ax = figure.subplots()
        top = 1.0
        for arm in arms:
            rank = arrays[f"{subject}/trajectory/{arm}/effective_rank"]
            time = arrays[f"{subject}/trajectory/{arm}/time"]
            _draw_arm(ax, time, rank, arm)
            a = arrays.get(f"{subject}/trajectory/{arm}/a")
            top = max(top, *rank[np.isfinite(rank)], 0.0 if a is None else a.shape[1])
        _log_time(ax, *_common_window(arrays, subject, arms))
        for level, text, align in ((1.0, "1", "bottom"), (top, rf"$d={top:.0f}$", "bottom")):
            ax.axhline(level, color=PALE, lw=0.6, ls=":", zorder=0)
            if level > 1.0 and float(top).is_integer():
                ax.annotate(
                    text, (0.0, level), (2.0, 1.0), xycoords=("axes fraction", "data"),
                    textcoords="offset points", color=GREY, fontsize=8, va=align,
                )  # fmt: skip
        ax.set_ylim(0.0, 1.12 * top)
        ax.set_ylabel(r"effective rank of $a$")
        ax.legend(loc="center left", bbox_to_anchor=(0.0, 0.36))
    return figure


def gamma0_figure(arrays: Arrays, subject: str) -> Figure:
    """The coefficient γ_0 of the dynamical characterisation against time, clean and poisoned.

    The axis is logarithmic on both sides of a narrow linear band around 0, so that the sign
    can be seen, and that γ_0 is exactly 0 on clean data.

    Args:
      arrays: as returned by `load_results`.
      subject: which of `subjects_of(arrays)`.

    Raises:
      ValueError: neither run was saved for this subject.
    """
    arms = _saved_arms(arrays, subject, "gamma")
    with print_style():
        figure = new_figure(SINGLE, 2.4)
        ax = figure.subplots()
        drawn = {arm: arrays[f"{subject}/trajectory/{arm}/gamma"][:, 0] for arm in arms}
        largest = max((np.nanmax(np.abs(g), initial=0.0) for g in drawn.values()), default=0.0)
        exponent = round(np.log10(largest)) if largest > 0 else 0
        band = 10.0 ** (exponent - 10)
        for arm in arms:
            exactly = ", exactly 0" if not np.any(drawn[arm]) else ""
            time = arrays[f"{subject}/trajectory/{arm}/time"]
            _draw_arm(ax, time, drawn[arm], arm, suffix=exactly)
        ax.axhspan(-band, band, color="#EEEEEE", lw=0, zorder=0)
        ax.set_yscale("symlog", linthresh=band, linscale=0.7)
        lowest = min((np.nanmin(g, initial=0.0) for g in drawn.values()), default=0.0)
        deepest = np.ceil(np.log10(-lowest)) if lowest < -band else exponent - 9
        steps = range(exponent, exponent - 10, -3)
        ticks = [10.0**k for k in steps] + [0.0] + [-(10.0**k) for k in steps if k <= deepest]
        ax.yaxis.set_major_locator(FixedLocator(ticks))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.set_ylim(-(10.0 ** (deepest + 0.5)), 10.0 ** (exponent + 1.0))
        ax.set_ylabel(r"$\gamma_0$")
        _log_time(ax, *_common_window(arrays, subject, arms))
        ax.legend(loc="upper right")
    return figure


def arms_with(arrays: Arrays, subject: str, quantity: str) -> list[str]:
    """Which of the clean and the poisoned run have `quantity` saved at positive times."""
    prefix = f"{subject}/trajectory"
    return [
        arm
        for arm in _ARMS
        if f"{prefix}/{arm}/{quantity}" in arrays
        and (time := arrays.get(f"{prefix}/{arm}/time")) is not None
        and np.any(np.isfinite(time) & (time > 0))
    ]


def _saved_arms(arrays: Arrays, subject: str, quantity: str) -> list[str]:
    arms = arms_with(arrays, subject, quantity)
    if not arms:
        known = ", ".join(subjects_of(arrays)) or "none"
        raise ValueError(
            f"subject={subject!r}: arrays hold no trajectory of {quantity}; subjects are {known}"
        )
    return arms


def _draw_arm(ax: Axes, time: np.ndarray, values: np.ndarray, arm: str, suffix: str = "") -> None:
    """A run in its colour, with a dot at its end."""
    shown = (time > 0) & np.isfinite(values)
    colour = _ARM_COLOURS[arm]
    style = "-" if arm == "poisoned" else (0, (5, 1.2))
    label = _RUN_LABELS[arm] + suffix
    ax.plot(time[shown], values[shown], color=colour, ls=style, label=label)
    if shown.any():
        ax.plot(time[shown][-1], values[shown][-1], "o", ms=4, color=colour)


def _window(time: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Times between which something is to be seen: from before the first move to the end."""
    positive = time[np.isfinite(time) & (time > 0)]
    moved = np.nanmax(np.abs(values - values[:1]), axis=1, initial=0.0)
    moved = np.where(np.isfinite(time) & (time > 0), moved, 0.0)
    begun = np.flatnonzero(moved > 0.01 * moved.max())
    settled = np.nanmax(np.abs(values - values[-1:]), axis=1, initial=0.0)
    going = np.flatnonzero(settled > 1e-3 * moved.max())
    end = positive[-1]
    if len(going) and going[-1] + 1 < len(time):
        end = min(end, 2.0 * time[going[-1] + 1])
    start = time[begun[0]] / 100.0 if len(begun) else positive[0]
    return float(max(positive[0], min(start, end / 1e3))), float(end)


def _is_at_rest(gamma: np.ndarray | None) -> bool:
    """Whether the coefficients that drive the flow have vanished, so that it stays where it is."""
    if gamma is None or not np.isfinite(gamma).all():
        return False
    return bool(np.abs(gamma[-1]).max() <= 1e-9 * np.abs(gamma).max())


def _common_window(arrays: Arrays, subject: str, arms: list[str]) -> tuple[float, float]:
    starts, ends = [], []
    for arm in arms:
        prefix = f"{subject}/trajectory/{arm}"
        time = arrays[f"{prefix}/time"]
        values = arrays.get(f"{prefix}/a", arrays.get(f"{prefix}/effective_rank"))
        if values is None:
            values = arrays[f"{prefix}/gamma"]
        start, end = _window(time, values.reshape(len(time), -1))
        starts.append(start)
        ends.append(end)
    return min(starts), max(ends) * 2.0


def _log_time(ax: Axes, left: float, right: float) -> None:
    ax.set_xscale("log")
    ax.set_xlim(left, right)
    decades = np.log10(right / left)
    every = 1 if decades <= 7 else 3
    first = int(np.ceil(np.log10(left)))
    last = int(np.floor(np.log10(right)))
    first += -first % every
    ax.xaxis.set_major_locator(FixedLocator([10.0**k for k in range(first, last + 1, every)]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel(_TIME_LABEL)


def _spread(heights: list[float], gap: float) -> list[float]:
    """Heights moved up where labels at them would overlap."""
    order = sorted(range(len(heights)), key=heights.__getitem__)
    moved = list(heights)
    for below, above in itertools.pairwise(order):
        moved[above] = max(moved[above], moved[below] + gap)
    return moved


def _darker(colour: str) -> str:
    """The shade of a line's colour that is legible as text on white."""
    return {SKY: "#2F7FB0", ORANGE: "#A66F00"}.get(colour, colour)
