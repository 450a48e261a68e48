"""Certificates: a stopped run goes on, and many boxes are many jobs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cli.certify_command import QUICK, words_of

import ssmbias
from ssmbias.report.pages.certificates import load_records

REPO = Path(__file__).resolve().parents[2]


def started(words: list[str], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(REPO / "scripts" / "certify.py"), *words, f"hydra.run.dir={folder}"],
        cwd=folder, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not condition() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)


@pytest.mark.slow  # processes of their own, half a minute
@pytest.mark.parametrize("with_what", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_goes_on(tmp_path, with_what) -> None:
    widths = "rel=[0.1,0.11,0.12,0.13,0.14,0.15]"
    words = [*words_of({**QUICK, "workers": 2})[:2], widths, "step=0.02", "forks=0", "workers=2"]
    process = started(words, tmp_path)
    wait_for(lambda: list(tmp_path.glob("records/k*.json")), process)
    process.send_signal(with_what)
    _, said = process.communicate(timeout=60)
    if with_what == signal.SIGINT:
        assert process.returncode == 130
        assert said.splitlines()[-1].startswith("interrupted; finished boxes are kept; to go on: ")
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("records/k*.json")}
    assert 0 < len(kept) < 6
    # Its processes end with it: nothing is finished afterwards.
    time.sleep(3)
    assert {*tmp_path.glob("records/k*.json")} == {*kept}
    again = started(words, tmp_path)
    printed, said = again.communicate(timeout=120)
    assert again.returncode == 0, said
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(load_records(tmp_path)) == 6
    assert (tmp_path / "figures" / "width.png").exists(), printed


@pytest.mark.slow  # processes of their own
@pytest.mark.parametrize("more", [[], ["cluster=joblib"]])
def test_multirun(tmp_path, more) -> None:
    if more:
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    words = words_of({**QUICK, "rel": 0.1})
    words = [word for word in words if not word.startswith(("rel", "max_slabs"))]
    line = [sys.executable, str(REPO / "scripts" / "certify.py"), "-m", *words, "rel=.1,.12"]
    done = subprocess.run(
        [*line, *more, f"hydra.sweep.dir={tmp_path}"],
        cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [load_records(tmp_path / name)[0] for name in "01"]
    assert [record["rel"] for record in found] == [0.1, 0.12]
    frame = ssmbias.open_multirun(tmp_path)
    assert frame["status"].tolist() == ["certified"] * 2
    assert frame["poisoned_error_lower"].tolist() == [r["poisoned_error_lower"] for r in found]
    assert "2 of 2 jobs ended: 2 hold" in (tmp_path / "report.html").read_text(encoding="utf-8")
