"""Limits by the explicit engine; the implicit one takes over what that cannot finish."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ssmbias.dynamics import Outcome
from ssmbias.sweeps.engines import limit, theorem1
from ssmbias.sweeps.engines.limit import points_at_a_time
from ssmbias.sweeps.engines.rows import Solved

if TYPE_CHECKING:
    from ssmbias.sweeps.settings import SweepSettings

__all__ = ["points_at_a_time", "run"]


def run(
    a0: np.ndarray,
    log_gap: np.ndarray,
    strength: np.ndarray,
    seq_len: int,
    settings: SweepSettings,
    devices: Sequence[Any],
) -> Solved:
    """Find limits; the steps of both engines are counted, the lane-steps of the first alone."""
    found = limit.run(a0, log_gap, strength, seq_len, settings, devices)
    rows = np.flatnonzero(found.values["outcome"] != Outcome.CONVERGED)
    if rows.size:
        again = theorem1.run(a0[rows], log_gap[rows], strength[rows], seq_len, settings, devices)
        again.values["steps"] += found.values["steps"][rows]
        for name, value in again.values.items():
            found.values[name][rows] = value
    return found
