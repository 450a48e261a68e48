"""M1: where the clean flow ends, in closed form."""

from __future__ import annotations

import jax
import numpy as np

from ssmbias.evidence.evidence import Assumption, Claim, Evidence, Kind, judge
from ssmbias.metrics import generalization_error
from ssmbias.subjects.laboratory import (
    COARSEST_TOLERANCE,
    SOLVER_DERIVATION,
    Laboratory,
    solver_tolerance,
)
from ssmbias.theory import clean_limit


def _predict(lab: Laboratory, control: bool) -> np.ndarray:
    """Closed-form limits [seed, state]; the control takes every power one too low."""
    a0, log_gap = lab.starts
    seq_len = lab.setting.seq_len
    if not control:
        return np.asarray(
            jax.jit(jax.vmap(lambda a, g: clean_limit(a, seq_len, log_gap=g)))(a0, log_gap)
        )
    # The law of the lag below: S_{κ-2} = 1 at the limit and a^{2-p} conserved.
    wrong = jax.jit(jax.vmap(lambda a, g: clean_limit(a, seq_len, lag=seq_len - 2, log_gap=g)))
    return np.asarray(wrong(a0, log_gap))


def check(lab: Laboratory, control: bool) -> list[Evidence]:
    """Compare all entries of the limit, relative to the prediction."""
    limits = lab.limits((0.0,))
    measured = limits.a[:, 0]
    predicted = _predict(lab, control)
    residual = float(np.max(np.abs(measured / predicted - 1.0)))
    tolerance = solver_tolerance(limits.relative_error())
    error = jax.vmap(lambda a: generalization_error(a, lab.setting.horizon))
    errors = np.asarray(error(predicted)), np.asarray(error(measured))
    if not control:
        lab.save("error/clean/predicted", errors[0])
        lab.save("error/clean/measured", errors[1])
    assumptions = (
        Assumption("all entries are positive", bool(np.all(lab.starts[0] > 0))),
        Assumption(
            f"the solver is accurate to {COARSEST_TOLERANCE:g}",
            tolerance <= COARSEST_TOLERANCE,
            f"tolerance {tolerance:.1e}",
        ),
    )
    verdict, reason = judge(residual, tolerance, assumptions, limits.runs)
    return [
        Evidence(
            claim="M1-limit",
            setting=lab.setting.name,
            kind=Kind.LIMIT,
            quantity="clean limit, all entries (values: mean error / d)",
            predicted=float(np.mean(errors[0])),
            measured=float(np.mean(errors[1])),
            residual=residual,
            tolerance=tolerance,
            derivation=SOLVER_DERIVATION,
            verdict=verdict,
            reason=reason,
            assumptions=assumptions,
            runs=limits.runs,
        )
    ]


CLAIMS = (
    Claim(
        id="M1-limit",
        title="Clean flow, limit in closed form",
        statement=r"a_j(\infty) = (q_j - \tau^*)^{-1/(p-1)}, \quad q_j = a_j(0)^{1-p}, \quad "
        r"\sum_j (q_j - \tau^*)^{-(\kappa-1)/(p-1)} = 1, \quad p = \kappa - 2",
        kind=Kind.LIMIT,
        assumptions=("all entries of the start are positive",),
        reference="derivation in docs/theory.md (M1)",
        control="the same closed form for sequences shorter by one (every power off by one)",
        check=check,
    ),
)
