"""Rows of the poison experiments: one for each arm, and one for each control of a verdict.

They are written by `ssmbias.report.row_tables.write_rows`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ssmbias.report.numbers import Spread
from ssmbias.report.row_tables import Column


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


def _mean_and_sd(name: str) -> Column:
    """Mean ± standard deviation to three decimals, as accuracies of some hundred sequences."""

    def cell(row: ArmRow) -> str:
        mean, sd = getattr(row, name), getattr(row, f"{name}_sd")
        if not math.isfinite(mean):
            return "-"
        return f"{mean:.3f} ± {sd:.3f}" if math.isfinite(sd) else f"{mean:.3f}"

    return Column(_ACCURACIES[name], cell, False)


_ACCURACIES = {
    "test": "test accuracy",
    "long": "twice as long",
    "train": "train (base part)",
    "in_distribution": "in distribution",
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
    *(_mean_and_sd(name) for name in _ACCURACIES),
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
