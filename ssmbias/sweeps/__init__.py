"""Grids of runs: seeds, poison strengths, gaps and init scales, in a store that survives a kill."""

from __future__ import annotations

from ssmbias.sweeps.grid import AXES, DEFAULTS, Grid, make_grid
from ssmbias.sweeps.runner import SweepProgress, open_sweep, run_sweep, summarise, sweep
from ssmbias.sweeps.settings import SweepSettings

__all__ = [
    "AXES",
    "DEFAULTS",
    "Grid",
    "SweepProgress",
    "SweepSettings",
    "make_grid",
    "open_sweep",
    "run_sweep",
    "summarise",
    "sweep",
]
