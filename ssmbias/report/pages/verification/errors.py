"""Figures over all starts: predicted against measured errors, and the approach to M2's limit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from ssmbias.report.style import (
    BLUE,
    DOUBLE,
    GREY,
    ORANGE,
    PALE,
    RED,
    SINGLE,
    Arrays,
    absolute,
    literal,
    new_figure,
    print_style,
    subjects_of,
)

_MARKERS = "osD^vP"
# Smallest relative difference that double precision shows; exact agreement is drawn here.
_EPS = 2.0**-53


def error_parity_figure(arrays: Arrays) -> Figure:
    """Predicted against measured generalisation error of every start, and their difference.

    Args:
      arrays: as returned by `load_results`.

    Returns:
      On the left the parity plot with the bound B1 of each subject; on the right the relative
      difference, which the parity plot is too coarse to show.

    Raises:
      ValueError: no subject has errors.
    """
    points = list(error_points(arrays))
    if not points:
        raise ValueError("arrays: no predicted and measured errors were saved")
    # Subjects without errors, such as passages, take no marker away.
    with_errors = {key.partition("/error/")[0] for key in arrays if "/error/" in key}
    subjects = [subject for subject in subjects_of(arrays) if subject in with_errors]
    with print_style():
        figure = new_figure(DOUBLE, 3.1)
        parity, relative = figure.subplots(1, 2)
        for point in points:
            style = {
                "ls": "",
                "marker": _MARKERS[subjects.index(point.subject) % len(_MARKERS)],
                # Rings, so that the points of the exact predictions are seen inside.
                "ms": 6.5 if point.hollow else 4.0,
                "mew": 0.8,
                "color": point.colour,
                "mfc": "none" if point.hollow else point.colour,
                "alpha": 0.8,
                "zorder": 2 if point.hollow else 3,
            }
            parity.plot(point.predicted, point.measured, **style)
            gap = np.abs(point.measured / point.predicted - 1.0)
            relative.plot(point.predicted, np.maximum(gap, _EPS), **style)
        values = np.concatenate([p for point in points for p in (point.predicted, point.measured)])
        ends = values.min() / 1.6, values.max() * 1.6
        parity.plot(ends, ends, color="k", lw=0.8, zorder=0)
        bounds = [(s, float(arrays[k])) for s in subjects if (k := f"{s}/error/bound") in arrays]
        for subject, bound in bounds:
            parity.axhline(bound, color=GREY, lw=0.8, ls=":", zorder=0)
            parity.annotate(
                f"B1, {literal(subject)}", (1.0, bound), (-1.0, 1.0), ha="right", va="bottom",
                xycoords=("axes fraction", "data"), textcoords="offset points",
                fontsize=8, color=GREY,
            )  # fmt: skip
        lowest = min([ends[0], *(0.6 * bound for _, bound in bounds)])
        parity.set(xscale="log", yscale="log", xlim=ends, ylim=(lowest, ends[1]))
        parity.set(xlabel="predicted error (normalised)", ylabel="measured error (normalised)")
        relative.set(xscale="log", yscale="log", xlim=ends)
        relative.set(xlabel="predicted error (normalised)", ylabel="|measured / predicted − 1|")
        low, high = relative.get_ylim()
        relative.set_ylim(10.0 ** np.floor(np.log10(low)), 10.0 ** np.ceil(np.log10(high)))
        kinds, marks = _error_legend(points, subjects)
        figure.legend(handles=kinds, loc="outside lower center", ncols=3)
        parity.legend(handles=marks, loc="upper left")
    return figure


class ErrorPoints(NamedTuple):
    """Errors of all starts of a subject, against one prediction.

    `label` is for a legend, with TeX; `words` is the same as plain text.
    """

    subject: str
    label: str
    words: str
    colour: str
    hollow: bool
    predicted: np.ndarray
    measured: np.ndarray


def error_points(arrays: Arrays) -> Iterator[ErrorPoints]:
    """What was saved, subject by subject; runs that failed are left out."""
    for subject in subjects_of(arrays):
        strength = arrays.get(f"{subject}/error/poisoned/strength")
        at, at_words = "", ""
        if strength is not None:
            at = rf", $\rho={_in_powers_of_ten(float(strength))}$"
            at_words = f", ρ = {float(strength):g}"
        for arm, prediction, label, words, colour, hollow in (
            ("clean", "clean", "clean, against M1", "clean", BLUE, False),
            (
                "poisoned",
                "poisoned",
                f"poisoned{at}, against M2",
                f"poisoned{at_words}",
                RED,
                False,
            ),
            (
                "poisoned_rho1",
                "poisoned",
                r"poisoned, $\rho=1$, against M2",
                "poisoned, ρ = 1",
                ORANGE,
                True,
            ),
        ):
            predicted = arrays.get(f"{subject}/error/{prediction}/predicted")
            measured = arrays.get(f"{subject}/error/{arm}/measured")
            if predicted is None or measured is None or predicted.shape != measured.shape:
                continue
            # A run that failed has no error; an error of 0 has no logarithm.
            keep = np.isfinite(predicted) & np.isfinite(measured) & (predicted > 0) & (measured > 0)
            if keep.any():
                yield ErrorPoints(
                    subject, label, words, colour, hollow, predicted[keep], measured[keep]
                )


def _error_legend(
    points: list[ErrorPoints], subjects: list[str]
) -> tuple[list[Line2D], list[Line2D]]:
    """Handles for what was predicted, by colour, and for the subjects, by marker."""
    kinds = dict.fromkeys((p.label, p.colour, p.hollow) for p in points)
    colours = [
        Line2D([], [], ls="", marker="s", color=c, mfc="none" if hollow else c, label=label)
        for label, c, hollow in kinds
    ]
    marks = [
        Line2D(
            [], [], ls="", color=GREY, marker=_MARKERS[i % len(_MARKERS)], label=literal(subject)
        )
        for i, subject in enumerate(subjects)
        if any(point.subject == subject for point in points)
    ]
    return colours, [Line2D([], [], color="k", lw=0.8, label="measured = predicted"), *marks]


def strong_poison_figure(arrays: Arrays) -> Figure:
    r"""M2: distance of the limit at strength ρ from the predicted one, and the fitted slope.

    Args:
      arrays: as returned by `load_results`.

    Returns:
      A panel for each subject, on logarithmic axes. Points that the fit left out are grey; the
      fitted line passes through the geometric mean of the starts at the largest strength.

    Raises:
      ValueError: no subject has differences.
    """
    subjects = [s for s in subjects_of(arrays) if f"{s}/strong/difference" in arrays]
    if not subjects:
        raise ValueError("arrays: no differences against the strength of the poison were saved")
    with print_style():
        columns = min(2, len(subjects))
        rows = -(-len(subjects) // columns)
        figure = new_figure(SINGLE * columns + 0.2 * (columns - 1), 2.7 * rows)
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for index, (panel, subject) in enumerate(zip(panels, subjects, strict=False)):
            _draw_strong(panel, arrays, subject)
            panel.set_title(literal(subject))
            if index % columns == 0:
                panel.set_ylabel(r"$\max_j\,$" + absolute(r"a_j(\infty;\rho)-a_j^{\mathrm{M2}}"))
        for panel in panels[len(subjects) :]:
            panel.remove()
    return figure


def _draw_strong(ax: Axes, arrays: Arrays, subject: str) -> None:
    prefix = f"{subject}/strong"
    strength, difference = arrays[f"{prefix}/strength"], arrays[f"{prefix}/difference"]
    in_fit = arrays.get(f"{prefix}/in_fit")
    in_fit = np.ones(strength.shape, bool) if in_fit is None else in_fit.astype(bool)
    difference = np.where(difference > 0, difference, np.nan)
    ax.set(xscale="log", yscale="log", xlabel=r"poison strength $\rho$")
    # Faint grey joins the runs of a start; what counts is marked.
    for row in difference:
        ax.plot(strength, row, color=PALE, lw=0.5, zorder=1)
    for chosen, colour, size, label in (
        (in_fit, RED, 3.0, f"simulation, {len(difference)} start{'s' * (len(difference) != 1)}"),
        (~in_fit, PALE, 3.0, "not in the fit"),
    ):
        if np.isfinite(difference[:, chosen]).any():
            x = np.broadcast_to(strength[chosen], difference[:, chosen].shape)
            style = {"ls": "", "marker": "o", "ms": size, "mew": 0.0, "alpha": 0.7}
            ax.plot(x.ravel(), difference[:, chosen].ravel(), color=colour, label=label, **style)
    # Geometric means of the starts: the fit is one of logarithms.
    centre = np.array([_geometric_mean(column) for column in difference.T])
    usable = np.flatnonzero(np.isfinite(centre) & in_fit & (strength > 0))
    if len(usable):
        last = usable[-1]
        span = np.array([strength[usable[0]], strength[last]])
        exponents = [arrays.get(f"{prefix}/{name}") for name in ("exponent", "low", "high")]
        if all(e is not None and np.isfinite(e) for e in exponents):
            exponent, low, high = (float(e) for e in exponents if e is not None)
            line = centre[last] * (span / strength[last]) ** exponent
            digits = _digits(high - low)
            shown = [f"{e:.{digits}f}".replace("-", "−") for e in (exponent, low, high)]
            text = f"fit, exponent {shown[0]}\n95% CI [{shown[1]}, {shown[2]}]"
            ax.plot(span, line, color="k", lw=1.2, zorder=3, label=text)
        guide = 2.5 * centre[last] * (span / strength[last]) ** -1.0
        ax.plot(span, guide, color=GREY, lw=0.9, ls="--", zorder=0, label=r"slope $-1$ (guide)")
    ax.xaxis.set_major_locator(LogLocator(10.0, numticks=8))
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="lower left")


def _geometric_mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.exp(np.mean(np.log(finite)))) if len(finite) else float("nan")


def _digits(width: float) -> int:
    """Decimals that show an interval of this width with two digits."""
    return int(np.clip(1 - np.floor(np.log10(width)), 2, 8)) if width > 0 else 4


def _in_powers_of_ten(value: float) -> str:
    exponent = np.log10(value) if value > 0 else np.nan
    round_power = np.isfinite(exponent) and abs(exponent - round(exponent)) < 1e-9
    return f"10^{{{round(exponent)}}}" if round_power and abs(exponent) >= 2 else f"{value:g}"
