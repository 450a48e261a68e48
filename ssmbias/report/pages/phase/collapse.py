r"""The figure of the collapse: errors against the strength, and against $(\rho+\rho_0)/\Delta$."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from ssmbias.report.pages.phase.parts import log_edges, median, named_power, require_arrays
from ssmbias.report.style import DOUBLE, GREY, PALE, RED, Arrays, new_figure, print_style

_MARKERS = "osD^vP"
_MOST_GAPS = 15  # of which curves are drawn
_NAMES = (
    "strength", "relative_gap", "init_scale", "error", "defect", "ratio", "similarity",
    "valid_defect", "law_ratio", "law_error", "law_exponent", "law_factor", "tied_error",
)  # fmt: skip


def collapse_figure(arrays: Arrays) -> Figure:
    r"""The error against $\rho$, against $(\rho+\rho_0)/\Delta$, and against $r$.

    Args:
      arrays: as saved; see `ssmbias.sweeps.phase.diagram`.

    Returns:
      Medians over the seeds for each gap and init scale; coloured where the passage map is
      predicted to be good to 10 %, pale beyond. Thick lines are predictions.

    Raises:
      ValueError: an array is missing.
    """
    require_arrays(arrays, *_NAMES)
    gap = arrays["relative_gap"]
    edges = log_edges(gap)
    # Without the brightest part, which is lost on white.
    shades = colormaps["viridis"].resampled(256)(np.linspace(0.0, 0.88, 256))
    colours = ScalarMappable(LogNorm(edges[0], edges[-1]), ListedColormap(list(shades)))
    error, defect = median(arrays["error"]), median(arrays["defect"])
    positive = arrays["strength"] > 0
    valid = (defect <= float(arrays["valid_defect"])) & positive[:, None, None]
    strength = np.broadcast_to(arrays["strength"][:, None, None], error.shape)
    columns = (
        (r"poison strength $\rho$", strength),
        (r"$(\rho+\rho_0)\,/\,\Delta$", median(arrays["ratio"])),
        (r"$r$, in which all entries count", median(arrays["similarity"])),
    )
    with print_style():
        figure = new_figure(DOUBLE, 3.35)
        axes = figure.subplots(1, len(columns), sharey=True)
        for ax, (label, x) in zip(axes, columns, strict=True):
            for index, column in np.ndindex(len(arrays["init_scale"]), len(gap)):
                if column % (1 + len(gap) // _MOST_GAPS):
                    continue
                one = (slice(None), column, index)
                colour = colours.to_rgba(gap[column])
                marker = _MARKERS[index % len(_MARKERS)]
                beyond = positive & ~valid[one]
                _draw_series(ax, x[one], error[one], valid[one], beyond, colour, marker)
            inside = x[valid] if valid.any() else x[positive]
            ax.set(xscale="log", yscale="log", xlabel=label)
            low, high = float(np.nanmin(inside)), float(np.nanmax(inside))
            ax.set_xlim(low / 3.0, 1e2 * high if x is not strength else 3.0 * strength.max())
            ax.xaxis.set_major_locator(LogLocator(10.0, numticks=5))
            ax.yaxis.set_major_locator(LogLocator(10.0, numticks=8))
            for axis in (ax.xaxis, ax.yaxis):
                axis.set_minor_locator(NullLocator())
        for ax in axes[1:]:
            _draw_laws(ax, arrays)
        shown = error[positive]
        axes[0].set_ylim(float(np.nanmin(shown)) / 2.0, 2.5 * float(np.nanmax(shown)))
        axes[0].set_ylabel("generalisation error, median over seeds")
        bar = figure.colorbar(colours, ax=axes, pad=0.01, aspect=28)
        bar.set_label(r"relative gap $\Delta\,/\,$init scale")
        bar.ax.yaxis.set_minor_locator(NullLocator())
        figure.legend(
            handles=_handles(arrays), loc="outside lower center", ncols=4, fontsize=7.5,
            columnspacing=1.4,
        )  # fmt: skip
    return figure


def _draw_series(
    ax: Axes, x: np.ndarray, y: np.ndarray, good: np.ndarray, beyond: np.ndarray, colour, marker
) -> None:
    # From the last good point on, so that lines do not end in the air.
    joined = beyond | (good & np.r_[beyond[1:], False])
    ax.plot(np.where(joined, x, np.nan), y, color=PALE, lw=0.5, zorder=1)
    style: Any = {"ls": "", "ms": 2.8, "mew": 0.0, "alpha": 0.85, "zorder": 3}
    ax.plot(x[good], y[good], color=colour, marker=marker, **style)


def _draw_laws(ax: Axes, arrays: Arrays) -> None:
    ratio = arrays["law_ratio"]
    ax.plot(ratio, arrays["law_error"], color="k", lw=1.3, zorder=4)
    law = float(arrays["law_factor"]) * ratio ** float(arrays["law_exponent"])
    ax.plot(ratio, law, color=RED, lw=1.1, ls="--", zorder=4)
    ax.axhline(float(arrays["tied_error"]), color=GREY, lw=0.9, ls=":", zorder=2)


def _handles(arrays: Arrays) -> list[Line2D]:
    marks: Any = {"ls": "", "color": GREY, "ms": 3.6}
    exponent = float(arrays["law_exponent"])
    handles = [
        Line2D([], [], marker=_MARKERS[i % len(_MARKERS)], **marks,
               label=rf"init scale ${named_power(float(scale))}$")
        for i, scale in enumerate(arrays["init_scale"])
    ]  # fmt: skip
    level = rf"$D>{float(arrays['valid_defect']):.2g}$, beyond the map"
    return [
        *handles,
        Line2D([], [], color=PALE, lw=0.8, label=level),
        Line2D([], [], color="k", lw=1.3, label="M3, two leaders"),
        Line2D([], [], color=RED, lw=1.1, ls="--", label=f"its power law, exponent {exponent:.3g}"),
        Line2D([], [], color=GREY, lw=0.9, ls=":", label="M4, exact tie"),
    ]
