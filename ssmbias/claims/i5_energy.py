"""I5: the loss falls at the rate of the squared gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ssmbias.core.types import Array
from ssmbias.data import TrainingSet
from ssmbias.evidence.evidence import Claim, Evidence, Kind, judge
from ssmbias.models import DiagonalSSM
from ssmbias.subjects.laboratory import Laboratory
from ssmbias.subjects.states import (
    States,
    free_states,
    identity_evidence,
    loss_by_recurrence,
    theorem1_states,
)
from ssmbias.theory import energy_residual, flow_velocity, velocity_scale


def check(lab: Laboratory, control: bool) -> list[Evidence]:
    """The rate of the loss at every saved state, and the loss along every trajectory."""

    def row(states: States) -> Evidence:
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
            return energy_residual(2.0 * rate if control else rate, velocity, scale)

        return identity_evidence(CLAIMS[0], lab, states, residual)

    return [row(theorem1_states(lab)), row(free_states(lab)), _monotone(lab, control)]


def _monotone(lab: Laboratory, control: bool) -> Evidence:
    """The largest increase of the loss between saved states, relative to the loss at the start."""
    free = lab.free_flows.result.trajectory
    assert free is not None
    losses = [np.asarray(lab.path(strength).loss) for strength in lab.strengths]
    losses.append(np.asarray(free.loss).reshape(-1, free.loss.shape[-1]))
    if control:
        losses = [-loss for loss in losses]
    increases = [np.max(np.diff(x, axis=-1) / np.abs(x[:, :1])) for x in losses]
    increase = float(np.max(increases))  # keeps nan
    tolerance = 4.0 * float(np.finfo(np.float64).eps)
    runs = theorem1_states(lab).runs + lab.free_flows.runs
    verdict, reason = judge(increase, tolerance, (), runs)
    return Evidence(
        claim="I5",
        setting=lab.setting.name,
        kind=Kind.IDENTITY,
        quantity="largest increase of the loss, relative to its start",
        predicted=0.0,
        measured=increase,
        residual=increase,
        tolerance=tolerance,
        derivation="rounding of the loss at the start, where it is largest",
        verdict=verdict,
        reason=reason,
        runs=runs,
    )


CLAIMS = (
    Claim(
        id="I5",
        title="Energy",
        statement=r"\frac{dL}{dt} = -\left\| \nabla L \right\|^2 \le 0",
        kind=Kind.IDENTITY,
        assumptions=(),
        reference="derivation in docs/theory.md (I5)",
        control="twice the rate; the loss reversed in sign",
        check=check,
    ),
)
