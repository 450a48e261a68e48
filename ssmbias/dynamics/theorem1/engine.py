"""The compiled engine: lanes in chunks that fit a CPU's cache, through every saved time."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from ssmbias.core.lanes import in_chunks, over_lanes
from ssmbias.core.types import Array
from ssmbias.dynamics.theorem1.lanes import (
    FlowLanes,
    FlowLimits,
    RunConstants,
    advance,
    initial_lanes,
)
from ssmbias.dynamics.trajectory import Outcome

# 64 lanes of ten entries keep a step's forty-odd arrays in a CPU core's second-level cache;
# measured best among 16..512 (benchmarks/theorem1.py). Accelerators want all lanes at once.
_CPU_CHUNK = 64


class EngineInput(NamedTuple):
    """Starts in descending order, log-gaps of the top pair, strengths and physical save times."""

    a0: Float[Array, "state lane"]
    log_gap: Float[Array, " lane"]
    strength: Float[Array, " lane"]
    save_times: Float[Array, "time lane"]


class EngineOutput(NamedTuple):
    """Final lanes and, for each saved time, the state there (lanes last in every leaf)."""

    lanes: FlowLanes
    saved_a: Float[Array, "time state lane"]
    saved_growth: Float[Array, "time lane"]
    saved_time: Float[Array, "time lane"]


@functools.lru_cache(maxsize=256)
def engine(
    seq_len: int, lanes_per_chunk: int | None
) -> Callable[[EngineInput, FlowLimits], EngineOutput]:
    """The compiled engine for one set of static choices, with its batching rule."""

    def run(runs: EngineInput, limits: FlowLimits) -> EngineOutput:
        num_lanes = runs.strength.shape[0]
        size = lanes_per_chunk
        if size is None:
            size = _CPU_CHUNK if jax.default_backend() == "cpu" else max(1, num_lanes)
        # A chunk lasts as long as its slowest lane, and the number of steps depends first on the
        # strength: neighbours in strength share a chunk.
        order = jnp.argsort(runs.strength) if num_lanes > size else None
        return in_chunks(
            lambda part: _run_chunk(part, limits, seq_len), runs, num_lanes, size, order=order
        )

    return jax.jit(over_lanes(run))


def _run_chunk(runs: EngineInput, limits: FlowLimits, seq_len: int) -> EngineOutput:
    """All lanes of one chunk through every saved time to the horizon."""
    problem = RunConstants(runs.log_gap, runs.strength)
    stretch = 2.0 / (1.0 + runs.strength)

    def visit(lanes: FlowLanes, time: Array) -> tuple[FlowLanes, tuple[Array, Array, Array]]:
        lanes = advance(lanes, problem, time * stretch, seq_len, limits)
        return lanes, (lanes.a, lanes.growth, lanes.stretched_time)

    lanes = initial_lanes(runs.a0, problem, seq_len)
    lanes, saved = jax.lax.scan(visit, lanes, jnp.minimum(runs.save_times, limits.horizon))
    lanes = advance(lanes, problem, limits.horizon * stretch, seq_len, limits)
    running = lanes.outcome == Outcome.RUNNING
    lanes = lanes._replace(outcome=jnp.where(running, int(Outcome.HORIZON), lanes.outcome))
    return EngineOutput(lanes, *saved)
