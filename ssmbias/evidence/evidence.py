"""What a comparison yields: rows as a claim returns them, and evidence as the checker makes it."""

from __future__ import annotations

import enum
import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, field

from ssmbias.core.verdict import Verdict
from ssmbias.statistics.fits import Fit


class Kind(enum.StrEnum):
    """How a claim is checked.

    An identity holds along every trajectory up to rounding, a limit up to the error of the
    solver; a law is a fitted exponent with its confidence interval; a bound has a margin.
    """

    IDENTITY = "identity"
    LIMIT = "limit"
    LAW = "law"
    BOUND = "bound"


@dataclass(frozen=True)
class CheckedPremise:
    """A premise of a claim as it was found on the runs at hand.

    Attributes:
      statement: the premise in words.
      holds: whether it is met.
      detail: the number that decided.
    """

    statement: str
    holds: bool
    detail: str = ""


@dataclass(frozen=True)
class Count:
    """How many simulations stand behind a row, and what is wrong with which.

    Attributes:
      number: simulations.
      unconverged: how many of them did not end as required.
      reason: why the first of these did not.
    """

    number: int
    unconverged: int = 0
    reason: str = ""

    def __add__(self, other: Count) -> Count:
        """Both sets of simulations, with the first reason there is."""
        return Count(
            self.number + other.number,
            self.unconverged + other.unconverged,
            self.reason or other.reason,
        )


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison, as a claim's `compare` returns it.

    Attributes:
      quantity: what was compared, in words; the control must give the same quantities.
      predicted, measured: representative values of both sides.
      residual: the largest difference found; the claim holds while residual <= tolerance.
      tolerance: what the difference may be.
      derivation: why the tolerance is what it is.
      count: simulations behind the row.
      premises: premises that only this row has, as they were found.
      fit: the fitted exponent of a law.
      margin: measured over bound, for a bound.
      kind: how this row is checked; `None` is the claim's kind.
      own_premises_only: whether the claim's premises do not matter for this row.

    Example:
      >>> Row(
      ...     quantity="limit",
      ...     predicted=1.0,
      ...     measured=1.0,
      ...     residual=0.0,
      ...     tolerance=1e-9,
      ...     derivation="the solver's error",
      ... ).residual
      0.0
    """

    quantity: str
    predicted: float
    measured: float
    residual: float
    tolerance: float
    derivation: str
    count: Count = field(default_factory=lambda: Count(0))
    premises: tuple[CheckedPremise, ...] = ()
    fit: Fit | None = None
    margin: float | None = None
    kind: Kind | None = None
    own_premises_only: bool = False

    def __post_init__(self) -> None:
        """Refuse what is not a number, and keep plain floats."""
        for name in ("predicted", "measured", "residual", "tolerance"):
            value = getattr(self, name)
            scalar = getattr(value, "shape", None) == () and hasattr(value, "item")
            value = value.item() if scalar else value
            if isinstance(value, bool) or not isinstance(value, numbers.Real):
                raise ValueError(
                    f"Row({name}={value!r}): expected one real number; float(...) of it, or nan "
                    "where there is none"
                )
            object.__setattr__(self, name, float(value))


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One row of a verification: a prediction against a measurement, judged.

    The checker makes it; no claim does.

    Attributes:
      claim: id of the claim.
      subject: name of the subject; `about` is the name of its type.
      kind: how it was checked.
      quantity, predicted, measured, residual, tolerance, derivation: see `Row`.
      verdict: holds, violated or inconclusive; `reason` says why, unless it holds.
      premises: premises as checked.
      fit: the fitted exponent of a law.
      margin: measured over bound, for a bound.
      count: simulations behind the row.
      control_rejected: whether the same check rejected a deliberately wrong claim; `None` where
        that was not tried.
    """

    claim: str
    subject: str
    about: str
    kind: Kind
    quantity: str
    predicted: float
    measured: float
    residual: float
    tolerance: float
    derivation: str
    verdict: Verdict
    reason: str = ""
    premises: tuple[CheckedPremise, ...] = ()
    fit: Fit | None = None
    margin: float | None = None
    count: Count = field(default_factory=lambda: Count(0))
    control_rejected: bool | None = None


def judge(
    residual: float, tolerance: float, premises: Sequence[CheckedPremise], count: Count
) -> tuple[Verdict, str]:
    """The verdict on a comparison, and the reason unless it holds.

    Runs that did not end as required and premises that are not met make a check inconclusive
    whatever the numbers say.

    Args:
      residual: the largest difference found.
      tolerance: what it may be.
      premises: as they were found.
      count: simulations behind the comparison.

    Returns:
      The verdict and the reason, which is empty if the claim holds.

    Example:
      >>> judge(1e-12, 1e-9, [], Count(16))[0].value
      'holds'
      >>> judge(1e-12, 1e-9, [], Count(16, 1, "seed 3: the step budget was spent"))[0].value
      'inconclusive'
    """
    if count.unconverged:
        return (
            Verdict.INCONCLUSIVE,
            f"{count.unconverged} of {count.number} runs did not end as required ({count.reason})",
        )
    unmet = [p for p in premises if not p.holds]
    if unmet:
        return Verdict.INCONCLUSIVE, "premise not met: " + "; ".join(
            f"{p.statement} ({p.detail})" if p.detail else p.statement for p in unmet
        )
    if math.isnan(residual) or not math.isfinite(tolerance):
        return Verdict.INCONCLUSIVE, f"residual {residual} or tolerance {tolerance} is not a number"
    if residual <= tolerance:
        return Verdict.HOLDS, ""
    return Verdict.VIOLATED, f"difference {residual:.3g} exceeds the tolerance {tolerance:.3g}"
