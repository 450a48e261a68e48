"""Work in several processes: results as they come, and no process that outlives its parent."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ssmbias.runs.workers import in_processes

_SLEEP = """
import multiprocessing, time
from ssmbias.runs.workers import in_processes

def tell(running):
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)

if __name__ == "__main__":
    for _ in in_processes(time.sleep, [100, 100], 2, under_way=tell):
        pass
"""


def test_every_job_comes_with_its_result():
    seen: list[list[int]] = []
    found = dict(in_processes(math.factorial, [3, 4, 5], 2, under_way=seen.append))
    assert found == {3: 6, 4: 24, 5: 120}
    assert seen[0] == [3, 4]
    assert max(map(len, seen)) == 2


def test_an_error_is_raised_and_ends_the_others():
    begin = time.monotonic()
    with pytest.raises(ValueError, match="invalid literal"):
        dict(in_processes(int, ["1", "x", "2"], 2))
    with pytest.raises(TypeError):
        dict(in_processes(time.sleep, [1000, "x"], 2))
    assert time.monotonic() - begin < 100


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(how, tmp_path):
    script = tmp_path / "sleep.py"
    script.write_text(_SLEEP, encoding="utf-8")
    run = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert run.stdout is not None
    workers = [int(pid) for pid in run.stdout.readline().split()]
    assert len(workers) == 2
    assert all(map(is_running, workers))
    time.sleep(2.0)  # until they listen
    os.kill(run.pid, how)
    run.wait(timeout=60)
    run.stdout.close()
    end = time.monotonic() + 60
    while any(map(is_running, workers)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(is_running, workers))
