"""Grids of runs: seeds, poison strengths, gaps and init scales, in a store that survives a kill."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ssmbias.sweeps.grid import AXES, DEFAULTS, Grid, make_grid
from ssmbias.sweeps.runner import SweepProgress, run_sweep, summarise, sweep
from ssmbias.sweeps.settings import SweepSettings

if TYPE_CHECKING:
    import xarray as xr


def open_sweep(store: str | Path) -> xr.Dataset:
    """Read the store of a sweep, finished or not: `ssmbias.sweeps.store.open_sweep`."""
    # Here and not above, because importing Zarr changes Python's warning filters.
    from ssmbias.sweeps import store as stores  # noqa: PLC0415

    return stores.open_sweep(store)


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
