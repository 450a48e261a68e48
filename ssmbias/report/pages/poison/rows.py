"""Rows of the poison experiments: one for each arm, and one for each control of a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from ssmbias.report.cells import Column
from ssmbias.report.numbers import Spread
from ssmbias.report.pages.poison.saved import (
    Compared,
    Judged,
    arms_of,
    experiment_of,
    usable_values,
)


class ArmRow(NamedTuple):
    """One arm; nan where there is no number.

    Attributes:
      experiment: its name.
      arm: its name.
      num, excluded: seeds counted, and left out because their run did not end as required.
      test, test_sd: mean and standard deviation of the accuracy on generic sequences.
      long, long_sd: on sequences of twice the length.
      train, train_sd: on the base part of the training data.
      in_distribution, in_distribution_sd: on the training distribution.
      to_dup, to_dup_low, to_dup_high: paired difference to the arm dup in points.
      to_dup_p: its p value, two-sided, not corrected.
    """

    experiment: str
    arm: str
    num: int
    excluded: int
    test: float
    test_sd: float
    long: float = math.nan
    long_sd: float = math.nan
    train: float = math.nan
    train_sd: float = math.nan
    in_distribution: float = math.nan
    in_distribution_sd: float = math.nan
    to_dup: float = math.nan
    to_dup_low: float = math.nan
    to_dup_high: float = math.nan
    to_dup_p: float = math.nan

    @staticmethod
    def columns() -> tuple[Column, ...]:
        """What Markdown and LaTeX show."""
        return _ARM_COLUMNS

    def fields(self) -> dict[str, Any]:
        """What CSV holds."""
        return self._asdict()


class ControlRow(NamedTuple):
    """An attack against one control.

    Attributes:
      experiment: its name.
      attack, control: the arms.
      num_pairs, num_excluded: pairs compared and left out.
      points, points_low, points_high: attack - control.
      effect_size, effect_size_low, effect_size_high: Cohen's d_z of it.
      num_lower, num_tied: pairs with a lower and with the same accuracy.
      fraction_lower, fraction_lower_low, fraction_lower_high: of all pairs.
      p_value, p_wilcoxon: two-sided, paired t and signed ranks.
      p_corrected: Holm, for the number of controls; nan where the comparison is no control.
      shown: "lower", "higher", or "no difference shown".
      note: what is unusual about the p values.
    """

    experiment: str
    attack: str
    control: str
    num_pairs: int
    num_excluded: int
    points: float
    points_low: float
    points_high: float
    effect_size: float
    effect_size_low: float
    effect_size_high: float
    num_lower: int
    num_tied: int
    fraction_lower: float
    fraction_lower_low: float
    fraction_lower_high: float
    p_value: float
    p_wilcoxon: float
    p_corrected: float
    shown: str
    note: str = ""

    @staticmethod
    def columns() -> tuple[Column, ...]:
        """What Markdown and LaTeX show."""
        return _CONTROL_COLUMNS

    def fields(self) -> dict[str, Any]:
        """What CSV holds."""
        return self._asdict()


def arm_rows(results: xr.Dataset, to_dup: Mapping[str, Compared] | None = None) -> list[ArmRow]:
    """A row for each arm.

    Args:
      results: as saved: dims arm and seed, test_accuracy, outcome, and further accuracies.
      to_dup: paired differences of test accuracies to dup, by arm.
    """
    rows = []
    for arm in arms_of(results):
        numbers: dict[str, float] = {}
        for name in _ACCURACIES:
            if f"{name}_accuracy" in results:
                mean, sd = _mean_and_sd(usable_values(results, arm, f"{name}_accuracy"))
                numbers |= {name: mean, f"{name}_sd": sd}
        if to_dup is not None and arm in to_dup:
            mean, low, high, *_ = to_dup[arm].points
            numbers |= {"to_dup": mean, "to_dup_low": low, "to_dup_high": high}
            numbers["to_dup_p"] = to_dup[arm].p_value
        num = int((results["outcome"].sel(arm=arm) == 0).sum())
        rows.append(
            ArmRow(experiment_of(results), arm, num, results.sizes["seed"] - num, **numbers)
        )
    return rows


def control_rows(results: xr.Dataset, verdict: Judged) -> list[ControlRow]:
    """A row for each control of a verdict, and for gen, whose p value is not corrected."""
    compared = [(name, found, found.p_corrected) for name, found in verdict.differences.items()]
    if verdict.generic is not None:
        compared.append(("gen", verdict.generic, np.nan))
    rows = []
    for name, found, corrected in compared:
        numbers: dict[str, Any] = {}
        for quantity in ("points", "effect_size", "fraction_lower"):
            value, low, high, *_ = getattr(found, quantity)
            numbers |= {quantity: value, f"{quantity}_low": low, f"{quantity}_high": high}
        for quantity in (
            "num_pairs", "num_excluded", "num_lower", "num_tied", "p_value", "p_wilcoxon", "note"
        ):  # fmt: skip
            numbers[quantity] = getattr(found, quantity)
        rows.append(
            ControlRow(
                experiment=experiment_of(results),
                attack=verdict.attack,
                control=name,
                p_corrected=corrected,
                shown=_shown(found, verdict.level),
                **numbers,
            )
        )
    return rows


def _shown(found: Compared, level: float) -> str:
    if found.is_lower(level):
        return "lower"
    return "higher" if found.is_higher(level) else "no difference shown"


def _mean_and_sd(values: np.ndarray) -> tuple[float, float]:
    """Of what is finite: further accuracies may not be defined for every run."""
    values = values[np.isfinite(values)]
    mean = float(np.mean(values)) if len(values) else np.nan
    return mean, float(np.std(values, ddof=1)) if len(values) > 1 else np.nan


def _accuracy_column(name: str) -> Column:
    """Mean ± standard deviation to three decimals, as accuracies of some hundred sequences."""

    def cell(row: ArmRow) -> str:
        mean, sd = getattr(row, name), getattr(row, f"{name}_sd")
        if not math.isfinite(mean):
            return "-"
        return f"{mean:.3f} ± {sd:.3f}" if math.isfinite(sd) else f"{mean:.3f}"

    words, drop = _ACCURACIES[name]
    return Column(words, cell, drop=drop)


# In words, and when it is left out on a narrow terminal.
_ACCURACIES = {
    "test": ("test accuracy", 0),
    "long": ("twice as long", 1),
    "train": ("train (base part)", 3),
    "in_distribution": ("in distribution", 2),
}


def format_p(value: float) -> str:
    """A p value to two digits.

    Example:
      >>> [format_p(p) for p in (0.0123, 2.2e-9, 1.0, float("nan"))]
      ['0.012', '2.2e-09', '1', '-']
    """
    return f"{value:.2g}" if math.isfinite(value) else "-"


def _counted(num: int, excluded: int) -> str:
    return str(num) if not excluded else f"{num} of {num + excluded}"


_ARM_COLUMNS = (
    Column("arm", lambda row: row.arm, False),
    Column("seeds", lambda row: _counted(row.num, row.excluded), False),
    *(_accuracy_column(name) for name in _ACCURACIES),
    Column(
        "minus dup, points",
        lambda row: Spread(row.to_dup, row.to_dup_low, row.to_dup_high),
        True,
    ),
    Column("p", lambda row: format_p(row.to_dup_p), True, "$p$"),
)
_CONTROL_COLUMNS = (
    Column("attack", lambda row: row.attack, False),
    Column("control", lambda row: row.control, False),
    Column("pairs", lambda row: _counted(row.num_pairs, row.num_excluded), False),
    Column(
        "attack minus control, points",
        lambda row: Spread(row.points, row.points_low, row.points_high),
        True,
    ),
    Column(
        "effect size d_z",
        lambda row: Spread(row.effect_size, row.effect_size_low, row.effect_size_high),
        True,
        "effect size $d_z$",
    ),
    Column("lower", lambda row: f"{row.num_lower} of {row.num_pairs}", False),
    Column("ties", lambda row: str(row.num_tied), True),
    Column("p, t test", lambda row: format_p(row.p_value), True, "$p$, t test"),
    Column("p, signed ranks", lambda row: format_p(row.p_wilcoxon), True, "$p$, signed ranks"),
    Column("p, Holm", lambda row: format_p(row.p_corrected), True, "$p$, Holm"),
    Column("shown", lambda row: row.shown, False),
)
