"""Figures of the poison experiments along the sequence: what a network heeds, what it was given."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ssmbias.report.pages.poison.saved import ROLES
from ssmbias.report.style import (
    BLUE,
    DOUBLE,
    GREY,
    ORANGE,
    PALE,
    PURPLE,
    RED,
    SINGLE,
    SKY,
    new_figure,
    print_style,
    save_figure,
)

# More values than this in a row are drawn as a line, not as stems.
_MOST_STEMS = 80
_MOST_EXAMPLES = 4
# A profile that spans more than this factor is drawn on a logarithmic axis.
_WIDE = 30.0
# Sequences smaller than others by more than this factor get an axis of their own.
_ENLARGE = 4.0


def sensitivity_figure(
    shares: Mapping[str, np.ndarray],
    path_stem: str | os.PathLike[str],
    *,
    roles: Mapping[str, str] = ROLES,
) -> list[Path]:
    """Share of each element in the squared input gradient: mean and 10-90 % of the seeds.

    Args:
      shares: [seed, position] by arm; each row sums to 1. Rows with nan are left out.
      path_stem: folder, which exists, and name without suffix.
      roles: of the arms by name: "attack", "baseline", or something else.

    Returns:
      `<stem>.png` and `<stem>.pdf`.

    Raises:
      ValueError: no arms, or arrays of other shapes.
    """
    kept = {}
    for name, values in shares.items():
        array = np.asarray(values, dtype=np.float64)
        if array.ndim != 2:
            raise ValueError(f"shares[{name!r}] has shape {array.shape}: pass [seed, position]")
        usable = array[np.isfinite(array).all(axis=1)]
        if len(usable):
            kept[name] = usable
    if not kept:
        raise ValueError("shares: no arm with a usable row; pass [seed, position] by arm")
    with print_style():
        figure = new_figure(1.35 * SINGLE, 2.7)
        ax = figure.subplots()
        means = np.concatenate([values.mean(axis=0) for values in kept.values()])
        wide = bool((means > 0).all()) and means.max() > _WIDE * means.min()
        styles = _arm_styles(list(kept), roles)
        for name, values in kept.items():
            position = np.arange(values.shape[1])
            colour, dashes = styles[name]
            low, high = np.quantile(values, (0.1, 0.9), axis=0)
            ax.fill_between(position, low, high, color=colour, alpha=0.18, lw=0)
            ax.plot(position, values.mean(axis=0), color=colour, ls=dashes, label=name)
        if wide:
            ax.set_yscale("log")
            ax.set_ylim(bottom=0.5 * means.min())
        else:
            ax.set_ylim(bottom=0.0)
        lengths = {values.shape[1] for values in kept.values()}
        if len(lengths) == 1:
            ax.axhline(
                1.0 / lengths.pop(), color=GREY, lw=0.9, ls=(0, (3, 2)), zorder=1, label="all alike"
            )
        ax.set_xlabel("element of the sequence")
        ax.set_ylabel("share of the squared input gradient")
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 4, 8, 10]))
        figure.legend(
            loc="outside upper center", ncols=min(4, len(ax.get_legend_handles_labels()[0]))
        )
    return save_figure(figure, path_stem)


def _arm_styles(names: Sequence[str], roles: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    """A colour and dashes for each arm; dashes tell arms of one colour apart."""
    reds = iter(((RED, "-"), (ORANGE, "--"), (PURPLE, ":")))
    blues = iter(((BLUE, "-"), (SKY, "--")))
    greys = iter([(GREY, "-"), (GREY, "--"), (GREY, ":"), (PALE, "-"), (PALE, "--"), (PALE, ":")])
    shades = {"attack": reds, "baseline": blues}
    # The first arms of a role have their own look; whoever draws more gets grey lines again.
    return {
        name: next(shades.get(roles.get(name, ""), greys), None) or next(greys, (PALE, ":"))
        for name in names
    }


def examples_figure(
    examples: Mapping[str, np.ndarray], path_stem: str | os.PathLike[str]
) -> list[Path]:
    """Sequences or images as they are; as many of each kind as of the others, at most four.

    Sequences are drawn as stems, long ones as lines, a column for each kind. The vertical axes
    are alike but where a kind is so small that nothing would be seen: then it is enlarged, and the
    title says how much. Images have a row for each kind.

    Args:
      examples: arrays [num, length], or [num, height, width] with or without a last axis of 3
        colours, all of one kind, by name such as "clean" and "late". Images are drawn between
        their common smallest and largest value.
      path_stem: folder, which exists, and name without suffix.

    Returns:
      `<stem>.png` and `<stem>.pdf`.

    Raises:
      ValueError: no examples, or arrays of other or of several kinds.
    """
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in examples.items()}
    kinds = {array.ndim for array in arrays.values()}
    if len(kinds) != 1 or not kinds <= {2, 3, 4} or not all(len(x) for x in arrays.values()):
        shapes = {name: array.shape for name, array in arrays.items()}
        raise ValueError(
            f"examples have shapes {shapes}: pass [num, length], or [num, height, width] with or "
            "without 3 colours, the same kind for each name, one example at least"
        )
    if any(array.ndim == 4 and array.shape[-1] != 3 for array in arrays.values()):
        raise ValueError("examples with four axes are images: their last axis must be 3 colours")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"examples[{name!r}] has entries that are not finite")
    num = min(_MOST_EXAMPLES, *(len(array) for array in arrays.values()))
    chosen = {name: array[:num] for name, array in arrays.items()}
    with print_style():
        figure = (_sequences if kinds == {2} else _images)(chosen)
    return save_figure(figure, path_stem)


def _sequences(chosen: Mapping[str, np.ndarray]) -> Figure:
    rows = len(next(iter(chosen.values())))
    figure = new_figure(DOUBLE, 0.75 + 0.75 * rows)
    axes = figure.subplots(rows, len(chosen), sharex=True, sharey="col", squeeze=False)
    largest = max(float(np.abs(array).max()) for array in chosen.values()) or 1.0
    for column, (name, array) in zip(axes.T, chosen.items(), strict=True):
        own = float(np.abs(array).max()) or largest
        enlarged = largest > _ENLARGE * own
        limit = own if enlarged else largest
        column[0].set_title(f"{name}, axis {largest / own:.2g} times finer" if enlarged else name)
        column[0].set_ylim(-1.15 * limit, 1.15 * limit)
        column[0].yaxis.set_major_locator(MaxNLocator(3, symmetric=True))
        colour = BLUE if name == "clean" or ROLES.get(name) == "baseline" else RED
        for ax, values in zip(column, array, strict=True):
            position = np.arange(len(values))
            ax.axhline(0.0, color=PALE, lw=0.6, zorder=0)
            if len(values) > _MOST_STEMS:
                ax.plot(position, values, color=colour, lw=0.8)
                continue
            # Zeros are left out: a dot is an element that is there.
            there = values != 0
            ax.vlines(position[there], 0.0, values[there], color=colour, lw=0.9)
            ax.plot(position[there], values[there], ls="", marker="o", ms=2.2, mew=0, color=colour)
        column[-1].set_xlabel("element of the sequence")
    axes[0, 0].set_xlim(-1.0, max(array.shape[1] for array in chosen.values()))
    axes[0, 0].xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 4, 8, 10]))
    return figure


def _images(chosen: Mapping[str, np.ndarray]) -> Figure:
    most = len(next(iter(chosen.values())))
    figure = new_figure(0.55 + 1.0 * most, 1.05 * len(chosen))
    axes = figure.subplots(len(chosen), most, squeeze=False)
    low = min(float(array.min()) for array in chosen.values())
    high = max(float(array.max()) for array in chosen.values())
    for row, (name, array) in zip(axes, chosen.items(), strict=True):
        for ax in row:
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        row[0].set_ylabel(name)
        for ax, values in zip(row, array, strict=True):
            if values.ndim == 3:
                ax.imshow((values - low) / (high - low or 1.0), interpolation="nearest")
            else:
                ax.imshow(values, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    return figure
