"""A command that is run again in the folder of one with more jobs."""

from __future__ import annotations

import csv
from pathlib import Path

import yaml

import ssmbias
from ssmbias.cli.multirun import sum_up
from ssmbias.runs.multirun import write_plan, write_status


def test_a_job_that_is_not_of_the_last_command_is_not_read(tmp_path: Path) -> None:
    words = [["seed=range(2)", f"rtol={rtol}"] for rtol in (1e-10, 1e-11)]
    for number, (asked, rtol) in enumerate(zip(words, (1e-10, 1e-11), strict=True)):
        job = tmp_path / str(number)
        (job / ".hydra").mkdir(parents=True)
        (job / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(asked), encoding="utf-8")
        store = job / "sweep.zarr"
        ssmbias.sweep({"seed": range(2)}, rtol=rtol, seq_len=5, state_dim=3, store=store)
        write_status(job, 0)
    for planned, found in ((words, ["0", "1"]), (words[:1], ["0"])):
        write_plan(tmp_path, "sweep", "ssmbias-sweep -m ...", planned)
        tree = ssmbias.open_multirun(tmp_path)
        assert list(tree.children) == found
        assert tree.attrs["missing"] == ([] if len(found) == len(words) else [1])
    sum_up(tmp_path)
    with (tmp_path / "summary.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["state"] for row in rows] == ["ended", "missing"]
    results = {name for name in rows[0] if rows[0][name]} - {
        name for name in rows[1] if rows[1][name]
    }
    assert len(results) > 2  # nothing of what the earlier command has found
