"""Throughput of a sweep over virtual CPU devices, 1 to 8 of them, on all cores of the machine.

The sweep is the phase diagram's, in memory, once to compile and then three times. Devices of a CPU
share its cores: what is asked is whether as many devices as cores are as many times as fast, and
whether more cost anything. Results are compared to the last bit.

    python benchmarks/sweep_devices.py             # writes results/sweep_devices_cpu.json
    python benchmarks/sweep_devices.py --quick     # a smoke run
"""

from __future__ import annotations

import argparse

import common  # before JAX
import jax
import numpy as np

import ssmbias

CORES = common.use_all_cores()
jax.config.update("jax_num_cpu_devices", 8)

GRID = {
    "seed": [1, 15, 16, 30],
    "strength": "0 + logspace(-18, 4, 45)",
    "relative_gap": "geomspace(3e-9, 0.3, 25)",
    "init_scale": [1e-3, 1e-2, 5e-2],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    quick = parser.parse_args().quick
    grid = {**GRID, "relative_gap": [1e-6]} if quick else GRID
    report: dict = {"machine": common.machine("jax", "zarr", cores=CORES)}
    first = None
    for number in (1, 2) if quick else (1, 2, 4, 8):
        data = ssmbias.sweep(grid, devices=number)
        times = common.seconds(lambda n=number: ssmbias.sweep(grid, devices=n).error.values, 3)
        first = data if first is None else first
        report[f"{number} devices"] = {
            "trajectories": data.error.size,
            "trajectories per second": {
                name: data.error.size / value for name, value in common.spread(times).items()
            },
            "equal to one device, bitwise": bool(np.array_equal(data.a, first.a, equal_nan=True)),
        }
    common.publish(report, "sweep_devices", quick)


if __name__ == "__main__":
    main()
