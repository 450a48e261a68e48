"""Units of work: found again whole and current, or not at all."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from ssmbias.runs.units import LAYOUT_FILE, Units

ARRAYS = {"x": np.arange(6.0).reshape(2, 3), "text": np.array("a"), "one": np.array(np.nan)}
VALUES = {"error": math.nan, "limit": -math.inf, "seeds": [1, 2], "name": "κ", "none": None}


@pytest.fixture
def units(tmp_path):
    return Units(tmp_path / "units", "test/1")


def same(stored, values=VALUES, arrays=ARRAYS) -> bool:
    assert stored is not None
    assert repr(stored.values) == repr(values)
    assert stored.arrays.keys() == arrays.keys()
    return all(
        np.array_equal(stored.arrays[n], x, equal_nan=x.dtype.kind == "f")
        for n, x in arrays.items()
    )


def test_what_is_kept_is_found_to_the_last_bit(units):
    assert units.find("a", "mark") is None
    assert not units.folder.exists()  # looking leaves nothing behind
    kept = units.keep("a", "mark", VALUES, ARRAYS)
    assert same(kept)
    assert same(units.find("a", "mark"))
    assert same(Units(units.folder, "test/1").find("a", "mark"))
    units.keep("b", "mark", VALUES)
    assert same(units.find("b", "mark"), arrays={})


def test_another_mark_is_missing_and_then_replaced(units):
    units.keep("a", "old", {"value": 1}, ARRAYS)
    assert units.find("a", "new") is None
    units.keep("a", "new", {"value": 2}, ARRAYS)
    assert units.find("a", "old") is None
    assert units.find("a", "new").values == {"value": 2}


def test_a_kill_between_arrays_and_record_gives_out_no_mixture(units, monkeypatch):
    units.keep("a", "old", {"value": 1}, {"x": np.zeros(3)})

    def killed(path, write):
        raise KeyboardInterrupt

    monkeypatch.setattr("ssmbias.runs.units.write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        units.keep("a", "new", {"value": 2}, {"x": np.ones(3)})
    monkeypatch.undo()
    # The record of old stands beside the arrays of new: both marks are missing.
    assert units.path("a").with_suffix(".npz").exists()
    assert units.find("a", "old") is None
    assert units.find("a", "new") is None


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_damage_counts_as_missing(units, suffix):
    units.keep("a", "mark", VALUES, ARRAYS)
    path = units.path("a").with_suffix(suffix)
    content = path.read_bytes()
    flipped = content[:40] + bytes([content[40] ^ 1]) + content[41:]
    for damaged in (content[:-20], b"", flipped, b"[1]", b'{"mark": 1}'):
        path.write_bytes(damaged)
        assert units.find("a", "mark") is None
    path.unlink()
    assert units.find("a", "mark") is None
    path.write_bytes(content)
    assert same(units.find("a", "mark"))


def test_further_files_belong_to_a_unit(units, tmp_path):
    proof = tmp_path / "proof.gz"
    proof.write_bytes(b"proof")
    units.keep("a", "mark", {}, files=[proof])
    assert units.find("a", "mark") is not None
    proof.write_bytes(b"other")
    assert units.find("a", "mark") is None
    proof.write_bytes(b"proof")
    moved = units.folder.parent.rename(tmp_path.with_name("moved"))
    assert Units(moved / "units", "test/1").find("a", "mark") is not None
    (moved / "proof.gz").unlink()
    assert Units(moved / "units", "test/1").find("a", "mark") is None


@pytest.mark.parametrize(
    "name", ["a/b", "../a", "κ=7 d=10", ".hidden", "layout", "x" * 300, "t7(gap=1e-9)-M4", "a:b"]
)
def test_any_text_is_a_name(units, name):
    units.keep(name, "mark", {"value": name})
    units.keep("another", "mark", {})
    assert units.find(name, "mark").values == {"value": name}
    assert units.path(name).parent == units.folder
    assert json.loads((units.folder / LAYOUT_FILE).read_text()) == {"layout": "test/1"}
    assert not {*units.folder.parent.iterdir()} - {units.folder}


def test_names_that_make_the_same_file_name_are_told_apart(units):
    units.keep("a/b", "mark", {"value": 1})
    units.keep("a:b", "mark", {"value": 2})
    assert units.find("a/b", "mark").values == {"value": 1}
    assert units.find("a_b", "mark") is None


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("t7-M4.json", '{"fingerprint": "of an earlier version"}'),
        ("layout.json", '{"layout": "test/0"}'),
        ("late-0123.npz", "arrays of an earlier version"),
    ],
)
def test_a_folder_of_an_earlier_version_is_refused(tmp_path, file, content):
    (tmp_path / "units").mkdir()
    (tmp_path / "units" / file).write_text(content)
    with pytest.raises(ValueError, match=r"folder='.*units': holds results of another version"):
        Units(tmp_path / "units", "test/1")
    with pytest.raises(ValueError, match=r"use a new folder, such as hydra\.run\.dir="):
        Units(tmp_path / "units", "test/1")


def test_an_empty_folder_and_leavings_of_a_killed_process_are_no_units(tmp_path):
    (tmp_path / "units").mkdir()
    (tmp_path / "units" / ".layout.json.123.partial").write_text("")
    assert Units(tmp_path / "units", "test/1").find("a", "mark") is None


def test_arrays_of_objects_are_refused(units):
    with pytest.raises(ValueError, match=r"arrays\['x'\]: holds Python objects"):
        units.keep("a", "mark", {}, {"x": np.array([object()])})
    assert units.find("a", "mark") is None


_ENDLESS = """
import sys
import numpy as np
from ssmbias.runs.units import Units
units = Units(sys.argv[1], "test/1")
number = 0
while True:
    number += 1
    x = np.full(20_000, float(number))
    units.keep("a", str(number % 2), {"value": number}, {"x": x})
    print(number, flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_process_leaves_whole_units_or_none(tmp_path):
    for attempt in range(4):
        run = subprocess.Popen(
            [sys.executable, "-c", _ENDLESS, str(tmp_path / "units")], stdout=subprocess.PIPE
        )
        assert run.stdout is not None
        run.stdout.readline()
        time.sleep(0.02 * attempt)
        run.send_signal(signal.SIGKILL)
        run.wait(timeout=60)
        run.stdout.close()
        units = Units(tmp_path / "units", "test/1")
        for mark in "01":
            found = units.find("a", mark)
            if found is not None:
                assert found.values["value"] % 2 == int(mark)
                assert np.all(found.arrays["x"] == found.values["value"])
