"""How jobs are launched: how they end, the cores they get, and what is said."""

from __future__ import annotations

import pickle
import shlex
from pathlib import Path

import jax
import pytest
from hydra import compose, initialize_config_module
from hydra.types import RunMode
from omegaconf import OmegaConf

from ssmbias.cli import command as go_on
from ssmbias.cli import launch
from ssmbias.cli.jobs import machine, progress
from ssmbias.sweeps.runner import SweepProgress

REPO = Path(__file__).resolve().parents[2]
CLUSTERS = sorted(path.stem for path in (REPO / "conf" / "cluster").glob("*.yaml"))


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
