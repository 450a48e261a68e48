"""States along simulated trajectories at which identities are checked.

The measured side of every identity is automatic differentiation of the loss as it is defined:
the model is run step by step over the training sequences. Neither the closed gradient that the
simulations use nor the formulas under test take part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ssmbias.core.types import Array
from ssmbias.data import TrainingSet
from ssmbias.evidence import Bench, Count, Row
from ssmbias.models import DiagonalSSM, apply

_EPS = float(np.finfo(np.float64).eps)


class States(NamedTuple):
    """Students along trajectories with the data they are trained on, [point, ...].

    Attributes:
      label: which flows these are.
      model, training_set, targets: one each for each point.
      teacher: whose labels the targets are.
      trainable: what moves.
      losses: losses along the trajectories, arrays [run, time].
      count: simulations behind the points.
    """

    label: str
    model: DiagonalSSM
    training_set: TrainingSet
    targets: Float[Array, "point sample"]
    teacher: DiagonalSSM
    trainable: tuple[str, ...]
    losses: tuple[np.ndarray, ...]
    count: Count


@runtime_checkable
class HasStates(Protocol):
    """A subject whose flows have been saved: whatever holds at every state can be checked on it."""

    @property
    def name(self) -> str:
        """Label in tables."""
        ...

    def states(self, bench: Bench) -> States:
        """Students along its trajectories, with the data that they are trained on."""
        ...


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


def identity_row(
    states: States, residual: Callable[[DiagonalSSM, TrainingSet, Array], Array]
) -> Row:
    """The largest residual over all points, against rounding."""
    residuals = jax.jit(jax.vmap(residual))(states.model, states.training_set, states.targets)
    largest = float(jnp.max(residuals))
    return Row(
        quantity=f"{states.label}, {len(residuals)} states",
        predicted=0.0,
        measured=largest,
        residual=largest,
        tolerance=rounding_tolerance(states),
        derivation=ROUNDING_DERIVATION,
        count=states.count,
    )
