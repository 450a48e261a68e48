"""What the experiment on CIFAR-10 will take: memory and time, measured before it starts."""

from __future__ import annotations

import functools
import os
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ssmbias.core.types import Array
from ssmbias.poison.batch import Batch
from ssmbias.poison.full_settings import SEARCHED, FullSettings
from ssmbias.poison.full_training import State, epochs_of, loops_are_slow, start, train_step

BREW_COST = 2.5
"""Time of a slope of the attack over that of a training gradient, by image (measured: 2.2-2.7)."""

BREW_MEMORY = 3.0
"""The same of memory; 2.1 in the same precision, and the attack is in single precision."""

_COPIES_OF_POISONS = 12
_BYTES_OF_IMAGE = 32 * 32 * 3


class Estimate(NamedTuple):
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
          >>> print(Estimate(1000, 2 * 10**9, None, 10, 0, 1e9, 0.5, 7200.0, "cpu"))
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


def estimate(settings: FullSettings, *, measure: bool = True, num_steps: int = 3) -> Estimate:
    """Compile one update, run it a few times, and count how many there will be.

    Args:
      settings: of the run.
      measure: whether to time updates; memory and numbers are there without.
      num_steps: updates to time, after a first one that is not timed.

    Returns:
      Memory and time. Evaluation is not counted: it takes less than one epoch in a hundred.

    Raises:
      ValueError: the memory of the device is too small; says what to lower.
    """
    state = jax.eval_shape(lambda: start(settings, 0))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    step = measure_step(settings, num_steps if measure else 0)
    steps, brew_images = counts(settings)
    memory, blame = _memory(settings, state, step.temporary_bytes)
    found = Estimate(
        parameters,
        memory,
        available_bytes(),
        steps,
        brew_images,
        step.flops,
        step.seconds,
        None
        if step.seconds is None
        else step.seconds * (steps + BREW_COST * brew_images / settings.batch_size),
        str(jax.devices()[0].device_kind),
    )
    if found.available_bytes is not None and memory > found.available_bytes:
        raise ValueError(
            f"{blame}={getattr(settings, blame)}: the run needs about {memory / 1e9:.1f} GB of "
            f"memory and {found.device} has {found.available_bytes / 1e9:.1f} GB free; lower "
            f"{blame}, num_poisons or fraction, or take a larger device"
        )
    return found


def counts(settings: FullSettings) -> tuple[int, int]:
    """Updates in all, and slopes of the attack by image.

    Example:
      >>> counts(FullSettings(arms=("base", "dup", "found"), seeds=(0,)))
      (125100, 20000000)
    """
    arms = settings.arms_to_run()
    seeds = len(settings.seeds)
    steps = sum(settings.steps_per_epoch(arm) * epochs_of(settings, arm)[1] for arm in arms)
    searched = sum(arm in SEARCHED for arm in arms)
    slopes = searched * settings.restarts * settings.brew_steps * settings.sizes.poisons
    return seeds * steps, seeds * slopes


def measure_step(settings: FullSettings, num_steps: int) -> Step:
    """Compile an update of a whole batch, and time it.

    Args:
      settings: network, batch and precision.
      num_steps: how many to time in one call, after one that is not timed; 0 times none.

    Returns:
      Time of one update, the memory that it takes besides its arguments, and its operations.
    """
    size = min(settings.batch_size, settings.num_images("base"))
    # Noise and not zeros: no step may be cheap because nothing happens in it.
    key = jax.random.key(0)
    batch = Batch(
        jax.random.uniform(key, (size, 32, 32, 3), jnp.float32),
        jnp.arange(size, dtype=jnp.int32) % 10,
    )
    state = start(settings, 0)
    one = jax.jit(functools.partial(train_step, settings, "base")).lower(state, batch, key)
    flops = float((one.cost_analysis() or {}).get("flops", 0.0))
    if loops_are_slow(settings):
        compiled = one.compile()

        def run(num: int) -> None:
            for _ in range(num):
                jax.block_until_ready(compiled(state, batch, key))
    else:
        # The number is an argument: one compilation serves warm-up and measurement.
        compiled = _several.lower(settings, state, batch, key, jnp.int32(1)).compile()

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
def _several(settings: FullSettings, state: State, batch: Batch, key: Array, num: Array) -> State:
    def step(index: Array, state: State) -> State:
        return train_step(settings, "base", state, batch, jax.random.fold_in(key, index))[0]

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


def _memory(settings: FullSettings, state: State, temporary: int) -> tuple[int, str]:
    """Bytes at the largest moment, and the field that drives them."""
    sizes = settings.sizes
    # Twice: the state that goes into an epoch and the one that comes out.
    held = 2 * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    data = (settings.num_images("base") + sizes.targets) * _BYTES_OF_IMAGE
    deltas = 4 * sizes.poisons * _BYTES_OF_IMAGE
    training = temporary + deltas
    if not set(settings.arms_to_run()) & set(SEARCHED):
        return held + data + training, "batch_size"
    by_image = temporary / min(settings.batch_size, settings.num_images("base"))
    largest = _largest_group(settings) * settings.groups_at_once
    attack = int(BREW_MEMORY * by_image * largest) + _COPIES_OF_POISONS * deltas
    if attack > training:
        return held + data + attack, "groups_at_once" if settings.groups_at_once > 1 else (
            "num_poisons"
        )
    return held + data + training, "batch_size"


def _largest_group(settings: FullSettings) -> int:
    """Poisons of a group of the high part, which are the most."""
    _, poisons, targets = settings.sizes
    groups = max(1, round(round(targets / 3) / settings.group_size))
    return -(-max(1, round(poisons / 2)) // groups)


def _words(seconds: float) -> str:
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} seconds"
