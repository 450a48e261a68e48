"""Gradient matching on CIFAR-10, one restart after the other, so that a killed run goes on."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from ssmbias.core.types import AnyArray, Array
from ssmbias.data.tasks.augment import augment
from ssmbias.data.tasks.images import denormalise, normalise
from ssmbias.poison.batch import Batch, LossFn, Params
from ssmbias.poison.full_data import from_layout, pixels, to_layout
from ssmbias.poison.full_settings import FullSettings
from ssmbias.poison.full_training import evaluate, image_loss
from ssmbias.poison.groups import Groups, allocate
from ssmbias.poison.matching import brew, matching_objective
from ssmbias.poison.perturbation import random_perturbation
from ssmbias.poison.weighting import late_share, position_weights

LAST_PART = 32
"""The last elements are the last of so many equal parts of the sequence: one row of an image."""

_PLANES = (3, 32, 32)
# Streams of random numbers of a seed.
_SEARCH, _RANDOM = 2, 3


class Victim(NamedTuple):
    """The network that poison is brewed against, with the targets."""

    params: Params
    stats: dict[str, Any]
    target_images: UInt8[AnyArray, "target 32 32 3"]
    target_labels: Int[AnyArray, " target"]


class Search(NamedTuple):
    """The search so far.

    Attributes:
      done: restarts done.
      score: the lowest final objective so far.
      delta: its perturbation, of images.
      history: its objective before every update.
      objective: the final one of every restart; nan where it has not run.
      kept: which restart is kept.
    """

    done: Int[AnyArray, ""]
    score: Float[AnyArray, ""]
    delta: Float[AnyArray, "poison 32 32 3"]
    history: Float[AnyArray, " step"]
    objective: Float[AnyArray, " restart"]
    kept: Int[AnyArray, ""]


class Shares(NamedTuple):
    """The part of perturbations at the end: of the network's sequence, and of the image.

    Each is a mean of norms, of the last 1/32 over the whole; evenly spread it is `UNIFORM_SHARE`.
    """

    elements: float
    rows: float


UNIFORM_SHARE = LAST_PART**-0.5
"""Either share of a perturbation that is spread evenly."""


def no_search(settings: FullSettings) -> Search:
    """The search before the first restart."""
    num = settings.sizes.poisons
    return Search(
        np.zeros((), np.int32),
        np.full((), np.inf, np.float32),
        np.zeros((num, 32, 32, 3), np.float32),
        np.zeros(settings.brew_steps, np.float32),
        np.full(settings.restarts, np.nan, np.float32),
        np.zeros((), np.int32),
    )


def next_restart(
    settings: FullSettings, arm: str, seed: int, victim: Victim, poisons: Batch, search: Search
) -> Search:
    """Run one restart more and keep the better perturbation.

    Args:
      settings: of the attack.
      arm: "found", "found_late", "found_early" or "found_rows". They start from the same noise.
      seed: of starts and augmentation.
      victim: the network, trained without poison, and the targets.
      poisons: images as pixels in [0, 1], and labels.
      search: so far.

    Returns:
      The search after it. A restart that ended in nan loses against every other.
    """
    strength = penalty_strength(settings, arm, victim, poisons)
    index = int(search.done)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), _SEARCH), index)
    found, value, history = _restart(settings, arm, strength, key, victim, poisons)
    objective = np.asarray(search.objective).copy()
    objective[index] = value
    done = np.asarray(index + 1, np.int32)
    score = np.float32(value) if np.isfinite(value) else np.float32(np.inf)
    if index == 0 or score < search.score:
        kept = np.asarray(index, np.int32)
        return Search(done, np.asarray(score), found, history, objective, kept)
    return search._replace(done=done, objective=objective)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _restart(
    settings: FullSettings, arm: str, strength: float, key: Array, victim: Victim, poisons: Batch
) -> tuple[Array, Array, Array]:
    layout = _layout(settings, arm)
    loss = _loss(settings, layout, victim)
    found = brew(
        key,
        loss,
        victim.params,
        _moved(poisons, layout),
        _moved(_targets(victim), layout),
        settings.matching(arm, strength),
        groups=_groups(settings, victim),
        augment=functools.partial(_augment, layout),
    )
    delta = jax.vmap(lambda one: from_layout(one, layout))(found.delta)
    return delta, found.objective[0], found.history


def penalty_strength(settings: FullSettings, arm: str, victim: Victim, poisons: Batch) -> float:
    r"""The weight $\lambda$ of an arm's penalty $\lambda \sum_k w_k \|\delta_k\|^2$.

    For found_rows it is the published one. For found_late and found_early, with the relative
    strength $s$, the budget $\varepsilon$, the mean weight $\bar w$ and the median $m$ of the
    absolute slopes of the matching objective of the first group at $\delta = 0$,

    $$\lambda = s\, m / (2 \bar w \varepsilon),$$

    so that an entry of mean weight at the budget is held back as strongly as the typical slope
    drives it. Rounded to two digits: nothing depends on the last bits of $m$.

    Args:
      settings: of the attack.
      arm: a searched one.
      victim: network and targets.
      poisons: images as pixels in [0, 1], and labels.

    Returns:
      $\lambda$, for pixels in [0, 1]; 1 where there is no penalty, and where all slopes are 0.
    """
    weighting = settings.matching(arm).weighting
    if weighting == "none":
        return 1.0
    if weighting == "rows":
        return settings.row_strength
    slope = float(_typical_slope(settings, victim, poisons))
    shape = to_layout(np.zeros((32, 32, 3), np.float32), settings.layout).shape
    weights = position_weights(weighting, shape)
    assert weights is not None
    if not (np.isfinite(slope) and slope > 0):
        return 1.0
    return float(
        f"{settings.position_strength * slope / (2 * weights.mean() * settings.budget):.1e}"
    )


@functools.partial(jax.jit, static_argnums=0)
def _typical_slope(settings: FullSettings, victim: Victim, poisons: Batch) -> Array:
    layout = settings.layout
    loss, targets = _loss(settings, layout, victim), _moved(_targets(victim), layout)
    block = _groups(settings, victim)[0]
    some, aims = block.poisons[0], block.targets[0]
    moved = _moved(Batch(poisons.inputs[some], poisons.labels[some]), layout)

    def objective(inputs: Array) -> Array:
        return matching_objective(
            loss,
            victim.params,
            Batch(inputs, moved.labels),
            Batch(targets.inputs[aims], targets.labels[aims]),
        )

    return jnp.median(jnp.abs(jax.grad(objective)(moved.inputs)))


def random_like(
    settings: FullSettings,
    seed: int,
    poisons: Batch,
    delta: Float[AnyArray, "poison 32 32 3"],
) -> Float[Array, "poison 32 32 3"]:
    """Random perturbations with the norms of `delta`, image by image, in the same budget."""
    key = jax.random.fold_in(jax.random.key(seed), _RANDOM)
    return _random(settings, key, poisons, jnp.asarray(delta))


@functools.partial(jax.jit, static_argnums=0)
def _random(settings: FullSettings, key: Array, poisons: Batch, delta: Array) -> Array:
    return random_perturbation(key, poisons, settings.matching("found"), like=delta)


def shares_of(settings: FullSettings, delta: Float[AnyArray, "poison 32 32 3"]) -> Shares:
    """How much of perturbations lies at the end of the sequence, and in the image's last row."""

    def moved(layout: str) -> Array:
        return jax.vmap(lambda one: to_layout(one, layout))(jnp.asarray(delta))

    sequences = moved(settings.layout)
    last = max(1, sequences.shape[1] // LAST_PART)
    return Shares(
        float(late_share(sequences, last).share),
        float(late_share(moved("published"), image=_PLANES).share),
    )


def _layout(settings: FullSettings, arm: str) -> str:
    """The sequence in whose positions the search works: rows are counted in three planes."""
    return "published" if arm == "found_rows" else settings.layout


def _loss(settings: FullSettings, layout: str, victim: Victim) -> LossFn:
    def loss(params: Params, inputs: Array, label: Array) -> Array:
        return image_loss(settings, params, victim.stats, from_layout(inputs, layout), label)

    return loss


def _augment(layout: str, key: Array, inputs: Array) -> Array:
    """The mean colour comes in at the border, as in training."""
    image = normalise(from_layout(inputs, layout))
    return to_layout(denormalise(augment(key, image)), layout)


def _targets(victim: Victim) -> Batch:
    return Batch(pixels(victim.target_images), jnp.asarray(victim.target_labels))


def _groups(settings: FullSettings, victim: Victim) -> Groups:
    answers = evaluate(
        settings, victim.params, victim.stats, victim.target_images, victim.target_labels
    )
    return allocate(
        answers.losses,
        answers.right,
        settings.sizes.poisons,
        group_size=settings.group_size,
    )


def _moved(batch: Batch, layout: str) -> Batch:
    return Batch(jax.vmap(lambda one: to_layout(one, layout))(batch.inputs), batch.labels)
