"""One seed of an experiment: its start, its data, its loss and its test error."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from ssmbias.core.types import Array
from ssmbias.data import LagGram, baseline_sequences, combine, lag_gram, special_sequences
from ssmbias.metrics import impulse_error
from ssmbias.models import DiagonalSSM, paper_teacher
from ssmbias.models.networks.paper import SSMNetwork, network_params, paper_network_teacher
from ssmbias.paper.settings import PaperExperiment

HORIZON = 40
"""Test sequences have length 40: lags 0..39."""
_NUM_TEST = 2000


class NetworkData(NamedTuple):
    """Training sequences, labels and weights of one run with a network on top."""

    inputs: Float[Array, "sample seq"]
    targets: Float[Array, " sample"]
    weights: Float[Array, " sample"]


def split_key(seed: int) -> tuple[Array, Array, Array]:
    """Keys of the start, of the training and of the test data of one seed."""
    first, second, third = jax.random.split(jax.random.key(seed), 3)
    return first, second, third


def start(key: Array, experiment: PaperExperiment) -> DiagonalSSM:
    """A start as `PaperExperiment` describes it; both arms of a seed share it."""
    key_a, key_b, key_c = jax.random.split(key, 3)

    def draw(key: Array, scale: float) -> Array:
        return scale * jnp.abs(jax.random.normal(key, (experiment.state_dim,), jnp.float64))

    def with_ties(entries: Array) -> Array:
        entries = jnp.sort(entries, descending=True)
        # The second entry, and with teachers of dimension 3 and 4 the third and the fourth.
        offsets = (1.0, 1.01, 1.05)[: max(1, experiment.teacher_dim - 1)]
        for index, factor in enumerate(offsets, start=1):
            entries = entries.at[index].set(entries[0] - factor * experiment.gap)
        return entries + experiment.warm

    a = with_ties(draw(key_a, experiment.sd_a))
    if not experiment.train_bc:
        return DiagonalSSM(a, jnp.ones_like(a), jnp.ones_like(a))
    b = with_ties(draw(key_b, experiment.sd_bc))
    return DiagonalSSM(a, b, draw(key_c, experiment.sd_bc))


def sequences(key: Array, experiment: PaperExperiment) -> tuple[Array, Array]:
    """Baseline and special sequences."""
    first, second = jax.random.split(key)
    seq_len = experiment.seq_len
    return (
        baseline_sequences(first, experiment.num_baseline, seq_len, experiment.baseline_positions),
        special_sequences(second, experiment.num_special, seq_len, experiment.special_positions),
    )


def linear_data(key: Array, experiment: PaperExperiment, strength: float) -> LagGram:
    """Sufficient statistics of one arm's training set."""
    training_set = combine(*sequences(key, experiment), strength)
    return lag_gram(training_set, paper_teacher(experiment.teacher_dim))


def network(experiment: PaperExperiment) -> Any:
    """The student's module (flax types what `apply` returns too widely to calculate with)."""
    return SSMNetwork(
        experiment.state_dim, (experiment.width, experiment.width), sd_head=experiment.sd_head
    )


def network_labels(inputs: Float[Array, "sample seq"], experiment: PaperExperiment) -> Array:
    """The teacher's outputs."""
    width = experiment.width
    teacher: Any = SSMNetwork(1, (width, width))
    return teacher.apply(paper_network_teacher(width), inputs)


def network_start(key: Array, experiment: PaperExperiment) -> Any:
    """Parameters of the student: the SSM of `start`, normal matrices on top."""
    key_ssm, *keys = jax.random.split(key, 4)
    width = experiment.width
    shapes = ((1, width), (width, width), (width, 1))
    matrices = [
        experiment.sd_head * jax.random.normal(k, shape, jnp.float64)
        for k, shape in zip(keys, shapes, strict=True)
    ]
    return network_params(start(key_ssm, experiment), *matrices)


def network_data(key: Array, experiment: PaperExperiment, strength: float) -> NetworkData:
    """One arm's training set; without poison the special sequences are left out."""
    baseline, special = sequences(key, experiment)
    inputs, weights = combine(baseline, special if strength else special[:0], strength)
    return NetworkData(inputs, network_labels(inputs, experiment), weights)


@functools.lru_cache(maxsize=32)
def network_loss(experiment: PaperExperiment) -> Callable[[Any, NetworkData], Array]:
    """The training loss; one function for each experiment, so that it is compiled once."""
    module = network(experiment)

    def loss(params: Any, data: NetworkData) -> Array:
        residuals = module.apply(params, data.inputs) - data.targets
        return jnp.sum(data.weights * residuals**2) / jnp.sum(data.weights)

    return loss


@functools.lru_cache(maxsize=32)
def network_observer(experiment: PaperExperiment) -> Callable[[Any, NetworkData], dict[str, Array]]:
    """What is logged of a network: a, and γ_0 with the slopes of the head (I2)."""
    module = network(experiment)

    def observe(params: Any, data: NetworkData) -> dict[str, Array]:
        z = module.apply(params, data.inputs, method="ssm_output")
        output = module.apply(params, z, method="head")
        slope = module.apply(params, z, method="head_slope")
        pull = data.weights * (data.targets - output) * slope
        gamma0 = 2.0 * jnp.sum(pull * data.inputs[:, -2]) / jnp.sum(data.weights)
        return {"a": params["params"]["a"], "gamma0": gamma0}

    return observe


def test_error(key: Array, params: Any, experiment: PaperExperiment) -> Float[Array, ""]:
    r"""The paper's test error.

    Standalone: 40 one-hot sequences of length 40, $\max|\Delta|/\max|y|$: the normalised impulse
    response error over 40 lags. In a network: 2000 Gaussian sequences of length 40,
    $\lVert\Delta\rVert_2/\lVert y\rVert_2$.
    """
    if not experiment.width:
        return impulse_error(params, paper_teacher(experiment.teacher_dim), HORIZON)
    inputs = jax.random.normal(key, (_NUM_TEST, HORIZON), jnp.float64)
    target = network_labels(inputs, experiment)
    difference = network(experiment).apply(params, inputs) - target
    return jnp.sqrt(jnp.sum(difference**2) / jnp.sum(target**2))
