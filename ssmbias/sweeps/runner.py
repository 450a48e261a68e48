"""`sweep`: a grid of runs, block by block, into a store that survives a kill."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from ssmbias.core.checks import require_x64
from ssmbias.sweeps.blocks import Schema, Variable
from ssmbias.sweeps.grid import Grid, make_grid
from ssmbias.sweeps.room import estimate, require_room
from ssmbias.sweeps.settings import SweepSettings, settings_from
from ssmbias.sweeps.solve import engine_of, local_devices, solve, sources_of, working_memory
from ssmbias.sweeps.starts import OUTCOMES, starts_of

if TYPE_CHECKING:
    import xarray as xr

    from ssmbias.sweeps.store import Store

# A block is what a kill can lose, and what a second process can take: small grids are cut into
# at least this many.
_FEWEST_BLOCKS = 4
_SMALLEST_BLOCK = 256


class SweepProgress(NamedTuple):
    """How far a sweep has come.

    Attributes:
      done: points finished, those found in the store included.
      total: points of the grid.
      seconds: since this call began to compute.
      counts: points per name of outcome, of all that are done.
      resumed: points that were found in the store.
      utilisation: part of the lane-steps so far that belonged to a run; nan where the solver
        does not count them.
    """

    done: int
    total: int
    seconds: float
    counts: Mapping[str, int]
    resumed: int
    utilisation: float


Progress = Callable[[SweepProgress], None]


def sweep(
    grid: Mapping[str, Any],
    seq_len: int = 7,
    state_dim: int = 10,
    store: str | Path | None = None,
    *,
    progress: Progress | None = None,
    **settings: Any,
) -> xr.Dataset:
    r"""Train students from every point of a grid and say where they end.

    In the setting of Theorem 1: the flow of $\mathrm{diag}(A)$ with $B = C^\top = 1$, sequence
    length $\kappa$ and poison strength $\rho$, from the paper's starts (seed, init scale, and the
    gap $a_1 - a_2$; `ssmbias.models.reference_start`). Runs share lanes that are refilled from a
    queue and, with the solver for limits, are spread over all devices of the process; with several
    processes (`jax.distributed`) each takes some of the blocks.

    Args:
      grid: axis names `seed`, `strength`, `gap` or `relative_gap` (= gap / init scale),
        `init_scale`, with a number, a list, an array, or a text such as
        ``"0 + logspace(-9, 3, 60)"``. Axes left out take `ssmbias.sweeps.grid.DEFAULTS`.
      seq_len: sequence length $\kappa$, odd and at least 5.
      state_dim: number of states $d \ge 2$.
      store: folder for the results. What is there of the same grid is kept and not computed
        again; `None` keeps everything in memory.
      progress: called after every block with a `SweepProgress`.
      **settings: fields of `ssmbias.sweeps.settings.SweepSettings`: `solver`, `trainable`,
        `save_times`, `rtol`, `horizon`, `block_size`, `devices`.

    Returns:
      A Dataset with one dimension per axis of the grid and the variables `error` (generalisation
      error over `horizon` lags, normalised), `loss`, `outcome` (codes in its attributes), `steps`
      and `a` (with the dimension `state`, in descending order of the start). Runs that did not
      converge are there, with their outcome; points without a start are nan.

    Raises:
      ValueError: the grid is empty, too large, or holds what cannot be run; the store is of
        another grid, another version or older code, or damaged. Nothing is computed or overwritten
        then.
      OSError: the disk is full; what was finished is kept, and the same call goes on.

    Example:
      >>> import ssmbias
      >>> data = ssmbias.sweep({"seed": [242, 243], "strength": [0.0, 1.0]})
      >>> data.sizes["seed"], float(data.error.sel(seed=242, strength=1.0).round(6))
      (2, 0.049186)

    References:
      Slutzky et al. (2025), arXiv:2410.10473, Theorem 1.
    """
    require_x64("sweep")
    return run_sweep(make_grid(grid, seq_len, state_dim), settings_from(settings), store, progress)


def run_sweep(
    grid: Grid,
    settings: SweepSettings,
    store: str | Path | None = None,
    progress: Progress | None = None,
) -> xr.Dataset:
    """`sweep` for a checked grid and checked settings; the same results and errors."""
    require_x64("sweep")
    if progress is not None and not callable(progress):
        raise ValueError(f"progress={progress!r}: give a function of a SweepProgress, or None")
    if store is not None:
        if not isinstance(store, str | Path) or not str(store):
            raise ValueError(f"store={store!r}: give the path of a folder, or None")
        store = Path(store).expanduser()
    devices = local_devices(settings.devices)
    working = working_memory(grid.state_dim, settings, devices)
    require_room(estimate(grid, len(settings.save_times), settings.num_leaves, working), store)
    points = grid.points()
    starts = starts_of(points, grid.state_dim)
    if not starts.usable.any():
        raise ValueError(
            f"grid: none of its {grid.num_points} points can be started, because another entry of "
            "each draw lies within the gap; take smaller gaps or other seeds"
        )
    opened = _open(
        grid, settings, store, engine_of(settings).points_at_a_time(grid.state_dim, devices)
    )
    found = opened.finished()
    begin = time.perf_counter()
    codes = np.full(grid.num_points, -1, np.int64)
    if found.any():
        codes = opened.dataset()["outcome"].to_numpy().reshape(-1).astype(np.int64)
    resumed = int((codes >= 0).sum())
    useful = spent = 0

    def tell() -> None:
        if progress is not None:
            counts = {name: int((codes == code).sum()) for code, name in OUTCOMES.items()}
            progress(
                SweepProgress(
                    done=int((codes >= 0).sum()),
                    total=grid.num_points,
                    seconds=time.perf_counter() - begin,
                    counts={name: number for name, number in counts.items() if number},
                    resumed=resumed,
                    utilisation=useful / spent if spent else math.nan,
                )
            )

    tell()
    for block in np.flatnonzero(~found).tolist():
        # By number, not by place in the list: processes may see different blocks as missing.
        if block % jax.process_count() != jax.process_index():
            continue
        start, stop = opened.span(block)
        part = type(starts)(*(x[start:stop] for x in starts))
        result = solve(part, points["strength"][start:stop], grid.seq_len, settings, devices)
        opened.write(block, result.values)
        codes[start:stop] = result.values["outcome"]
        useful, spent = useful + result.useful, spent + result.spent
        tell()
    return _gathered(opened, store is not None)


def open_sweep(store: str | Path) -> xr.Dataset:
    """Read the store of a sweep, finished or not: `ssmbias.sweeps.store.open_sweep`."""
    # Here and not above, because importing Zarr changes Python's warning filters.
    from ssmbias.sweeps import store as stores  # noqa: PLC0415

    return stores.open_sweep(store)


def summarise(data: xr.Dataset) -> dict[str, int]:
    """Count the points of a sweep per name of outcome; `missing` are those not computed yet.

    Args:
      data: what `sweep` or `open_sweep` returns.

    Example:
      >>> import ssmbias
      >>> summarise(ssmbias.sweep({"seed": range(3), "relative_gap": 1e-6}))
      {'converged': 3}
    """
    codes = data["outcome"].to_numpy()
    counts = {name: int((codes == code).sum()) for code, name in OUTCOMES.items()}
    counts["missing"] = int((codes < 0).sum())
    return {name: number for name, number in counts.items() if number}


def variables(settings: SweepSettings) -> Schema:
    """What a sweep stores at each point."""
    found = {
        "error": Variable(
            (),
            "float64",
            {
                "long_name": f"generalisation error over {settings.horizon} lags, normalised",
                "units": "1",
            },
        ),
        "loss": Variable((), "float64", {"long_name": "training loss", "units": "1"}),
    }
    for leaf in dict.fromkeys(("a", *settings.leaves)):
        found[leaf] = Variable(
            ("state",),
            "float64",
            {"long_name": f"{leaf} at the end, in descending order of the start", "units": "1"},
        )
    if settings.save_times:
        found["a_path"] = Variable(
            ("time", "state"), "float64", {"long_name": "diagonal of A on the way", "units": "1"}
        )
        found["loss_path"] = Variable(
            ("time",), "float64", {"long_name": "training loss on the way", "units": "1"}
        )
    found["steps"] = Variable(
        (), "int32", {"long_name": "trial steps of the integrator", "units": "1"}
    )
    found["outcome"] = Variable(
        (),
        "int8",
        {
            "long_name": "how the run ended",
            "units": "1",
            "flag_values": " ".join(map(str, OUTCOMES)),
            "flag_meanings": " ".join(OUTCOMES.values()),
        },
        missing=-2,
    )
    return found


def _open(
    grid: Grid, settings: SweepSettings, store: str | Path | None, suits_devices: int
) -> Store:
    """The store, new or resumed. Zarr is imported here: importing it changes warning filters."""
    from ssmbias.sweeps.store import create_or_resume, in_memory  # noqa: PLC0415

    wanted = max(_SMALLEST_BLOCK, -(-grid.num_points // _FEWEST_BLOCKS))
    block_size = min(settings.block_size or suits_devices, wanted)
    extra = {"time": np.array(settings.save_times)} if settings.save_times else None
    provenance = settings.provenance()
    rest = (variables(settings), provenance, block_size, extra, sources_of(settings))
    return in_memory(grid, *rest) if store is None else create_or_resume(store, grid, *rest)


def _gathered(store: Store, on_disk: bool) -> xr.Dataset:
    """Everything that was computed, by whichever process."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils  # noqa: PLC0415

        if on_disk:
            multihost_utils.sync_global_devices("ssmbias.sweep: every process has written")
        else:
            _exchange(store, multihost_utils.process_allgather)
        if not store.finished().all():
            raise ValueError(
                "store: blocks of other processes are missing; give a folder that all of them see"
            )
    return store.dataset()


def _exchange(store: Store, gather: Callable[[Any], Any]) -> None:
    """Give every process the blocks of all others."""
    data = store.dataset()
    here = store.finished()
    theirs = gather({str(name): value.to_numpy() for name, value in data.data_vars.items()})
    finished = gather(here)
    for block in np.flatnonzero(~here).tolist():
        owner = int(np.argmax(finished[:, block]))
        start, stop = store.span(block)
        part = {}
        for name, value in theirs.items():
            flat = value[owner].reshape(
                store.grid.num_points, *value.shape[1 + len(store.grid.shape) :]
            )
            part[name] = flat[start:stop]
        store.write(block, part)
