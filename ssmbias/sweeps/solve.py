"""Running the points of a block: which engine, on which devices, and what is kept of it.

All functions take and return NumPy arrays with one row per point. Shapes that reach a compiler are
padded, so that blocks, grids and jobs of one process share compiled code.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ssmbias.dynamics import Outcome
from ssmbias.dynamics.limit.solve import (
    Ends,
    LimitConfig,
    Points,
    default_lanes,
    limits_of,
    run_points,
)
from ssmbias.metrics import generalization_error
from ssmbias.sweeps.in_time import FLOW_BATCH, THEOREM1_BLOCK, run_flow, run_theorem1
from ssmbias.sweeps.settings import SweepSettings
from ssmbias.sweeps.starts import NO_START, Starts

_SHARD = "shard"
# Points that a CPU device is given at a time: a second or less of work, many times its lanes; and
# entries, for memory's sake. Twice the memory that was measured, in arrays of all entries.
_LARGEST_QUEUE, _SMALLEST_QUEUE, _QUEUE_ENTRIES = 4096, 64, 1 << 21
_ARRAYS_OF_A_QUEUE = 80
# An accelerator steps as many lanes as half its memory holds: a step keeps about this many arrays
# of a lane's size.
_ARRAYS_PER_STEP = 64


class Found(NamedTuple):
    """Results of points.

    Attributes:
      values: arrays by variable, one row a point.
      useful: lane-steps of the engine for limits that belong to a run.
      spent: its lane-steps in all, those of idle lanes included.
    """

    values: dict[str, np.ndarray]
    useful: int
    spent: int


def local_devices(number: int | None) -> tuple[Any, ...]:
    """The first devices of this process, all with `None`.

    Raises:
      ValueError: there are not as many.
    """
    devices = tuple(jax.local_devices())
    if number is None:
        return devices
    if number > len(devices):
        raise ValueError(
            f"devices={number}: this process has {len(devices)}; on a CPU set "
            f"jax.config.update('jax_num_cpu_devices', {number}) before the first computation"
        )
    return devices[:number]


def points_at_a_time(state_dim: int, settings: SweepSettings, devices: Sequence[Any]) -> int:
    """Points that keep the devices busy for a while, seconds rather than minutes."""
    if settings.uses_limit:
        return _size_of_queue(state_dim, devices[0])[1] * len(devices)
    return THEOREM1_BLOCK if settings.uses_theorem1 else FLOW_BATCH


def working_memory(state_dim: int, settings: SweepSettings, devices: Sequence[Any]) -> int:
    """Bytes that the engine takes on the host, besides results."""
    if not settings.uses_limit or devices[0].platform != "cpu":
        return 0
    queue = points_at_a_time(state_dim, settings, devices)
    return _ARRAYS_OF_A_QUEUE * 8 * state_dim * queue


def solve(
    starts: Starts,
    strength: np.ndarray,
    seq_len: int,
    settings: SweepSettings,
    devices: Sequence[Any],
) -> Found:
    """Run points and measure them.

    Args:
      starts: where they begin.
      strength: their poison strengths.
      seq_len: sequence length κ.
      settings: solver, tolerances, what is kept.
      devices: devices to share the points out to.

    Returns:
      `error`, `loss`, `outcome`, `steps`, `a` and what else the settings ask for; rows without
      a start are nan with outcome `NO_START`.
    """
    num_points, state_dim = starts.a0.shape
    values = _empty(num_points, state_dim, settings)
    rows = np.flatnonzero(starts.usable)
    useful = spent = 0
    if rows.size:
        a0, log_gap, rho = starts.a0[rows], starts.log_gap[rows], strength[rows]
        if settings.uses_limit:
            found, spent = _limits(a0, log_gap, rho, seq_len, settings, devices)
            useful = int(found["steps"].sum())
            if settings.solver == "auto":
                _hand_over(found, a0, log_gap, rho, seq_len, settings)
        elif settings.uses_theorem1:
            found = run_theorem1(a0, log_gap, rho, seq_len, settings)
        else:
            found = run_flow(a0, log_gap, rho, seq_len, settings)
        for name, value in found.items():
            values[name][rows] = value
    return Found(values, useful, spent)


def _empty(num_points: int, state_dim: int, settings: SweepSettings) -> dict[str, np.ndarray]:
    """Arrays of points that were not run."""
    times = len(settings.save_times)
    values: dict[str, np.ndarray] = {}
    for name in ("error", "loss"):
        values[name] = np.full(num_points, np.nan)
    for leaf in dict.fromkeys(("a", *settings.leaves)):
        values[leaf] = np.full((num_points, state_dim), np.nan)
    if times:
        values["a_path"] = np.full((num_points, times, state_dim), np.nan)
        values["loss_path"] = np.full((num_points, times), np.nan)
    values["steps"] = np.zeros(num_points, np.int32)
    values["outcome"] = np.full(num_points, NO_START, np.int8)
    return values


@functools.lru_cache(maxsize=64)
def _limit_engine(
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


def _limits(
    a0: np.ndarray,
    log_gap: np.ndarray,
    strength: np.ndarray,
    seq_len: int,
    settings: SweepSettings,
    devices: Sequence[Any],
) -> tuple[dict[str, np.ndarray], int]:
    """Limits by the explicit engine; and the lane-steps that this took."""
    lanes, capacity = _size_of_queue(a0.shape[1], devices[0])
    engine = _limit_engine(seq_len, lanes, settings.horizon, tuple(devices))
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
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, spent


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


def _hand_over(
    found: dict[str, np.ndarray],
    a0: np.ndarray,
    log_gap: np.ndarray,
    strength: np.ndarray,
    seq_len: int,
    settings: SweepSettings,
) -> None:
    """Give what the explicit engine could not finish to the implicit one, in place."""
    rows = np.flatnonzero(found["outcome"] != Outcome.CONVERGED)
    if not rows.size:
        return
    again = run_theorem1(a0[rows], log_gap[rows], strength[rows], seq_len, settings)
    again["steps"] += found["steps"][rows]
    for name, value in again.items():
        found[name][rows] = value
