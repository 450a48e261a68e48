"""The objective of gradient matching, and the gradients that it compares."""

from __future__ import annotations

import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Shaped

from ssmbias.core.types import AnyArray, Array
from ssmbias.poison.batch import Batch, LossFn, Params


def per_example_gradients(loss: LossFn, params: Params, batch: Batch) -> Params:
    r"""$\nabla_\theta\ell$ of every example by itself, by `vmap`.

    Args:
      loss: of one example.
      params: $\theta$.
      batch: the examples.

    Returns:
      A tree like `params` with a leading axis of examples.

    Example:
      >>> loss = lambda w, x, y: (w @ x - y) ** 2
      >>> batch = Batch(jnp.eye(2), jnp.array([1.0, -1.0]))
      >>> per_example_gradients(loss, jnp.ones(2), batch).tolist()
      [[0.0, 0.0], [0.0, 4.0]]
    """
    return jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(params, *batch)


def mean_gradient(loss: LossFn, params: Params, batch: Batch) -> Params:
    r"""The mean of `per_example_gradients`, as one gradient of the mean loss (much cheaper).

    Example:
      >>> loss = lambda w, x, y: (w @ x - y) ** 2
      >>> mean_gradient(loss, jnp.zeros(2), Batch(jnp.eye(2), jnp.array([1.0, -1.0]))).tolist()
      [-1.0, 1.0]
    """

    def mean_loss(params: Params) -> Array:
        return jnp.mean(jax.vmap(loss, in_axes=(None, 0, 0))(params, *batch))

    return jax.grad(mean_loss)(params)


def matching_objective(
    loss: LossFn,
    params: Params,
    poisons: Batch,
    targets: Batch,
    target_labels: Shaped[AnyArray, " num"] | None = None,
) -> Float[Array, ""]:
    r"""The objective of one group, from 0 (training ascends the targets' loss) to 2.

    Args:
      loss: of one example.
      params: $\theta$.
      poisons: the perturbed examples with the labels that they are trained on.
      targets: the targets with their true labels.
      target_labels: makes it a targeted attack: $\cos$ is taken with $+\nabla_\theta$ of the loss
        of the targets with these labels, which training on the poison shall then descend.

    Returns:
      The objective; 1 where a gradient is zero.

    Example:
      >>> loss = lambda w, x, y: (w @ x - y) ** 2
      >>> data = Batch(jnp.eye(2), jnp.array([1.0, -1.0]))
      >>> float(matching_objective(loss, jnp.zeros(2), data, data).round(12))
      2.0
    """
    goal = goal_of(loss, params, targets, target_labels)
    return objective_to(loss, params, poisons, goal)


def goal_of(loss: LossFn, params: Params, targets: Batch, labels: Any = None) -> Params:
    """The direction, of length 1, that the poison's gradient shall have."""
    if labels is None:
        return jax.tree.map(jnp.negative, _unit(mean_gradient(loss, params, targets)))
    return _unit(mean_gradient(loss, params, Batch(targets.inputs, jnp.asarray(labels))))


def objective_to(loss: LossFn, params: Params, poisons: Batch, goal: Params) -> Array:
    """1 - cos of the poisons' gradient with a direction of length 1."""
    return 1 - _dot(_unit(mean_gradient(loss, params, poisons)), goal)


def _dot(left: Params, right: Params) -> Array:
    """The real inner product of two trees."""
    products = jax.tree.map(lambda a, b: jnp.real(jnp.vdot(a, b)), left, right)
    return functools.reduce(operator.add, jax.tree.leaves(products))


def _unit(tree: Params) -> Params:
    """The tree over its length; a zero tree stays zero, with finite derivatives.

    Gradients of examples that are fitted well are so small that their squares underflow. So they
    are first divided by the largest entry, which changes neither the result nor its derivative.
    """
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(tree)]))
    largest = jax.lax.stop_gradient(jnp.where(largest == 0, 1, largest))
    tree = jax.tree.map(lambda leaf: leaf / largest, tree)
    square = _dot(tree, tree)
    length = jnp.sqrt(jnp.where(square == 0, 1, square))
    return jax.tree.map(lambda leaf: leaf / length, tree)
