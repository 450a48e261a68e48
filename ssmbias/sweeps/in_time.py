"""Runs of a block by the engines in time, on one device: the implicit one and the general flow.

All functions take and return NumPy arrays with one row per point. Shapes that reach a compiler are
padded, so that blocks, grids and jobs of one process share compiled code.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ssmbias.data import theorem1_gram
from ssmbias.dynamics import FlowConfig, Theorem1Config, gradient_flow, simulate_theorem1
from ssmbias.metrics import generalization_error, impulse_error
from ssmbias.models import theorem1_student, theorem1_teacher
from ssmbias.sweeps.settings import SweepSettings

FLOW_BATCH = 32
"""Points that the general flow runs together."""

THEOREM1_BLOCK = 1024
"""Points that the implicit engine finishes in a second or two."""

_SMALLEST_BATCH = 64


def _padded(array: np.ndarray, length: int) -> np.ndarray:
    """The first row repeated behind the last one."""
    extra = length - array.shape[0]
    return np.concatenate([array, np.repeat(array[:1], extra, axis=0)]) if extra else array


@functools.lru_cache(maxsize=64)
def _theorem1_engine(seq_len: int, config: Theorem1Config, horizon: int) -> Callable[..., Any]:
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


def run_theorem1(
    a0: np.ndarray,
    log_gap: np.ndarray,
    strength: np.ndarray,
    seq_len: int,
    settings: SweepSettings,
) -> dict[str, np.ndarray]:
    """Flows in time by the implicit engine."""
    number = a0.shape[0]
    length = max(_SMALLEST_BATCH, 1 << (number - 1).bit_length())
    engine = _theorem1_engine(seq_len, Theorem1Config(rtol=settings.rtol), settings.horizon)
    batch = [_padded(x, length) for x in (a0, log_gap, strength)]
    found = engine(*batch, np.array(settings.save_times, np.float64))
    return {name: np.array(value)[:number] for name, value in found.items()}


@functools.lru_cache(maxsize=64)
def _flow_engine(seq_len: int, config: FlowConfig, horizon: int) -> Callable[..., Any]:
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


def run_flow(
    a0: np.ndarray,
    log_gap: np.ndarray,
    strength: np.ndarray,
    seq_len: int,
    settings: SweepSettings,
) -> dict[str, np.ndarray]:
    """Flows of any trained leaves by the general solver, a batch at a time."""
    config = FlowConfig(trainable=settings.leaves, rtol=settings.rtol, atol=settings.rtol)
    engine = _flow_engine(seq_len, config, settings.horizon)
    with np.errstate(divide="ignore"):  # exact ties have the log-gap -inf
        log_gaps = np.log(a0[:, :-1] - a0[:, 1:])
    log_gaps[:, 0] = log_gap
    times = np.array(settings.save_times, np.float64)
    batches = []
    for first in range(0, a0.shape[0], FLOW_BATCH):
        part = slice(first, first + FLOW_BATCH)
        number = a0[part].shape[0]
        inputs = [_padded(x[part], FLOW_BATCH) for x in (a0, log_gaps, strength)]
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
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
