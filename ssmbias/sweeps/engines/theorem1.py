"""Flows in time by the implicit engine for Theorem 1."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ssmbias.dynamics import Theorem1Config, simulate_theorem1
from ssmbias.metrics import generalization_error
from ssmbias.sweeps.engines.rows import Solved, padded

if TYPE_CHECKING:
    from ssmbias.sweeps.settings import SweepSettings

# Points that the engine finishes in a second or two, and the fewest that it is compiled for.
_BLOCK, _SMALLEST_BATCH = 1024, 64


def points_at_a_time(state_dim: int, devices: Sequence[Any]) -> int:
    """Points that keep the engine busy for a while."""
    return _BLOCK


def run(
    a0: np.ndarray,
    log_gap: np.ndarray,
    strength: np.ndarray,
    seq_len: int,
    settings: SweepSettings,
    devices: Sequence[Any],
) -> Solved:
    """Follow flows in time, on the default device."""
    number = a0.shape[0]
    length = max(_SMALLEST_BATCH, 1 << (number - 1).bit_length())
    engine = _engine(seq_len, Theorem1Config(rtol=settings.rtol), settings.horizon)
    batch = [padded(x, length) for x in (a0, log_gap, strength)]
    found = engine(*batch, np.array(settings.save_times, np.float64))
    return Solved({name: np.array(value)[:number] for name, value in found.items()})


@functools.lru_cache(maxsize=64)
def _engine(seq_len: int, config: Theorem1Config, horizon: int) -> Callable[..., Any]:
    def one(a: jax.Array, log_gap: jax.Array, strength: jax.Array, times: jax.Array) -> Any:
        saved = times if times.size else None
        run = simulate_theorem1(
            a, seq_len, strength, log_gap=log_gap, save_times=saved, config=config
        )
        found = {
            "error": generalization_error(run.a, horizon),
            "loss": run.loss,
            "a": run.a,
            "steps": run.num_steps,
            "outcome": run.outcome,
        }
        if run.trajectory is not None:
            found |= {"a_path": run.trajectory.a, "loss_path": run.trajectory.loss}
        return found

    return jax.jit(jax.vmap(one, (0, 0, 0, None)))
