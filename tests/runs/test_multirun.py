"""Folders of many jobs: what was planned, what ended, and what a folder must not be taken for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from ssmbias.runs.multirun import (
    PLAN_FILE,
    STATUS_FILE,
    read_multirun,
    value_of,
    write_plan,
    write_status,
)

WORDS = [["seq_len=5", "seed='range(4)'"], ["seq_len=7", "seed='range(4)'"], ["seq_len=9", "x=1"]]


def begin(folder: Path, number: int, words: list[str], name: str | None = None) -> Path:
    """The folder of a job, as Hydra makes it."""
    job = folder / (name or str(number))
    (job / ".hydra").mkdir(parents=True)
    (job / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(words), encoding="utf-8")
    noted = f"hydra:\n  job:\n    name: sweep\n    num: {number}\n    config_name: sweep\n"
    (job / ".hydra" / "hydra.yaml").write_text(noted, encoding="utf-8")
    return job


@pytest.fixture
def planned(tmp_path) -> Path:
    write_plan(tmp_path / "out", "sweep", "ssmbias-sweep -m ...", WORDS)
    return tmp_path / "out"


def states(folder: Path) -> list[str]:
    return [job.state for job in read_multirun(folder).jobs]


def test_every_planned_job_is_told_of(planned) -> None:
    assert states(planned) == ["missing", "missing", "missing"]
    write_status(begin(planned, 0, WORDS[0]), 0)
    write_status(begin(planned, 1, WORDS[1]), None)
    assert states(planned) == ["ended", "unfinished", "missing"]
    write_status(planned / "1", 2, "seq_len=7: wrong")
    run = read_multirun(planned)
    assert [str(job) for job in run.jobs][1:] == [
        "job 1 (seq_len=7 seed='range(4)'): failed: seq_len=7: wrong",
        "job 2 (seq_len=9 x=1): missing: did not begin",
    ]
    assert run.varied == ("seq_len", "seed", "x")
    assert run.jobs[0].overrides == {"seq_len": 5, "seed": "range(4)"}
    assert (run.program, run.command) == ("sweep", "ssmbias-sweep -m ...")


@pytest.mark.parametrize("code", [0, 1])
def test_a_violation_is_an_end(planned, code) -> None:
    write_status(begin(planned, 0, WORDS[0]), code)
    assert states(planned)[0] == "ended"


def test_folders_of_an_earlier_command_are_not_taken_for_its_jobs(planned) -> None:
    write_status(begin(planned, 0, ["seq_len=11"]), 0)
    write_status(begin(planned, 3, ["seq_len=13"]), 0)
    run = read_multirun(planned)
    assert [job.state for job in run.jobs] == ["missing"] * 4
    assert [job.folder for job in run.jobs] == [None] * 4
    assert run.jobs[0].message == "did not begin; 0 holds results of seq_len=11"
    assert run.jobs[3].message == "is not of the last command here"


def test_folders_may_have_other_names_and_lie_deeper(planned) -> None:
    job = begin(planned, 1, WORDS[1], "deep/seq_len=7")
    (job / "sweep.zarr" / ".hydra").mkdir(parents=True)  # results are not looked into
    assert [j.folder for j in read_multirun(planned).jobs] == [None, job, None]


def test_a_multirun_without_a_plan_is_what_is_there(tmp_path) -> None:
    """Of a sweeper that chooses its jobs as it goes, or of another version."""
    (tmp_path / "multirun.yaml").touch()
    begin(tmp_path, 4, ["seed=1"])
    (job,) = read_multirun(tmp_path).jobs
    assert (job.number, job.state, read_multirun(tmp_path).program) == (4, "ended", "sweep")


def test_a_broken_status_is_no_end(planned) -> None:
    job = begin(planned, 0, WORDS[0])
    for content in ("{", "[]", '{"code": "0"}'):
        (job / STATUS_FILE).write_text(content, encoding="utf-8")
        assert states(planned)[0] == "unfinished", content


def test_what_is_no_multirun_is_refused_in_a_line(tmp_path) -> None:
    begin(tmp_path / "parent", 0, ["seed=1"])
    for folder, message in ((tmp_path / "no", "does not exist"), (tmp_path / "parent", "is no mu")):
        with pytest.raises(ValueError, match=message) as refused:
            read_multirun(folder)
        assert str(folder) in str(refused.value)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"schema": "ssmbias.multirun/0"})])
def test_another_layout_is_refused_in_a_line(planned, content) -> None:
    (planned / PLAN_FILE).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=PLAN_FILE) as refused:
        read_multirun(planned)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["a'b'c", "[1,2]", "logspace(0,1,3)", "", "'a'b'"])
def test_texts_stay_texts(text) -> None:
    assert value_of(text) == text
