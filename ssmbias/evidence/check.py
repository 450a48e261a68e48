"""Checking a claim on a subject: measured once, compared twice."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from ssmbias.core.verdict import Verdict
from ssmbias.evidence.bench import Bench
from ssmbias.evidence.claim import Claim
from ssmbias.evidence.evidence import CheckedPremise, Evidence, Row, judge


def check(claim: Claim, subject: Any, bench: Bench | None = None) -> list[Evidence]:
    """Check a claim, then check that the same comparison rejects its negative control.

    A comparison that accepts the control cannot fail, so its rows become inconclusive.

    Args:
      claim: the claim.
      subject: a subject that it speaks of.
      bench: where runs are kept; `None` makes a new one.

    Returns:
      Evidence, one for each row of the comparison.

    Raises:
      ValueError: the claim does not speak of the subject, or its functions return something
        else than they should.

    Example:
      >>> from ssmbias.claims.m4_tied import CLAIMS
      >>> from ssmbias.subjects import Theorem1
      >>> [row.verdict.value for row in check(CLAIMS[0], Theorem1("t5", 5, 3, 1e-3, 1e-6))]
      ['holds']
    """
    if not claim.speaks_of(subject):
        raise ValueError(f"claim {claim.id} does not speak of {subject!r}; see its subject=")
    bench = Bench(subject) if bench is None else bench
    runs = _called(claim, "measure", claim.measure, subject, bench)
    predicted = _called(claim, "predict", claim.predict, subject, runs)
    rows = _compared(claim, subject, predicted, runs)
    premises = tuple(
        _called(claim, "a premise", premise.check, subject, runs) for premise in claim.premises
    )
    if claim.arrays is not None:
        for name, value in _called(claim, "arrays", claim.arrays, subject, predicted, runs).items():
            bench.save(name, value)
    if claim.wrong_measure is not None:
        # Runs of its own subjects are shared; what it saves is not for the figures.
        runs = _called(claim, "wrong_measure", claim.wrong_measure, subject, bench.on(subject))
    predict = claim.wrong or claim.predict
    controls = _compared(claim, subject, _called(claim, "wrong", predict, subject, runs), runs)
    if [row.quantity for row in rows] != [row.quantity for row in controls]:
        raise ValueError(
            f"claim {claim.id}: compare gives the rows {[row.quantity for row in rows]}, but "
            f"{[row.quantity for row in controls]} for the control; both must be the same"
        )
    return [
        _evidence(claim, subject, row, control, premises)
        for row, control in zip(rows, controls, strict=True)
    ]


def _called(claim: Claim, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call one of a claim's functions; what it raises says whose it was."""
    try:
        return function(*arguments)
    except Exception as error:
        error.add_note(f"(raised in {name} of claim {claim.id}, subject {arguments[0].name})")
        raise


def _compared(claim: Claim, subject: Any, predicted: Any, runs: Any) -> list[Row]:
    found = _called(claim, "compare", claim.compare, subject, predicted, runs)
    rows = [found] if isinstance(found, Row) else found
    if not isinstance(rows, Sequence) or not rows or not all(isinstance(x, Row) for x in rows):
        raise ValueError(
            f"claim {claim.id}: compare must return one Row(...) or a list of them, got {found!r}"
        )
    quantities = [row.quantity for row in rows]
    if len(set(quantities)) != len(quantities):
        raise ValueError(f"claim {claim.id}: two rows have the same quantity, of {quantities}")
    return list(rows)


def _evidence(
    claim: Claim, subject: Any, row: Row, control: Row, premises: tuple[CheckedPremise, ...]
) -> Evidence:
    def judged(row: Row) -> tuple[Verdict, str, tuple[CheckedPremise, ...]]:
        every = row.premises if row.own_premises_only else (*premises, *row.premises)
        return *judge(row.residual, row.tolerance, every, row.count), every

    verdict, reason, every = judged(row)
    found = Evidence(
        claim=claim.id,
        subject=subject.name,
        about=type(subject).__name__,
        kind=row.kind or claim.kind,
        quantity=row.quantity,
        predicted=row.predicted,
        measured=row.measured,
        residual=row.residual,
        tolerance=row.tolerance,
        derivation=row.derivation,
        verdict=verdict,
        reason=reason,
        premises=every,
        fit=row.fit,
        margin=row.margin,
        count=row.count,
    )
    if verdict is Verdict.INCONCLUSIVE:
        return found
    said, why, _ = judged(control)
    rejected = said is Verdict.VIOLATED
    found = dataclasses.replace(found, control_rejected=rejected)
    if rejected or verdict is Verdict.VIOLATED:
        return found
    return dataclasses.replace(
        found,
        verdict=Verdict.INCONCLUSIVE,
        reason="the negative control was not rejected, so this check could not fail "
        f"(control: {said.value}; {why or 'within tolerance'})",
    )
