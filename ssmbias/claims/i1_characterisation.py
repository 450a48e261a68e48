"""I1: Proposition 1, one polynomial moves all entries."""

from __future__ import annotations

from ssmbias.core.types import Array
from ssmbias.data import TrainingSet
from ssmbias.evidence import Claim, Kind, Row
from ssmbias.models import DiagonalSSM
from ssmbias.subjects.states import HasStates, States, identity_row, steepest_descent
from ssmbias.theory import characterization_residual


def compare(subject: HasStates, backwards: bool, states: States) -> Row:
    """Compare the formula with automatic differentiation at every saved state."""

    def residual(model: DiagonalSSM, training_set: TrainingSet, targets: Array) -> Array:
        measured = steepest_descent(model, training_set, targets)
        if backwards:
            training_set = training_set._replace(inputs=training_set.inputs[:, ::-1])
        return characterization_residual(model, training_set, targets, measured, states.trainable)

    return identity_row(states, residual)


CLAIMS = (
    Claim(
        id="I1",
        title="Dynamical characterisation",
        statement=r"\dot a_j = b_j c_j \sum_{l=0}^{\kappa-2} \gamma_l a_j^l, \quad "
        r"\gamma_l = \frac{2(l+1)}{\sum_i w_i} \sum_i w_i \delta_i x^{(i)}_{\kappa-l-1}",
        kind=Kind.IDENTITY,
        reference="Slutzky et al. (2025), arXiv:2410.10473, Proposition 1",
        subject=HasStates,
        measure=lambda subject, bench: subject.states(bench),
        predict=lambda subject, states: False,
        control="lags counted from the wrong end of the sequence",
        wrong=lambda subject, states: True,
        compare=compare,
        family="identities",
        cost=25.0,
    ),
)
