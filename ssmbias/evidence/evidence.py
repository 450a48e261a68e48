"""What a claim is, and what checking it yields."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ssmbias.statistics.fits import Fit

if TYPE_CHECKING:
    from ssmbias.subjects.laboratory import Laboratory


class Kind(enum.StrEnum):
    """How a claim is checked.

    An identity holds along every trajectory up to rounding, a limit up to the error of the
    solver; a law is a fitted exponent with its confidence interval; a bound has a margin.
    """

    IDENTITY = "identity"
    LIMIT = "limit"
    LAW = "law"
    BOUND = "bound"


class Verdict(enum.StrEnum):
    """The outcome of a check."""

    HOLDS = "holds"
    VIOLATED = "violated"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Assumption:
    """A premise of a claim, checked on the runs at hand.

    Attributes:
      statement: the premise in words.
      holds: whether it is met.
      detail: the number that decided.
    """

    statement: str
    holds: bool
    detail: str = ""


@dataclass(frozen=True)
class Runs:
    """How many simulations stand behind a row, and what is wrong with which."""

    number: int
    unconverged: int = 0
    reason: str = ""

    def __add__(self, other: Runs) -> Runs:
        """Both sets of runs, with the first reason there is."""
        return Runs(
            self.number + other.number,
            self.unconverged + other.unconverged,
            self.reason or other.reason,
        )


@dataclass(frozen=True)
class Evidence:
    """One row of a verification: a prediction against a measurement.

    Attributes:
      claim: id of the claim; `setting` where it was checked; `kind` how.
      quantity: what was compared, in words.
      predicted, measured: representative values of both sides.
      residual: the largest difference found; the claim holds while residual <= tolerance.
      tolerance: what the difference may be; `derivation` says why.
      verdict: holds, violated or inconclusive; `reason` says why, unless it holds.
      assumptions: premises as checked.
      fit: the fitted exponent of a law.
      margin: measured over bound, for a bound.
      runs: simulations behind the row.
      control_rejected: whether the same check rejected a deliberately wrong claim; `None` where
        that was not tried.
    """

    claim: str
    setting: str
    kind: Kind
    quantity: str
    predicted: float
    measured: float
    residual: float
    tolerance: float
    derivation: str
    verdict: Verdict
    reason: str = ""
    assumptions: tuple[Assumption, ...] = ()
    fit: Fit | None = None
    margin: float | None = None
    runs: Runs = field(default_factory=lambda: Runs(0))
    control_rejected: bool | None = None


@dataclass(frozen=True)
class Claim:
    r"""A statement that can be checked, and refuted.

    Attributes:
      id: short and stable, such as "M1-limit".
      title: a few words.
      statement: LaTeX without dollar signs.
      kind: how it is checked.
      assumptions: premises in words; `check` tests each.
      reference: where the claim comes from.
      control: what the deliberately wrong variant is that `check` must reject.
      check: simulates, predicts and compares; called a second time with `control=True`, when
        it must put the wrong prediction (or a setting outside the premises) in place of the
        right one and change nothing else.
    """

    id: str
    title: str
    statement: str
    kind: Kind
    assumptions: tuple[str, ...]
    reference: str
    control: str
    check: Callable[[Laboratory, bool], list[Evidence]]


def judge(
    residual: float, tolerance: float, assumptions: Sequence[Assumption], runs: Runs
) -> tuple[Verdict, str]:
    """The verdict on a comparison, and the reason unless it holds.

    Runs that did not end as required and premises that are not met make a check inconclusive
    whatever the numbers say.

    Example:
      >>> judge(1e-12, 1e-9, [], Runs(16))[0].value
      'holds'
      >>> judge(1e-12, 1e-9, [], Runs(16, 1, "seed 3: the step budget was spent"))[0].value
      'inconclusive'
    """
    if runs.unconverged:
        return (
            Verdict.INCONCLUSIVE,
            f"{runs.unconverged} of {runs.number} runs did not end as required ({runs.reason})",
        )
    unmet = [a for a in assumptions if not a.holds]
    if unmet:
        return Verdict.INCONCLUSIVE, "premise not met: " + "; ".join(
            f"{a.statement} ({a.detail})" if a.detail else a.statement for a in unmet
        )
    if math.isnan(residual) or not math.isfinite(tolerance):
        return Verdict.INCONCLUSIVE, f"residual {residual} or tolerance {tolerance} is not a number"
    if residual <= tolerance:
        return Verdict.HOLDS, ""
    return Verdict.VIOLATED, f"difference {residual:.3g} exceeds the tolerance {tolerance:.3g}"
