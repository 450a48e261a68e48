"""Flows of any trained leaves by the general solver."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ssmbias.data import theorem1_gram
from ssmbias.dynamics import FlowConfig, gradient_flow
from ssmbias.metrics import impulse_error
from ssmbias.models import theorem1_student, theorem1_teacher
from ssmbias.sweeps.engines.rows import Solved, padded

if TYPE_CHECKING:
    from ssmbias.sweeps.settings import SweepSettings

# Points that run together.
_BATCH = 32


def points_at_a_time(state_dim: int, devices: Sequence[Any]) -> int:
    """Points that keep the engine busy for a while."""
    return _BATCH


def run(
    a0: np.ndarray,
    log_gap: np.ndarray,
    strength: np.ndarray,
    seq_len: int,
    settings: SweepSettings,
    devices: Sequence[Any],
) -> Solved:
    """Follow flows a batch at a time, on the default device."""
    config = FlowConfig(trainable=settings.leaves, rtol=settings.rtol, atol=settings.rtol)
    engine = _engine(seq_len, config, settings.horizon)
    with np.errstate(divide="ignore"):  # exact ties have the log-gap -inf
        log_gaps = np.log(a0[:, :-1] - a0[:, 1:])
    log_gaps[:, 0] = log_gap
    times = np.array(settings.save_times, np.float64)
    batches = []
    for first in range(0, a0.shape[0], _BATCH):
        part = slice(first, first + _BATCH)
        number = a0[part].shape[0]
        inputs = [padded(x[part], _BATCH) for x in (a0, log_gaps, strength)]
        run, error = engine(*inputs, times)
        found = {
            "error": error,
            "loss": run.loss,
            "steps": run.num_steps,
            "outcome": run.outcome,
            **{leaf: getattr(run.model, leaf) for leaf in ("a", *settings.leaves)},
        }
        if run.trajectory is not None:
            found |= {"a_path": run.trajectory.a, "loss_path": run.trajectory.loss}
        batches.append({name: np.array(value)[:number] for name, value in found.items()})
    names = batches[0]
    return Solved({name: np.concatenate([batch[name] for batch in batches]) for name in names})


@functools.lru_cache(maxsize=64)
def _engine(seq_len: int, config: FlowConfig, horizon: int) -> Callable[..., Any]:
    def one(a: jax.Array, log_gaps: jax.Array, strength: jax.Array, times: jax.Array) -> Any:
        state_dim = a.shape[0]
        run = gradient_flow(
            theorem1_student(a),
            theorem1_gram(state_dim, seq_len, strength),
            log_gaps=log_gaps if config.uses_gaps else None,
            save_times=times if times.size else None,
            config=config,
        )
        return run, impulse_error(run.model, theorem1_teacher(state_dim), horizon)

    return jax.jit(jax.vmap(one, (0, 0, 0, None)))
