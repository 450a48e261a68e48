"""Sweeps from the command line: words to jobs, exit codes, Ctrl-C, resuming, launchers."""

from __future__ import annotations

import csv
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import xarray as xr

import ssmbias
from ssmbias.cli.jobs import machine
from ssmbias.sweeps.store import open_sweep

REPO = Path(__file__).resolve().parents[2]
SCRIPT = str(REPO / "scripts" / "sweep.py")
# Small shapes, which all runs here share: most of the time goes into compiling them.
SMALL = ("state_dim=3", "seed=range(150)", "block_size=8")


def command(
    *arguments: str, cwd: Path, script: str = SCRIPT, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run the script as a user would."""
    return subprocess.run(
        [sys.executable, script, *arguments],
        cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What stands on stderr, without the line that says how to go on."""
    lines = done.stderr.splitlines()
    return [line for line in lines if line.strip() and not line.startswith("to go on after")]


MISTAKES = {
    "strenght=1": "strenght: unknown key; did you mean strength? known are seed",
    "seeds=range(4)": "seeds: unknown key; did you mean seed?",
    "strength=[0,1": "strength=[0,1: brackets do not match",
    "seed=range(4) seed=range(5)": "seed: is given twice",
    "seed=1 seq_len=5,7": "seq_len=5,7: takes one value in a job; add -m",
    "seed=1 rtol=range(4)": "rtol=range(4): takes one value in a job; add -m",
    "seed=1 devices=99": "devices=99: cores of the CPU that this process may use: 1, and",
    "report=phase_diagram strength=[0,1] seed=range(3)": "strength: positive values: 1, and a",
    "experiment=phase_diagram strength=[0,1]": "strength: positive values: 1, and a phase",
    "seed=1 cluster=joblib": "cluster=joblib: only the jobs of -m are handed to it",
    "seed=1 hydra/launcher=joblib": "hydra/launcher=joblib: only the jobs of -m",
    "seed=1 store=/proc/x.zarr": "cannot be written to (",
    "strength=[]": "grid['strength']=[]: has no values",
    "seed=range(100000) strength=logspace(-9,3,50000)": "TB of memory, and",
    "strength=0,1": "write strength=[0,1] for one job, or add -m",
    "strength=logspace(0,1)": "logspace takes start, stop and a whole number",
    "seed=1 cluster=fog": "cluster=fog: choose from joblib, ray, slurm",
    "": "nothing to do: give at least one of seed",
    "-m seed=1 seq_len=8": "seq_len=8: must be odd",
    "-m cluster=joblib seed=1,2": "joblib: is not installed; pip install 'ssmbias[cluster]'",
}
# The last of them finds its launcher missing.
WITHOUT_JOBLIB = """
if "cluster=joblib" in words and "-m" in words:
    from hydra.core.config_store import ConfigStore
    del ConfigStore.instance().repo["hydra"]["launcher"]["joblib.yaml"]
"""


def test_mistakes_get_one_line_and_exit_code_2(assert_refused) -> None:
    mistakes = {tuple(typed.split()): message for typed, message in MISTAKES.items()}
    assert_refused("sweep", mistakes, WITHOUT_JOBLIB)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Two jobs in one process, of which the second asks for devices that there are not."""
    cwd = tmp_path_factory.mktemp("uninterrupted")
    done = command(
        "-m", *SMALL, "seq_len=5", "devices=1,99", "hydra.sweep.dir=out", cwd=cwd,
        JAX_NUM_CPU_DEVICES="1",
    )  # fmt: skip
    return cwd / "out", done


def test_refused_job_leaves_the_others_alone(uninterrupted) -> None:
    folder, done = uninterrupted
    assert done.returncode == 2
    (line,) = errors(done)
    assert line.startswith("error: devices=99: this process has 1")
    assert open_sweep(folder / "0" / "sweep.zarr").sizes["seed"] == 150


def test_it_is_quiet_in_a_pipe_and_sums_up(uninterrupted) -> None:
    _, done = uninterrupted
    said = [line for line in done.stdout.splitlines() if "[HYDRA]" not in line]
    assert said[0] == "150 points: 150 converged"
    rate = r"at \S+ lanes/s \(compilation included\), \d+% of lane-steps useful"
    assert re.fullmatch(rf"150 computed in \S+ s {rate}", said[1])
    assert said[2].startswith("store: /")
    assert said[3].startswith("read it: ")
    # Then comes the table over all jobs.
    assert said[4].strip() == "1 of 2 jobs ended, 1 failed"
    assert [line.split()[:3] for line in said if line.startswith((" 0 ", " 1 "))] == [
        ["0", "1", "ended"], ["1", "99", "failed"],
    ]  # fmt: skip
    assert said[-1].startswith("read them: ssmbias.open_multirun(")
    assert not re.search("[\r\x1b━]", done.stdout + done.stderr)


def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(uninterrupted, tmp_path) -> None:
    folder = f"hydra.run.dir='{tmp_path / 'a b'}'"  # with quotes, which the answer must have too
    arguments = [SCRIPT, *SMALL, "seq_len=5", "devices=1", folder]
    store = tmp_path / "a b" / "sweep.zarr"
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=tmp_path, env={**os.environ, "JAX_NUM_CPU_DEVICES": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while len(list(store.glob("blocks/[0-9]*.json"))) < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    kept = len(list(store.glob("blocks/[0-9]*.json")))
    assert 2 <= kept < 19  # of 150 points in blocks of 8
    last = err.strip().splitlines()[-1]
    start = f"interrupted; {8 * kept} of 150 points are kept; to go on: "
    assert last.startswith(start)
    typed = shlex.split(last.removeprefix(start))
    again = command(*typed[2:], cwd=tmp_path, script=typed[1], JAX_NUM_CPU_DEVICES="1")
    assert again.returncode == 0, again.stderr
    assert f"{8 * kept} found in the store, {150 - 8 * kept} computed" in again.stdout
    assert f"resuming: {8 * kept} of 150 points found in the store" in again.stderr
    whole = open_sweep(uninterrupted[0] / "0" / "sweep.zarr")
    xr.testing.assert_equal(open_sweep(store), whole)


@pytest.mark.slow
def test_multirun_sweeps_shapes_and_keeps_texts_together(tmp_path) -> None:
    done = command(
        "-m", "seq_len=5,7", "state_dim=3", "strength=0,logspace(-3,3,7)", "seed=range(2)",
        f"hydra.sweep.dir={tmp_path / 'out'}", cwd=tmp_path, JAX_NUM_CPU_DEVICES="1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [open_sweep(tmp_path / "out" / str(number) / "sweep.zarr") for number in range(4)]
    assert [data.sizes["strength"] for data in found] == [1, 7, 1, 7]
    assert [data["seed"].size for data in found] == [2] * 4
    assert '"seq_len": 7' in found[3].attrs["grid"]


# Without a sweep, whose compilation would take most of the time.
STAND_IN = """
import os
from ssmbias.cli import launch, sweep
from ssmbias.cli.jobs.sweep import parse
def job(job, folder):
    import jax
    if job.grid.seq_len == 5:
        raise RuntimeError("broken on purpose")
    (folder / "devices").write_text(f"{len(jax.local_devices())} {os.environ['XLA_FLAGS']}")
    return launch.HOLDS
launch.run(sweep.PROGRAM, parse, job)
"""


@pytest.fixture
def stand_in(tmp_path) -> str:
    path = tmp_path / "stand_in.py"
    path.write_text(STAND_IN)
    return str(path)


@pytest.mark.slow
def test_joblib_runs_jobs_side_by_side(stand_in, tmp_path) -> None:
    done = command(
        "-m", "cluster=joblib", "seq_len=7,8", "seed=1", "hydra.sweep.dir=out",
        cwd=tmp_path, script=stand_in, XLA_FLAGS="",
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert errors(done) == [
        "error: job 1: seq_len=8: must be odd in the setting of Theorem 1; use 7 or 9"
    ]
    assert "to go on after an interruption: " in done.stderr
    # Two workers share the cores, and the flags came before the backend was set up.
    number = max(1, machine.usable_cores() // 2)
    seen = (tmp_path / "out" / "0" / "devices").read_text()
    assert seen == f"{number}  --xla_cpu_multi_thread_eigen=false"


def test_submitit_brings_exit_codes_and_messages_back(stand_in, tmp_path) -> None:
    done = command(
        "-m", "cluster=submitit_local", "seq_len=5,7", "seed=1", "hydra.sweep.dir=out",
        cwd=tmp_path, script=stand_in,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    (line,) = errors(done)
    assert line.startswith("defect; job 0: RuntimeError: broken on purpose; finished work is kept")
    logs = "".join(path.read_text() for path in tmp_path.glob("out/.submitit/**/*.err"))
    assert 'raise RuntimeError("broken on purpose")' in logs
    assert (tmp_path / "out" / "1" / "devices").read_text().startswith("1 ")  # cpus_per_task
    # The table knows of both from their folders: the second leaves no store here.
    with (tmp_path / "out" / "summary.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["seq_len"], row["state"]) for row in rows] == [("5", "failed"), ("7", "failed")]
    assert rows[0]["message"] == "RuntimeError: broken on purpose"
    assert "results cannot be read" in rows[1]["message"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["joblib", "submitit_local", "ray"])
def test_launchers_run_sweeps(name, tmp_path) -> None:
    if name == "ray":
        pytest.importorskip("ray")
        pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    done = command(
        "-m", f"cluster={name}", "seq_len=5,7,8", "state_dim=3", "seed=range(2)",
        f"hydra.sweep.dir={tmp_path / 'out'}", cwd=tmp_path,
        HOME=str(tmp_path),  # Ray leaves a token there
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "error: job 2: seq_len=8: must be odd" in done.stderr
    for number in range(2):
        assert open_sweep(tmp_path / "out" / str(number) / "sweep.zarr").attrs["missing"] == 0
    tree = ssmbias.open_multirun(tmp_path / "out")
    assert [int(tree[name]["seq_len"]) for name in tree.children] == [5, 7]
    assert tree.attrs["failed"] == [2]
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.slow
def test_death_of_a_worker_is_a_line(tmp_path) -> None:
    script = tmp_path / "dying.py"
    script.write_text(STAND_IN.replace("raise", "os._exit(1); raise"))
    done = command(
        "-m", "cluster=joblib", "seq_len=5,7", "seed=1", "hydra.sweep.dir=out",
        cwd=tmp_path, script=str(script),
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert any(line.startswith("defect: TerminatedWorkerError: ") for line in errors(done))
    assert "0 of 2 jobs ended" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_ctrl_c_under_joblib_says_how_to_go_on(tmp_path) -> None:
    process = subprocess.Popen(
        [sys.executable, SCRIPT, "-m", "cluster=joblib", *SMALL, "seq_len=5,7"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("blocks/[0-9]*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    (folder,) = tmp_path.glob("multirun/sweep/*/*")
    assert err.strip().endswith(f"hydra.sweep.dir={folder}")
