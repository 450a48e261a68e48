"""I5: the loss falls at the rate of the squared gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ssmbias.core.types import Array
from ssmbias.data import TrainingSet
from ssmbias.evidence import Claim, Kind, Row
from ssmbias.models import DiagonalSSM
from ssmbias.subjects.states import HasStates, States, identity_row, loss_by_recurrence
from ssmbias.theory import energy_residual, flow_velocity, velocity_scale


def compare(subject: HasStates, wrong: bool, states: States) -> list[Row]:
    """The rate of the loss at every saved state, and the loss along every trajectory."""

    def residual(model: DiagonalSSM, training_set: TrainingSet, targets: Array) -> Array:
        velocity = flow_velocity(model, training_set, targets)
        fixed = {
            name: jnp.zeros_like(model.a)
            for name in DiagonalSSM._fields
            if name not in states.trainable
        }
        velocity = velocity._replace(**fixed)
        # Derivative of the loss, as it is defined, along the predicted velocity.
        _, rate = jax.jvp(
            lambda m: loss_by_recurrence(m, training_set, targets), (model,), (velocity,)
        )
        scale = velocity_scale(model, training_set, targets)
        return energy_residual(2.0 * rate if wrong else rate, velocity, scale)

    return [identity_row(states, residual), _monotone(states, reverse=wrong)]


def _monotone(states: States, reverse: bool) -> Row:
    """The largest increase of the loss between saved states, relative to the loss at the start."""
    losses = [-loss for loss in states.losses] if reverse else states.losses
    increases = [np.max(np.diff(x, axis=-1) / np.abs(x[:, :1])) for x in losses]
    increase = float(np.max(increases))  # keeps nan
    return Row(
        quantity=f"{states.label}: largest increase of the loss, relative to its start",
        predicted=0.0,
        measured=increase,
        residual=increase,
        tolerance=4.0 * float(np.finfo(np.float64).eps),
        derivation="rounding of the loss at the start, where it is largest",
        count=states.count,
    )


CLAIMS = (
    Claim(
        id="I5",
        title="Energy",
        statement=r"\frac{dL}{dt} = -\left\| \nabla L \right\|^2 \le 0",
        kind=Kind.IDENTITY,
        reference="derivation in docs/theory.md (I5)",
        control="twice the rate; the loss reversed in sign",
        subject=HasStates,
        measure=lambda subject, bench: subject.states(bench),
        predict=lambda subject, states: False,
        wrong=lambda subject, states: True,
        compare=compare,
        family="identities",
        cost=8.0,
    ),
)
