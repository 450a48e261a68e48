"""What the figures of a phase diagram share: panels over the plane, medians, labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from ssmbias.report.style import DOUBLE, Arrays, new_figure

_HEIGHT = 3.45
_FINER = 8  # points of a contour for each cell
_STRIP = 0.055  # height of the strip for ρ = 0, in that of the map


def median(values: np.ndarray) -> np.ndarray:
    """Median over the first axis of what is finite; nan where nothing is."""
    values = np.where(np.isfinite(values), values, np.nan)
    nothing = np.isnan(values).all(axis=0)
    return np.where(nothing, np.nan, np.nanmedian(np.where(nothing, 0.0, values), axis=0))


def named_power(value: float) -> str:
    """A number as a power of ten, with a factor unless it is one."""
    exponent = int(np.floor(np.log10(value) + 1e-9))
    factor = value / 10.0**exponent
    power = f"10^{{{exponent}}}"
    return power if abs(factor - 1.0) < 1e-9 else rf"{factor:.3g}\times {power}"


def require_arrays(arrays: Arrays, *names: str) -> None:
    """Refuse arrays that a report has not saved."""
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(f"arrays: {', '.join(missing)} missing; pass what the report has saved")


def panels(arrays: Arrays) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """A map and a strip for each init scale."""
    scales = arrays["init_scale"]
    clean = bool((arrays["strength"] == 0).any())
    figure = new_figure(max(DOUBLE * (0.9 * len(scales) + 0.3) / 3.0, 0.75 * DOUBLE), _HEIGHT)
    heights = (1.0, _STRIP) if clean else (1.0, 1e-3)
    axes = figure.subplots(2, len(scales), squeeze=False, height_ratios=heights)
    pairs = []
    for index, scale in enumerate(scales):
        ax, strip = axes[:, index]
        ax.set(xscale="log", yscale="log")
        ax.set_title(rf"init scale ${named_power(float(scale))}$")
        strip.set(xscale="log", ylim=(0, 1))
        strip.set_yticks([0.5], [r"$\rho=0$"] if index == 0 else [""])
        strip.tick_params(axis="y", length=0)
        strip.set_xlabel(r"relative gap $\Delta\,/\,$init scale")
        if not clean:
            strip.set_yticks([])
        if index == 0:
            ax.set_ylabel(r"poison strength $\rho$")
        else:
            ax.tick_params(labelleft=False)
        for axis in (ax.xaxis, strip.xaxis, ax.yaxis):
            axis.set_minor_locator(NullLocator())
        ax.tick_params(labelbottom=False)
        pairs.append((ax, strip))
    return figure, pairs


def draw_plane(
    ax: Axes, strip: Axes, arrays: Arrays, values: np.ndarray, norm: LogNorm, colours: str
):
    """Cells of the plane, and those without poison in the strip."""
    strength, gap = arrays["strength"], arrays["relative_gap"]
    positive = strength > 0
    shades = colormaps[colours].with_extremes(bad="#d9d9d9")
    style: Any = {"norm": norm, "cmap": shades, "rasterized": True}
    edges, heights = log_edges(gap), log_edges(strength[positive])
    image = ax.pcolormesh(edges, heights, values[positive], **style)
    if not positive.all():
        strip.pcolormesh(edges, [0.0, 1.0], values[~positive], **style)
    ax.set_ylim(heights[0], heights[-1])
    for each in (ax, strip):
        each.set_xlim(edges[0], edges[-1])
        each.xaxis.set_major_locator(LogLocator(10.0, numticks=6))
    ax.yaxis.set_major_locator(LogLocator(10.0, numticks=9))
    for axis in (ax.xaxis, strip.xaxis, ax.yaxis):
        axis.set_minor_locator(NullLocator())
    return image


def log_edges(centres: np.ndarray) -> np.ndarray:
    """Edges of cells around ascending values, half-way between them on a logarithmic axis."""
    logs = np.log(centres)
    if len(logs) == 1:
        return np.exp(logs[0] + np.array([-0.5, 0.5]))
    middle = 0.5 * (logs[1:] + logs[:-1])
    return np.exp(np.r_[2 * logs[0] - middle[0], middle, 2 * logs[-1] - middle[-1]])


def log_contour(
    ax: Axes, x: np.ndarray, y: np.ndarray, values: np.ndarray, levels: np.ndarray, **style: Any
) -> QuadContourSet | None:
    """Contours of positive values, interpolated between logarithms; none where there is no line."""
    logs = np.log(values)
    usable = logs[np.isfinite(logs)]
    if min(logs.shape) < 2 or not usable.size:
        return None
    wanted = np.sort(np.log(np.atleast_1d(levels)))
    if not ((wanted > usable.min()) & (wanted < usable.max())).any():
        return None
    # matplotlib would interpolate linearly, which makes waves of straight lines.
    fine_x, fine_y = _finer(np.log(x)), _finer(np.log(y))
    rows = np.stack([np.interp(fine_x, np.log(x), row) for row in logs])
    plane = np.stack([np.interp(fine_y, np.log(y), column) for column in rows.T], axis=1)
    return ax.contour(np.exp(fine_x), np.exp(fine_y), plane, levels=wanted, **style)


def _finer(values: np.ndarray) -> np.ndarray:
    index = np.arange(len(values))
    return np.interp(np.linspace(0, len(values) - 1, _FINER * (len(values) - 1) + 1), index, values)


def strength_of_defect(arrays: Arrays, scale: int, defect: float) -> float:
    """The strength at which the median start has a given defect; it hardly depends on the gap."""
    positive = arrays["strength"] > 0
    found = median(arrays["defect"][..., scale])[positive].mean(axis=1)
    strength = np.log(arrays["strength"][positive])
    return float(np.exp(np.interp(np.log(defect), np.log(found), strength)))


def decades(values: np.ndarray) -> tuple[float, float]:
    """Whole decades around what is finite and positive."""
    usable = values[np.isfinite(values) & (values > 0)]
    if not len(usable):
        return 0.1, 1.0
    return 10.0 ** np.floor(np.log10(usable.min())), 10.0 ** np.ceil(np.log10(usable.max()))
