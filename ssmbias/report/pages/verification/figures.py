"""The figures of a run, at the size of a paper's columns: which there are, and saving them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from ssmbias.report.pages.verification.errors import (
    error_parity_figure,
    error_points,
    strong_poison_figure,
)
from ssmbias.report.pages.verification.trajectories import (
    arms_with,
    dynamics_figure,
    effective_rank_figure,
    gamma0_figure,
)
from ssmbias.report.results import fields_of_subjects, load_results
from ssmbias.report.style import Arrays, save_figure, subjects_of


class FigurePlan(NamedTuple):
    """A figure that a run has the arrays for.

    Attributes:
      name: file name without suffix.
      caption: what a reader is to know.
      alt: what is to be seen, for those who cannot see it.
      draw: makes it.
    """

    name: str
    caption: str
    alt: str
    draw: Callable[[], Figure]


def plan_figures(results: Mapping[str, Any], arrays: Arrays) -> list[FigurePlan]:
    """The figures that the saved arrays allow, in the order of a report, not yet drawn."""
    plans = []
    for subject in subjects_of(arrays):
        stem = re.sub(r"[^A-Za-z0-9_.=-]+", "_", subject).strip("_")
        for quantity, name, draw, caption in (
            ("a", "dynamics", dynamics_figure, _DYNAMICS_CAPTION),
            ("effective_rank", "effective_rank", effective_rank_figure, _RANK_CAPTION),
            ("gamma", "gamma0", gamma0_figure, _GAMMA_CAPTION),
        ):
            arms = arms_with(arrays, subject, quantity)
            if arms:
                plans.append(
                    FigurePlan(
                        f"{name}_{stem}",
                        f"Setting {subject}. {caption}",
                        _describe(arrays, subject, quantity, arms),
                        lambda draw=draw, subject=subject: draw(arrays, subject),
                    )
                )
    points = list(error_points(arrays))
    if points:
        gaps = [float(np.max(np.abs(p.measured / p.predicted - 1.0))) for p in points]
        worst = "; ".join(
            f"{p.subject} {p.words}: {gap:.1e}" for p, gap in zip(points, gaps, strict=True)
        )
        plans.append(
            FigurePlan(
                "error_parity",
                _PARITY_CAPTION + _horizons(results),
                f"Two scatter plots. Largest relative difference: {worst}.",
                lambda: error_parity_figure(arrays),
            )
        )
    strong = [s for s in subjects_of(arrays) if f"{s}/strong/difference" in arrays]
    if strong:
        slopes = "; ".join(
            f"{s}: {float(arrays[k]):.4f}"
            for s in strong
            if (k := f"{s}/strong/exponent") in arrays
        )
        plans.append(
            FigurePlan(
                "strong_poison",
                _STRONG_CAPTION,
                "Differences fall along straight lines on logarithmic axes. Fitted exponents: "
                f"{slopes or 'none'}.",
                lambda: strong_poison_figure(arrays),
            )
        )
    return plans


_TIME_NOTE = " Time is that of gradient flow on the loss, in units of its inverse curvature."
_DYNAMICS_CAPTION = (
    "Sizes |a_j| of the diagonal's entries along gradient flow from the first start, on clean "
    "data (left) and with poison of strength ρ = 1 (right). Lines are simulated; dashes with "
    "diamonds at the right margin are predicted without simulating: the closed form M1 on clean "
    "data, and M2's limit ρ → ∞ for the poisoned run, which at ρ = 1 is close and not exact. A run "
    "that has come to rest is drawn on as it is." + _TIME_NOTE
)
_RANK_CAPTION = (
    "Effective rank exp(−Σ r_j log r_j), r_j = |a_j| / Σ|a_i|, along the same runs; dots mark "
    "their ends. Dotted: 1 and the state dimension d." + _TIME_NOTE
)
_GAMMA_CAPTION = (
    "Coefficient γ_0 of the dynamical characterisation, which moves all entries alike. It is "
    "exactly 0 on clean data. Logarithmic on both sides of 0, linear in the shaded band."
    + _TIME_NOTE
)
_PARITY_CAPTION = (
    "Generalisation error of every start, predicted without simulation against measured (left), "
    "and the relative difference of the two (right). M2 predicts the limit ρ → ∞: at ρ = 1 (rings) "
    "it is an approximation. Dotted: Theorem 1's bound B1, above which poisoned errors lie."
)
_STRONG_CAPTION = (
    "Largest difference between the limit at poison strength ρ and M2's prediction for ρ → ∞. "
    "Grey lines join the strengths of one start; the fitted line passes through the geometric "
    "mean of the starts at the largest ρ."
)


def save_figures(run_dir: str | os.PathLike[str]) -> list[Path]:
    """Draw every figure that a run allows, as PNG (200 dpi) and PDF (TrueType fonts embedded).

    Args:
      run_dir: folder of the run; files go to its subfolder `figures`.

    Returns:
      The files, PNG before PDF for each figure.

    Raises:
      ValueError: the run cannot be read.
    """
    results, arrays = load_results(run_dir)
    return draw_figures(results, arrays, Path(run_dir))


def draw_figures(results: Mapping[str, Any], arrays: Arrays, run_dir: Path) -> list[Path]:
    """As `save_figures`, for results that are at hand."""
    folder = run_dir / "figures"
    folder.mkdir(exist_ok=True)
    paths = []
    for plan in plan_figures(results, arrays):
        paths += save_figure(plan.draw(), folder / plan.name)
    return paths


def _horizons(results: Mapping[str, Any]) -> str:
    """The horizon over which errors are taken, without which they mean nothing."""
    found = {fields["horizon"] for fields in fields_of_subjects(results) if "horizon" in fields}
    lags = f"lags 0 to {found.pop() - 1}" if len(found) == 1 else "the lags below the horizon"
    return f" The error is max |h_l − h*_l| / max |h*_l| over {lags}."


def _describe(arrays: Arrays, subject: str, quantity: str, arms: list[str]) -> str:
    """What the trajectories show, in numbers."""
    parts = []
    for arm in arms:
        values = arrays[f"{subject}/trajectory/{arm}/{quantity}"]
        if quantity == "a":
            first, second = np.abs(values[-1, 0]), np.abs(values[-1, 1])
            parts.append(f"{arm}: |a_1| ends at {first:.3f}, |a_2| at {second:.3f}")
        elif quantity == "gamma":
            parts.append(f"{arm}: γ_0 starts at {values[0, 0]:.3g}, ends at {values[-1, 0]:.1e}")
        else:
            top = np.max(values[np.isfinite(values)], initial=0.0)
            parts.append(f"{arm}: from {values[0]:.2f} over {top:.2f} to {values[-1]:.2f}")
    what = {"a": "Entries", "gamma": "γ_0", "effective_rank": "Effective rank"}[quantity]
    return f"{what} against time in setting {subject}. {'; '.join(parts)}."
