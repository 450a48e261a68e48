"""Training on CIFAR-10: an epoch is one call on the device, in minibatches, in mixed precision."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Bool, Float, Int, Shaped, UInt8

from ssmbias.core.types import AnyArray, Array
from ssmbias.data.tasks.augment import augment
from ssmbias.data.tasks.images import normalise
from ssmbias.models.networks.groups import cifar_optimizer, optimizer
from ssmbias.poison.batch import Batch, Params
from ssmbias.poison.full_data import Training, examples, pixels, to_layout
from ssmbias.poison.full_settings import FullSettings, network_of

FLOOR = 0.01
"""The learning rate after the last epoch, as a part of that before the first."""

PAPER_LENGTH, PAPER_FLOOR = 3, 0.001
"""The published cosine of the poisoned runs, in epochs of the clean one, and its floor."""

PAPER_MORE, PAPER_MARGIN = 2, 0.001
"""They go on for up to so many times the epochs, until the loss is that of base and this more."""

# Streams of random numbers of a seed.
_START, _EPOCHS = 0, 1


class State(NamedTuple):
    """All that training goes on from.

    Attributes:
      params: of the network, in single precision.
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


def rate_factor(settings: FullSettings, arm: str, epoch: int | Array) -> Array:
    r"""The learning rate of an epoch over that of the first one: a cosine, constant in an epoch.

    Example:
      >>> settings = FullSettings(schedule="paper")
      >>> [round(float(rate_factor(settings, arm, 100)), 2) for arm in ("base", "found")]
      [0.01, 0.75]
    """
    length, floor = settings.epochs, FLOOR
    if settings.schedule == "paper" and arm != "base":
        length, floor = PAPER_LENGTH * length, PAPER_FLOOR
    part = jnp.asarray(epoch, jnp.float32) / length
    # Clipped: the published cosine is never followed beyond its end.
    return floor + (1 - floor) * 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(part, 0, 1)))


def optimizer_of(settings: FullSettings, arm: str) -> optax.GradientTransformation:
    """The published AdamW, its rates falling from epoch to epoch."""
    steps = settings.steps_per_epoch(arm)
    return optimizer(
        cifar_optimizer(settings.model), lambda count: rate_factor(settings, arm, count // steps)
    )


@functools.partial(jax.jit, static_argnums=0)
def start(settings: FullSettings, seed: Int[AnyArray, ""] | int) -> State:
    """The state before training: it depends on the seed, and on no arm."""
    key = jax.random.fold_in(jax.random.key(seed), _START)
    variables = dict(_network(settings).init(key, _inputs(settings, jnp.zeros((32, 32, 3), "f4"))))
    params = variables.pop("params")
    nothing = jnp.zeros((), jnp.float32)
    opt_state = optimizer_of(settings, "base").init(params)
    return State(params, variables, opt_state, jnp.zeros((), jnp.int32), nothing, nothing)


def train_epoch(
    settings: FullSettings,
    arm: str,
    training: Training,
    state: State,
    seed: Int[AnyArray, ""] | int,
) -> State:
    """One pass over the training data, shuffled by seed and epoch.

    All batches are whole, but for the last one, which has what is left. It is compiled by itself:
    with padding instead, rows that are no examples would have to be kept out of the statistics of
    the batch norm.

    Args:
      settings: network and training.
      arm: whose schedule; arms with equally many examples see them in the same order, with the
        same shifts, flips and dropout.
      training: on the device.
      state: after `state.epoch` epochs.
      seed: of all that is random.

    Returns:
      The state after one epoch more; its bits depend on nothing but the arguments.
    """
    # All arms but base have the same schedule and number of examples: one compilation.
    kind = arm if arm == "base" else "dup"
    if not loops_are_slow(settings):
        return _train_epoch(settings, kind, training, state, seed)
    num = training.source.shape[0]
    key, order = _shuffled(num, state.epoch, seed)
    sums = []
    for index, first in enumerate(range(0, num, settings.batch_size), start=1):
        rows = order[first : first + settings.batch_size]
        state, each = _turn_alone(settings, kind, training, state, rows, key, index)
        sums.append(each)
    return _with_means(state, sums, num)


def loops_are_slow(settings: FullSettings) -> bool:
    """Whether updates are to be called one by one.

    XLA's loops on the CPU take eight times as long for what is convolved in them (measured with
    the encoder of "mamba2", JAX 0.10), which a call for each update does not.
    """
    return settings.model == "mamba2" and jax.default_backend() == "cpu"


@functools.partial(jax.jit, static_argnums=(0, 1))
def _train_epoch(
    settings: FullSettings, arm: str, training: Training, state: State, seed: Array | int
) -> State:
    num = training.source.shape[0]
    size = min(settings.batch_size, num)
    whole, left = divmod(num, size)
    key, order = _shuffled(num, state.epoch, seed)

    def step(carry: State, turn: tuple[Array, Array]) -> tuple[State, tuple[Array, Array]]:
        return _turn(settings, arm, training, carry, turn[0], key, turn[1])

    turns = (order[: whole * size].reshape(whole, size), jnp.arange(1, whole + 1))
    state, each = jax.lax.scan(step, state, turns)
    sums = [tuple(jnp.sum(values) for values in each)]
    if left:
        state, last = step(state, (order[whole * size :], jnp.asarray(whole + 1)))
        sums.append(last)
    return _with_means(state, sums, num)


def _turn(
    settings: FullSettings,
    arm: str,
    training: Training,
    state: State,
    rows: Array,
    key: Array,
    index: Array | int,
) -> tuple[State, tuple[Array, Array]]:
    """An update with some examples; the sums of their losses and right answers."""
    batch = examples(training, rows)
    state, found = train_step(settings, arm, state, batch, jax.random.fold_in(key, index))
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
    settings: FullSettings, arm: str, state: State, batch: Batch, key: Array
) -> tuple[State, tuple[Array, Array]]:
    """One update.

    Args:
      settings: network and training.
      arm: whose schedule.
      state: before.
      batch: images as pixels in [0, 1], perturbed where they are poison, and labels.
      key: of shifts, flips and dropout.

    Returns:
      The state after it, and mean loss and accuracy before it.
    """
    network = _network(settings)

    def one(params: Params, image: Array, label: Array, key: Array) -> tuple[Array, Array, Any]:
        move, drop = jax.random.split(key)
        inputs = _inputs(settings, augment(move, normalise(image)))
        found, stats = network.apply(
            {"params": params, **state.stats},
            inputs,
            train=True,
            mutable=list(state.stats),
            rngs={"dropout": drop},
        )
        return _cross_entropy(found, label), jnp.argmax(found) == label, stats

    def mean_loss(params: Params) -> tuple[Array, tuple[Array, Any]]:
        keys = jax.random.split(key, batch.labels.shape[0])
        # The statistics are those of the whole batch, the same for every example.
        each = jax.vmap(one, in_axes=(None, 0, 0, 0), out_axes=(0, 0, None), axis_name="batch")
        losses, right, stats = each(params, *batch, keys)
        return jnp.mean(losses), (jnp.mean(right, dtype=jnp.float32), dict(stats))

    (loss, (right, stats)), slope = jax.value_and_grad(mean_loss, has_aux=True)(state.params)
    updates, opt_state = optimizer_of(settings, arm).update(slope, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return state._replace(params=params, stats=stats, opt_state=opt_state), (loss, right)


@functools.partial(jax.jit, static_argnums=0)
def evaluate(
    settings: FullSettings,
    params: Params,
    stats: dict[str, Any],
    images: UInt8[AnyArray, "num 32 32 3"],
    labels: Int[AnyArray, " num"],
) -> Answers:
    """Losses and right answers, `settings.eval_batch` images at once, without anything random."""

    def one(example: tuple[Array, Array]) -> Answers:
        image, label = example
        found = outputs(settings, params, stats, pixels(image))
        return Answers(_cross_entropy(found, label), jnp.argmax(found) == label)

    size = min(settings.eval_batch, images.shape[0])
    return jax.lax.map(one, (images, labels), batch_size=size)


def outputs(
    settings: FullSettings,
    params: Params,
    stats: dict[str, Any],
    image: Float[Array, "32 32 3"],
    dtype: str = "float32",
) -> Float[Array, " classes"]:
    """The trained network's answer to one image of pixels in [0, 1], without anything random."""
    inputs = _inputs(settings, normalise(image))
    return _network(settings, dtype).apply({"params": params, **stats}, inputs)  # pyright: ignore[reportReturnType]


def image_loss(
    settings: FullSettings,
    params: Params,
    stats: dict[str, Any],
    image: Float[Array, "32 32 3"],
    label: Int[Array, ""],
) -> Float[Array, ""]:
    """The loss of one image under `outputs`."""
    return _cross_entropy(outputs(settings, params, stats, image), label)


def epochs_of(settings: FullSettings, arm: str) -> tuple[int, int]:
    """The least and the largest number of epochs of an arm.

    Example:
      >>> epochs_of(FullSettings(), "found"), epochs_of(FullSettings(schedule="paper"), "found")
      ((100, 100), (100, 300))
    """
    longer = settings.schedule == "paper" and arm != "base"
    return settings.epochs, settings.epochs * (1 + PAPER_MORE * longer)


def is_done(settings: FullSettings, arm: str, epoch: int, loss: float, base_loss: float) -> bool:
    """Whether an arm ends after so many epochs.

    Args:
      settings: epochs and schedule.
      arm: which.
      epoch: epochs done.
      loss: of the last one.
      base_loss: of the last epoch of base; read by the published schedule only.

    Returns:
      Whether it does. A loss that is not a number ends at the largest number of epochs.
    """
    least, most = epochs_of(settings, arm)
    fitted = math.isfinite(loss) and loss <= base_loss + PAPER_MARGIN
    return epoch >= most or (least < most and epoch >= least and fitted)


def _network(settings: FullSettings, dtype: str | None = None) -> Any:
    from ssmbias.models.networks.sequence import SequenceNetwork  # noqa: PLC0415  (flax)

    return SequenceNetwork(network_of(settings, dtype))


def _inputs(settings: FullSettings, image: Float[Array, "32 32 3"]) -> Shaped[Array, "..."]:
    """A normalised image as the network takes it: "mamba2" makes its tokens itself."""
    return image if settings.layout == "tokens" else to_layout(image, settings.layout)


def _cross_entropy(found: Array, label: Array) -> Array:
    return optax.softmax_cross_entropy_with_integer_labels(found, label)
