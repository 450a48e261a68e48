"""I4: one scalar equation moves all entries, so gaps have an equation of their own."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from ssmbias._types import Array
from ssmbias.claims.evidence import Claim, Evidence, Kind, judge
from ssmbias.claims.laboratory import Laboratory
from ssmbias.claims.states import identity_evidence, steepest_descent, theorem1_states
from ssmbias.data import TrainingSet
from ssmbias.models import DiagonalSSM
from ssmbias.theory import gamma_coefficients, log_gap_residual, velocity_scale


def check(lab: Laboratory, control: bool) -> list[Evidence]:
    """The rate of every gap by automatic differentiation, and the order of the entries."""

    def residual(model: DiagonalSSM, training_set: TrainingSet, targets: Array) -> Array:
        measured = steepest_descent(model, training_set, targets)
        gamma = gamma_coefficients(model, training_set, targets)
        if control:  # the slope of the highest power only, one too large
            gamma = (
                gamma
                * jnp.arange(1.0, gamma.shape[0] + 1.0)
                / jnp.arange(1.0, gamma.shape[0] + 1.0).at[-1].add(1.0)
            )
        scale = velocity_scale(model, training_set, targets)
        return log_gap_residual(model.a, gamma, measured.a, scale.a)

    return [
        identity_evidence(CLAIMS[0], lab, theorem1_states(lab), residual),
        _order(lab, control),
    ]


def _order(lab: Laboratory, control: bool) -> Evidence:
    """Whether entries ever cross: the largest a_{j+1} - a_j in the order of the start."""
    states = theorem1_states(lab)
    a = np.asarray(states.model.a)
    if control:
        a = a[:, ::-1]
    crossing = float(np.max(a[:, 1:] - a[:, :-1]))
    # Entries that agree to rounding at the start may be exchanged by an ulp of the largest.
    tolerance = float(np.finfo(np.float64).eps * np.abs(a).max())
    verdict, reason = judge(crossing, tolerance, (), states.runs)
    return Evidence(
        claim="I4",
        setting=lab.setting.name,
        kind=Kind.IDENTITY,
        quantity="order of entries kept (value: largest a_{j+1} - a_j)",
        predicted=0.0,
        measured=crossing,
        residual=crossing,
        tolerance=tolerance,
        derivation="one unit in the last place of the largest entry",
        verdict=verdict,
        reason=reason,
        runs=states.runs,
    )


CLAIMS = (
    Claim(
        id="I4",
        title="One scalar equation, log-gaps",
        statement=r"\dot a_j = g_t'(a_j) \;\Rightarrow\; \frac{d}{dt} \log(a_i - a_j) = "
        r"\sum_{l \ge 1} \gamma_l \sum_{m=0}^{l-1} a_i^m a_j^{l-1-m}",
        kind=Kind.IDENTITY,
        assumptions=(),
        reference="derivation in docs/theory.md (I4)",
        control="one coefficient of g' off by the factor κ-1 / κ; the order reversed",
        check=check,
    ),
)
