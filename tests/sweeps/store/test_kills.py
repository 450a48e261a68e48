"""Stores: nothing is lost to a kill but the block in flight.

Run as a script this file is the process that is killed, or one of two that write side by side.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import jax
import xarray as xr
from sweeps.store.store_cases import BLOCK, begin, contents, run

from ssmbias.sweeps.grid import make_grid
from ssmbias.sweeps.store import (
    open_sweep,
)

# Children import the same helpers.
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
KILL_GRID = make_grid({"seed": range(60), "strength": [0.0, 1.0]}, state_dim=2)
KILLS = 40


def test_kills_at_random_moments_lose_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, __file__, "kill", str(tmp_path)], env=ENVIRONMENT,
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["kills"] >= KILLS
    # Neither all before the first block nor all in one phase.
    assert report["kills that found blocks"] >= 10
    assert report["kills that left a half-written block or file"] >= 1
    whole = contents(tmp_path / "whole")
    stores = [path for path in tmp_path.iterdir() if path.name.startswith("killed")]
    assert len(stores) == report["stores"]
    for path in stores:
        assert contents(path) == whole
        xr.testing.assert_identical(
            open_sweep(path).drop_attrs(), open_sweep(tmp_path / "whole").drop_attrs()
        )
    assert {p.name for p in tmp_path.iterdir()} == {"whole"} | {p.name for p in stores}


def kill_often(folder: Path) -> dict[str, int]:
    """Begin and resume in children that are killed; some stores are killed until they are done."""
    run(begin(folder / "whole", KILL_GRID))
    rng = random.Random(0)
    report = {
        "kills": 0,
        "kills that found blocks": 0,
        "kills that left a half-written block or file": 0,
        "stores": 0,
    }
    while report["kills"] < KILLS:
        report["stores"] += 1
        path = folder / f"killed {report['stores']}"
        before = 0
        longest = 0.12
        while True:
            child = os.fork()
            if child == 0:
                run(begin(path, KILL_GRID), pause=0.0005)
                os._exit(0)
            time.sleep(rng.uniform(0, longest))
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            if not os.WIFSIGNALED(status):
                assert os.WEXITSTATUS(status) == 0
                break
            report["kills"] += 1
            longest *= 1.2  # until something is done: a busy machine is slower than this
            if not path.exists():
                continue
            now = int(begin(path, KILL_GRID).finished().sum())  # every marker has its data
            assert now >= before
            if now > before:
                longest = 0.12
            before = now
            report["kills that found blocks"] += now > 0
            torn = any(path.rglob("*.partial")) or len(list((path / "error").glob("c.*"))) > now
            report["kills that left a half-written block or file"] += torn
            if now == KILL_GRID.num_points // BLOCK:
                break
    return report


def test_two_processes_write_one_store(tmp_path):
    workers = [
        subprocess.Popen(
            [sys.executable, __file__, half, str(tmp_path)], env=ENVIRONMENT, stderr=subprocess.PIPE
        )
        for half in ("even", "odd")
    ]
    for worker in workers:
        _, said = worker.communicate(timeout=100)
        assert worker.returncode == 0, said
    run(begin(tmp_path / "alone", KILL_GRID))
    assert contents(tmp_path / "shared") == contents(tmp_path / "alone")
    assert {p.name for p in tmp_path.iterdir()} == {"shared", "alone"}


def write_half(folder: Path, first: int) -> None:
    """Begin the store or join it, at the moment at which the other process does, and fill half."""
    (folder / f"ready {first}").touch()
    deadline = time.monotonic() + 60
    while not (folder / f"ready {1 - first}").exists() and time.monotonic() < deadline:
        time.sleep(0.0005)
    store = begin(folder / "shared", KILL_GRID)
    run(store, range(first, store.num_blocks, 2))
    time.sleep(0.1)
    (folder / f"ready {first}").unlink()


if __name__ == "__main__":
    warnings.simplefilter("ignore", RuntimeWarning)  # of JAX about forks; it is not used here
    jax.config.update("jax_enable_x64", True)  # as in the other processes: it is part of the mark
    what, where = sys.argv[1], Path(sys.argv[2])
    if what == "kill":
        print(json.dumps(kill_often(where)))
    else:
        write_half(where, ("even", "odd").index(what))
