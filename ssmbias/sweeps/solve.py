"""Running the points of a block: the engine that suits the settings, and the devices."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import jax
import numpy as np

from ssmbias.sweeps.engines import flow, limit, limit_or_theorem1, theorem1
from ssmbias.sweeps.engines.rows import Solved, not_run
from ssmbias.sweeps.settings import SweepSettings
from ssmbias.sweeps.starts import Starts


def engine_of(settings: SweepSettings) -> ModuleType:
    """The module of `ssmbias.sweeps.engines` that does what is asked.

    Example:
      >>> engine_of(SweepSettings()).__name__, engine_of(SweepSettings(solver="flow")).__name__
      ('ssmbias.sweeps.engines.limit_or_theorem1', 'ssmbias.sweeps.engines.flow')
    """
    if settings.uses_limit:
        return limit_or_theorem1 if settings.solver == "auto" else limit
    return theorem1 if settings.uses_theorem1 else flow


def sources_of(settings: SweepSettings) -> tuple[str, ...]:
    """The modules that compute the numbers: the starts, and one engine."""
    return "ssmbias.sweeps.starts", engine_of(settings).__name__


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


def working_memory(state_dim: int, settings: SweepSettings, devices: Sequence[Any]) -> int:
    """Bytes that the engine takes on the host, besides results."""
    return limit.working_memory(state_dim, devices) if settings.uses_limit else 0


def solve(
    starts: Starts,
    strength: np.ndarray,
    seq_len: int,
    settings: SweepSettings,
    devices: Sequence[Any],
) -> Solved:
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
    values = not_run(num_points, state_dim, settings)
    rows = np.flatnonzero(starts.usable)
    if not rows.size:
        return Solved(values)
    a0, log_gap, rho = starts.a0[rows], starts.log_gap[rows], strength[rows]
    found = engine_of(settings).run(a0, log_gap, rho, seq_len, settings, devices)
    for name, value in found.values.items():
        values[name][rows] = value
    return found._replace(values=values)
