"""I1: Proposition 1, one polynomial moves all entries."""

from __future__ import annotations

from ssmbias.core.types import Array
from ssmbias.data import TrainingSet
from ssmbias.evidence.evidence import Claim, Evidence, Kind
from ssmbias.models import DiagonalSSM
from ssmbias.subjects.laboratory import Laboratory
from ssmbias.subjects.states import (
    States,
    free_states,
    identity_evidence,
    steepest_descent,
    theorem1_states,
)
from ssmbias.theory import characterization_residual


def check(lab: Laboratory, control: bool) -> list[Evidence]:
    """Compare the formula with automatic differentiation at every saved state."""

    def row(states: States) -> Evidence:
        def residual(model: DiagonalSSM, training_set: TrainingSet, targets: Array) -> Array:
            measured = steepest_descent(model, training_set, targets)
            if control:
                training_set = training_set._replace(inputs=training_set.inputs[:, ::-1])
            return characterization_residual(
                model, training_set, targets, measured, states.trainable
            )

        return identity_evidence(CLAIMS[0], lab, states, residual)

    return [row(theorem1_states(lab)), row(free_states(lab))]


CLAIMS = (
    Claim(
        id="I1",
        title="Dynamical characterisation",
        statement=r"\dot a_j = b_j c_j \sum_{l=0}^{\kappa-2} \gamma_l a_j^l, \quad "
        r"\gamma_l = \frac{2(l+1)}{\sum_i w_i} \sum_i w_i \delta_i x^{(i)}_{\kappa-l-1}",
        kind=Kind.IDENTITY,
        assumptions=(),
        reference="Slutzky et al. (2025), arXiv:2410.10473, Proposition 1",
        control="lags counted from the wrong end of the sequence",
        check=check,
    ),
)
