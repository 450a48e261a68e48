"""States along simulated trajectories at which identities are checked.

The measured side of every identity is automatic differentiation of the loss as it is defined:
the model is run step by step over the training sequences. Neither the closed gradient that the
simulations use nor the formulas under test take part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ssmbias.core.types import Array
from ssmbias.data import TrainingSet, labels, theorem1_training_set
from ssmbias.evidence.evidence import Claim, Evidence, Runs, judge
from ssmbias.models import DiagonalSSM, apply, theorem1_student, theorem1_teacher
from ssmbias.subjects.laboratory import Laboratory

_EPS = float(np.finfo(np.float64).eps)


class States(NamedTuple):
    """Students along trajectories with the data they are trained on, [point, ...].

    Attributes:
      label: which flows these are.
      model, training_set, targets: one each for each point.
      trainable: what moves.
      runs: simulations behind the points.
    """

    label: str
    model: DiagonalSSM
    training_set: TrainingSet
    targets: Float[Array, "point sample"]
    trainable: tuple[str, ...]
    runs: Runs


def loss_by_recurrence(
    model: DiagonalSSM, training_set: TrainingSet, targets: Float[Array, " sample"]
) -> Float[Array, ""]:
    """The loss from its definition: outputs step by step, weighted mean of squares."""
    outputs = jax.vmap(lambda x: apply(model, x, method="recurrence"))(training_set.inputs)
    weights = training_set.weights
    return jnp.sum(weights * (targets - outputs) ** 2) / jnp.sum(weights)


def steepest_descent(
    model: DiagonalSSM, training_set: TrainingSet, targets: Float[Array, " sample"]
) -> DiagonalSSM:
    """-∇L by automatic differentiation of `loss_by_recurrence`."""
    return jax.tree.map(jnp.negative, jax.grad(loss_by_recurrence)(model, training_set, targets))


def theorem1_states(lab: Laboratory) -> States:
    """All saved states of all seeds and strengths in the setting of Theorem 1."""
    return lab.once("theorem1_states", lambda: _theorem1_states(lab))


def _theorem1_states(lab: Laboratory) -> States:
    s = lab.setting
    teacher = theorem1_teacher(s.state_dim)
    diagonals, strengths = [], []
    runs = Runs(0)
    for strength in lab.strengths:
        states = np.asarray(lab.path(strength).a).reshape(-1, s.state_dim)
        diagonals.append(states)
        strengths.append(np.full(len(states), strength))
        runs = runs + lab.limits((strength,)).runs
    rho = jnp.asarray(np.concatenate(strengths))
    training_set = jax.vmap(lambda r: theorem1_training_set(s.seq_len, r))(rho)
    targets = jax.vmap(lambda x: labels(teacher, x))(training_set.inputs)
    model = jax.vmap(theorem1_student)(jnp.asarray(np.concatenate(diagonals)))
    return States("Theorem 1 flows", model, training_set, targets, ("a",), runs)


def free_states(lab: Laboratory) -> States:
    """All saved states of the flows of (a, b, c) on random data."""
    flows = lab.free_flows
    trajectory = flows.result.trajectory
    assert trajectory is not None
    num_times = trajectory.time.shape[-1]
    model = DiagonalSSM(trajectory.a, trajectory.b, trajectory.c)
    flat_model = jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), model)

    def repeat(x: Array) -> Array:  # the data of a run, once for each of its saved times
        x = jnp.repeat(x[:, :, None], num_times, axis=2)
        return x.reshape(-1, *x.shape[3:])

    return States(
        "free flows of (a, b, c)",
        flat_model,
        jax.tree.map(repeat, flows.training_set),
        repeat(flows.targets),
        ("a", "b", "c"),
        flows.runs,
    )


def rounding_tolerance(states: States) -> float:
    """Rounding of a residual that is normalised by the sum of the absolute values of its terms."""
    return rounding_bound(states.model.a.shape[-1], *states.training_set.inputs.shape[-2:])


def rounding_bound(state_dim: int, num_samples: int, seq_len: int) -> float:
    """What rounding can do to such a residual, 2 eps (d + n + 2κ).

    Each term passes through about d + n + 2κ additions and multiplications on either side, each
    with a relative error of eps/2; both sides and a factor of two for the product with weights
    and inputs make 2 eps (d + n + 2κ).
    """
    return 2.0 * _EPS * (state_dim + num_samples + 2 * seq_len)


ROUNDING_DERIVATION = (
    "2 eps (d + n + 2κ): rounding of both sides, relative to the sum of the absolute values of "
    "all terms"
)


def identity_evidence(
    claim: Claim,
    lab: Laboratory,
    states: States,
    residual: Callable[[DiagonalSSM, TrainingSet, Array], Array],
) -> Evidence:
    """The largest residual over all points, against rounding."""
    residuals = jax.jit(jax.vmap(residual))(states.model, states.training_set, states.targets)
    largest = float(jnp.max(residuals))
    tolerance = rounding_tolerance(states)
    verdict, reason = judge(largest, tolerance, (), states.runs)
    return Evidence(
        claim=claim.id,
        setting=lab.setting.name,
        kind=claim.kind,
        quantity=f"{states.label}, {len(residuals)} states",
        predicted=0.0,
        measured=largest,
        residual=largest,
        tolerance=tolerance,
        derivation=ROUNDING_DERIVATION,
        verdict=verdict,
        reason=reason,
        runs=states.runs,
    )
