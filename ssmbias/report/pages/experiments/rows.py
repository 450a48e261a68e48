"""Tables of the experiments: outcomes beside what was reported, and paired comparisons.

Rows are plain data. CSV keeps all digits; Markdown and LaTeX print four significant ones, and
reported values with as many as were reported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ssmbias.report.cells import Column
from ssmbias.report.numbers import Spread, format_number, format_reported
from ssmbias.report.table import Table, table_of


class OwnSummary(NamedTuple):
    """The library's own runs: `OwnSummary(*interval_of_mean(values, seed=0), excluded=3)`.

    Attributes:
      mean, low, high: mean and the interval of it.
      median: of the same values.
      num: runs counted.
      excluded: runs left out, because they did not end as required.
    """

    mean: float
    low: float
    high: float
    median: float
    num: int
    excluded: int = 0


class OutcomeRow(NamedTuple):
    """One quantity of one arm; `None` or nan where there is no number.

    Attributes:
      experiment: its name.
      arm: "clean" or "poisoned".
      quantity: such as "test error".
      reported: what the paper says.
      replayed: mean over the replays.
      replayed_num: how many replays.
      own: the library's own protocol.
    """

    experiment: str
    arm: str
    quantity: str
    reported: float | None
    replayed: float | None
    replayed_num: int
    own: OwnSummary | None

    @staticmethod
    def columns() -> tuple[Column, ...]:
        """What Markdown and LaTeX show."""
        return _OUTCOME_COLUMNS

    def fields(self) -> dict[str, Any]:
        """What CSV holds; an interval's parts are `own_mean`, `own_low` and so on."""
        fields = self._asdict()
        own = fields.pop("own") or [None] * len(OwnSummary._fields)
        return fields | {f"own_{name}": x for name, x in zip(OwnSummary._fields, own, strict=True)}


class PairRow(NamedTuple):
    """A paired comparison: `PairRow(experiment, stage, **compare_arms(...).flat())`.

    Attributes:
      experiment: its name.
      stage: "paper's stopping rule" or "convergence".
      num_pairs, num_excluded: pairs compared and left out.
      log_ratio, log_ratio_low, log_ratio_high, log_ratio_median: of log10(poisoned / clean).
      effect_size, effect_size_low, effect_size_high: Cohen's d_z of it.
      fraction_hurt, fraction_hurt_low, fraction_hurt_high: pairs with poisoned > clean.
      verdict: in words.
    """

    experiment: str
    stage: str
    num_pairs: int
    num_excluded: int
    log_ratio: float
    log_ratio_low: float
    log_ratio_high: float
    log_ratio_median: float
    effect_size: float
    effect_size_low: float
    effect_size_high: float
    fraction_hurt: float
    fraction_hurt_low: float
    fraction_hurt_high: float
    verdict: str

    @staticmethod
    def columns() -> tuple[Column, ...]:
        """What Markdown and LaTeX show."""
        return _PAIR_COLUMNS

    def fields(self) -> dict[str, Any]:
        """What CSV holds."""
        return self._asdict()


def tables_of(rows: Sequence[Mapping[str, Any]], title: str) -> list[Table]:
    """The tables of rows that were saved in `summary.json`: of outcomes, and of pairs.

    Args:
      rows: the fields of `OutcomeRow`s and `PairRow`s.
      title: of both.
    """
    outcomes = []
    for row in rows:
        if "quantity" in row:
            own = row["own"]
            fields: dict[str, Any] = {**row, "own": own if own is None else OwnSummary(*own)}
            outcomes.append(OutcomeRow(**fields))
    pairs = [PairRow(**row) for row in rows if "stage" in row]
    return [
        *([table_of(outcomes, title)] if outcomes else []),
        *([table_of(pairs, f"{title}, poisoned against clean")] if pairs else []),
    ]


def _counted(num: int, excluded: int) -> str:
    return str(num) if not excluded else f"{num} of {num + excluded}"


def _own(pick: Callable[[OwnSummary], "str | Spread"]) -> Callable[[OutcomeRow], "str | Spread"]:
    return lambda row: "-" if row.own is None else pick(row.own)


_OUTCOME_COLUMNS = (
    Column("arm", lambda row: row.arm, False),
    Column("quantity", lambda row: row.quantity, False),
    Column("reported", lambda row: format_reported(row.reported), True),
    Column("replayed", lambda row: format_number(row.replayed), True),
    Column("replays", lambda row: str(row.replayed_num), True, drop=3),
    Column(
        "own mean, 95 % interval",
        _own(lambda own: Spread(own.mean, own.low, own.high)),
        True,
        "own mean, 95\\,\\% interval",
    ),
    Column("own median", _own(lambda own: format_number(own.median)), True, drop=2),
    Column("own runs", _own(lambda own: _counted(own.num, own.excluded)), drop=1),
)
_PAIR_COLUMNS = (
    Column("stage", lambda row: row.stage, False),
    Column("pairs", lambda row: _counted(row.num_pairs, row.num_excluded), False),
    Column(
        "log10 poisoned/clean, 95 % interval",
        lambda row: Spread(row.log_ratio, row.log_ratio_low, row.log_ratio_high),
        True,
        "$\\log_{10}$ poisoned/clean, 95\\,\\% interval",
    ),
    Column("median", lambda row: format_number(row.log_ratio_median), True, drop=3),
    Column(
        "effect size d_z",
        lambda row: Spread(row.effect_size, row.effect_size_low, row.effect_size_high),
        True,
        "effect size $d_z$",
        drop=2,
    ),
    Column(
        "fraction hurt",
        lambda row: Spread(row.fraction_hurt, row.fraction_hurt_low, row.fraction_hurt_high),
        True,
        drop=1,
    ),
    Column("verdict", lambda row: row.verdict, False),
)
