"""Networks of the paper, one SSM and a head on top of it, along their training by Adam."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssmbias.core.checks import require_int
from ssmbias.core.types import Array
from ssmbias.data import TrainingSet, baseline_sequences, combine, special_sequences
from ssmbias.dynamics import DescentConfig, Outcome, descend, keras_adam
from ssmbias.evidence import Bench, Count

WIDTH = 8
NUM_BASELINE, NUM_SPECIAL = 8, 8
_MOST_SEEDS = 4
_STEPS, _EVERY = 400, 20


@dataclass(frozen=True)
class PaperNetworks:
    """Random networks trained on random baseline and special sequences.

    Attributes:
      name: label in tables.
      seq_len: sequence length κ, at least 5.
      state_dim: dimension d of the SSM.
      first_seed: seeds are first_seed, first_seed + 1, ...
      num_seeds: number of networks; four at most are trained.
    """

    name: str
    seq_len: int
    state_dim: int
    first_seed: int = 0
    num_seeds: int = 4

    def __post_init__(self) -> None:
        """Refuse data without a lag for every kind of sequence."""
        require_int("seq_len", self.seq_len, minimum=5)
        require_int("state_dim", self.state_dim, minimum=1)
        require_int("first_seed", self.first_seed, minimum=0)
        require_int("num_seeds", self.num_seeds, minimum=1)


class NetworkRuns(NamedTuple):
    """Networks along their training.

    Attributes:
      states: parameters [seed, log, ...].
      data: training sets and targets [seed, ...].
      count: how the trainings ended.
    """

    states: Any
    data: tuple[TrainingSet, Array]
    count: Count


def network_runs(subject: PaperNetworks, bench: Bench) -> NetworkRuns:
    """The trainings of a subject, run once."""
    return bench.once("networks", lambda: _train(subject))


@functools.lru_cache(maxsize=4)
def network_module(state_dim: int) -> Any:
    """The network, a flax module, with an SSM of the given dimension."""
    # Imported when asked for: flax takes longer to import than the rest of the package.
    from ssmbias.models.networks.paper import SSMNetwork  # noqa: PLC0415

    return SSMNetwork(state_dim, (WIDTH, WIDTH), sd_a=0.3, sd_bc=0.5, sd_head=0.5)


@functools.lru_cache(maxsize=4)
def network_loss(state_dim: int) -> Any:
    """The weighted mean of squared residuals, of parameters and (training set, targets)."""
    module = network_module(state_dim)

    def loss(params: Any, data: tuple[TrainingSet, Array]) -> Array:
        training_set, targets = data
        residuals = targets - module.apply(params, training_set.inputs)
        return jnp.sum(training_set.weights * residuals**2) / jnp.sum(training_set.weights)

    return loss


@functools.lru_cache(maxsize=1)
def _optimizer() -> Any:
    return keras_adam(0.01)


def _train(s: PaperNetworks) -> NetworkRuns:
    """States [seed, log, ...] of networks under Adam, and the data [seed, ...]."""
    from ssmbias.models.networks.paper import SSMNetwork, paper_network_teacher  # noqa: PLC0415

    teacher, teacher_params = SSMNetwork(1, (WIDTH, WIDTH)), paper_network_teacher(WIDTH)

    def problem(key: Array) -> tuple[Any, tuple[TrainingSet, Array]]:
        key_start, key_baseline, key_special = jax.random.split(key, 3)
        training_set = combine(
            baseline_sequences(key_baseline, NUM_BASELINE, s.seq_len, range(s.seq_len - 3)),
            special_sequences(key_special, NUM_SPECIAL, s.seq_len, (s.seq_len - 2,)),
            1.0,
        )
        params = network_module(s.state_dim).init(key_start, training_set.inputs)
        return params, (training_set, teacher.apply(teacher_params, training_set.inputs))  # pyright: ignore

    seeds = s.first_seed + np.arange(min(s.num_seeds, _MOST_SEEDS))
    params, data = jax.jit(jax.vmap(lambda seed: problem(jax.random.key(seed))))(seeds)
    config = DescentConfig(loss_tol=0.0, max_steps=_STEPS, log_every=_EVERY)
    run = jax.vmap(
        lambda p, d: descend(network_loss(s.state_dim), p, d, _optimizer(), config=config)
    )(params, data)
    num = int(np.sum(run.log.recorded[0]))
    failed = np.asarray(run.outcome) == Outcome.FAILED
    reason = Outcome.FAILED.explanation if failed.any() else ""
    states = jax.tree.map(lambda x: x[:, :num], run.log.value)
    return NetworkRuns(states, data, Count(failed.size, int(failed.sum()), reason))
