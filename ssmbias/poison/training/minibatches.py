"""Training by minibatches: an epoch is one call on the device."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Bool, Float, Int

from ssmbias.core.types import AnyArray, Array
from ssmbias.models.networks.groups import OptimizerConfig, optimizer
from ssmbias.poison.batch import Batch, Params
from ssmbias.poison.networks.remembering import remembering
from ssmbias.poison.settings import Experiment
from ssmbias.poison.training.learner import loss_of_outputs, outputs_are_right
from ssmbias.poison.training.settings import as_minibatches

FLOOR = 0.01
"""The learning rate after the last epoch, as a part of that before the first."""

PAPER_LENGTH, PAPER_FLOOR = 3, 0.001
"""The published cosine of the poisoned runs, in epochs of the clean one, and its floor."""

# Streams of random numbers of a seed.
_START, _EPOCHS = 0, 1


class State(NamedTuple):
    """All that training goes on from.

    Attributes:
      params: of the network.
      stats: running means of the batch norm, under "batch_stats"; empty without one.
      opt_state: of the optimiser.
      epoch: epochs done.
      loss, accuracy: means over the examples of the last epoch, as they were trained on: before
        the update of their batch, with dropout and augmentation.
    """

    params: Params
    stats: dict[str, Any]
    opt_state: Any
    epoch: Int[Array, ""]
    loss: Float[Array, ""]
    accuracy: Float[Array, ""]


class Answers(NamedTuple):
    """What a network says to examples: their losses, and whether it is right."""

    losses: Float[Array, " num"]
    right: Bool[Array, " num"]


def rate_factor(experiment: Experiment, adds: bool, epoch: int | Array) -> Array:
    r"""The learning rate of an epoch over that of the first one: a cosine, constant in an epoch.

    Args:
      experiment: whose training.
      adds: whether the arm is another one than base.
      epoch: epochs done.
    """
    training = as_minibatches(experiment.training)
    length, floor = training.epochs, FLOOR
    if training.schedule == "paper" and adds:
        length, floor = PAPER_LENGTH * length, PAPER_FLOOR
    part = jnp.asarray(epoch, jnp.float32) / length
    # Clipped: the published cosine is never followed beyond its end.
    return floor + (1 - floor) * 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(part, 0, 1)))


def num_examples(experiment: Experiment, adds: bool) -> int:
    """Training examples of an arm, copies counted."""
    return experiment.task.num_train + (experiment.poisons.num_poisons if adds else 0)


def optimizer_of(experiment: Experiment, adds: bool) -> optax.GradientTransformation:
    """AdamW, its rates falling from epoch to epoch."""
    training = as_minibatches(experiment.training)
    steps = training.steps_per_epoch(num_examples(experiment, adds))
    rates = OptimizerConfig(
        training.learning_rate,
        weight_decay=training.weight_decay,
        ssm_learning_rate=training.ssm_learning_rate,
    )
    return optimizer(
        rates,
        lambda count: rate_factor(experiment, adds, count // steps),
        getattr(experiment.network, "groups", None),
    )


@functools.partial(jax.jit, static_argnums=0)
def start(experiment: Experiment, seed: Int[AnyArray, ""] | int, example: Array) -> State:
    """The state before training: it depends on the seed, and on no arm.

    Args:
      experiment: network and training.
      seed: of the start.
      example: an input; its numbers do not matter.
    """
    key = jax.random.fold_in(jax.random.key(seed), _START)
    example = jnp.zeros(example.shape, example.dtype)
    params, stats = remembering(experiment.network).start(key, example)
    nothing = jnp.zeros((), jnp.float32)
    opt_state = optimizer_of(experiment, False).init(params)
    return State(params, stats, opt_state, jnp.zeros((), jnp.int32), nothing, nothing)


def train_epoch(
    experiment: Experiment,
    adds: bool,
    data: Batch,
    state: State,
    seed: Int[AnyArray, ""] | int,
) -> State:
    """One pass over the training data, shuffled by seed and epoch.

    All batches are whole, but for the last one, which has what is left. It is compiled by itself:
    with padding instead, rows that are no examples would have to be kept out of the statistics of
    the batch norm.

    Args:
      experiment: network and training.
      adds: whether the arm is another one than base, for its schedule; arms with equally many
        examples see them in the same order, with the same augmentation and dropout.
      data: the training examples of the arm, on the device.
      state: after `state.epoch` epochs.
      seed: of all that is random.

    Returns:
      The state after one epoch more; its bits depend on nothing but the arguments.
    """
    if not calls_one_by_one(experiment):
        return _train_epoch(experiment, adds, data, state, seed)
    num, size = data.labels.shape[0], as_minibatches(experiment.training).batch_size
    key, order = _shuffled(num, state.epoch, seed)
    sums = []
    for index, first in enumerate(range(0, num, size), start=1):
        rows = order[first : first + size]
        state, each = _turn_alone(experiment, adds, data, state, rows, key, index)
        sums.append(each)
    return _with_means(state, sums, num)


def calls_one_by_one(experiment: Experiment) -> bool:
    """Whether updates are to be called one by one, which a loop on the device would slow down."""
    return remembering(experiment.network).slow_in_loops and jax.default_backend() == "cpu"


@functools.partial(jax.jit, static_argnums=(0, 1))
def _train_epoch(
    experiment: Experiment, adds: bool, data: Batch, state: State, seed: Array | int
) -> State:
    num = data.labels.shape[0]
    size = min(as_minibatches(experiment.training).batch_size, num)
    whole, left = divmod(num, size)
    key, order = _shuffled(num, state.epoch, seed)

    def step(carry: State, turn: tuple[Array, Array]) -> tuple[State, tuple[Array, Array]]:
        return _turn(experiment, adds, data, carry, turn[0], key, turn[1])

    turns = (order[: whole * size].reshape(whole, size), jnp.arange(1, whole + 1))
    state, each = jax.lax.scan(step, state, turns)
    sums = [tuple(jnp.sum(values) for values in each)]
    if left:
        state, last = step(state, (order[whole * size :], jnp.asarray(whole + 1)))
        sums.append(last)
    return _with_means(state, sums, num)


def _turn(
    experiment: Experiment,
    adds: bool,
    data: Batch,
    state: State,
    rows: Array,
    key: Array,
    index: Array | int,
) -> tuple[State, tuple[Array, Array]]:
    """An update with some examples; the sums of their losses and right answers."""
    batch = Batch(*(x[rows] for x in data))
    state, found = train_step(experiment, adds, state, batch, jax.random.fold_in(key, index))
    return state, (found[0] * rows.shape[0], found[1] * rows.shape[0])


@functools.partial(jax.jit, static_argnums=0)
def _shuffled(num: int, epoch: Array, seed: Array | int) -> tuple[Array, Array]:
    """The key of an epoch, and the order of its examples."""
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), _EPOCHS), epoch)
    return key, jax.random.permutation(jax.random.fold_in(key, 0), num)


_turn_alone = jax.jit(_turn, static_argnums=(0, 1))


def _with_means(state: State, sums: list[Any], num: int) -> State:
    loss, right = (sum(values) / num for values in zip(*sums, strict=True))
    return state._replace(epoch=state.epoch + 1, loss=loss, accuracy=right)


def train_step(
    experiment: Experiment, adds: bool, state: State, batch: Batch, key: Array
) -> tuple[State, tuple[Array, Array]]:
    """One update.

    Args:
      experiment: network and training.
      adds: whether the arm is another one than base, for its schedule.
      state: before.
      batch: inputs and labels.
      key: of augmentation and dropout.

    Returns:
      The state after it, and mean loss and accuracy before it.
    """
    network, augment = remembering(experiment.network), getattr(experiment.task, "augment", None)

    def one(params: Params, inputs: Array, label: Array, key: Array) -> tuple[Array, Array, Any]:
        move, drop = jax.random.split(key)
        inputs = standard(experiment, inputs)
        if augment is not None:
            inputs = augment(move, inputs)
        found, stats = network.step(params, state.stats, inputs, drop)
        return _scored(experiment, found, label), _is_right(found, label), stats

    def mean_loss(params: Params) -> tuple[Array, tuple[Array, Any]]:
        keys = jax.random.split(key, batch.labels.shape[0])
        # The statistics are those of the whole batch, the same for every example.
        each = jax.vmap(one, in_axes=(None, 0, 0, 0), out_axes=(0, 0, None), axis_name="batch")
        losses, right, stats = each(params, *batch, keys)
        return jnp.mean(losses), (jnp.mean(right, dtype=jnp.float32), dict(stats))

    (loss, (right, stats)), slope = jax.value_and_grad(mean_loss, has_aux=True)(state.params)
    adam = optimizer_of(experiment, adds)
    updates, opt_state = adam.update(slope, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    loss, right = loss.astype(jnp.float32), right.astype(jnp.float32)
    return state._replace(params=params, stats=stats, opt_state=opt_state), (loss, right)


@functools.partial(jax.jit, static_argnums=0)
def evaluate(
    experiment: Experiment, params: Params, stats: dict[str, Any], batch: Batch
) -> Answers:
    """Losses and right answers, `eval_batch` examples at once, without anything random."""

    def one(example: tuple[Array, Array]) -> Answers:
        inputs, label = example
        found = outputs(experiment, params, stats, inputs)
        return Answers(_scored(experiment, found, label), _is_right(found, label))

    size = min(as_minibatches(experiment.training).eval_batch, batch.labels.shape[0])
    return jax.lax.map(one, tuple(batch), batch_size=size)


def outputs(experiment: Experiment, params: Params, stats: dict[str, Any], inputs: Array) -> Array:
    """The trained network's answer to one input, without anything random."""
    network = remembering(experiment.network)
    return network.answer(params, stats, standard(experiment, inputs))


def loss_of(
    experiment: Experiment, params: Params, stats: dict[str, Any], inputs: Array, label: Array
) -> Float[Array, ""]:
    """The loss of one example under `outputs`."""
    return _scored(experiment, outputs(experiment, params, stats, inputs), label)


def standard(experiment: Experiment, inputs: Array) -> Array:
    """An input as the network takes it: as it is, where the task does not say otherwise."""
    change = getattr(experiment.task, "standard", None)
    return inputs if change is None else change(inputs)


def _scored(experiment: Experiment, found: Array, label: Array) -> Array:
    return loss_of_outputs(found, label, values=experiment.task.num_classes is None)


_is_right = outputs_are_right
