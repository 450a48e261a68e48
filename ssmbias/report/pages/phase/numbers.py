r"""Numbers of a phase diagram: errors along each gap, how well curves collapse, how far M3 goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ssmbias.report.pages.phase.parts import median
from ssmbias.report.style import Arrays

_BINS_PER_DECADE = 2
_FEWEST_IN_BIN = 4


class GapRow(NamedTuple):
    """Median errors over the seeds at one init scale and gap, along the strengths.

    Attributes:
      init_scale, relative_gap: of the starts.
      clean: without poison.
      weakest: at the weakest poison.
      worst: the largest one over all strengths, at the strength `worst_strength`.
      unit: at the strength next to 1.
      strongest: at the strongest poison.
      turns: how often the median changes direction along the strengths, counting movements of
        1 % or more; 0 for an error that is monotone.
    """

    init_scale: float
    relative_gap: float
    clean: float
    weakest: float
    worst: float
    worst_strength: float
    unit: float
    strongest: float
    turns: int


def gap_rows(arrays: Arrays) -> list[GapRow]:
    """A row for each init scale and gap."""
    error, strength = median(arrays["error"]), arrays["strength"]
    positive = np.flatnonzero(strength > 0)
    unit = positive[np.argmin(np.abs(np.log(strength[positive])))]
    clean = np.flatnonzero(strength == 0)
    rows = []
    for k, scale in enumerate(arrays["init_scale"]):
        for j, gap in enumerate(arrays["relative_gap"]):
            along = error[:, j, k]
            poisoned = np.where(np.isfinite(along[positive]), along[positive], -np.inf)
            worst = positive[np.argmax(poisoned)]
            rows.append(
                GapRow(
                    init_scale=float(scale),
                    relative_gap=float(gap),
                    clean=float(along[clean[0]]) if len(clean) else float("nan"),
                    weakest=float(along[positive[0]]),
                    worst=float(along[worst]),
                    worst_strength=float(strength[worst]),
                    unit=float(along[unit]),
                    strongest=float(along[positive[-1]]),
                    turns=_turns(along[positive]),
                )
            )
    return rows


def collapse_spread(arrays: Arrays) -> Mapping[str, float]:
    r"""How far curves of different gaps and init scales lie apart, before and after the collapse.

    Medians over the seeds are looked at where there is poison and the passage map is predicted to
    be good to 10 %. The abscissa is cut into half-decades; the spread is the root mean square of
    $\log_{10}\varepsilon$ about the straight line through each of them.

    Args:
      arrays: as the report saves them.

    Returns:
      In decades of the error, `strength`: spread against $\rho$; `ratio`: against
      $(\rho+\rho_0)/\Delta$; `similarity`: against the variable of all entries. Then `law`, the
      largest relative difference from the curve of two leaders, and `decades` of the error.
    """
    error, defect = median(arrays["error"]), median(arrays["defect"])
    names = ("ratio", "similarity")
    strength = np.broadcast_to(arrays["strength"][:, None, None], error.shape)
    chosen = (strength > 0) & (defect <= float(arrays["valid_defect"])) & (error > 0)
    if not chosen.any():
        return dict.fromkeys(("strength", *names, "law", "decades"), float("nan"))
    y = np.log10(error[chosen])
    x = {"strength": strength, **{name: median(arrays[name]) for name in names}}
    logs = {name: np.log10(values[chosen]) for name, values in x.items()}
    curve = np.interp(
        logs["similarity"], np.log10(arrays["law_ratio"]), np.log10(arrays["law_error"])
    )
    return {
        **{name: _spread(values, y) for name, values in logs.items()},
        "law": float(np.max(np.abs(10.0 ** (y - curve) - 1.0))),
        "decades": float(np.ptp(y)),
    }


class ReachRow(NamedTuple):
    """How well a predicted range of validity holds.

    Attributes:
      level: relative difference that the error is predicted to stay below.
      defect: largest defect $D$ for which that is predicted.
      points: medians over the seeds with a defect between 0 and that.
      within: the share of them that stay below.
      largest: the largest relative difference among them.
      outside: the share of points that stay below, among those with a defect from twice that up
        to 1: what there is to tell apart.
    """

    level: float
    defect: float
    points: int
    within: float
    largest: float
    outside: float


def reach_rows(arrays: Arrays) -> list[ReachRow]:
    """Differences of M3 from simulation, inside and outside of the predicted validity."""
    difference = median(np.abs(arrays["weak"] / arrays["error"] - 1.0))
    defect = median(arrays["defect"])
    rows = []
    for level, name in ((0.01, "fine_defect"), (0.1, "valid_defect")):
        limit = float(arrays[name])
        inside = (defect > 0) & (defect <= limit) & np.isfinite(difference)
        beyond = (defect > 2 * limit) & (defect <= 1.0) & np.isfinite(difference)
        rows.append(
            ReachRow(
                level=level,
                defect=limit,
                points=int(inside.sum()),
                within=_share(difference[inside] <= level),
                largest=float(np.max(difference[inside], initial=0.0)),
                outside=_share(difference[beyond] <= level),
            )
        )
    return rows


def boundary_strengths(arrays: Arrays, level: float) -> np.ndarray:
    """Strengths at which the simulated error, and the predicted one, first reach a level.

    Args:
      arrays: as the report saves them.
      level: one of the levels of the diagram.

    Returns:
      [2, gap, init scale], simulated and predicted by the similarity variable; nan where the
      level is not crossed upwards within the range of the passage map.
    """
    index = int(np.argmin(np.abs(np.log(arrays["levels"] / level))))
    heights = (
        np.log(median(arrays["error"]) / level),
        np.log(median(arrays["similarity"]) / float(arrays["level_ratio"][index])),
    )
    good = median(arrays["defect"]) <= float(arrays["valid_defect"])
    good &= (arrays["strength"] > 0)[:, None, None]
    found = np.full((2, *good.shape[1:]), np.nan)
    for which, height in enumerate(heights):
        for j, k in np.ndindex(*good.shape[1:]):
            use = good[:, j, k]
            found[which, j, k] = _first_zero(np.log(arrays["strength"][use]), height[use, j, k])
    return np.where(np.isfinite(found).all(axis=0), np.exp(found), np.nan)


def _first_zero(x: np.ndarray, y: np.ndarray) -> float:
    """Where y first turns from negative to positive."""
    rises = np.flatnonzero((y[:-1] < 0) & (y[1:] >= 0))
    if not len(rises):
        return float("nan")
    i = rises[0]
    return float(x[i] + (x[i + 1] - x[i]) * y[i] / (y[i] - y[i + 1]))


def _turns(along: np.ndarray) -> int:
    """Changes of direction, of movements by 1 % or more."""
    direction, extreme, turns = 0, along[0], 0
    for value in along[np.isfinite(along)]:
        moved = np.log(value / extreme)
        if direction * moved > 0:
            extreme = value
        elif abs(moved) >= 0.01:
            turns += direction != 0
            direction, extreme = int(np.sign(moved)), value
    return turns


def _spread(x: np.ndarray, y: np.ndarray) -> float:
    cells = np.floor(x * _BINS_PER_DECADE)
    squares, number = 0.0, 0
    for cell in np.unique(cells):
        inside = cells == cell
        if inside.sum() < _FEWEST_IN_BIN:
            continue
        offset = x[inside] - x[inside].mean()
        slope = (offset * y[inside]).sum() / max((offset**2).sum(), 1e-300)
        slope = slope if np.ptp(offset) > 1e-9 else 0.0
        squares += float(((y[inside] - y[inside].mean() - slope * offset) ** 2).sum())
        number += int(inside.sum())
    return float(np.sqrt(squares / number)) if number else float("nan")


def _share(hits: np.ndarray) -> float:
    return float(hits.mean()) if hits.size else float("nan")
