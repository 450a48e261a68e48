"""A network and its loss as pure functions of one example, whatever the network is.

Classes 0 and 1 are told apart by the sign of one output, with the logistic loss; more classes by
the largest of several, with the softmax loss. Where labels are values the loss is the squared
error, and an answer counts as right if it has the label's sign.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ssmbias.core.types import Array
from ssmbias.poison.batch import Batch, Params
from ssmbias.poison.networks.adapt import functions_of
from ssmbias.poison.settings import Experiment
from ssmbias.poison.training.settings import Training


class Learner(NamedTuple):
    """Functions of one example; none of them is random.

    Attributes:
      init: `(key, input) -> params`.
      outputs: `(params, input) -> (num_outputs,)`.
      loss: `(params, input, label) -> scalar`.
      is_right: `(params, input, label) -> bool`.
      groups: `params -> labels` of parameters, "ssm" or "general"; `None` goes by names.
    """

    init: Callable[[Array, Array], Params]
    outputs: Callable[[Params, Array], Array]
    loss: Callable[[Params, Array, Array], Array]
    is_right: Callable[[Params, Array, Array], Array]
    groups: Callable[[Params], Any] | None = None


def loss_of_outputs(found: Array, label: Array, *, values: bool = False) -> Array:
    """The loss of one answer; `values`: labels are values, else classes."""
    if values:
        return (found[0] - label) ** 2
    if found.shape[0] == 1:
        return jax.nn.softplus(jnp.where(label > 0, -found[0], found[0]))
    return optax.softmax_cross_entropy_with_integer_labels(found, label)


def outputs_are_right(found: Array, label: Array) -> Array:
    """Whether an answer is that of the label."""
    if found.shape[0] == 1:
        return (found[0] > 0) == (label > 0)
    return jnp.argmax(found) == label


@functools.cache
def learner_of(experiment: Experiment) -> Learner:
    """The network and loss of an experiment; the same one for the same parts."""
    network, values = functions_of(experiment.network), experiment.task.num_classes is None
    outputs = network.apply

    def loss(params: Params, inputs: Array, label: Array) -> Array:
        return loss_of_outputs(outputs(params, inputs), label, values=values)

    def is_right(params: Params, inputs: Array, label: Array) -> Array:
        return outputs_are_right(outputs(params, inputs), label)

    return Learner(network.init, outputs, loss, is_right, getattr(network, "groups", None))


def weighted_loss(learner: Learner, params: Params, batch: Batch, weights: Array) -> Array:
    r"""$\sum_i w_i \ell_i / \sum_i w_i$."""
    losses = jax.vmap(learner.loss, in_axes=(None, 0, 0))(params, *batch)
    return weights @ losses / jnp.sum(weights)


def accuracy(learner: Learner, params: Params, batch: Batch) -> Array:
    """The part of the examples that a network gets right."""
    right = jax.vmap(learner.is_right, in_axes=(None, 0, 0))(params, *batch)
    return jnp.mean(right, dtype=jnp.result_type(float))


def optimizer_of(
    training: Training, groups: Callable[[Params], Any] | None = None
) -> optax.GradientTransformation:
    """The optimiser with its schedule.

    Args:
      training: rates.
      groups: labels every parameter "ssm" or "general"; `None` goes by names, as our layers do.
    """
    from ssmbias.models.networks.groups import OptimizerConfig, optimizer  # noqa: PLC0415

    cosine = training.schedule == "cosine"
    factor = optax.cosine_decay_schedule(1.0, training.steps) if cosine else (lambda step: 1.0)
    if training.optimizer == "sgd":
        return optax.sgd(lambda step: training.learning_rate * factor(step))
    return optimizer(
        OptimizerConfig(
            training.learning_rate,
            weight_decay=training.weight_decay,
            ssm_learning_rate=training.ssm_learning_rate,
        ),
        factor,
        groups,
    )


def train(
    learner: Learner,
    training: Training,
    params: Params,
    batch: Batch,
    weights: Array,
    steps: int | None = None,
) -> tuple[Params, Array]:
    """Train one network on the whole batch at every step.

    Args:
      learner: the network and its loss.
      training: optimiser and schedule.
      params: at the start.
      batch: base part and extra sequences.
      weights: of their losses.
      steps: where to stop; `None` is the end of the schedule.

    Returns:
      Its parameters, and its loss after the last step.
    """
    adam = optimizer_of(training, learner.groups)
    loss = functools.partial(weighted_loss, learner)

    def step(carry: tuple[Params, Any], _: None) -> tuple[tuple[Params, Any], None]:
        params, state = carry
        updates, state = adam.update(jax.grad(loss)(params, batch, weights), state, params)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (params, adam.init(params)), length=steps or training.steps)
    return params, loss(params, batch, weights)
