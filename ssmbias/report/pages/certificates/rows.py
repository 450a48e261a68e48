"""Rows of certificates, one for each box.

Bounds are rounded outward: what is printed is proved as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any, NamedTuple

from ssmbias.report.cells import Column
from ssmbias.report.numbers import format_number

_DIGITS = 4
CERTIFIED = "certified"


def outward(value: float, *, up: bool) -> str:
    """A bound in four digits, rounded to the side on which it still holds; a dash for nan.

    Example:
      >>> outward(0.034447971, up=False), outward(0.034447971, up=True)
      ('0.03444', '0.03445')
    """
    if not math.isfinite(value):
        return "-"
    rounding = ROUND_CEILING if up else ROUND_FLOOR
    rounded = Context(prec=_DIGITS, rounding=rounding).create_decimal(Decimal(value))
    return format_number(float(rounded))


class CertificateRow(NamedTuple):
    """One box; nan where there is no number.

    Attributes:
      experiment: κ, d and ρ in words, by which boxes stand together.
      box: its name.
      status: certified, not certified, or contradicted.
      seq_len, state_dim, strength: κ, d, ρ.
      a2_low, a2_high, delta_low, delta_high: ends of a_2 and of δ = a_1 - a_2.
      rel: relative half width of the gaps a_2 - a_j.
      clean_error_upper: ε.
      poisoned_error_lower, poisoned_error_upper: X and Y.
      sampled_low, sampled_high: least and largest sampled poisoned error / d.
      clean_sampled_low, clean_sampled_high: the same of the clean flow.
      ratio: X over the least sampled error.
      num_slabs: of the tube.
      log_bytes: size of the proof.
      prove_seconds, check_seconds, second_check_seconds: what prover and checkers took.
    """

    experiment: str
    box: str
    status: str
    seq_len: int
    state_dim: int
    strength: float
    a2_low: float
    a2_high: float
    delta_low: float
    delta_high: float
    rel: float
    clean_error_upper: float
    poisoned_error_lower: float
    poisoned_error_upper: float
    sampled_low: float
    sampled_high: float
    clean_sampled_low: float
    clean_sampled_high: float
    ratio: float
    num_slabs: int
    log_bytes: int
    prove_seconds: float
    check_seconds: float
    second_check_seconds: float

    @staticmethod
    def columns() -> tuple[Column, ...]:
        """What Markdown and LaTeX show."""
        return _COLUMNS

    def fields(self) -> dict[str, Any]:
        """What CSV holds."""
        return self._asdict()


def certificate_row(record: Mapping[str, Any]) -> CertificateRow:
    """The row of a record of results.json."""
    box, second = record["box"], record["second_check"] or {}
    poisoned, clean = record["poisoned_samples"], record["clean_samples"]
    lower = _number(record["poisoned_error_lower"])
    least = min(poisoned, default=math.nan)
    seq_len, state_dim = record["seq_len"], record["state_dim"]
    strength = float(record["strength"])  # "inf" for the limit
    return CertificateRow(
        experiment=f"κ = {seq_len}, d = {state_dim}, ρ = {strength:.4g}",
        box=record["name"],
        status=record["status"],
        seq_len=seq_len,
        state_dim=state_dim,
        strength=strength,
        a2_low=box["a2"][0],
        a2_high=box["a2"][1],
        delta_low=box["delta"][0],
        delta_high=box["delta"][1],
        rel=record["rel"],
        clean_error_upper=_number(record["clean_error_upper"]),
        poisoned_error_lower=lower,
        poisoned_error_upper=_number(record["poisoned_error_upper"]),
        sampled_low=least,
        sampled_high=max(poisoned, default=math.nan),
        clean_sampled_low=min(clean, default=math.nan),
        clean_sampled_high=max(clean, default=math.nan),
        ratio=lower / least,
        num_slabs=record["num_slabs"],
        log_bytes=record["log_bytes"],
        prove_seconds=record["prove_seconds"],
        check_seconds=record["check_seconds"],
        second_check_seconds=_number(second.get("seconds")),
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _range(low: float, high: float) -> str:
    return f"{low:.4g} – {high:.4g}" if math.isfinite(low) else "-"


def _box(row: CertificateRow) -> str:
    return row.box if row.status == CERTIFIED else f"{row.box} ({row.status})"


def _seconds(row: CertificateRow) -> str:
    parts = (row.prove_seconds, row.check_seconds, row.second_check_seconds)
    return "+".join(f"{x:.1f}" if math.isfinite(x) else "-" for x in parts)


_COLUMNS = (
    Column("box", _box, False),
    Column("a_2", lambda row: _range(row.a2_low, row.a2_high), False, "$a_2$", drop=4),
    Column(
        "a_1 - a_2",
        lambda row: _range(row.delta_low, row.delta_high),
        latex_head="$a_1 - a_2$",
        drop=4,
    ),
    Column("gaps ±", lambda row: f"{row.rel:.4g}", True, "gaps $\\pm$", drop=4),
    Column(
        "clean ≤ ε",
        lambda row: outward(row.clean_error_upper, up=True),
        True,
        "clean $\\le \\varepsilon$",
    ),
    Column(
        "poisoned ≥ X",
        lambda row: outward(row.poisoned_error_lower, up=False),
        True,
        "poisoned $\\ge X$",
    ),
    Column(
        "poisoned ≤ Y",
        lambda row: outward(row.poisoned_error_upper, up=True),
        True,
        "poisoned $\\le Y$",
    ),
    Column("sampled", lambda row: _range(row.sampled_low, row.sampled_high), drop=1),
    Column(
        "X / sampled",
        lambda row: f"{row.ratio:.2f}" if math.isfinite(row.ratio) else "-",
        True,
        "$X$ / sampled",
        drop=2,
    ),
    Column("slabs", lambda row: str(row.num_slabs), True, drop=5),
    Column("log, kB", lambda row: f"{row.log_bytes / 1000:.0f}", True, drop=5),
    Column("seconds", _seconds, drop=3),
)
