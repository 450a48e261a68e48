"""M1: where the clean flow ends, in closed form."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import numpy as np

from ssmbias.evidence import Bench, CheckedPremise, Claim, Kind, Row
from ssmbias.metrics import generalization_error
from ssmbias.subjects.accuracy import (
    COARSEST_TOLERANCE,
    SOLVER_DERIVATION,
    Twice,
    solver_tolerance,
)
from ssmbias.subjects.theorem1 import POSITIVE, Theorem1, limits, starts
from ssmbias.theory import clean_limit

_ACCURATE = f"the solver is accurate to {COARSEST_TOLERANCE:g}"


def measure(subject: Theorem1, bench: Bench) -> Twice:
    """Limits of the clean flows."""
    return limits(subject, bench, (0.0,))


def predict(subject: Theorem1, runs: Twice) -> np.ndarray:
    """Closed-form limits [seed, state]."""
    seq_len = subject.seq_len
    closed = jax.jit(jax.vmap(lambda a, g: clean_limit(a, seq_len, log_gap=g)))
    return np.asarray(closed(*starts(subject)))


def wrong(subject: Theorem1, runs: Twice) -> np.ndarray:
    """Every power one too low: the law of the lag below, S_{κ-2} = 1 and a^{2-p} conserved."""
    seq_len = subject.seq_len
    lower = jax.jit(jax.vmap(lambda a, g: clean_limit(a, seq_len, lag=seq_len - 2, log_gap=g)))
    return np.asarray(lower(*starts(subject)))


def _errors(subject: Theorem1, a: np.ndarray) -> np.ndarray:
    """Normalised errors [seed] of diagonals."""
    return np.asarray(jax.vmap(lambda x: generalization_error(x, subject.horizon))(a))


def compare(subject: Theorem1, predicted: np.ndarray, runs: Twice) -> Row:
    """Compare all entries of the limit, relative to the prediction."""
    measured = runs.a[:, 0]
    tolerance = solver_tolerance(runs.relative_error())
    accurate = tolerance <= COARSEST_TOLERANCE
    return Row(
        quantity="clean limit, all entries (values: mean error / d)",
        predicted=float(np.mean(_errors(subject, predicted))),
        measured=float(np.mean(_errors(subject, measured))),
        residual=float(np.max(np.abs(measured / predicted - 1.0))),
        tolerance=tolerance,
        derivation=SOLVER_DERIVATION,
        premises=(CheckedPremise(_ACCURATE, accurate, f"tolerance {tolerance:.1e}"),),
        count=runs.count,
    )


def arrays(subject: Theorem1, predicted: np.ndarray, runs: Twice) -> Mapping[str, np.ndarray]:
    """Errors of both sides, for the figures."""
    return {
        "error/clean/predicted": _errors(subject, predicted),
        "error/clean/measured": _errors(subject, runs.a[:, 0]),
    }


CLAIMS = (
    Claim(
        id="M1-limit",
        title="Clean flow, limit in closed form",
        statement=r"a_j(\infty) = (q_j - \tau^*)^{-1/(p-1)}, \quad q_j = a_j(0)^{1-p}, \quad "
        r"\sum_j (q_j - \tau^*)^{-(\kappa-1)/(p-1)} = 1, \quad p = \kappa - 2",
        kind=Kind.LIMIT,
        reference="derivation in docs/theory.md (M1)",
        control="the same closed form for sequences shorter by one (every power off by one)",
        subject=Theorem1,
        measure=measure,
        predict=predict,
        wrong=wrong,
        compare=compare,
        premises=(POSITIVE,),
        row_premises=(_ACCURATE,),
        arrays=arrays,
        family="limits",
        cost=1.0,
    ),
)
