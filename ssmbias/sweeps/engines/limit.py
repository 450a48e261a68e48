"""Limits of flows by the explicit engine, over all devices."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ssmbias.dynamics.limit.solve import (
    Ends,
    LimitConfig,
    Points,
    default_lanes,
    limits_of,
    run_points,
)
from ssmbias.metrics import generalization_error
from ssmbias.sweeps.engines.rows import Solved

if TYPE_CHECKING:
    from ssmbias.sweeps.settings import SweepSettings

_SHARD = "shard"
# Points that a CPU device is given at a time: a second or less of work, many times its lanes; and
# entries, for memory's sake. Twice the memory that was measured, in arrays of all entries.
_LARGEST_QUEUE, _SMALLEST_QUEUE, _QUEUE_ENTRIES = 4096, 64, 1 << 21
_ARRAYS_OF_A_QUEUE = 80
# An accelerator steps as many lanes as half its memory holds: a step keeps about this many arrays
# of a lane's size.
_ARRAYS_PER_STEP = 64


def points_at_a_time(state_dim: int, devices: Sequence[Any]) -> int:
    """Points that keep the devices busy for a while, seconds rather than minutes."""
    return _size_of_queue(state_dim, devices[0])[1] * len(devices)


def working_memory(state_dim: int, devices: Sequence[Any]) -> int:
    """Bytes that the engine takes on the host, besides results."""
    if devices[0].platform != "cpu":
        return 0
    return _ARRAYS_OF_A_QUEUE * 8 * state_dim * points_at_a_time(state_dim, devices)


def run(
    a0: np.ndarray,
    log_gap: np.ndarray,
    strength: np.ndarray,
    seq_len: int,
    settings: SweepSettings,
    devices: Sequence[Any],
) -> Solved:
    """Find limits, and count the lane-steps that this took."""
    lanes, capacity = _size_of_queue(a0.shape[1], devices[0])
    engine = _engine(seq_len, lanes, settings.horizon, tuple(devices))
    limits = limits_of(LimitConfig(rtol=settings.rtol))
    parts: list[dict[str, np.ndarray]] = []
    spent = 0
    for first in range(0, a0.shape[0], capacity * len(devices)):
        part = slice(first, first + capacity * len(devices))
        number = strength[part].size
        # Neighbours in a grid cost alike: they are dealt out to the devices like cards.
        dealt = [np.arange(i, number, len(devices)) for i in range(len(devices))]
        counts = np.array([rows.size for rows in dealt], np.int32)
        filled = [np.pad(rows, (0, capacity - rows.size)) for rows in dealt]
        index = np.concatenate(filled)
        points = Points._make((a0[part][index].T, log_gap[part][index], strength[part][index]))
        ends, error = jax.device_get(engine(*_placed(points, counts, limits, devices)))
        back = np.empty(number, int)
        back[np.concatenate(dealt)] = np.concatenate(
            [i * capacity + np.arange(count) for i, count in enumerate(counts)]
        )
        parts.append(
            {
                "error": error[back],
                "loss": ends.loss[back],
                "a": ends.a[:, back].T,
                "steps": ends.num_steps[back],
                "outcome": ends.outcome[back],
            }
        )
        spent += int(ends.lane_steps.sum())
    values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Solved(values, int(values["steps"].sum()), spent)


@functools.lru_cache(maxsize=64)
def _engine(
    seq_len: int, num_lanes: int, horizon: int, devices: tuple[Any, ...]
) -> Callable[[Points, Any, Any], tuple[Ends, jax.Array]]:
    """The limit engine over a mesh; every shard has a loop and a queue of its own."""

    def shard(points: Points, count: jax.Array, limits: Any) -> tuple[Ends, jax.Array]:
        ends = run_points(points, count[0], limits, seq_len, num_lanes)
        error = jax.vmap(lambda a: generalization_error(a, horizon), in_axes=1)(ends.a)
        return ends._replace(lane_steps=ends.lane_steps[None]), error

    if len(devices) == 1:
        return jax.jit(shard)
    columns, rows = PartitionSpec(None, _SHARD), PartitionSpec(_SHARD)
    ends = Ends._make(columns if name == "a" else rows for name in Ends._fields)
    return jax.jit(
        jax.shard_map(
            shard,
            mesh=Mesh(np.array(devices), (_SHARD,)),
            in_specs=(Points._make((columns, rows, rows)), rows, PartitionSpec()),
            out_specs=(ends, rows),
            check_vma=False,
        )
    )


def _size_of_queue(state_dim: int, device: Any) -> tuple[int, int]:
    """Lanes of one device, and points that it is given at a time.

    Both depend on the dimension and the device alone, never on the grid: one program then runs all
    grids, and the results do not depend on how a grid is cut into blocks, to the last bit.
    """
    lanes = default_lanes(state_dim)
    if device.platform == "cpu":
        fitting = 1 << max(0, (_QUEUE_ENTRIES // state_dim).bit_length() - 1)
        return lanes, min(_LARGEST_QUEUE, max(_SMALLEST_QUEUE, fitting))
    memory = (device.memory_stats() or {}).get("bytes_limit")
    while memory and lanes > 1 and lanes * state_dim * 8 * _ARRAYS_PER_STEP > memory // 2:
        lanes //= 2
    return lanes, 4 * lanes


def _placed(points: Points, counts: np.ndarray, limits: Any, devices: Sequence[Any]) -> Any:
    """The engine's input on its devices."""
    if len(devices) == 1:
        return jax.device_put((points, counts, limits), devices[0])
    mesh = Mesh(np.array(devices), (_SHARD,))
    rows, columns, whole = (
        NamedSharding(mesh, PartitionSpec(*spec)) for spec in ((_SHARD,), (None, _SHARD), ())
    )
    return jax.device_put(
        (points, counts, limits), (Points._make((columns, rows, rows)), rows, whole)
    )
