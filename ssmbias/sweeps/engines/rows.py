"""What all engines share: rows of points, padded before they run and put in their places after."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ssmbias.sweeps.starts import NO_START

if TYPE_CHECKING:
    from ssmbias.sweeps.settings import SweepSettings


class Solved(NamedTuple):
    """Results of points.

    Attributes:
      values: arrays by variable, one row a point.
      useful: lane-steps of the engine for limits that belong to a run.
      spent: its lane-steps in all, those of idle lanes included.
    """

    values: dict[str, np.ndarray]
    useful: int = 0
    spent: int = 0


def padded(array: np.ndarray, length: int) -> np.ndarray:
    """The first row repeated behind the last one."""
    extra = length - array.shape[0]
    return np.concatenate([array, np.repeat(array[:1], extra, axis=0)]) if extra else array


def not_run(num_points: int, state_dim: int, settings: SweepSettings) -> dict[str, np.ndarray]:
    """Arrays of points that were not run: nan, with the outcome `NO_START`."""
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
