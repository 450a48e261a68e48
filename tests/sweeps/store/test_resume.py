"""Stores go on where they were, with the same grid, settings, version, source and hardware."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import pytest
import xarray as xr
from sweeps.store.store_cases import (
    BLOCK,
    GRID,
    SCHEMA,
    SETTINGS,
    TIMES,
    begin,
    compute,
    contents,
    run,
)

import ssmbias
from ssmbias.runs import sources
from ssmbias.runs.sources import Tree
from ssmbias.sweeps.blocks import Variable
from ssmbias.sweeps.grid import make_grid
from ssmbias.sweeps.store import (
    UnfinishedSweepWarning,
    open_sweep,
)


def test_a_store_keeps_its_blocks(tmp_path):
    store = begin(tmp_path / "s")
    store.write(0, compute(store, 0))
    again = begin(tmp_path / "s", block_size=1000)
    assert (again.block_size, again.num_blocks) == (BLOCK, 9)
    assert again.finished().tolist() == [True] + [False] * 8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"grid": make_grid({"seed": [7, 3, 5]}, state_dim=2)}, ["another grid", "its axes are"]),
        (
            {"grid": make_grid(dict(GRID.axes) | {"seed": [7, 3, 6]}, state_dim=2)},
            ["another grid", "seed[2] is 5 there and 6 here"],
        ),
        (
            {"grid": make_grid(dict(GRID.axes) | {"seed": [7, 3]}, state_dim=2)},
            ["seed has 3 values there and 2 here"],
        ),
        ({"grid": make_grid(dict(GRID.axes), 9, 2)}, ["seq_len is 7 there and 9 here"]),
        (
            {"provenance": SETTINGS | {"solver": {"rtol": 1e-9, "horizon": float("inf")}}},
            ["solver.rtol is 1e-10 there and 1e-09 here", "settings"],
        ),
        ({"provenance": SETTINGS | {"precision": "float32"}}, ["precision is 'float64'"]),
        ({"provenance": SETTINGS | {"more": 1}}, ["more is None there and 1 here"]),
        ({"extra": {"time": TIMES + 1}}, ["time"]),
        ({"schema": dict(list(SCHEMA.items())[:-1])}, ["variables"]),
        ({"schema": SCHEMA | {"steps": Variable((), "int64", {})}}, ["steps", "int32", "int64"]),
    ],
)
def test_another_grid_or_settings_are_refused(finished, changes, words):
    before = contents(finished)
    with pytest.raises(ValueError) as err:  # noqa: PT011
        begin(finished, **changes)
    for word in (*words, "another folder" if "schema" not in changes else ""):
        assert word in str(err.value)
    assert contents(finished) == before


@pytest.mark.parametrize(
    "field", ["schema", "ssmbias_version", "jax_version", "scipy_version", "zarr_version"]
)
def test_another_version_is_refused(finished, field):
    root = finished / "zarr.json"
    whole = json.loads(root.read_text())
    whole["attributes"][field] = "ssmbias.sweep/0"
    root.write_text(json.dumps(whole))
    before = contents(finished)
    with pytest.raises(ValueError, match=r"ssmbias\.sweep/0.*install"):
        begin(finished)
    if field == "schema":
        with pytest.raises(ValueError, match=r"ssmbias\.sweep/0.*install"):
            open_sweep(finished)
    assert contents(finished) == before


def test_a_store_of_an_earlier_version_is_refused(finished):
    """One that knows nothing of source and hardware."""
    root = finished / "zarr.json"
    whole = json.loads(root.read_text())
    whole["attributes"]["schema"] = "ssmbias.sweep/1"
    for name in ("fingerprint", "hardware", "source_sha256", "scipy_version"):
        del whole["attributes"][name]
    root.write_text(json.dumps(whole))
    message = r"^store='.*finished': its layout is 'ssmbias\.sweep/1', and this version .*install"
    for job in (begin, open_sweep):
        with pytest.raises(ValueError, match=message):
            job(finished)


def test_older_source_is_refused_and_other_source_does_not_matter(tmp_path, monkeypatch):
    root = shutil.copytree(
        Path(ssmbias.__file__).parent, tmp_path / "ssmbias",
        ignore=shutil.ignore_patterns("__pycache__"),
    )  # fmt: skip

    def change(name: str) -> None:
        path = root / name
        path.write_text(path.read_text(encoding="utf-8") + "\n_NEW_LINE = 1\n")
        monkeypatch.setattr(sources, "package_tree", lambda: Tree({"ssmbias": root}))

    run(begin(tmp_path / "s"), range(2))
    before = contents(tmp_path / "s")
    change("dynamics/flow/solve.py")
    change("report/__init__.py")
    assert begin(tmp_path / "s").finished().sum() == 2
    change("models/starts.py")  # two imports away
    message = r"the source of the modules that compute it has changed .*; give another folder, or"
    with pytest.raises(ValueError, match=message):
        begin(tmp_path / "s")
    assert contents(tmp_path / "s") == before
    assert open_sweep_quietly(tmp_path / "s").attrs["finished"] > 0  # it can still be read


def open_sweep_quietly(path: Path) -> xr.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnfinishedSweepWarning)
        return open_sweep(path)


def test_another_kind_of_hardware_is_refused(finished):
    root = finished / "zarr.json"
    root.write_text(root.read_text().replace('\\"platform\\": \\"cpu', '\\"platform\\": \\"abacus'))
    with pytest.raises(ValueError, match=r"hardware\.platform is 'abacus' there and 'cpu' here"):
        begin(finished)
