"""Formats for the results of a sweep: Zarr with one chunk per block, or one NetCDF file per block.

Both are written durably (temporary name, flushed, renamed) in blocks of 4096 points with error,
loss, outcome, steps and ten states, and then read as one labelled array in memory. NetCDF files
are merged into one at the end, as its users expect a single file. They are NetCDF 4 where h5py is
installed beside h5netcdf, else NetCDF 3 by SciPy, which has less to do per file.

    .venv/bin/python benchmarks/store.py            # seconds; writes benchmarks/results/
    .venv/bin/python benchmarks/store.py --quick    # a smoke run
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import common  # pins the process to one core, so before JAX and NumPy
import numpy as np
import xarray as xr
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from ssmbias.sweeps.blocks import Variable
from ssmbias.sweeps.grid import Grid, make_grid
from ssmbias.sweeps.store import create_or_resume, open_sweep

BLOCK = 4096
STATES = 10
SCHEMA = {
    "error": Variable((), "float64", {"units": "1"}),
    "loss": Variable((), "float64", {"units": "1"}),
    "outcome": Variable((), "int8", {"units": "1"}, -2),
    "steps": Variable((), "int32", {"units": "1"}),
    "a": Variable(("state",), "float64", {"units": "1"}),
}
ENGINE: Any = "h5netcdf" if importlib.util.find_spec("h5py") else "scipy"


def results(start: int, stop: int) -> dict[str, np.ndarray]:
    """What an engine might have found at these points: mantissas that look random."""
    # The same for a point, however the grid is cut.
    phase = np.arange(start, stop)[:, None] * 0.6180339887498949 + np.sqrt(np.arange(2, STATES + 2))
    a = phase % 1.0
    return {
        "error": a[:, 0],
        "loss": 1e-26 * a[:, 1],
        "outcome": np.zeros(stop - start, np.int8),
        "steps": (500 + 1000 * a[:, 2]).astype(np.int32),
        "a": a,
    }


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def timed(job: Any) -> tuple[float, Any]:
    begin = time.perf_counter()
    out = job()
    return time.perf_counter() - begin, out


def by_zarr(folder: Path, grid: Grid) -> tuple[dict[str, Any], np.ndarray]:
    """The store of ssmbias.sweeps."""
    path = folder / "store"
    store = create_or_resume(path, grid, SCHEMA, {}, BLOCK, sources=("ssmbias.sweeps.grid",))
    seconds = []
    for block in range(store.num_blocks):
        values = results(*store.span(block))
        seconds.append(timed(lambda b=block, v=values: store.write(b, v))[0])
    check, _ = timed(store.finished)
    read, data = timed(lambda: open_sweep(path))
    lazily, _ = timed(lambda: xr.open_zarr(path))
    row = {
        "blocks": store.num_blocks,
        "ms to write a block": common.spread([1e3 * s for s in seconds]),
        "s to merge": 0.0,
        "s to read and check everything": read,
        "s to check what is finished (resume)": check,
        "s to open lazily": lazily,
        "MB": size_of(path) / 1e6,
        "files": sum(1 for p in path.rglob("*") if p.is_file()),
        "SIGKILL loses": "the block in flight",
    }
    return row, data["error"].values.reshape(-1)


def by_netcdf(folder: Path, grid: Grid) -> tuple[dict[str, Any], np.ndarray]:
    """A file per block with a flat dimension `point`, merged at the end."""
    seconds = []
    parts = []
    for start in range(0, grid.num_points, BLOCK):
        stop = min(start + BLOCK, grid.num_points)
        values = results(start, stop)
        path = folder / f"{start}.nc"
        seconds.append(timed(lambda v=values, p=path: write_netcdf(v, p))[0])
        parts.append(path)
    opened, _ = timed(lambda: [xr.open_dataset(p, engine=ENGINE).close() for p in parts])

    def merge() -> None:
        pieces = [xr.load_dataset(path, engine=ENGINE) for path in parts]
        durable(xr.concat(pieces, "point"), folder / "all.nc")

    merged, _ = timed(merge)
    peak = size_of(folder)
    read, data = timed(lambda: xr.load_dataset(folder / "all.nc", engine=ENGINE))
    row = {
        "blocks": len(parts),
        "ms to write a block": common.spread([1e3 * s for s in seconds]),
        "s to merge": merged,
        "s to read everything, unchecked": read,
        "s to see which files open (resume)": opened,
        "MB": (folder / "all.nc").stat().st_size / 1e6,
        "MB while merging": peak / 1e6,
        "files": len(parts),
        "SIGKILL loses": "the block in flight; during the merge, the merge",
    }
    return row, data["error"].values


def write_netcdf(values: dict[str, np.ndarray], path: Path) -> None:
    dims = {name: ("point", *variable.dims) for name, variable in SCHEMA.items()}
    durable(xr.Dataset({name: (dims[name], x) for name, x in values.items()}), path)


def durable(data: xr.Dataset, path: Path) -> None:
    partial = path.with_suffix(".partial")
    data.to_netcdf(partial, engine=ENGINE)
    with partial.open("rb") as stream:
        os.fsync(stream.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def compression(folder: Path) -> dict[str, float]:
    """Bytes of a block of random mantissas after Zstandard, over those without."""
    rng = np.random.default_rng(0)
    values = results(0, BLOCK) | {
        "error": rng.random(BLOCK),
        "loss": rng.random(BLOCK),
        "a": rng.random((BLOCK, STATES)),
    }
    sizes = {}
    for name, codecs in {"raw": [Crc32cCodec()], "zstd": [ZstdCodec(), Crc32cCodec()]}.items():
        for variable, array in values.items():
            path = folder / name / variable
            zarr.create_array(path, data=array, chunks=array.shape, compressors=codecs)
        sizes[name] = sum(p.stat().st_size for p in (folder / name).rglob("c/**/*") if p.is_file())
    return {"zstd over raw": sizes["zstd"] / sizes["raw"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    quick = parser.parse_args().quick
    warnings.simplefilter("error")
    report: dict[str, object] = {
        "setting": f"durable writes in blocks of {BLOCK} points, {STATES} states, on the file "
        "system of the temporary folder; data are in the page cache when they are read",
        "machine": common.machine("numpy", "xarray", "zarr", "scipy"),
        "NetCDF by": ENGINE,
    }
    for points in (20_000,) if quick else (20_000, 200_000):
        rows: dict[str, Any] = {}
        flat = make_grid({"seed": range(points)}, state_dim=STATES)
        # seeds x strengths x relative gaps x init scales, as in a phase diagram.
        box = make_grid(
            {
                "seed": range(points // 2000),
                "strength": "logspace(-9, 3, 50)",
                "relative_gap": "logspace(-6, -1, 10)",
                "init_scale": [1e-3, 2e-3, 5e-3, 1e-2],
            },
            state_dim=STATES,
        )
        jobs = {"Zarr, flat": (by_zarr, flat), "Zarr, box": (by_zarr, box)}
        jobs["NetCDF"] = (by_netcdf, flat)
        found = {}
        for name, (job, grid) in jobs.items():
            with tempfile.TemporaryDirectory() as folder:
                rows[name], found[name] = job(Path(folder), grid)
        assert np.array_equal(found["Zarr, flat"], found["NetCDF"])
        report[f"{points} points"] = rows
    with tempfile.TemporaryDirectory() as folder:
        report["compression"] = compression(Path(folder))
    common.publish(report, "store", quick)


if __name__ == "__main__":
    main()
