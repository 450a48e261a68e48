"""The main job from the command line: results, resuming, exit codes, messages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ssmbias.verification.job import DEFAULT_MAPPING, from_mapping

REPO = Path(__file__).resolve().parents[2]


def command(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the script as a user would."""
    return subprocess.run(
        [sys.executable, str(REPO / "scripts" / "verify.py"), *arguments],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )


MISTAKES = {
    ("seq_len=8",): "seq_len=8: must be odd",
    ("strength=-1",): "strength=-1.0",
    ("num_seeds=many",): "num_seeds='many': expected an integer",
    ("precision=float32",): "precision='float32'",
    ("colour=red",): "colour",
    ("claims=Z9",): "claims='Z9': choose from",
    ("profile=huge",): "huge",
    ("strength=[1,",): "strength",
    ("strength=0,1",): "write strength=[0,1] for one job, or add -m",
    ("num_seed=4",): "num_seed: unknown key; did you mean num_seeds? known are claims",
    ("gap=9e-4",): "gap",
    ("claims=nowhere.py",): "nowhere.py",
    ("claims=[M1,~/no where (1).py]",): str(Path.home() / "no where (1).py"),
    ("claims=M4", "claims=M1"): "claims: is given twice",
    ("hydra.run.dir=/proc/x",): "/proc/x",
}


class TestCommandLine:
    def test_mistakes_get_one_line_and_exit_code_2(self, assert_refused):
        assert_refused("verify", MISTAKES)

    def test_single_precision_environment_is_refused(self, tmp_path):
        done = command("profile=quick", cwd=tmp_path, JAX_ENABLE_X64="0")
        assert done.returncode == 2
        assert "JAX_ENABLE_X64=0" in done.stderr

    @pytest.mark.slow
    def test_multirun_runs_every_job(self, tmp_path):
        done = command(
            "-m", "profile=quick", "claims=M1-limit", "strength=0,1", "num_seeds=1", cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        found = sorted(tmp_path.rglob("results.json"))
        assert len(found) == 2
        strengths = [json.loads(f.read_text())["subjects"][0]["strengths"] for f in found]
        assert strengths == [[0.0], [1.0]]
        assert len(list(tmp_path.rglob("[01]/report.html"))) == 2
        (page,) = tmp_path.glob("multirun/verify/*/*/report.html")
        assert "2 of 2 jobs ended" in page.read_text(encoding="utf-8")

    def test_violation_gives_exit_code_1(self, tmp_path):
        """A claim that is wrong on purpose, put in the place of M4 from outside."""
        script = tmp_path / "wrong.py"
        script.write_text(
            "import dataclasses, sys\n"
            "import ssmbias.claims.m4_tied as m4\n"
            "right = m4.CLAIMS[0]\n"
            "wrong = dataclasses.replace(right, predict=right.wrong)\n"
            "m4.CLAIMS = (wrong,)\n"
            "from ssmbias.cli import verify\n"
            "sys.argv = ['verify', 'setting=t7', 'claims=M4', 'num_seeds=1']\n"
            "verify.main()\n"
        )
        done = subprocess.run(
            [sys.executable, str(script)],
            cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 1, done.stderr
        assert "violated" in done.stdout

    @pytest.mark.slow
    def test_killed_job_resumes(self, tmp_path):
        """SIGKILL after the first check; the same command goes on and finishes."""
        arguments = ["profile=quick", f"hydra.run.dir={tmp_path / 'run'}"]
        process = subprocess.Popen(
            [sys.executable, str(REPO / "scripts" / "verify.py"), *arguments],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 200
        while not list((tmp_path / "run" / "checks").glob("*.json")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
        first = next((tmp_path / "run" / "checks").glob("*.json"))
        stamp = first.stat().st_mtime_ns
        done = command(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert first.stat().st_mtime_ns == stamp
        assert (tmp_path / "run" / "results.json").exists()


def test_hydra_defaults_are_the_library_defaults():
    """conf/verify.yaml says what `from_mapping` documents."""
    from hydra import compose, initialize_config_module
    from omegaconf import OmegaConf

    with initialize_config_module("ssmbias.conf", version_base="1.3"):
        plain = OmegaConf.to_container(compose("verify"))
    assert isinstance(plain, dict)
    assert {key: plain[key] for key in DEFAULT_MAPPING} == {
        key: pytest.approx(value) if key == "strength" else value
        for key, value in DEFAULT_MAPPING.items()
    }
    assert set(plain) == set(DEFAULT_MAPPING)


@pytest.mark.parametrize("profile", sorted(p.stem for p in (REPO / "conf/profile").glob("*.yaml")))
def test_every_profile_makes_a_valid_job(profile):
    from hydra import compose, initialize_config_module
    from omegaconf import OmegaConf

    with initialize_config_module("ssmbias.conf", version_base="1.3"):
        plain = OmegaConf.to_container(compose("verify", overrides=[f"profile={profile}"]))
    assert isinstance(plain, dict)
    assert len(from_mapping(plain).pairs) >= 1
