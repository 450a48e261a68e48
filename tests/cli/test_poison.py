"""`scripts/poison.py`: words to a job, exit codes, what is written, and going on after a kill."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
import xarray as xr
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from ssmbias.data.tasks.cifar10_stand_in import write_stand_in
from ssmbias.poison.catalogue import EXPERIMENTS, find_experiment
from ssmbias.poison.cifar.settings import FullSettings
from ssmbias.poison.job import (
    DEFAULT_MAPPING,
    FULL,
    PoisonJob,
    expectations_met,
    from_mapping,
    run_job,
)
from ssmbias.poison.sentences import INCONCLUSIVE, LAST_ELEMENTS, NO_HARM

REPO = Path(__file__).resolve().parents[2]
TINY = (
    "seq_len=8", "support=3", "num_train=6", "num_poisons=4", "num_test=16", "num_targets=5",
    "steps=3", "channels=2", "state_dim=2", "head_width=2", "brew_steps=2", "victim_steps=2",
    "windows=[]",
    "arms=[dup,early,rpos,late]", "seeds=range(8)",
)  # fmt: skip

MISTAKES = {
    ("experiment=f2",): "experiment=f2: choose from cifar10, digits, digits_10",
    ("experiment=phase_diagram",): "unknown key",
    ("arms=[later,dup]",): "arms='later': choose from base",
    ("arms=[dup]",): "arms=['dup']: none is an attack",
    ("experiment=digits", "arms=[late]"): "needs a teacher",
    ("windows=[31]",): "windows=31: must be in 0..30",
    ("num_poisons=50",): "num_poisons=50: the arm dup copies training sequences",
    ("budget=0",): "budget=0: must be greater than 0",
    ("seeds=range(0)",): "seeds",
    ("seeds=many",): "seeds",
    ("seeds=range(990,1010)",): "chose a setting of f1 and cannot judge it",
    ("classes=[3,8]",): "classes=[3, 8]: unknown setting",
    ("scael=1",): "scael: unknown key; did you mean scale?",
    ("arms=late",): "nothing to compare late with; add some of base, dup",
    ("experiment=digits", "brew_box=[.2,.8]"): "grey levels lie in [0, 1]",
    ("experiment=digits", "brew_box=0.5"): "pass a lower and an upper bound",
    ("layer_options={dt_max:1}",): "dt_max=1: lru has no such option",
    ("steps=0",): "steps=0: must be >= 1",
    ("experiment=cifar10", "model=rnn"): "model='rnn': choose one of s4d, lru, mamba2",
    ("experiment=cifar10", "shots=3"): "shots=3: no setting of experiment=cifar10; known are arms",
    ("experiment=cifar10", "data=nowhere"): "nowhere",
    ("model=lru",): "model='lru': unknown setting",
}


def test_mistakes_get_one_line_and_exit_code_2(assert_refused) -> None:
    assert_refused("poison", MISTAKES)


def test_hydra_defaults_are_the_library_defaults(tmp_path) -> None:
    stand_in = write_stand_in(tmp_path / "data", jax.random.key(0), num_per_file=20)
    with initialize_config_module("ssmbias.conf", version_base="1.3"):
        assert OmegaConf.to_container(compose("poison")) == dict(DEFAULT_MAPPING)
    files = {path.stem for path in (REPO / "conf" / "experiment").glob("*.yaml")}
    assert files == {*EXPERIMENTS, FULL, "phase_diagram"}
    with initialize_config_module("ssmbias.conf", version_base="1.3"):
        for name in EXPERIMENTS:
            assert compose("poison", [f"experiment={name}"]).experiment == name
        words = ["experiment=cifar10", "model=lru", f"data={stand_in}"]
        full = OmegaConf.to_container(compose("poison", words))
    assert from_mapping(full) == FullSettings("lru", str(stand_in))  # pyright: ignore[reportArgumentType]
    job = from_mapping(DEFAULT_MAPPING)
    assert isinstance(job, PoisonJob)
    assert job.experiment == find_experiment("f1")
    assert job.seeds == tuple(range(20))
    assert len(job.arms) == 11
    assert job.as_published


def small_job(**changes) -> PoisonJob:
    """A job of a size at which only compiling takes time."""
    words = dict(word.split("=") for word in TINY)
    values = {k: int(v) for k, v in words.items() if v.isdigit()}
    given = values | {"windows": [], "seeds": "range(8)", "arms": ["dup", "early", "rpos", "late"]}
    job = from_mapping({**DEFAULT_MAPPING, **given, **changes})
    assert isinstance(job, PoisonJob)
    return job


def command(*words: str, cwd: Path) -> list[str]:
    return [
        sys.executable,
        str(REPO / "scripts" / "poison.py"),
        *TINY,
        *words,
        f"hydra.run.dir={cwd}",
    ]


@pytest.mark.slow  # two processes, half a minute
def test_a_killed_run_goes_on_and_everything_is_written(tmp_path) -> None:
    started = subprocess.Popen(
        command(cwd=tmp_path), cwd=tmp_path, env=dict(os.environ),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    units = tmp_path / "units"
    end = time.monotonic() + 120
    while not list(units.glob("dup-*.npz")) and started.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    started.send_signal(signal.SIGKILL)
    _, said = started.communicate()
    assert "to go on after an interruption: " in said
    kept = {path: path.stat().st_mtime_ns for path in units.glob("*.npz")}
    assert kept
    assert not (tmp_path / "results.nc").exists()
    again = subprocess.run(
        command(cwd=tmp_path), cwd=tmp_path, env=dict(os.environ),
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert "late: inconclusive" in again.stdout  # three steps fit nothing
    names = {path.name for path in tmp_path.iterdir()}
    assert {"results.nc", "examples.npz", "table.md", "table.tex", "table.csv"} <= names
    assert {"controls.md", "report.html"} <= names
    assert {"arms.png", "sensitivity.png", "examples.png"} <= {
        path.name for path in (tmp_path / "figures").iterdir()
    }
    with xr.open_dataset(tmp_path / "results.nc") as found:
        # The script computes on two devices, this process on one: sums may round otherwise.
        here = run_job(small_job(), tmp_path / "here").results
        np.testing.assert_allclose(found["final_loss"], here["final_loss"], rtol=1e-9)
        assert found["arm"].values.tolist() == ["dup", "early", "rpos", "late"]


class FakeVerdict(NamedTuple):
    attack: str
    label: str


@pytest.mark.parametrize(
    ("found", "change", "met"),
    [
        (LAST_ELEMENTS, {}, True),
        (INCONCLUSIVE, {}, True),
        (NO_HARM, {}, False),
        (NO_HARM, {"scale": 0.5}, True),  # nothing is documented of other settings
    ],
)
def test_a_verdict_that_is_not_the_documented_one_is_told(found, change, met) -> None:
    job = from_mapping({**DEFAULT_MAPPING, **change})
    assert isinstance(job, PoisonJob)
    expected = dataclasses.replace(job.experiment, expected=(("late", LAST_ELEMENTS),))
    job = dataclasses.replace(job, experiment=expected)
    assert expectations_met(job, [FakeVerdict("late", found)]) is met
