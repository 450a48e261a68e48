"""A small grid, its stores, and how they are filled."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np

from ssmbias.sweeps.blocks import Variable
from ssmbias.sweeps.grid import Grid, make_grid
from ssmbias.sweeps.store import (
    Store,
    create_or_resume,
)

TIMES = np.array([0.0, 0.5, 2.0])
SCHEMA = {
    "error": Variable((), "float64", {"units": "1", "long_name": "generalisation error"}),
    "steps": Variable((), "int32", {"units": "1"}),
    "a": Variable(("state",), "float64", {"units": "1"}),
    "trajectory": Variable(("time", "state"), "float64", {"units": "1"}),
    "outcome": Variable((), "int8", {"flag_values": [-2, 0], "flag_meanings": "missing ok"}, -2),
}
SETTINGS = {"precision": "float64", "solver": {"rtol": 1e-10, "horizon": float("inf")}}
GRID = make_grid(
    {"seed": [7, 3, 5], "strength": "0 + logspace(-2, 1, 4)", "relative_gap": [0.1, 0.01]},
    state_dim=2,
)
SOURCES = ("ssmbias.sweeps.starts",)
BLOCK = 4  # 3 x 5 x 2 points are cut into boxes of 1 x 2 x 2, the last of each row 1 x 1 x 2


def begin(path: Path, grid: Grid = GRID, **changes) -> Store:
    options = {"schema": SCHEMA, "provenance": SETTINGS, "block_size": BLOCK, "extra": None}
    options |= {"extra": {"time": TIMES}, "sources": SOURCES} | changes
    return create_or_resume(path, grid, **options)


def compute(store: Store, block: int) -> dict[str, np.ndarray]:
    """Numbers that tell every point from every other; the first block is nan throughout."""
    points = store.grid.points(*store.span(block))
    error = points["seed"] + np.sqrt(points["strength"]) + 1e3 * points["gap"]
    a = error[:, None] * np.arange(1, store.grid.state_dim + 1)
    return {
        "error": np.full_like(error, np.nan) if block == 0 else error,
        "steps": points["seed"] * 2,
        "a": a,
        "trajectory": a[:, None, :] * TIMES[:, None],
        "outcome": np.zeros(error.size, np.int8),
    }


def run(store: Store, blocks: range | None = None, pause: float = 0.0) -> None:
    """What an engine does: compute what is missing."""
    finished = store.finished()
    for block in blocks or range(store.num_blocks):
        if not finished[block]:
            time.sleep(pause)
            store.write(block, compute(store, block))


def contents(path: Path) -> dict[str, bytes]:
    """Every file of a store; the date of creation is replaced."""
    files = {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}
    root = json.loads(files["zarr.json"])
    assert root["attributes"].pop("created")
    files["zarr.json"] = json.dumps(root).encode()
    return files
