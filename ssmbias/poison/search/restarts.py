"""Gradient matching against one network, one restart after the other, so that a kill costs one."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ssmbias.core.types import AnyArray, Array
from ssmbias.poison.batch import Batch, LossFn, Params, Relabel
from ssmbias.poison.protocols import labelled
from ssmbias.poison.search.groups import Groups, allocate
from ssmbias.poison.search.matching import brew
from ssmbias.poison.search.matching_config import MatchingConfig
from ssmbias.poison.search.objective import matching_objective
from ssmbias.poison.search.perturbation import random_perturbation
from ssmbias.poison.search.weighting import position_weights
from ssmbias.poison.settings import Experiment
from ssmbias.poison.training.minibatches import evaluate, loss_of

# Streams of random numbers of a seed.
_SEARCH, _RANDOM = 2, 3


class Victim(NamedTuple):
    """The network that poison is brewed against, with the targets."""

    params: Params
    stats: dict[str, Any]
    targets: Batch


class Search(NamedTuple):
    """The search so far.

    Attributes:
      done: restarts done.
      score: the lowest final objective so far.
      delta: its perturbation, of inputs.
      history: its objective before every update.
      objective: the final one of every restart; nan where it has not run.
      kept: which restart is kept.
    """

    done: Int[AnyArray, ""]
    score: Float[AnyArray, ""]
    delta: Float[AnyArray, "poison ..."]
    history: Float[AnyArray, " step"]
    objective: Float[AnyArray, " restart"]
    kept: Int[AnyArray, ""]


def no_search(experiment: Experiment, carriers: Batch) -> Search:
    """The search before the first restart."""
    config, dtype = experiment.poisons.matching, carriers.inputs.dtype
    return Search(
        np.zeros((), np.int32),
        np.full((), np.inf, dtype),
        np.zeros(carriers.inputs.shape, dtype),
        np.zeros(config.steps, dtype),
        np.full(config.restarts, np.nan, dtype),
        np.zeros((), np.int32),
    )


def next_restart(
    experiment: Experiment,
    weighting: str,
    seed: int,
    victim: Victim,
    carriers: Batch,
    search: Search,
) -> Search:
    """Run one restart more and keep the better perturbation.

    Args:
      experiment: of the attack.
      weighting: "none", "late", "early" or "rows". They start from the same noise.
      seed: of starts and augmentation.
      victim: the network, trained without poison, and the targets.
      carriers: the inputs to perturb, and labels.
      search: so far.

    Returns:
      The search after it. A restart that ended in nan loses against every other.
    """
    strength = penalty_strength(experiment, weighting, victim, carriers)
    index = int(search.done)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), _SEARCH), index)
    found, value, history = _restart(experiment, weighting, strength, key, victim, carriers)
    objective = np.asarray(search.objective).copy()
    objective[index] = value
    done = np.asarray(index + 1, np.int32)
    score = np.asarray(value if np.isfinite(value) else np.inf, objective.dtype)
    if index == 0 or score < search.score:
        kept = np.asarray(index, np.int32)
        return Search(done, score, found, history, objective, kept)
    return search._replace(done=done, objective=objective)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _restart(
    experiment: Experiment,
    weighting: str,
    strength: float,
    key: Array,
    victim: Victim,
    carriers: Batch,
) -> tuple[Array, Array, Array]:
    found = brew(
        key,
        _loss(experiment, weighting, victim),
        victim.params,
        _moved(experiment, weighting, carriers),
        _moved(experiment, weighting, victim.targets),
        matching_of(experiment, weighting, strength),
        relabel=_relabel(experiment, weighting),
        groups=_groups(experiment, victim),
        augment=_augment(experiment, weighting),
    )
    delta = jax.vmap(lambda one: _back(experiment, weighting, one))(found.delta)
    return delta, found.objective[0], found.history


def matching_of(experiment: Experiment, weighting: str, strength: float = 1.0) -> MatchingConfig:
    """The search of one restart."""
    return dataclasses.replace(
        experiment.poisons.matching,
        restarts=1,
        weighting=weighting,
        weighting_strength=strength,
    )


def penalty_strength(
    experiment: Experiment, weighting: str, victim: Victim, carriers: Batch
) -> float:
    r"""The weight $\lambda$ of a penalty $\lambda \sum_k w_k \|\delta_k\|^2$.

    It is `weighting_strength`, unless "late" or "early" have a relative strength $s$. Then, with
    the budget $\varepsilon$, the mean weight $\bar w$ and the median $m$ of the absolute slopes of
    the matching objective of the first group at $\delta = 0$,

    $$\lambda = s\, m / (2 \bar w \varepsilon),$$

    so that an entry of mean weight at the budget is held back as strongly as the typical slope
    drives it. Rounded to two digits: nothing depends on the last bits of $m$.

    Args:
      experiment: of the attack.
      weighting: as for `next_restart`.
      victim: network and targets.
      carriers: the inputs to perturb, and labels.

    Returns:
      $\lambda$ in the units of the inputs; 1 where there is no penalty, and where all slopes are 0.
    """
    config = experiment.poisons.matching
    if weighting == "none":
        return 1.0
    if weighting == "rows" or config.relative_strength is None:
        return config.weighting_strength
    # Both weightings work in the same positions: one compilation.
    slope = float(_typical_slope(experiment, "late", victim, carriers))
    shape = jax.eval_shape(lambda x: _moved(experiment, weighting, x), carriers).inputs.shape[1:]
    weights = position_weights(weighting, shape)
    assert weights is not None
    if not (np.isfinite(slope) and slope > 0):
        return 1.0
    return float(f"{config.relative_strength * slope / (2 * weights.mean() * config.budget):.1e}")


@functools.partial(jax.jit, static_argnums=(0, 1))
def _typical_slope(
    experiment: Experiment, weighting: str, victim: Victim, carriers: Batch
) -> Array:
    loss = _loss(experiment, weighting, victim)
    targets = _moved(experiment, weighting, victim.targets)
    groups = _groups(experiment, victim)
    assert groups is not None
    some, aims = groups[0].poisons[0], groups[0].targets[0]
    moved = _moved(experiment, weighting, Batch(carriers.inputs[some], carriers.labels[some]))

    def objective(inputs: Array) -> Array:
        return matching_objective(
            loss,
            victim.params,
            Batch(inputs, moved.labels),
            Batch(targets.inputs[aims], targets.labels[aims]),
        )

    return jnp.median(jnp.abs(jax.grad(objective)(moved.inputs)))


def random_like(
    experiment: Experiment, seed: int, carriers: Batch, delta: Float[AnyArray, "poison ..."]
) -> Float[Array, "poison ..."]:
    """Random perturbations with the norms of `delta`, one by one, in the same budget."""
    key = jax.random.fold_in(jax.random.key(seed), _RANDOM)
    return _random(experiment, key, carriers, jnp.asarray(delta))


@functools.partial(jax.jit, static_argnums=0)
def _random(experiment: Experiment, key: Array, carriers: Batch, delta: Array) -> Array:
    return random_perturbation(key, carriers, experiment.poisons.matching, like=delta)


def _loss(experiment: Experiment, weighting: str, victim: Victim) -> LossFn:
    def loss(params: Params, inputs: Array, label: Array) -> Array:
        return loss_of(
            experiment, params, victim.stats, _back(experiment, weighting, inputs), label
        )

    return loss


def _augment(experiment: Experiment, weighting: str) -> Any:
    """The task's augmentation, of inputs as the search moves them."""
    task: Any = experiment.task
    if not hasattr(task, "augment"):
        return None
    back = getattr(task, "pixels_of", lambda inputs: inputs)
    forth = getattr(task, "standard", lambda inputs: inputs)

    def augment(key: Array, inputs: Array) -> Array:
        image = forth(_back(experiment, weighting, inputs))
        return _forth(experiment, weighting, back(task.augment(key, image)))

    return augment


def _groups(experiment: Experiment, victim: Victim) -> Groups | None:
    """The hardest targets get more poisons; `None` leaves `brew` its equal groups."""
    poisons = experiment.poisons
    if poisons.matching.group_size is None:
        return None
    answers = evaluate(experiment, victim.params, victim.stats, victim.targets)
    return allocate(
        answers.losses,
        answers.right,
        poisons.num_poisons,
        group_size=poisons.matching.group_size,
    )


def _relabel(experiment: Experiment, weighting: str) -> Relabel | None:
    task = experiment.task
    if task.label is None:
        return None

    def relabel(inputs: Array) -> Array:
        back = jax.vmap(lambda one: _back(experiment, weighting, one))(inputs)
        return labelled(task, back).labels

    return relabel


def _forth(experiment: Experiment, weighting: str, inputs: Array) -> Array:
    change = getattr(experiment.task, "to_sequence", None)
    return inputs if change is None else change(inputs, weighting)


def _back(experiment: Experiment, weighting: str, inputs: Array) -> Array:
    change = getattr(experiment.task, "from_sequence", None)
    return inputs if change is None else change(inputs, weighting)


def _moved(experiment: Experiment, weighting: str, batch: Batch) -> Batch:
    inputs = jax.vmap(lambda one: _forth(experiment, weighting, one))(batch.inputs)
    return Batch(inputs, batch.labels)
