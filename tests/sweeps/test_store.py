"""Stores: nothing is lost to a kill but the block in flight, nothing damaged is handed out.

Run as a script this file is the process that is killed, or one of two that write side by side.
"""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray as xr

import ssmbias
from ssmbias.runs import sources
from ssmbias.runs.sources import Tree
from ssmbias.sweeps.blocks import Blocks, Variable
from ssmbias.sweeps.grid import Grid, make_grid
from ssmbias.sweeps.store import (
    Store,
    UnfinishedSweepWarning,
    create_or_resume,
    in_memory,
    open_sweep,
)
from ssmbias.sweeps.store import folder as folder_module

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


@pytest.fixture
def finished(tmp_path) -> Path:
    run(begin(tmp_path / "finished"))
    return tmp_path / "finished"


def damage_and_try(path: Path) -> str:
    """The one message that reading, checking and going on all give; nothing is changed."""
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    messages = set()
    for job in (lambda: open_sweep(path), lambda: begin(path).finished(), lambda: run(begin(path))):
        with pytest.raises(ValueError, match="run the same command") as err:
            job()
        messages.add(str(err.value))
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before
    assert len(messages) == 1
    return messages.pop()


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


# -- going on --------------------------------------------------------------------------------


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


# -- damage ----------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("spoil", "what"),
    [(truncate, "bytes where"), (flip, "checksum"), (Path.unlink, "No such file")],
)
@pytest.mark.parametrize("name", ["error", "trajectory", "outcome"])
def test_a_damaged_chunk_is_noticed_and_computed_again(finished, spoil, what, name):
    before = contents(finished)
    chunk = next(path for path in sorted((finished / name).iterdir()) if ".1." in path.name)
    spoil(chunk)
    message = damage_and_try(finished)
    assert str(chunk) in message
    assert what in message
    marker = Path(message.split("delete ")[1].split(" and run")[0])
    marker.unlink()  # as the message says
    run(begin(finished))
    assert contents(finished) == before


@pytest.mark.parametrize("spoil", [truncate, lambda path: path.write_text("[]"), flip])
def test_a_damaged_marker_is_noticed(finished, spoil):
    marker = finished / "blocks" / "4.json"
    spoil(marker)
    assert str(marker) in damage_and_try(finished)


def test_a_marker_without_data_is_noticed(tmp_path, finished):
    begin(tmp_path / "s")
    marker = tmp_path / "s" / "blocks" / "3.json"
    marker.write_bytes((finished / "blocks" / "3.json").read_bytes())
    assert "No such file" in damage_and_try(tmp_path / "s")


@pytest.mark.parametrize("spoil", [truncate, lambda path: path.unlink()])
def test_a_damaged_heading_is_noticed(finished, spoil):
    spoil(finished / "zarr.json")
    files = {p: p.read_bytes() for p in finished.rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match=r"no readable zarr\.json"):
        begin(finished)
    with pytest.raises(ValueError, match="is not a store"):
        open_sweep(finished)
    assert {p: p.read_bytes() for p in finished.rglob("*") if p.is_file()} == files


def test_a_heading_that_makes_no_sense_is_noticed(finished):
    root = finished / "zarr.json"
    root.write_text(root.read_text().replace('\\"seq_len\\": 7', '\\"seq_len\\": 8'))
    with pytest.raises(ValueError, match=r"zarr\.json is damaged"):
        open_sweep(finished)


# -- places ----------------------------------------------------------------------------------


def test_places_that_are_taken_or_cannot_be_written(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "thesis.tex").write_text("mine")
    for path, message in [
        (file, "is a file"),
        (folder, "other things"),
        (file / "store", "cannot be written"),
    ]:
        with pytest.raises(ValueError, match=message):
            begin(path)
    with pytest.raises(ValueError, match="does not exist"):
        open_sweep(tmp_path / "nothing")
    with pytest.raises(ValueError, match="is not a store"):
        open_sweep(folder)
    assert file.read_text() == (folder / "thesis.tex").read_text() == "mine"
    assert {p.name for p in tmp_path.iterdir()} == {"file", "folder"}


def test_an_empty_folder_and_odd_names_will_do(tmp_path):
    for name in ("empty", "strength=[1,2]", "deep/er"):
        path = tmp_path / name
        if name == "empty":
            path.mkdir()
        leaving = path.parent / f".{path.name}.0.partial"
        leaving.mkdir(parents=True)
        run(begin(path))
        assert open_sweep(path).attrs["missing"] == 0
        assert not leaving.exists()


def test_an_unfinished_store_that_cannot_be_written_is_refused_at_once(tmp_path, monkeypatch):
    store = begin(tmp_path / "s")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ValueError, match="cannot be written"):
        begin(tmp_path / "s")
    run(store)
    assert begin(tmp_path / "s").finished().all()  # nothing is left to be written


def test_a_full_disk_keeps_what_there_was(tmp_path, monkeypatch):
    store = begin(tmp_path / "s")
    store.write(0, compute(store, 0))
    fsync = os.fsync
    calls = []

    def full(handle):
        calls.append(handle)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"disk is full .*block 1; 1 of 9 .*same command") as err:
            store.write(1, compute(store, 1))
        assert err.value.errno == errno.ENOSPC
        with pytest.raises(OSError, match="disk is full; nothing was written"):
            begin(tmp_path / "t")
    assert not (tmp_path / "t").exists()
    assert {p.name for p in tmp_path.iterdir()} == {"s"}
    run(begin(tmp_path / "s"))
    run(begin(tmp_path / "whole"))
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")


def test_a_file_that_cannot_grow(tmp_path):
    """The operating system itself refuses, in the middle of a chunk."""
    grid = make_grid({"seed": range(4000)}, state_dim=2)
    store = begin(tmp_path / "s", grid, block_size=2000)
    store.write(0, compute(store, 0))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        with pytest.raises(OSError, match="1 of 2 blocks are kept"):
            store.write(1, compute(store, 1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert begin(tmp_path / "s", grid).finished().tolist() == [True, False]


# -- several processes and kills -------------------------------------------------------------

KILL_GRID = make_grid({"seed": range(60), "strength": [0.0, 1.0]}, state_dim=2)
KILLS = 40


def test_kills_at_random_moments_lose_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, __file__, "kill", str(tmp_path)],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["kills"] >= KILLS
    # Neither all before the first block nor all in one phase.
    assert report["kills that found blocks"] >= 10
    assert report["kills that left a half-written block or file"] >= 1
    whole = contents(tmp_path / "whole")
    stores = [path for path in tmp_path.iterdir() if path.name.startswith("killed")]
    assert len(stores) == report["stores"]
    for path in stores:
        assert contents(path) == whole
        xr.testing.assert_identical(
            open_sweep(path).drop_attrs(), open_sweep(tmp_path / "whole").drop_attrs()
        )
    assert {p.name for p in tmp_path.iterdir()} == {"whole"} | {p.name for p in stores}


def kill_often(folder: Path) -> dict[str, int]:
    """Begin and resume in children that are killed; some stores are killed until they are done."""
    run(begin(folder / "whole", KILL_GRID))
    rng = random.Random(0)
    report = {
        "kills": 0,
        "kills that found blocks": 0,
        "kills that left a half-written block or file": 0,
        "stores": 0,
    }
    while report["kills"] < KILLS:
        report["stores"] += 1
        path = folder / f"killed {report['stores']}"
        before = 0
        longest = 0.12
        while True:
            child = os.fork()
            if child == 0:
                run(begin(path, KILL_GRID), pause=0.0005)
                os._exit(0)
            time.sleep(rng.uniform(0, longest))
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            if not os.WIFSIGNALED(status):
                assert os.WEXITSTATUS(status) == 0
                break
            report["kills"] += 1
            longest *= 1.2  # until something is done: a busy machine is slower than this
            if not path.exists():
                continue
            now = int(begin(path, KILL_GRID).finished().sum())  # every marker has its data
            assert now >= before
            if now > before:
                longest = 0.12
            before = now
            report["kills that found blocks"] += now > 0
            torn = any(path.rglob("*.partial")) or len(list((path / "error").glob("c.*"))) > now
            report["kills that left a half-written block or file"] += torn
            if now == KILL_GRID.num_points // BLOCK:
                break
    return report


def test_two_processes_write_one_store(tmp_path):
    workers = [
        subprocess.Popen([sys.executable, __file__, half, str(tmp_path)], stderr=subprocess.PIPE)
        for half in ("even", "odd")
    ]
    for worker in workers:
        _, said = worker.communicate(timeout=100)
        assert worker.returncode == 0, said
    run(begin(tmp_path / "alone", KILL_GRID))
    assert contents(tmp_path / "shared") == contents(tmp_path / "alone")
    assert {p.name for p in tmp_path.iterdir()} == {"shared", "alone"}


def write_half(folder: Path, first: int) -> None:
    """Begin the store or join it, at the moment at which the other process does, and fill half."""
    (folder / f"ready {first}").touch()
    deadline = time.monotonic() + 60
    while not (folder / f"ready {1 - first}").exists() and time.monotonic() < deadline:
        time.sleep(0.0005)
    store = begin(folder / "shared", KILL_GRID)
    run(store, range(first, store.num_blocks, 2))
    time.sleep(0.1)
    (folder / f"ready {first}").unlink()


if __name__ == "__main__":
    warnings.simplefilter("ignore", RuntimeWarning)  # of JAX about forks; it is not used here
    jax.config.update("jax_enable_x64", True)  # as in the other processes: it is part of the mark
    what, where = sys.argv[1], Path(sys.argv[2])
    if what == "kill":
        print(json.dumps(kill_often(where)))
    else:
        write_half(where, ("even", "odd").index(what))
