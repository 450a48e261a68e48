"""Rows, dots and words for the tables, figures and page of a poison experiment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from ssmbias.poison.comparisons import Difference
from ssmbias.poison.verdict import (
    Verdict,
    compare_arms,
    listed,
    require_results,
    usable_values,
)
from ssmbias.report.poison_figures import (
    ArmDots,
    ControlDots,
    MeanInterval,
    WindowScan,
    arms_figure,
    window_figure,
)
from ssmbias.report.poison_sequences import examples_figure, sensitivity_figure
from ssmbias.report.poison_tables import ArmRow, ControlRow
from ssmbias.statistics.paired import interval_of_mean

# Resampling is fixed: the same results give the same report.
_SEED = 0
_PROFILED = ("dup", "late", "found", "found_late")


def arm_rows(results: xr.Dataset) -> list[ArmRow]:
    """A row for each arm, with its paired difference to dup."""
    require_results(results)
    arms = [str(arm) for arm in results["arm"].values]
    names = ("test", "long", "train", "in_distribution")
    rows = []
    for arm in arms:
        numbers: dict[str, float] = {}
        for name in names:
            if f"{name}_accuracy" in results:
                mean, sd = _mean_and_sd(usable_values(results, arm, f"{name}_accuracy"))
                numbers |= {name: mean, f"{name}_sd": sd}
        if "dup" in arms and arm != "dup":
            difference = compare_arms(results, arm, "dup", "test_accuracy")
            mean, low, high, *_ = difference.points
            numbers |= {"to_dup": mean, "to_dup_low": low, "to_dup_high": high}
            numbers["to_dup_p"] = difference.p_value
        num = int((results["outcome"].sel(arm=arm) == 0).sum())
        rows.append(ArmRow(_experiment(results), arm, num, results.sizes["seed"] - num, **numbers))
    return rows


def control_rows(results: xr.Dataset, verdict: Verdict) -> list[ControlRow]:
    """A row for each control of a verdict, and for gen, whose p value is not corrected."""
    compared = [(name, found, found.p_corrected) for name, found in verdict.differences.items()]
    if verdict.generic is not None:
        compared.append(("gen", verdict.generic, np.nan))
    return [
        ControlRow(
            _experiment(results),
            verdict.attack,
            name,
            found.num_pairs,
            found.num_excluded,
            *found.points[:3],
            *found.effect_size,
            found.num_lower,
            found.num_tied,
            *found.fraction_lower,
            found.p_value,
            found.p_wilcoxon,
            corrected,
            _shown(found, verdict.level),
            found.note,
        )
        for name, found, corrected in compared
    ]


def _shown(found: Difference, level: float) -> str:
    if found.is_lower(level):
        return "lower"
    return "higher" if found.is_higher(level) else "no difference shown"


def draw_figures(
    folder: Path,
    results: xr.Dataset,
    verdicts: list[Verdict],
    scan: xr.Dataset | None,
    examples: Mapping[str, np.ndarray] | None,
) -> list[tuple[Path, str, str]]:
    """Draw every figure that there are data for.

    Args:
      folder: which exists.
      results: as for `write_report`.
      verdicts: of its attacks.
      scan: as for `write_report`.
      examples: as for `write_report`.

    Returns:
      The PNG, a caption and a description of each; a PDF lies beside each.

    Raises:
      ValueError: a scan or examples of another form.
    """
    chance = float(results.attrs["chance"])
    dots = [
        ArmDots(str(arm), values, _interval(values))
        for arm in results["arm"].values
        for values in [usable_values(results, str(arm), "test_accuracy")]
    ]
    figures = []
    for index, verdict in enumerate(verdicts):
        path = arms_figure(
            dots,
            verdict.attack,
            _control_dots(results, verdict),
            folder / ("arms" if index == 0 else f"arms_{verdict.attack}"),
            chance=chance,
        )[0]
        figures.append((path, _ARMS_CAPTION.format(attack=verdict.attack), verdict.sentence))
    if scan is not None:
        found = _scan(scan, dots)
        path = window_figure(found, folder / "window", chance=chance)[0]
        lowest = min(range(len(found.means)), key=lambda i: found.means[i].mean)
        figures.append(
            (
                path,
                _WINDOW_CAPTION,
                f"Lowest accuracy {found.means[lowest].mean:.3f} with the window at element "
                f"{found.start[lowest]}.",
            )
        )
    if "input_share" in results:
        shares = {
            arm: values
            for arm in _PROFILED
            if arm in results["arm"].values
            and np.isfinite(values := usable_values(results, arm, "input_share")).any()
        }
        if shares:
            path = sensitivity_figure(shares, folder / "sensitivity")[0]
            figures.append((path, _SENSITIVITY_CAPTION, " ".join(mechanism(results))))
    if examples:
        path = examples_figure(examples, folder / "examples")[0]
        figures.append((path, _EXAMPLES_CAPTION, f"Examples: {listed(list(examples))}."))
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


def _control_dots(results: xr.Dataset, verdict: Verdict) -> list[ControlDots]:
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


def require_scan(scan: xr.Dataset) -> None:
    """Refuse a scan without accuracies over windows and seeds."""
    if "test_accuracy" not in scan or set(scan["test_accuracy"].dims) != {"window", "seed"}:
        raise ValueError("scan: pass a Dataset with test_accuracy over window and seed")


def _scan(scan: xr.Dataset, dots: list[ArmDots]) -> WindowScan:
    values = scan["test_accuracy"].transpose("window", "seed").values.astype(np.float64)
    if "outcome" in scan:
        usable = scan["outcome"].transpose("window", "seed").values == 0
        values = np.where(usable, values, np.nan)
    width = scan.attrs.get("width")
    return WindowScan(
        np.asarray(scan["window"].values),
        values,
        [_interval(row[np.isfinite(row)]) for row in values],
        {dot.arm: dot.mean for dot in dots if dot.arm in ("base", "dup")},
        None if width is None else int(width),
    )


def _interval(values: np.ndarray) -> MeanInterval:
    mean, low, high, *_ = interval_of_mean(values, seed=_SEED)
    return MeanInterval(mean, low, high)


def _mean_and_sd(values: np.ndarray) -> tuple[float, float]:
    """Of what is finite: further accuracies may not be defined for every run."""
    values = values[np.isfinite(values)]
    mean = float(np.mean(values)) if len(values) else np.nan
    return mean, float(np.std(values, ddof=1)) if len(values) > 1 else np.nan


def mechanism(results: xr.Dataset) -> list[str]:
    """Sensitivities in words, where they were computed."""
    arms = [arm for arm in _PROFILED if arm in results["arm"].values]
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


def _experiment(results: xr.Dataset) -> str:
    return str(results.attrs.get("experiment") or "poison")
