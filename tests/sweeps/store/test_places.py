"""Stores in places that are taken, full, or cannot be written."""

from __future__ import annotations

import errno
import os
import resource
import signal

import pytest
from sweeps.store.store_cases import begin, compute, contents, run

from ssmbias.sweeps.grid import make_grid
from ssmbias.sweeps.store import (
    open_sweep,
)


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
