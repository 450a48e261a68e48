"""Sweeps over several devices of one process, and over several processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import xarray as xr

import ssmbias

GRID = {"seed": range(40), "strength": "0 + logspace(-9, 3, 24)"}

SET_UP = """
import json, sys
import jax
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
import ssmbias
GRID = {"seed": range(40), "strength": "0 + logspace(-9, 3, 24)"}
"""

DEVICES = (
    SET_UP.replace("import ssmbias", 'jax.config.update("jax_num_cpu_devices", 8)\nimport ssmbias')
    + """
found = {}
ssmbias.sweep(GRID, store=f"{sys.argv[2]}/8", devices=8)
try:
    ssmbias.sweep(GRID, devices=9)
except ValueError as error:
    found["message"] = str(error)
print(json.dumps(found))
"""
)

PROCESS = (
    SET_UP
    + """
jax.distributed.initialize(f"127.0.0.1:{sys.argv[3]}", 2, int(sys.argv[4]))
told = []
store = None if sys.argv[2] == "none" else sys.argv[2]
data = ssmbias.sweep(GRID, store=store, block_size=100, progress=told.append)
print(json.dumps({
    "done here": told[-1].done,
    "missing": ssmbias.sweeps.summarise(data).get("missing", 0),
    "error": data.error.values.ravel().tolist(),
}))
"""
)


def start(program: str, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, os.environ["JAX_COMPILATION_CACHE_DIR"], *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return json.loads(out.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def whole() -> xr.Dataset:
    return ssmbias.sweep(GRID)


@pytest.mark.slow
def test_eight_devices(whole, tmp_path):
    """Each shard has a loop of its own; the numbers are those of one device, to the last bit."""
    found = result(start(DEVICES, str(tmp_path)))
    xr.testing.assert_equal(ssmbias.open_sweep(tmp_path / "8"), whole)
    assert "this process has 8" in found["message"]


def free_port() -> str:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.slow
def test_two_processes(whole, tmp_path, shared):
    """Real processes on loopback, into one store or gathered over the network."""
    store, port = str(tmp_path / "s") if shared else "none", free_port()
    processes = [start(PROCESS, store, port, str(rank)) for rank in range(2)]
    found = [result(process) for process in processes]
    for one in found:
        assert one["missing"] == 0
        np.testing.assert_array_equal(one["error"], whole.error.values.ravel())
        assert one["done here"] < whole.error.size  # the other process did the rest
    if shared:
        xr.testing.assert_equal(ssmbias.open_sweep(store), whole)
