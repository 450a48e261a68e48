"""What training by minibatches will take: memory and time, measured before it starts."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ssmbias.core.types import Array
from ssmbias.poison.arms.arm import Arm
from ssmbias.poison.arms.registry import require_arms, with_needed
from ssmbias.poison.batch import Batch
from ssmbias.poison.settings import Experiment
from ssmbias.poison.training.minibatches import (
    State,
    calls_one_by_one,
    num_examples,
    start,
    train_step,
)
from ssmbias.poison.training.settings import as_minibatches

BREW_COST = 2.5
"""Time of a slope of the attack over that of a training gradient, by image (measured: 2.2-2.7)."""

BREW_MEMORY = 3.0
"""The same of memory; 2.1 in the same precision, and the attack is in single precision."""

_COPIES_OF_POISONS = 12


class CostEstimate(NamedTuple):
    """What a run takes.

    Attributes:
      parameters: of the network.
      memory_bytes: parameters, optimiser, a batch with all that its gradient keeps, data, and what
        the attack holds; of the larger of training and attack.
      available_bytes: on the device, or of the host where the device does not tell.
      steps: updates of all arms and seeds (with schedule "paper", at most).
      brew_images: slopes of the attack by image, of all arms, seeds and restarts.
      flops_per_step: of an update, as XLA counts them before optimisation.
      seconds_per_step: of a warm update; `None` where it was not measured.
      seconds: of the whole run, with `BREW_COST`; `None` likewise.
      device: what it was measured on.
    """

    parameters: int
    memory_bytes: int
    available_bytes: int | None
    steps: int
    brew_images: int
    flops_per_step: float
    seconds_per_step: float | None
    seconds: float | None
    device: str

    def __str__(self) -> str:
        """A line to print.

        Example:
          >>> print(CostEstimate(1000, 2 * 10**9, None, 10, 0, 1e9, 0.5, 7200.0, "cpu"))
          1,000 parameters, 2.0 GB of memory, 10 updates of 0.5 s, about 2.0 hours in all on cpu
        """
        parts = [f"{self.parameters:,} parameters", f"{self.memory_bytes / 1e9:.1f} GB of memory"]
        if self.available_bytes is not None:
            parts[-1] += f" ({self.available_bytes / 1e9:.1f} GB free)"
        parts.append(f"{self.steps:,} updates")
        if self.seconds_per_step is not None:
            parts[-1] += f" of {self.seconds_per_step:.3g} s"
        if self.brew_images:
            parts.append(f"{self.brew_images:,} slopes of the attack by image")
        if self.seconds is not None:
            parts.append(f"about {_words(self.seconds)} in all on {self.device}")
        return ", ".join(parts)


class Step(NamedTuple):
    """A compiled update, on random images."""

    seconds: float | None
    temporary_bytes: int
    flops: float


def estimate(
    experiment: Experiment,
    arms: Iterable[str],
    num_seeds: int,
    *,
    measure: bool = True,
    num_steps: int = 3,
) -> CostEstimate:
    """Compile one update, run it a few times, and count how many there will be.

    Args:
      experiment: trained by minibatches.
      arms: names of those that were asked for.
      num_seeds: how many seeds there are.
      measure: whether to time updates; memory and numbers are there without.
      num_steps: updates to time, after a first one that is not timed.

    Returns:
      Memory and time. Evaluation is not counted: it takes less than one epoch in a hundred.

    Raises:
      ValueError: the memory of the device is too small; says what to lower.
    """
    state = jax.eval_shape(lambda: start(experiment, 0, example_of(experiment)))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    step = measure_step(experiment, num_steps if measure else 0)
    to_run = with_needed(experiment, require_arms(experiment, arms))
    steps, brew_images = counts(experiment, to_run, num_seeds)
    memory, blame, value = _memory(experiment, to_run, state, step.temporary_bytes)
    found = CostEstimate(
        parameters,
        memory,
        available_bytes(),
        steps,
        brew_images,
        step.flops,
        step.seconds,
        None
        if step.seconds is None
        else step.seconds
        * (steps + BREW_COST * brew_images / as_minibatches(experiment.training).batch_size),
        str(jax.devices()[0].device_kind),
    )
    if found.available_bytes is not None and memory > found.available_bytes:
        raise ValueError(
            f"{blame}={value}: the run needs about {memory / 1e9:.1f} GB of "
            f"memory and {found.device} has {found.available_bytes / 1e9:.1f} GB free; lower "
            f"{blame}, num_poisons or fraction, or take a larger device"
        )
    return found


def example_of(experiment: Experiment) -> Array:
    """An input of zeros."""
    task: Any = experiment.task
    shape = (*task.planes[1:], task.planes[0]) if hasattr(task, "planes") else (
        task.seq_len, task.num_features,
    )  # fmt: skip
    return jnp.zeros(shape, getattr(task, "dtype", None))


def counts(experiment: Experiment, arms: Iterable[Arm], num_seeds: int) -> tuple[int, int]:
    """Updates in all, and slopes of the attack by example.

    Args:
      experiment: trained by minibatches.
      arms: all that run, those needed by others included.
      num_seeds: how many seeds there are.
    """
    training, matching = as_minibatches(experiment.training), experiment.poisons.matching
    steps = slopes = 0
    for arm in arms:
        per_epoch = training.steps_per_epoch(num_examples(experiment, arm.adds))
        steps += per_epoch * training.epochs_of(adds=arm.adds)[1]
        if arm.weighting is not None:
            slopes += matching.restarts * matching.steps * experiment.poisons.num_poisons
    return num_seeds * steps, num_seeds * slopes


def measure_step(experiment: Experiment, num_steps: int) -> Step:
    """Compile an update of a whole batch, and time it.

    Args:
      experiment: network, batch and precision.
      num_steps: how many to time in one call, after one that is not timed; 0 times none.

    Returns:
      Time of one update, the memory that it takes besides its arguments, and its operations.
    """
    size = min(as_minibatches(experiment.training).batch_size, num_examples(experiment, False))
    example = example_of(experiment)
    # Noise and not zeros: no step may be cheap because nothing happens in it.
    key = jax.random.key(0)
    batch = Batch(
        jax.random.uniform(key, (size, *example.shape), example.dtype),
        jnp.arange(size, dtype=jnp.int32) % (experiment.task.num_classes or 2),
    )
    state = start(experiment, 0, example)
    one = jax.jit(functools.partial(train_step, experiment, False)).lower(state, batch, key)
    flops = float((one.cost_analysis() or {}).get("flops", 0.0))
    if calls_one_by_one(experiment):
        compiled = one.compile()

        def run(num: int) -> None:
            for _ in range(num):
                jax.block_until_ready(compiled(state, batch, key))
    else:
        # The number is an argument: one compilation serves warm-up and measurement.
        compiled = _several.lower(experiment, state, batch, key, jnp.int32(1)).compile()

        def run(num: int) -> None:
            jax.block_until_ready(compiled(state, batch, key, jnp.int32(num)))

    analysis: Any = compiled.memory_analysis()
    seconds = None
    if num_steps > 0:
        run(1)
        begin = time.perf_counter()
        run(num_steps)
        seconds = (time.perf_counter() - begin) / num_steps
    return Step(seconds, int(getattr(analysis, "temp_size_in_bytes", 0)), flops)


@functools.partial(jax.jit, static_argnums=0)
def _several(experiment: Experiment, state: State, batch: Batch, key: Array, num: Array) -> State:
    def step(index: Array, state: State) -> State:
        return train_step(experiment, False, state, batch, jax.random.fold_in(key, index))[0]

    return jax.lax.fori_loop(0, num, step, state)


def available_bytes() -> int | None:
    """Free memory of the device, or of the host where the device does not tell."""
    stats = jax.devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    try:
        with open("/proc/meminfo", encoding="ascii") as stream:
            lines = dict(line.split(":", 1) for line in stream)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def _memory(
    experiment: Experiment, arms: Iterable[Arm], state: State, temporary: int
) -> tuple[int, str, int]:
    """Bytes at the largest moment, and the setting that drives them with its value."""
    arms, poisons, training = tuple(arms), experiment.poisons, as_minibatches(experiment.training)
    example = jax.eval_shape(lambda: example_of(experiment))
    each = example.size * example.dtype.itemsize
    num = num_examples(experiment, any(arm.adds for arm in arms))
    # Twice: the state that goes into an epoch and the one that comes out.
    held = 2 * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    # The base part, and with the copies of an arm.
    held += each * (experiment.task.num_train + num + experiment.task.num_targets)
    if not any(arm.weighting is not None for arm in arms):
        return held + temporary, "batch_size", training.batch_size
    by_example = temporary / min(training.batch_size, experiment.task.num_train)
    at_once = poisons.matching.groups_at_once
    attack = int(BREW_MEMORY * by_example * _largest_group(experiment) * at_once)
    attack += _COPIES_OF_POISONS * each * poisons.num_poisons
    if attack <= temporary:
        return held + temporary, "batch_size", training.batch_size
    if at_once > 1:
        return held + attack, "groups_at_once", at_once
    return held + attack, "num_poisons", poisons.num_poisons


def _largest_group(experiment: Experiment) -> int:
    """Poisons of a group of the high part, which are the most."""
    poisons, targets = experiment.poisons.num_poisons, experiment.task.num_targets
    size = experiment.poisons.matching.group_size
    if size is None:
        return -(-poisons // experiment.poisons.matching.num_groups)
    groups = max(1, round(round(targets / 3) / size))
    return -(-max(1, round(poisons / 2)) // groups)


def _words(seconds: float) -> str:
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} seconds"
