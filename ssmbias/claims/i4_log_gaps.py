"""I4: one scalar equation moves all entries, so gaps have an equation of their own."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ssmbias.core.types import Array
from ssmbias.data import TrainingSet
from ssmbias.evidence import Bench, CheckedPremise, Claim, Kind, Row
from ssmbias.models import DiagonalSSM
from ssmbias.subjects.accuracy import SOLVER_DERIVATION, Twice, solver_tolerance
from ssmbias.subjects.states import States, identity_row, steepest_descent
from ssmbias.subjects.theorem1 import Theorem1, limits, starts
from ssmbias.theory import gamma_coefficients, log_gap_residual, velocity_scale


class LogGapRuns(NamedTuple):
    """States along all flows, limits of the clean ones, and the log-gaps of the starts."""

    states: States
    clean: Twice
    a0: np.ndarray
    log_gap: np.ndarray


class Law(NamedTuple):
    """What moves the gaps.

    Attributes:
      last_factor: on the last coefficient of g'.
      descending: whether entries keep the order of the start.
      power: p - 1, of the invariant of the clean flow.
    """

    last_factor: float
    descending: bool
    power: int


def measure(subject: Theorem1, bench: Bench) -> LogGapRuns:
    """All flows, and the limits of the clean ones."""
    return LogGapRuns(subject.states(bench), limits(subject, bench, (0.0,)), *starts(subject))


def predict(subject: Theorem1, runs: LogGapRuns) -> Law:
    """Proposition 1 for every gap."""
    return Law(1.0, True, subject.seq_len - 3)


def wrong(subject: Theorem1, runs: LogGapRuns) -> Law:
    """A coefficient of g' off by one part in κ; the order reversed; a power too high."""
    return Law(1.0 - 1.0 / subject.seq_len, False, subject.seq_len - 2)


def compare(subject: Theorem1, law: Law, runs: LogGapRuns) -> list[Row]:
    """The rate of every gap by automatic differentiation, and the order of the entries."""

    def residual(model: DiagonalSSM, training_set: TrainingSet, targets: Array) -> Array:
        measured = steepest_descent(model, training_set, targets)
        gamma = gamma_coefficients(model, training_set, targets)
        gamma = gamma.at[-1].multiply(law.last_factor)
        scale = velocity_scale(model, training_set, targets)
        return log_gap_residual(model.a, gamma, measured.a, scale.a)

    return [identity_row(runs.states, residual), _order(law, runs.states), _tie(law, runs)]


def _order(law: Law, states: States) -> Row:
    """Whether entries ever cross: the largest a_{j+1} - a_j in the order of the start."""
    a = np.asarray(states.model.a)
    if not law.descending:
        a = a[:, ::-1]
    crossing = float(np.max(a[:, 1:] - a[:, :-1]))
    return Row(
        quantity="order of entries kept (value: largest a_{j+1} - a_j)",
        predicted=0.0,
        measured=crossing,
        residual=crossing,
        # Entries that agree to rounding at the start may be exchanged by an ulp of the largest.
        tolerance=float(np.finfo(np.float64).eps * np.abs(a).max()),
        derivation="one unit in the last place of the largest entry",
        count=states.count,
    )


def _tie(law: Law, runs: LogGapRuns) -> Row:
    """Whether the simulated log-gap took the near-tie to the end of the clean flow correctly.

    On clean data a_2^{1-p} - a_1^{1-p} = a_1^{1-p} expm1((p-1) log1p(Δ/a_2)) is conserved. In this
    form it has full accuracy for gaps Δ far below the spacing of doubles.
    """
    ends = runs.clean

    def log_invariant(second: np.ndarray, log_gap: np.ndarray) -> np.ndarray:
        gap = np.exp(log_gap)
        ratio = np.log1p(gap / second)
        return np.log(np.expm1(law.power * ratio)) - law.power * np.log(second + gap)

    start = log_invariant(runs.a0[:, 1], runs.log_gap)
    end, tight = (
        log_invariant(np.asarray(run.a)[:, 0, 1], np.asarray(run.log_gap)[:, 0])
        for run in (ends.result, ends.tight)
    )
    tied = bool(np.all(np.isfinite(runs.log_gap)))
    return Row(
        quantity="near-tie followed to the end (values: mean log-gap at start and end)",
        predicted=float(np.mean(runs.log_gap)),
        measured=float(np.mean(np.asarray(ends.result.log_gap))),
        residual=float(np.max(np.abs(end - start))),
        tolerance=solver_tolerance(float(np.max(np.abs(end - tight)))),
        derivation=SOLVER_DERIVATION,
        premises=(CheckedPremise("the top pair is not exactly tied", tied),),
        count=ends.count,
    )


CLAIMS = (
    Claim(
        id="I4",
        title="One scalar equation, log-gaps",
        statement=r"\dot a_j = g_t'(a_j) \;\Rightarrow\; \frac{d}{dt} \log(a_i - a_j) = "
        r"\sum_{l \ge 1} \gamma_l \sum_{m=0}^{l-1} a_i^m a_j^{l-1-m}",
        kind=Kind.IDENTITY,
        reference="derivation in docs/theory.md (I4)",
        control="a coefficient of g' off by one part in κ; the order reversed; a power too high",
        subject=Theorem1,
        measure=measure,
        predict=predict,
        wrong=wrong,
        compare=compare,
        row_premises=("the top pair is not exactly tied",),
        family="identities",
        cost=8.0,
    ),
)
