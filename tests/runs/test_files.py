"""Files that are whole or not there."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ssmbias.runs.files import (
    digest_of_file,
    plain,
    read_json,
    write_arrays,
    write_atomically,
    write_json,
)


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "file.txt"
    write_atomically(path, lambda stream: stream.write(b"old"))

    def fail(stream):
        stream.write(b"half of the n")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_and_arrays_come_back(tmp_path):
    write_json(tmp_path / "a.json", {"x": np.float64(0.1), "n": np.int32(3), "bad": math.inf})
    assert read_json(tmp_path / "a.json") == {"x": 0.1, "n": 3, "bad": None}
    write_arrays(tmp_path / "a.npz", {"x": np.arange(3)})
    with np.load(tmp_path / "a.npz") as found:
        assert found["x"].tolist() == [0, 1, 2]
    assert math.isnan(plain([math.nan], finite=False)[0])


def test_json_that_cannot_be_read_is_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"a\.json: cannot be read .*another file$"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"x": ')
    with pytest.raises(ValueError, match=r"a\.json: is damaged or no JSON .*write it again$"):
        read_json(tmp_path / "a.json")


def test_objects_are_not_written(tmp_path):
    with pytest.raises(ValueError, match=r"arrays\['x'\]: holds Python objects"):
        write_arrays(tmp_path / "a.npz", {"x": np.array([None])})
    assert not list(tmp_path.iterdir())


def test_digest_of_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest_of_file(tmp_path / "a") == empty
