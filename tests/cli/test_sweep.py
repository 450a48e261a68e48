"""Sweeps from the command line: words to jobs, exit codes, Ctrl-C, resuming, launchers."""

from __future__ import annotations

import csv
import os
import pickle
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest
import xarray as xr
from hydra import compose, initialize_config_module
from hydra.types import RunMode
from omegaconf import OmegaConf

import ssmbias
from ssmbias.cli import command as go_on
from ssmbias.cli import launch, sweep, words
from ssmbias.cli.jobs import machine, progress
from ssmbias.sweeps.runner import SweepProgress
from ssmbias.sweeps.settings import DEFAULT_MAPPING, SweepJob, SweepSettings, from_mapping
from ssmbias.sweeps.store import open_sweep

REPO = Path(__file__).resolve().parents[2]
SCRIPT = str(REPO / "scripts" / "sweep.py")
# Small shapes, which all runs here share: most of the time goes into compiling them.
SMALL = ("state_dim=3", "seed=range(150)", "block_size=8")
CLUSTERS = sorted(path.stem for path in (REPO / "conf" / "cluster").glob("*.yaml"))
# Files that set the key `experiment` are for scripts/poison.py.
EXPERIMENTS = sorted(
    path.stem
    for path in (REPO / "conf" / "experiment").glob("*.yaml")
    if "\nexperiment:" not in path.read_text()
)


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


def composed(*overrides: str) -> dict:
    """The plain values that Hydra makes of words on the command line."""
    quoted = [words.with_quotes(word, sweep.PROGRAM.texts) for word in overrides]
    with initialize_config_module("ssmbias.conf", version_base="1.3"):
        plain = OmegaConf.to_container(compose("sweep", quoted))
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


class TestWords:
    @pytest.mark.parametrize(
        ("word", "expected"),
        [
            ("strength=logspace(-9,3,60)", "strength='logspace(-9,3,60)'"),
            ("strength=0 + logspace(-9, 3, 60)", "strength='0 + logspace(-9, 3, 60)'"),
            ("strength=0,logspace(-9,3,60)", "strength=0,'logspace(-9,3,60)'"),
            ("strength=[0,logspace(-9,3,60)]", "strength=[0,'logspace(-9,3,60)']"),
            ("+seed=range(3),range(4)", "+seed='range(3)','range(4)'"),
            ("save_times=(0+logspace(0,9,4))", "save_times='(0+logspace(0,9,4))'"),
            ("strength='logspace(-9,3,60)'", "strength='logspace(-9,3,60)'"),
            ('strength="logspace(-9,3,60)",1', 'strength="logspace(-9,3,60)",1'),
            ("seed=5", "seed=5"),
            ("seq_len=range(5,9,2)", "seq_len=range(5,9,2)"),  # Hydra's own range, over jobs
            ("strength=logspace(1,2", "strength=logspace(1,2"),  # for Hydra to complain about
            ("-m", "-m"),
        ],
    )
    def test_texts_are_quoted_for_hydra(self, word, expected) -> None:
        assert words.with_quotes(word, sweep.PROGRAM.texts) == expected
        assert words.with_quotes(expected, sweep.PROGRAM.texts) == expected

    @pytest.mark.parametrize(
        ("typed", "message"),
        [
            (["seeds=range(4)"], r"seeds: unknown key; did you mean seed\? known are seed, "),
            (["rho=1"], r"rho: unknown key; did you mean strength\?"),
            (["strength=[0,1"], r"strength=\[0,1: brackets do not match$"),
            (["strength=logspace(1,2))"], "brackets do not match"),
            (["strength=[(0])"], "brackets do not match"),
            (["seed=range(4)", "seed=range(5)"], "seed: is given twice"),
            (["store=a", "+store=b"], "store: is given twice, store=a and"),
        ],
    )
    def test_mistakes_that_hydra_would_explain_badly(self, typed, message) -> None:
        with pytest.raises(ValueError, match=message):
            words.prepared(typed, sweep.PROGRAM.known, sweep.PROGRAM.texts)

    def test_what_is_for_hydra_is_left_to_it(self) -> None:
        typed = [
            "-m", "hydra.run.dir='a (b'", "hydra/launcher=joblib", "+seeds=1", "~seed", "--cfg",
            r"store=a\(b", "store@x=it's (", "strength=${oc.env:X,1}",
        ]  # fmt: skip
        assert words.prepared(typed, sweep.PROGRAM.known, sweep.PROGRAM.texts) == typed

    def test_words_become_a_job(self) -> None:
        job = from_mapping(
            composed("strength=[0,logspace(-3,3,7)]", "seed=range(2)", "save_times=logspace(0,2,3)")
        )
        assert dict(job.grid.axes)["strength"] == (0.0, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1000.0)
        assert dict(job.grid.axes)["seed"] == (0, 1)
        assert job.settings.save_times == (1.0, 10.0, 100.0)

    def test_hydra_defaults_are_the_library_defaults(self) -> None:
        assert composed() == dict(DEFAULT_MAPPING)
        job = from_mapping(composed("seed=1"))
        assert job.settings == SweepSettings()

    @pytest.mark.parametrize("name", EXPERIMENTS)
    def test_every_experiment_makes_a_valid_job(self, name) -> None:
        assert isinstance(from_mapping(composed(f"experiment={name}")), SweepJob)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kappa": 7}, "kappa=7: unknown key; did you mean seq_len"),
        ({"strenght": 1}, "strenght=1: unknown key; did you mean strength"),
        ({"strength": []}, r"grid\['strength'\]=\[\]: has no values"),
        ({"seed": None}, "nothing to do: give at least one of seed, strength"),
        ({"seed": "range(100000)", "strength": "logspace(-9,3,50000)"}, "5000000000 points take"),
        ({"seq_len": 8}, "seq_len=8: must be odd"),
        ({"solver": "euler"}, "solver='euler': choose one of"),
        ({"solver": "limit", "save_times": [1]}, "it knows no times on the way"),
        ({"solver": "limit", "trainable": "ab"}, "it trains a alone"),
        ({"trainable": "ad"}, "trainable='ad': join some of a, b and c"),
        ({"save_times": [1, 1]}, "times are 0 or greater, and ascend; sort them"),
        ({"rtol": 1}, "rtol=1.0"),
        ({"block_size": 0}, "block_size=0"),
        ({"devices": "all"}, "devices='all'"),
        ({"store": 3}, "store=3: expected the path"),
        ({"report": "pie"}, "report='pie': choose one of phase_diagram"),
    ],
)
def test_bad_input_is_named(change, message) -> None:
    with pytest.raises(ValueError, match=message):
        from_mapping({**DEFAULT_MAPPING, "seed": 1, **change})


def test_missing_key_is_named() -> None:
    with pytest.raises(ValueError, match="rtol: missing; the default is rtol="):
        from_mapping({key: value for key, value in DEFAULT_MAPPING.items() if key != "rtol"})


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"unknown": 1}, "unknown=1: unknown setting; known are solver, trainable"),
            ({"solvr": "flow"}, r"solvr='flow': unknown setting; did you mean solver\?"),
            ({"strength": [1]}, r"strength=\[1\]: is an axis; give it in the grid"),
        ],
    )
    def test_unknown_settings_are_named(self, settings, message) -> None:
        with pytest.raises(ValueError, match=message):
            ssmbias.sweep({"seed": 1}, **settings)

    def test_engines_are_chosen_by_what_is_asked(self) -> None:
        assert SweepSettings().uses_limit
        assert SweepSettings(save_times=[1, 2]).uses_theorem1  # pyright: ignore
        joint = SweepSettings(trainable="ba")
        assert joint.leaves == ("a", "b")
        assert not joint.uses_limit
        assert not joint.uses_theorem1

    def test_only_what_determines_the_numbers_is_provenance(self) -> None:
        first = SweepSettings(block_size=16, devices=1).provenance()
        assert first == SweepSettings().provenance()
        assert first != SweepSettings(rtol=1e-9).provenance()


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


class TestEnded:
    def test_code_and_message_reach_the_command_through_pickle(self, monkeypatch, capsys) -> None:
        monkeypatch.setattr(go_on.Command, "codes", None)  # as in a process of a launcher
        sent = pickle.dumps(launch.Ended(2, 7, "error: job 7: broken"))
        assert capsys.readouterr().err == ""
        monkeypatch.setattr(go_on.Command, "codes", {})
        assert pickle.loads(sent) == pickle.loads(sent) == 2
        assert go_on.Command.codes == {7: 2}
        assert capsys.readouterr().err == "error: job 7: broken\n"  # once


class TestCores:
    def test_number_of_devices_is_set_once(self, monkeypatch) -> None:
        jax.devices()
        before = jax.config.values["jax_num_cpu_devices"]
        monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "64")
        machine.set_up_cores(64)
        assert jax.config.values["jax_num_cpu_devices"] == before

    def test_more_devices_than_cores_are_refused_unless_they_are_made(self, monkeypatch) -> None:
        monkeypatch.delenv("JAX_NUM_CPU_DEVICES", raising=False)
        monkeypatch.setattr(machine, "usable_cores", lambda: 2)
        machine.set_up_cores(2)
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
        machine.set_up_cores(3)  # the runner counts these
        monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
        with pytest.raises(ValueError, match=r"devices=3: cores .* 2, .* JAX_NUM_CPU_DEVICES=3"):
            machine.set_up_cores(3)
        monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "3")
        machine.set_up_cores(3)

    @pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"])
    def test_shares_of_a_machine_are_respected(self, name, monkeypatch) -> None:
        for each in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
            monkeypatch.delenv(each, raising=False)
        everything = machine.usable_cores()
        monkeypatch.setenv(name, "1")
        assert machine.usable_cores() == 1
        monkeypatch.setenv(name, str(everything + 5))
        assert machine.usable_cores() == everything


class TestWhatIsSaid:
    now = SweepProgress(60, 100, 4.0, {"converged": 57, "max_steps": 3}, 20, 0.9)

    def test_progress(self) -> None:
        assert progress.describe(self.now) == "60/100, 10 lanes/s, 0:00:04 left, 5.0% not converged"
        resumed = self.now._replace(done=20, counts={"converged": 20})
        assert progress.describe(resumed) == "20/100, compiling, 0.0% not converged"

    def test_summary(self) -> None:
        done = self.now._replace(done=100)
        text = progress.summary({"converged": 97, "no_start": 3}, done, Path("/x/y.zarr"))
        assert text.splitlines() == [
            "100 points: 97 converged, 3 no start",
            "no start: the draw leaves no room for the gap (docs/how-to/sweep-from-python.md)",
            "20 found in the store, 80 computed in 4 s at 20 lanes/s (compilation included), "
            "90% of lane-steps useful",
            "store: /x/y.zarr",
            "read it: ssmbias.open_sweep('/x/y.zarr')",
        ]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["seed=1"], ["seed=1", "hydra.run.dir=/out"]),
        (["seed=1", "hydra.run.dir=out"], ["seed=1", "hydra.run.dir=/out"]),
        (["store=a b", "seed=1"], ["seed=1", "store='{cwd}/a b'"]),
        (["store=/x", "hydra.run.dir=out"], ["store=/x", "hydra.run.dir=/out"]),
    ],
)
def test_command_to_go_on_names_one_absolute_folder(typed, expected, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("sys.orig_argv", ["python", "sweep.py", *typed])
    monkeypatch.chdir(tmp_path)
    config = OmegaConf.create({"mode": RunMode.RUN, "runtime": {"output_dir": "/out"}})
    store = dict(word.split("=") for word in typed).get("store")
    found = shlex.split(go_on.resume_command(config, store))
    assert found[2:] == [word.format(cwd=tmp_path) for word in expected]


@pytest.mark.parametrize("name", CLUSTERS)
def test_every_cluster_sets_its_launcher(name) -> None:
    with initialize_config_module("ssmbias.conf", version_base="1.3"):
        if name == "ray":
            pytest.importorskip("hydra_plugins.hydra_ray_launcher")
        config = compose("sweep", [f"cluster={name}"], return_hydra_config=True)
    assert not config.hydra.launcher._target_.endswith("BasicLauncher")
    said = OmegaConf.to_yaml(config.hydra)
    assert "--xla_cpu_multi_thread_eigen=false" in said
    assert "XLA_PYTHON_CLIENT_PREALLOCATE" in said


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
