"""Stores: nothing damaged is handed out."""

from __future__ import annotations

from pathlib import Path

import pytest
from sweeps.store.store_cases import begin, contents, run

from ssmbias.sweeps.store import (
    open_sweep,
)


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
