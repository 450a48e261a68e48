"""All figures of a poison experiment that its saved results allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from ssmbias.core.display import listed
from ssmbias.report.page import Picture
from ssmbias.report.pages.poison.arms import (
    ArmDots,
    ControlDots,
    WindowScan,
    arms_figure,
    window_figure,
)
from ssmbias.report.pages.poison.saved import (
    Judged,
    MeanInterval,
    arms_of,
    mean_interval,
    profiled_arms,
    roles_of,
    usable_values,
)
from ssmbias.report.pages.poison.sequences import examples_figure, sensitivity_figure


def draw_figures(
    folder: Path,
    results: xr.Dataset,
    verdicts: Sequence[Judged],
    scan: xr.Dataset | None,
    examples: Mapping[str, np.ndarray] | None,
) -> list[Picture]:
    """Draw every figure that there are data for.

    Args:
      folder: which exists.
      results: as for `write_report`.
      verdicts: of its attacks.
      scan: as for `write_report`.
      examples: as for `write_report`.

    Returns:
      A picture of each; a PDF lies beside each PNG.

    Raises:
      ValueError: a scan or examples of another form.
    """
    chance = float(results.attrs["chance"])
    dots = [
        ArmDots(arm, values, mean_interval(values))
        for arm in arms_of(results)
        for values in [usable_values(results, arm, "test_accuracy")]
    ]
    roles = roles_of(results)
    figures = []
    for index, verdict in enumerate(verdicts):
        path = arms_figure(
            dots,
            verdict.attack,
            _control_dots(results, verdict),
            folder / ("arms" if index == 0 else f"arms_{verdict.attack}"),
            chance=chance,
            roles=roles,
        )[0]
        caption = _ARMS_CAPTION.format(attack=verdict.attack)
        figures.append(Picture(path, caption, verdict.sentence))
    if scan is not None:
        found = _scan(scan, dots, roles)
        path = window_figure(found, folder / "window", chance=chance)[0]
        lowest = min(range(len(found.means)), key=lambda i: found.means[i].mean)
        figures.append(
            Picture(
                path,
                _WINDOW_CAPTION,
                f"Lowest accuracy {found.means[lowest].mean:.3f} with the window at element "
                f"{found.start[lowest]}.",
            )
        )
    if "input_share" in results:
        shares = {
            arm: values
            for arm in profiled_arms(results)
            if np.isfinite(values := usable_values(results, arm, "input_share")).any()
        }
        if shares:
            path = sensitivity_figure(shares, folder / "sensitivity", roles=roles)[0]
            figures.append(Picture(path, _SENSITIVITY_CAPTION, " ".join(mechanism(results))))
    if examples:
        path = examples_figure(examples, folder / "examples")[0]
        figures.append(Picture(path, _EXAMPLES_CAPTION, f"Examples: {listed(examples)}."))
    return figures


_ARMS_CAPTION = (
    "Left: test accuracy of every seed (dots), with mean and 95 % interval (diamond and bar). "
    "Right: {attack} minus each control of the same seed, in points; hollow where {attack} was not "
    "shown to differ after Holm's correction."
)
_WINDOW_CAPTION = (
    "Test accuracy against the place of the window that holds the poison: mean, 95 % interval, and "
    "every seed. Bands: the arms without poison."
)
_SENSITIVITY_CAPTION = (
    "Share of each element in the squared gradient of the output by the input: mean and 10-90 % of "
    "the seeds."
)
_EXAMPLES_CAPTION = "Some of the training examples, clean and poisoned."


def _control_dots(results: xr.Dataset, verdict: Judged) -> list[ControlDots]:
    attack = results.sel(arm=verdict.attack)
    dots = []
    for name, found in verdict.differences.items():
        control = results.sel(arm=name)
        usable = (attack["outcome"].values == 0) & (control["outcome"].values == 0)
        points = 100.0 * (attack[verdict.quantity].values - control[verdict.quantity].values)
        mean, low, high, *_ = found.points
        shown = found.is_lower(verdict.level) or found.is_higher(verdict.level)
        dots.append(ControlDots(name, points[usable], MeanInterval(mean, low, high), shown))
    return dots


def _scan(scan: xr.Dataset, dots: list[ArmDots], roles: Mapping[str, str]) -> WindowScan:
    values = scan["test_accuracy"].transpose("window", "seed").values.astype(np.float64)
    if "outcome" in scan:
        usable = scan["outcome"].transpose("window", "seed").values == 0
        values = np.where(usable, values, np.nan)
    width = scan.attrs.get("width")
    return WindowScan(
        np.asarray(scan["window"].values),
        values,
        [mean_interval(row[np.isfinite(row)]) for row in values],
        {dot.arm: dot.mean for dot in dots if roles[dot.arm] == "baseline"},
        None if width is None else int(width),
    )


def mechanism(results: xr.Dataset) -> list[str]:
    """Sensitivities in words, where they were computed."""
    arms = profiled_arms(results)
    num_last = int(results.attrs.get("num_last", 2))
    quantities = {
        "input_share": f"Share of the last {num_last} elements in the squared input gradient",
        "teacher_cosine": "Cosine of the input gradient with the teacher's",
    }
    notes = []
    for name, words in quantities.items():
        means = {}
        for arm in arms if name in results else ():
            values = usable_values(results, arm, name)
            if len(values) and np.isfinite(values).any():
                last = values[:, -num_last:].sum(axis=1) if values.ndim > 1 else values
                means[arm] = float(np.nanmean(last))
        if means:
            parts = ", ".join(f"{arm} {mean:.3f}" for arm, mean in means.items())
            notes.append(f"{words}, mean over seeds: {parts}.")
    return notes
