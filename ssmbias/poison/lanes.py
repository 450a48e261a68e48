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
from ssmbias.data.tasks.sum_sign import SignTask
from ssmbias.poison.arms import SEARCHED, arm_weights, placed, poisons_by_hand, window_positions
from ssmbias.poison.batch import Batch, Params
from ssmbias.poison.learner import Learner, accuracy, learner_of, train
from ssmbias.poison.matching import brew, poisoned
from ssmbias.poison.perturbation import random_perturbation
from ssmbias.poison.problems import Keys, Problem, keys_of, labelled, problem_of
from ssmbias.poison.settings import Experiment, PaperNetwork
from ssmbias.poison.weighting import position_weights

NOT_FITTED = 1
"""Outcome of a run that does not fit its base part, or is not finite; 0 is one that does."""

LEAST_FITTED = 0.9
"""The accuracy on the base part below which a single run says nothing about its test error."""

_PROBED = 256


class Prepared(NamedTuple):
    """Of every seed: its keys, its network at the start, its data, and its poisons by hand."""

    keys: Keys
    start: Params
    problem: Problem
    by_hand: dict[str, Batch]


def spread(tree: Any, num: int) -> Any:
    """Arrays with a leading axis of `num` lanes, shared out over the devices if that is even."""
    devices = jax.local_devices()
    while num % len(devices):
        devices = devices[:-1]
    mesh = Mesh(np.array(devices), ("lane",))
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec("lane")))


# It runs once and consists of random numbers, which XLA compiles for long: so with little effort.
@functools.partial(
    jax.jit,
    static_argnums=0,
    compiler_options={
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    },
)
def prepare(experiment: Experiment, seeds: Array) -> Prepared:
    """Data, start and poisons by hand of every seed."""

    def one(seed: Array) -> Prepared:
        keys = keys_of(seed)
        problem = problem_of(experiment, keys)
        start = learner_of(experiment).init(keys.start, problem.train.inputs[0])
        return Prepared(keys, start, problem, poisons_by_hand(experiment, keys, problem.train))

    return jax.lax.map(one, seeds)  # one after another compiles sooner than all at once


@functools.partial(jax.jit, static_argnums=0)
def at_window(experiment: Experiment, prepared: Prepared, start: Array) -> Batch:
    """Poisons by hand with their elements from position `start` on."""
    positions = window_positions(experiment, start)

    def one(keys: Keys, copies: Batch) -> Batch:
        return placed(experiment, keys, copies, positions)

    return jax.vmap(one)(prepared.keys, prepared.by_hand["dup"])


def train_arm(experiment: Experiment, prepared: Prepared, arm: str, extra: Batch) -> Any:
    """The trained parameters and final loss of every seed."""
    weights = arm_weights(experiment, arm)
    return _train(experiment, None, prepared.start, prepared.problem.train, extra, weights)


def victim(experiment: Experiment, prepared: Prepared) -> Params:
    """The clean networks that poison is brewed for."""
    steps, extra = experiment.poisons.victim_steps, prepared.by_hand["base"]
    if steps == 0:
        return prepared.start
    steps = None if steps is None else min(steps, experiment.training.steps)
    weights, base = arm_weights(experiment, "base"), prepared.problem.train
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
        return train(learner_of(experiment), experiment.training, start, whole, weights, steps)

    return jax.vmap(one)(start, base, extra)


@functools.partial(jax.jit, static_argnums=0)
def forces(
    experiment: Experiment, start: Params, base: Batch, extra: Batch, weights: Array
) -> Array:
    """The coefficients of I2 of every seed at the start of training."""
    from ssmbias.poison.forces import lag_forces  # noqa: PLC0415  (flax)

    config = experiment.network
    assert isinstance(config, PaperNetwork)

    def one(start: Params, base: Batch, extra: Batch) -> Array:
        return lag_forces(config, start, _joined(base, extra), weights)

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
        return found[0] if experiment.num_outputs == 1 else found[label]

    slopes = jax.vmap(jax.grad(output))(*(x[:_PROBED] for x in tests))[:, :, 0]
    squares = jnp.sum(slopes**2, axis=0)
    found = {"input_share": squares / jnp.sum(squares)}
    if isinstance(experiment.task, SignTask):
        length = experiment.task.seq_len
        teacher = jnp.asarray(experiment.task.response(length)[::-1].copy(), slopes.dtype)
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


def mean_norm(experiment: Experiment, prepared: Prepared, arm: str, extra: Batch) -> Array:
    """Mean l2 norm, for every seed, of the difference of extra sequences to what carries them."""
    poisons = experiment.poisons
    carrier = poisons.found_carrier if arm in SEARCHED else poisons.carrier
    if arm in ("base", "dup", "noise"):
        carrier = "copies"
    inputs = extra.inputs
    if carrier == "copies" and arm != "gen":
        inputs = inputs - prepared.by_hand["dup"].inputs
    return jnp.mean(jnp.linalg.norm(inputs, axis=2), axis=(1, 2))


def _carriers(experiment: Experiment, problem: Problem) -> Batch:
    """What found poisons are perturbations of, with honest labels."""
    copies = Batch(*(x[: experiment.poisons.num_poisons] for x in problem.train))
    if experiment.poisons.found_carrier == "copies":
        return copies
    assert isinstance(experiment.task, SignTask)
    return labelled(experiment.task, jnp.zeros_like(copies.inputs))


def _relabel(experiment: Experiment) -> Any:
    """The teacher, where there is one."""
    task = experiment.task
    if not isinstance(task, SignTask):
        return None
    return lambda inputs: labelled(task, inputs).labels
