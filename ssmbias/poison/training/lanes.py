"""All seeds of an arm at once: preparing, training, searching and measuring, compiled once each.

Every arm has arrays of the same shapes, so that one compiled program serves them all.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ssmbias.core.types import Array
from ssmbias.poison.arms.arm import Arm, perturbed_norm
from ssmbias.poison.arms.elements import placed, window_positions
from ssmbias.poison.arms.registry import all_arms
from ssmbias.poison.batch import Batch, Params
from ssmbias.poison.protocols import Keys, Problem, copied, keys_of, labelled
from ssmbias.poison.search.matching import brew, poisoned
from ssmbias.poison.search.perturbation import random_perturbation
from ssmbias.poison.search.weighting import position_weights
from ssmbias.poison.settings import Experiment
from ssmbias.poison.training.learner import Learner, accuracy, learner_of, train
from ssmbias.poison.training.settings import as_full_batch

NOT_FITTED = 1
"""Outcome of a run that does not fit its base part, or is not finite; 0 is one that does."""

LEAST_FITTED = 0.9
"""The accuracy on the base part below which a single run says nothing about its test error."""

_PROBED = 256


class Prepared(NamedTuple):
    """Of every seed: its keys, its network at the start, its data, and its poisons by hand.

    Attributes:
      copies: the training examples that copies and perturbations are made of.
    """

    keys: Keys
    start: Params
    problem: Problem
    by_hand: dict[str, Batch]
    copies: Batch


def spread(tree: Any, num: int) -> Any:
    """Arrays with a leading axis of `num` lanes, shared out over the devices if that is even."""
    devices = jax.local_devices()
    while num % len(devices):
        devices = devices[:-1]
    mesh = Mesh(np.array(devices), ("lane",))
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec("lane")))


def prepare(experiment: Experiment, seeds: Array, own_arms: tuple[Arm, ...] = ()) -> Prepared:
    """Data, start and poisons by hand of every seed.

    Args:
      experiment: which.
      seeds: integers.
      own_arms: arms besides those of the package.
    """
    task = experiment.task
    arms = tuple(arm for arm in (*all_arms(), *own_arms) if arm.by_hand)
    arms = tuple(arm for arm in arms if not arm.lacks(experiment))
    if getattr(task, "traced", True):
        return _prepare(experiment, arms, seeds, None)
    drawn = [task.draw(int(seed)) for seed in seeds]
    problems = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(x) for x in leaves]), *drawn)
    return _prepare(experiment, arms, seeds, problems)


# It runs once and consists of random numbers, which XLA compiles for long: so with little effort.
@functools.partial(
    jax.jit,
    static_argnums=(0, 1),
    compiler_options={
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    },
)
def _prepare(
    experiment: Experiment, arms: tuple[Arm, ...], seeds: Array, problems: Problem | None
) -> Prepared:
    def one(given: tuple[Array, Problem | None]) -> Prepared:
        seed, problem = given
        keys = keys_of(seed)
        problem = experiment.task.draw(seed) if problem is None else problem
        start = learner_of(experiment).init(keys.start, problem.train.inputs[0])
        copies = copied(experiment.task, problem.train, experiment.poisons.num_poisons)
        by_hand = {arm.name: arm.by_hand(experiment, keys, copies) for arm in arms if arm.by_hand}
        return Prepared(keys, start, problem, by_hand, copies)

    return jax.lax.map(one, (seeds, problems))  # one after another compiles sooner than at once


@functools.partial(jax.jit, static_argnums=0)
def at_window(experiment: Experiment, prepared: Prepared, start: Array) -> Batch:
    """Poisons by hand with their elements from position `start` on."""
    positions = window_positions(experiment, start)

    def one(keys: Keys, copies: Batch) -> Batch:
        return placed(experiment, keys, copies, positions)

    return jax.vmap(one)(prepared.keys, prepared.copies)


def arm_weights(experiment: Experiment, adds: bool) -> Array:
    """Weights of training data and extra sequences in the loss."""
    extra = 1.0 if adds else 0.0
    return jnp.concatenate(
        [jnp.ones(experiment.num_base), jnp.full(experiment.poisons.num_poisons, extra)]
    )


def train_arm(experiment: Experiment, prepared: Prepared, adds: bool, extra: Batch) -> Any:
    """The trained parameters and final loss of every seed; `adds`: whether the extra ones count."""
    weights = arm_weights(experiment, adds)
    return _train(experiment, None, prepared.start, prepared.problem.train, extra, weights)


def victim(experiment: Experiment, prepared: Prepared) -> Params:
    """The clean networks that poison is brewed for."""
    steps, extra = experiment.poisons.victim_steps, prepared.copies
    if steps == 0:
        return prepared.start
    steps = None if steps is None else min(steps, as_full_batch(experiment.training).steps)
    weights, base = arm_weights(experiment, False), prepared.problem.train
    return _train(experiment, steps, prepared.start, base, extra, weights)[0]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _train(
    experiment: Experiment,
    steps: int | None,
    start: Params,
    base: Batch,
    extra: Batch,
    weights: Array,
) -> tuple[Params, Array]:
    def one(start: Params, base: Batch, extra: Batch) -> tuple[Params, Array]:
        whole = _joined(base, extra)
        training = as_full_batch(experiment.training)
        return train(learner_of(experiment), training, start, whole, weights, steps)

    return jax.vmap(one)(start, base, extra)


@functools.partial(jax.jit, static_argnums=0)
def forces(
    experiment: Experiment, start: Params, base: Batch, extra: Batch, weights: Array
) -> Array:
    """The coefficients of I2 of every seed at the start of training, by the network's own means."""

    def one(start: Params, base: Batch, extra: Batch) -> Array:
        return experiment.network.lag_forces(start, _joined(base, extra), weights)

    return jax.vmap(one)(start, base, extra)


def _joined(base: Batch, extra: Batch) -> Batch:
    return Batch(*(jnp.concatenate([a, b]) for a, b in zip(base, extra, strict=True)))


@functools.partial(jax.jit, static_argnums=0)
def measure(experiment: Experiment, params: Params, problem: Problem) -> dict[str, Array]:
    """What is reported of trained networks, by name, with the seeds in front."""
    learner = learner_of(experiment)

    def one(params: Params, problem: Problem) -> dict[str, Array]:
        found = {
            f"{name}_accuracy": accuracy(learner, params, batch)
            for name, batch in problem.tests.items()
        }
        found["train_accuracy"] = accuracy(learner, params, problem.train)
        return found | _sensitivity(experiment, learner, params, problem.tests["test"])

    return jax.vmap(one)(params, problem)


def _sensitivity(
    experiment: Experiment, learner: Learner, params: Params, tests: Batch
) -> dict[str, Array]:
    """Where along the sequence the output is sensitive to its input."""

    def output(inputs: Array, label: Array) -> Array:
        found = learner.outputs(params, inputs)
        return found[0] if found.shape[0] == 1 else found[label]

    slopes = jax.vmap(jax.grad(output))(*(x[:_PROBED] for x in tests))
    squares = jnp.sum(slopes**2, axis=(0, 2))
    found = {"input_share": squares / jnp.sum(squares)}
    response = getattr(experiment.task, "response", None)
    if response is not None:
        slopes = slopes[:, :, 0]
        teacher = jnp.asarray(response(experiment.task.seq_len)[::-1].copy(), slopes.dtype)
        norms = jnp.linalg.norm(slopes, axis=1) * jnp.linalg.norm(teacher)
        # A network that is constant around an input points nowhere.
        cosine = jnp.where(norms > 0, slopes @ teacher / jnp.where(norms > 0, norms, 1.0), 0.0)
        found["teacher_cosine"] = jnp.mean(cosine)
    return found


def search(
    experiment: Experiment, weighting: str, prepared: Prepared, params: Params
) -> tuple[Batch, Array, Array]:
    """Found poisons of every seed, their perturbations, and the objective that was reached.

    Args:
      experiment: which.
      weighting: "none", "late" or "early".
      prepared: of the seeds.
      params: of the networks that are attacked.

    Returns:
      Sequences with honest labels, perturbations, objectives.
    """
    shape = prepared.problem.train.inputs.shape[2:]
    weights = position_weights(weighting, shape)
    penalty = experiment.poisons.matching.weighting_strength * (
        np.zeros(shape) if weights is None else np.broadcast_to(weights, shape)
    )
    return _search(experiment, jnp.asarray(penalty), prepared, params)


@functools.partial(jax.jit, static_argnums=0)
def _search(
    experiment: Experiment, penalty: Array, prepared: Prepared, params: Params
) -> tuple[Batch, Array, Array]:
    config, learner, relabel = (
        experiment.poisons.matching,
        learner_of(experiment),
        _relabel(experiment),
    )

    def one(keys: Keys, problem: Problem, params: Params) -> tuple[Batch, Array, Array]:
        carriers = _carriers(experiment, problem)
        found = brew(
            keys.search,
            learner.loss,
            params,
            carriers,
            problem.targets,
            config,
            relabel=relabel,
            penalty=penalty,
        )
        return poisoned(found, carriers, relabel), found.delta, found.objective[found.kept]

    return jax.vmap(one)(prepared.keys, prepared.problem, params)


@functools.partial(jax.jit, static_argnums=0)
def randomly(experiment: Experiment, prepared: Prepared, like: Array) -> Batch:
    """Random perturbations of the size of `like`, on the carriers of the found ones."""
    relabel = _relabel(experiment)

    def one(keys: Keys, problem: Problem, like: Array) -> Batch:
        carriers = _carriers(experiment, problem)
        config = experiment.poisons.matching
        inputs = carriers.inputs + random_perturbation(keys.random, carriers, config, like=like)
        return Batch(inputs, carriers.labels if relabel is None else relabel(inputs))

    return jax.vmap(one)(prepared.keys, prepared.problem, like)


def mean_norm(experiment: Experiment, prepared: Prepared, arm: Arm, extra: Batch) -> Array:
    """Mean l2 norm, for every seed, of the difference of extra sequences to what carries them."""
    inputs = extra.inputs
    if perturbed_norm(arm, experiment) == "copies":
        inputs = inputs - prepared.copies.inputs
    return jnp.mean(jnp.linalg.norm(inputs.reshape(*inputs.shape[:2], -1), axis=2), axis=1)


def _carriers(experiment: Experiment, problem: Problem) -> Batch:
    """What found poisons are perturbations of, with honest labels."""
    copies = copied(experiment.task, problem.train, experiment.poisons.num_poisons)
    if experiment.poisons.found_carrier == "copies":
        return copies
    return labelled(experiment.task, jnp.zeros_like(copies.inputs))


def _relabel(experiment: Experiment) -> Any:
    """The teacher, where there is one."""
    task = experiment.task
    if task.label is None:
        return None
    return lambda inputs: labelled(task, inputs).labels
