"""I6: the lag Gram matrix is all that a linear student sees of its data."""

from __future__ import annotations

import jax.numpy as jnp

from ssmbias.core.types import Array
from ssmbias.data import LagGram, TrainingSet, gram_loss, gram_omega, lag_gram
from ssmbias.evidence import Claim, Kind, Row
from ssmbias.models import DiagonalSSM, impulse_response
from ssmbias.subjects.states import HasStates, States, identity_row, loss_by_recurrence
from ssmbias.theory import omega_coefficients, relative_residual


def compare(subject: HasStates, backwards: bool, states: States) -> Row:
    """Loss and force by the Gram matrix against loss and force by samples."""

    def residual(model: DiagonalSSM, training_set: TrainingSet, targets: Array) -> Array:
        data = lag_gram(training_set, states.teacher)
        seq_len = data.response.shape[0]
        response = impulse_response(model, seq_len)
        size = jnp.abs(data.response) + impulse_response(DiagonalSSM(*map(jnp.abs, model)), seq_len)
        magnitude = LagGram(_absolute_gram(training_set), data.response)
        if backwards:
            data = data._replace(gram=data.gram[::-1, ::-1])
        loss = relative_residual(
            loss_by_recurrence(model, training_set, targets),
            gram_loss(response, data),
            size @ (magnitude.gram @ size),
        )
        omega = relative_residual(
            omega_coefficients(model, training_set, targets),
            gram_omega(response, data),
            2.0 * magnitude.gram @ size,
        )
        return jnp.maximum(loss, omega)

    return identity_row(states, residual)


def _absolute_gram(training_set: TrainingSet) -> Array:
    """The Gram matrix of the absolute values of the sequences: sizes of the terms summed up."""
    by_lag = jnp.abs(training_set.inputs[:, ::-1])
    weights = training_set.weights / jnp.sum(training_set.weights)
    return (by_lag * weights[:, None]).T @ by_lag


CLAIMS = (
    Claim(
        id="I6",
        title="Sufficient statistics",
        statement=r"L = (h^* - h)^\top G (h^* - h), \quad \omega = 2 G (h^* - h), \quad "
        r"G_{lm} = \frac{\sum_i w_i x^{(i)}_{\kappa-l} x^{(i)}_{\kappa-m}}{\sum_i w_i}",
        kind=Kind.IDENTITY,
        reference="derivation in docs/theory.md (I6)",
        control="a Gram matrix with lags in the reverse order",
        subject=HasStates,
        measure=lambda subject, bench: subject.states(bench),
        predict=lambda subject, states: False,
        wrong=lambda subject, states: True,
        compare=compare,
        family="identities",
        cost=4.0,
    ),
)
