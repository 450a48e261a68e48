"""Stores: blocks, and what goes in comes out."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from sweeps.store.store_cases import (
    BLOCK,
    GRID,
    SCHEMA,
    SETTINGS,
    SOURCES,
    TIMES,
    begin,
    compute,
    run,
)

from ssmbias.sweeps.blocks import Blocks, Variable
from ssmbias.sweeps.grid import Grid, make_grid
from ssmbias.sweeps.store import (
    UnfinishedSweepWarning,
    in_memory,
    open_sweep,
)
from ssmbias.sweeps.store import folder as folder_module

# -- blocks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5, 4), (1, 6, 1, 5), (2, 3, 2, 3), (13, 2)])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 12, 1000])
def test_blocks_are_boxes_and_runs_of_points(shape, size):
    blocks = Blocks.cut(shape, size)
    numbers = np.arange(np.prod(shape)).reshape(shape)
    seen = []
    for block in range(blocks.number):
        inside = numbers[blocks.slices(block)].ravel()
        start, stop = blocks.span(block)
        assert inside.tolist() == list(range(start, stop))
        assert 1 <= inside.size <= size
        seen += inside.tolist()
    assert seen == list(range(numbers.size))
    # Filled-up chunks take a third more than the points at most, which the estimate relies on.
    assert blocks.number * np.prod(blocks.box) <= 4 / 3 * numbers.size


# -- what goes in comes out ------------------------------------------------------------------


def test_round_trip(finished):
    data = open_sweep(finished)
    assert data.sizes == {"seed": 3, "strength": 5, "relative_gap": 2, "time": 3, "state": 2}
    assert data["seed"].values.tolist() == [7, 3, 5]
    row = data.sel(seed=3, strength=0.1, relative_gap=0.01)
    expected = 3 + np.sqrt(0.1) + 1e3 * (0.01 * 1e-3)
    assert float(row["error"]) == expected
    assert row["trajectory"].values.tolist() == np.outer(TIMES, [expected, 2 * expected]).tolist()
    assert {name: x.dtype.name for name, x in data.data_vars.items()} == {
        name: variable.dtype for name, variable in SCHEMA.items()
    }
    assert data["error"].attrs == SCHEMA["error"].attrs
    assert float(row["gap"]) == 0.01 * 1e-3
    assert float(data["init_scale"]) == 1e-3
    assert np.isnan(data["error"].values.reshape(-1)[:BLOCK]).all()  # computed, and nan


def test_provenance_is_told(finished):
    attrs = open_sweep(finished).attrs
    assert attrs["schema"] == "ssmbias.sweep/2"
    assert Grid.from_json(attrs["grid"]) == GRID
    assert attrs["precision"] == "float64"
    assert json.loads(attrs["solver"]) == {"rtol": 1e-10, "horizon": "inf"}
    assert {"created", "ssmbias_version", "jax_version", "numpy_version"} <= attrs.keys()
    assert (attrs["finished"], attrs["missing"]) == (30, 0)
    assert attrs["state_of_completion"] == "complete: all 30 points are there"
    assert all(isinstance(x, str | int | float) for x in attrs.values())


@pytest.mark.parametrize("axis", ["gap", "init_scale", "seed"])
def test_axes_left_out_are_coordinates(axis, tmp_path):
    values = {"gap": [1e-9, 2e-9], "init_scale": [1e-3, 1e-2], "seed": [4]}[axis]
    grid = make_grid({axis: values}, state_dim=2)
    run(begin(tmp_path / "s", grid))
    data = open_sweep(tmp_path / "s")
    assert data["error"].dims == (axis,)
    assert set(data.coords) == {"seed", "strength", "gap", "relative_gap", "init_scale", "time"}
    points = grid.points()
    for name in points:
        np.testing.assert_array_equal(np.broadcast_to(data[name], grid.shape), points[name])


def test_memory_and_disk_hold_the_same(finished):
    memory = in_memory(GRID, SCHEMA, SETTINGS, BLOCK, {"time": TIMES}, SOURCES)
    run(memory)
    assert memory.finished().all()
    data = open_sweep(finished)
    xr.testing.assert_equal(memory.dataset(), data)
    different = set(memory.dataset().attrs.items()) ^ set(data.attrs.items())
    assert {name for name, _ in different} <= {"created"}


@pytest.mark.parametrize("consolidated", [True, False])
def test_plain_readers_see_the_same(finished, consolidated):
    with xr.open_zarr(finished, consolidated=consolidated) as plain:
        xr.testing.assert_equal(plain.load(), open_sweep(finished))


def test_nothing_is_pickled(finished):
    for path in finished.rglob("zarr.json"):
        assert "pickle" not in path.read_text()
        assert "object" not in json.dumps(json.loads(path.read_text()).get("data_type", ""))


def test_an_unfinished_store_says_so(tmp_path):
    store = begin(tmp_path / "s")
    for block in (0, 2, 5):
        store.write(block, compute(store, block))
    with pytest.warns(UnfinishedSweepWarning, match=r"22 of 30 points are missing \(6 of 9"):
        data = open_sweep(tmp_path / "s")
    there = np.zeros(30, dtype=bool)
    for block in (0, 2, 5):
        there[slice(*store.span(block))] = True
    assert (data.attrs["finished"], data.attrs["missing"]) == (8, 22)
    there = there.reshape(GRID.shape)
    assert ((data["outcome"].values == -2) == ~there).all()
    assert ((data["steps"].values == -1) == ~there).all()
    assert (np.isnan(data["a"].values).all(axis=-1) == ~there).all()
    memory = in_memory(GRID, SCHEMA, SETTINGS, BLOCK, {"time": TIMES}, SOURCES)
    for block in (0, 2, 5):
        memory.write(block, compute(memory, block))
    xr.testing.assert_equal(memory.dataset(), data)


def test_a_store_without_any_block_can_be_read(tmp_path):
    begin(tmp_path / "s")
    with pytest.warns(UnfinishedSweepWarning, match="30 of 30"):
        assert np.isnan(open_sweep(tmp_path / "s")["error"]).all()


def test_a_half_written_block_is_not_shown(tmp_path, monkeypatch):
    store = begin(tmp_path / "s")
    write = folder_module._write_bytes

    def stop_at_outcome(path, data):
        if path.parent.name == "outcome":
            raise KeyboardInterrupt
        write(path, data)

    monkeypatch.setattr(folder_module, "_write_bytes", stop_at_outcome)
    with pytest.raises(KeyboardInterrupt):
        store.write(1, compute(store, 1))
    assert (tmp_path / "s" / "error" / "c.0.1.0").exists()
    assert not store.finished().any()
    with pytest.warns(UnfinishedSweepWarning, match="30 of 30"):
        assert np.isnan(open_sweep(tmp_path / "s")["error"]).all()


@pytest.mark.parametrize("make", [begin, None])
def test_a_finished_block_is_left_as_it_is(tmp_path, make):
    if make is None:
        store = in_memory(GRID, SCHEMA, SETTINGS, BLOCK, {"time": TIMES}, SOURCES)
    else:
        store = make(tmp_path / "s")
    values = compute(store, 1)
    store.write(1, values)
    store.write(1, {name: x * 0 for name, x in values.items()})
    kept = store.dataset()["error"].values.reshape(-1)[slice(*store.span(1))]
    assert kept.tolist() == values["error"].tolist()


def test_values_must_be_those_of_the_schema(tmp_path):
    store = begin(tmp_path / "s")
    good = compute(store, 1)
    bad = [
        ({"error": good["error"][:-1]}, r"values\['error'\] has shape \(3,\): expected \(4,\)"),
        ({"steps": good["steps"] * 0.5}, r"values\['steps'\] has dtype float64: expected int32"),
        ({"other": good["error"]}, "'other'"),
    ]
    for change, message in bad:
        with pytest.raises(ValueError, match=message):
            store.write(1, good | change)
    with pytest.raises(ValueError, match="block=9"):
        store.write(9, good)
    assert not store.finished().any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra": {}}, "'time' of unknown length"),
        ({"schema": {"gap": Variable((), "float64", {})}}, "cannot be called 'gap'"),
        ({"provenance": {"grid": "x"}}, "grid is set by the store"),
        ({"provenance": {"solver": object()}}, r"provenance\['solver'\]"),
        ({"block_size": 0}, "block_size=0"),
    ],
)
def test_bad_schemas_are_refused_before_anything_is_written(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        begin(tmp_path / "s", **changes)
    assert list(tmp_path.iterdir()) == []
