"""Many jobs as one result: read back as one object, and summed up in one table and page."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

import ssmbias
from ssmbias.cli.multirun import sum_up
from ssmbias.poison.job import write_netcdf
from ssmbias.runs.multirun import write_plan, write_status

REPO = Path(__file__).resolve().parents[2]
RTOLS = (1e-10, 1e-11, 1e-12)
SAMPLE = REPO / "tests" / "data" / "verify_sample" / "results.json"


def plan(folder: Path, program: str, jobs: list[list[str]], begun: int) -> list[Path]:
    """A multirun whose first jobs have begun and ended; their folders."""
    write_plan(folder, program, f"ssmbias-{program} -m ...", jobs)
    for number, words in enumerate(jobs[:begun]):
        (folder / str(number) / ".hydra").mkdir(parents=True)
        path = folder / str(number) / ".hydra" / "overrides.yaml"
        path.write_text(yaml.safe_dump(words), encoding="utf-8")
        write_status(folder / str(number), 0)
    return [folder / str(number) for number in range(begun)]


@pytest.fixture
def verified(tmp_path) -> Path:
    """Four jobs: one holds, one is violated, one has failed, one did not begin."""
    words = [[f"setting={name}", f"num_seeds={num}"] for name in ("t7", "t9") for num in (1, 2)]
    folders = plan(tmp_path, "verify", words, begun=3)
    results = json.loads(SAMPLE.read_text(encoding="utf-8"))
    for folder, verdict in zip(folders[:2], ("holds", "violated"), strict=True):
        rows = [{**row, "verdict": "holds"} for row in results["evidence"][:3]]
        rows[2]["verdict"] = verdict
        whole = json.dumps({**results, "evidence": rows})
        (folder / "results.json").write_text(whole, encoding="utf-8")
    (folders[0] / "report.html").touch()
    write_status(folders[2], 2, "gap: <b>wrong</b>")
    return tmp_path


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Path:
    """Two sweeps that share compiled code, one of them not finished, and one that is missing."""
    folder = tmp_path_factory.mktemp("swept")
    words = [["seed=range(2)", f"rtol={rtol}", "strength=1"] for rtol in RTOLS]
    jobs = plan(folder, "sweep", words, begun=2)
    for job, rtol in zip(jobs, RTOLS, strict=False):
        grid = {"seed": range(2), "strength": [1.0]}
        store = job / "sweep.zarr"
        ssmbias.sweep(grid, rtol=rtol, seq_len=5, state_dim=3, block_size=1, store=store)
    (jobs[1] / "sweep.zarr" / "blocks" / "1.json").unlink()
    write_status(jobs[1], None)
    return folder


def summary(folder: Path) -> list[dict[str, str]]:
    with (folder / "summary.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_verifications_are_one_table_with_what_was_asked(verified) -> None:
    frame = ssmbias.open_multirun(verified)
    assert isinstance(frame, pd.DataFrame)
    assert frame["job"].tolist() == [0, 0, 0, 1, 1, 1]
    assert frame["num_seeds"].tolist() == [1, 1, 1, 2, 2, 2]
    assert set(frame["setting"]) == {"t7"}
    assert frame["verdict"].tolist() == ["holds"] * 5 + ["violated"]
    assert pd.api.types.is_float_dtype(frame["residual"])
    assert (frame.attrs["failed"], frame.attrs["missing"]) == ([2], [3])
    assert frame.attrs["left_out"] == [
        "job 2 (setting=t9 num_seeds=1): failed: gap: <b>wrong</b>",
        "job 3 (setting=t9 num_seeds=2): missing: did not begin",
    ]


def test_summary_tells_of_every_job(verified, capsys) -> None:
    sum_up(verified)
    rows = summary(verified)
    assert [row["state"] for row in rows] == ["ended", "ended", "failed", "missing"]
    assert [row["verdict"] for row in rows] == ["holds", "violated", "", ""]
    assert [row["holds"] for row in rows] == ["3", "2", "", ""]
    assert [row["num_seeds"] for row in rows] == ["1", "2", "1", "2"]
    page = (verified / "report.html").read_text(encoding="utf-8")
    said = "2 of 4 jobs ended, 1 failed, 1 is missing: 1 holds, 1 violated"
    assert said in page
    assert 'href="0/report.html"' in page
    assert 'href="1/"' in page
    assert 'href="3' not in page
    assert "gap: &lt;b&gt;wrong" in page
    printed = capsys.readouterr().out
    assert said in printed
    assert "job 2: failed: gap: <b>wrong</b>" in printed
    assert f"read them: ssmbias.open_multirun({str(verified)!r})" in printed


def test_of_jobs_that_did_not_begin_there_is_no_summary(tmp_path, capsys) -> None:
    """Such as after a mistake that stops the command, which has its own line."""
    plan(tmp_path, "verify", [["claims=M4"], ["claims=M5"]], begun=0)
    sum_up(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["jobs.json"]
    assert capsys.readouterr().out == ""
    assert ssmbias.open_multirun(tmp_path).attrs["missing"] == [0, 1]


def test_results_that_are_gone_or_damaged_are_told_of(verified) -> None:
    (verified / "0" / "results.json").unlink()
    (verified / "1" / "results.json").write_text('{"schema": "ssmbias.verify/', encoding="utf-8")
    frame = ssmbias.open_multirun(verified)
    assert len(frame) == 0
    assert frame.attrs["failed"] == [0, 1, 2]
    sum_up(verified)
    assert [row["state"] for row in summary(verified)] == ["failed"] * 3 + ["missing"]
    assert "results.json" in summary(verified)[0]["message"]


def test_results_of_an_earlier_run_in_the_folder_are_not_read(verified) -> None:
    write_status(verified / "1", None)
    frame = ssmbias.open_multirun(verified)
    assert set(frame["job"]) == {0}
    assert frame.attrs["unfinished"] == [1]


def test_sweeps_are_a_tree(swept) -> None:
    tree = ssmbias.open_multirun(swept)
    assert isinstance(tree, xr.DataTree)
    assert list(tree.children) == ["0", "1"]
    assert [float(tree[name]["rtol"]) for name in "01"] == [1e-10, 1e-11]
    assert tree["0"].attrs["overrides"] == ["seed=range(2)", "rtol=1e-10", "strength=1"]
    expected = ssmbias.open_sweep(swept / "0" / "sweep.zarr")
    xr.testing.assert_equal(tree["0"].to_dataset().drop_vars("rtol"), expected)
    # A stopped sweep is there as far as it came, and told of.
    assert tree["1"].attrs["missing"] == 1
    assert (tree.attrs["unfinished"], tree.attrs["missing"]) == ([1], [2])
    assert len(tree.attrs["left_out"]) == 2


def test_a_store_of_its_own_is_found_from_anywhere(swept, tmp_path, monkeypatch) -> None:
    (job,) = plan(tmp_path / "out", "sweep", [["store=my.zarr"]], begun=1)
    shutil.copytree(swept / "0" / "sweep.zarr", tmp_path / "my.zarr")
    monkeypatch.chdir("/")
    assert ssmbias.open_multirun(tmp_path / "out").attrs["failed"] == [0]
    noted = f"hydra:\n  runtime:\n    cwd: {tmp_path}\n"
    (job / ".hydra" / "hydra.yaml").write_text(noted, encoding="utf-8")
    tree = ssmbias.open_multirun(tmp_path / "out")
    assert tree.attrs["left_out"] == []
    assert tree["0"].sizes["seed"] == 2


def test_summary_of_sweeps_has_medians(swept) -> None:
    sum_up(swept)
    first, second, third = summary(swept)
    data = ssmbias.open_sweep(swept / "0" / "sweep.zarr")
    assert float(first["median error"]) == float(data["error"].median())
    assert (first["points"], first["converged"]) == ("2", "2")
    assert (second["state"], second["converged"]) == ("unfinished", "1")
    assert (third["state"], third["median error"]) == ("missing", "")


def test_names_in_both_are_told_apart(tmp_path) -> None:
    """A certificate has a strength of its own, which is what was asked only if there is one box."""
    (job,) = plan(tmp_path, "certify", [["strength=1", "rel=[0.1,0.2]"]], begun=1)
    record = {"name": "b", "status": "certified", "verdict": "holds", "strength": 1.0, "rel": 0.1,
              "box": {"a2": [1e-3, 2e-3]}, "second_check": None}  # fmt: skip
    records = [record, {**record, "rel": 0.2, "status": "not certified", "verdict": "inconclusive"}]
    found = {"schema": "ssmbias.certify/1", "records": records}
    (job / "results.json").write_text(json.dumps(found), encoding="utf-8")
    frame = ssmbias.open_multirun(tmp_path)
    assert frame["rel"].tolist() == [0.1, 0.2]
    assert frame["override_rel"].tolist() == ["[0.1,0.2]"] * 2
    assert frame["box_a2_high"].tolist() == [2e-3] * 2
    sum_up(tmp_path)
    (row,) = summary(tmp_path)
    assert (row["certified"], row["not certified"], row["verdict"]) == ("1", "1", "inconclusive")


def poisoned(num: int) -> xr.Dataset:
    """Results in which late poison harms and no control does."""
    arms = ["base", "dup", "early", "rpos", "noise", "late"]
    shift = 0.01 * np.arange(num) / num
    accuracies = np.array([(0.5 if arm == "late" else 0.9) + shift for arm in arms])
    values = {"test_accuracy": accuracies, "train_accuracy": np.ones_like(accuracies)}
    values["outcome"] = np.zeros(accuracies.shape, np.int32)
    data = {name: (("arm", "seed"), value) for name, value in values.items()}
    return xr.Dataset(data, {"arm": arms, "seed": range(num)}, {"chance": 0.5})


def test_arms_are_one_table_and_verdicts_in_words(tmp_path) -> None:
    """The second job was not run long enough to be judged otherwise."""
    jobs = plan(tmp_path, "poison", [["experiment=f1", f"steps={n}"] for n in (500, 3)], begun=2)
    for job, num in zip(jobs, (8, 3), strict=True):
        write_netcdf(job / "results.nc", poisoned(num))
        content = "experiment,arm,test,to_dup_p\nf1,dup,0.9,\nf1,late,0.5,1e-3\n"
        (job / "table.csv").write_text(content, encoding="utf-8")
    frame = ssmbias.open_multirun(tmp_path)
    assert frame[["job", "steps", "arm", "test"]].values.tolist() == [
        [0, 500, "dup", 0.9], [0, 500, "late", 0.5], [1, 3, "dup", 0.9], [1, 3, "late", 0.5],
    ]  # fmt: skip
    assert frame["to_dup_p"].isna().tolist() == [True, False] * 2
    sum_up(tmp_path)
    assert [row["late"] for row in summary(tmp_path)] == [
        "effect of the last elements", "inconclusive",
    ]  # fmt: skip


def test_reproductions_are_rows_of_tables_and_replays(tmp_path) -> None:
    (job,) = plan(tmp_path, "reproduce", [["table='1'"]], begun=1)
    content = {
        "schema": "ssmbias.reproduce/1",
        "tables": {"table1": [{"experiment": "a", "own": {"mean": 1.0}}]},
        "replays": [{"name": "r", "verdict": "holds"}],
    }
    (job / "summary.json").write_text(json.dumps(content), encoding="utf-8")
    frame = ssmbias.open_multirun(tmp_path)
    assert frame["override_table"].tolist() == ["1", "1"]
    assert frame["table"].tolist() == ["table1", "replay"]
    assert frame["own_mean"].tolist()[0] == 1.0
    sum_up(tmp_path)
    (row,) = summary(tmp_path)
    assert (row["tables"], row["holds"], row["verdict"]) == ("table1", "1", "holds")


@pytest.mark.parametrize("name", ["verify", "sweep", "reproduce", "poison", "certify"])
def test_a_folder_of_one_job_is_refused_in_a_line(name, tmp_path) -> None:
    (tmp_path / ".hydra").mkdir()
    with pytest.raises(ValueError, match="is no multirun") as refused:
        ssmbias.open_multirun(tmp_path)
    assert "\n" not in str(refused.value)
    write_plan(tmp_path / "x", name + "x", "", [])
    with pytest.raises(ValueError, match=f"of no program that is known .{name}x.") as refused:
        ssmbias.open_multirun(tmp_path / "x")
    assert "\n" not in str(refused.value)


def test_opening_needs_no_hydra(verified) -> None:
    code = (
        "import sys, ssmbias; print(len(ssmbias.open_multirun(sys.argv[1])));"
        "sys.exit(any(name in sys.modules for name in ('hydra', 'omegaconf')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(verified)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "6\n"), done.stderr


CLAIMS = """
from dataclasses import dataclass
from ssmbias.evidence import Claim, Kind, Premise, Row
@dataclass(frozen=True)
class Number:
    name: str = "two"
    value: float = 2.0
def rows(subject, predicted, runs):
    return [Row(quantity="square", predicted=predicted, measured=runs,
                residual=abs(predicted - runs), tolerance=1e-12, derivation="exact")]
CLAIMS = (Claim(id="SQ", title="Squares", statement="x^2", kind=Kind.IDENTITY, reference="none",
                subject=Number, premises=(Premise("a number", lambda subject, runs: True),),
                measure=lambda subject, bench: subject.value**2,
                predict=lambda subject, runs: 4.0, control="a cube", wrong=lambda s, r: 8.0,
                compare=rows),)
SUBJECTS = (Number(),)
"""


@pytest.mark.parametrize("launcher", ["basic", pytest.param("joblib", marks=pytest.mark.slow)])
def test_claims_of_a_file_in_many_jobs(launcher, tmp_path) -> None:
    """From the command line to one object; paths hold although jobs change their folder."""
    if launcher == "joblib":
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    (tmp_path / "my claims.py").write_text(CLAIMS, encoding="utf-8")
    words = ["-m", "claims=my claims.py,./my claims.py", "hydra.sweep.dir=out"]
    words += ["hydra.job.chdir=true"] + (["cluster=joblib"] if launcher == "joblib" else [])
    done = subprocess.run(
        [sys.executable, str(REPO / "scripts" / "verify.py"), *words],
        cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search("2 of 2 jobs ended: 2 hold", done.stdout)
    frame = ssmbias.open_multirun(tmp_path / "out")
    assert frame["claims"].tolist() == ["my claims.py", "./my claims.py"]
    assert frame["verdict"].tolist() == ["holds", "holds"]
    shutil.rmtree(tmp_path / "out" / "1")
    assert ssmbias.open_multirun(tmp_path / "out").attrs["missing"] == [1]
