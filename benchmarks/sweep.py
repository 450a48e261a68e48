"""Speed of sweeps: the limit engine, its refilled lanes, and how cost grows with the dimension.

Peers, in the same run on one core: (a) `simulate_theorem1`, the implicit engine that follows the
flow in time, in its own chunks; (b) the same engine as a plain `vmap`, all lanes in one loop until
the slowest ends; (c) the limit engine as a plain vmap. The grids of (b) and (c) are those of phase
diagrams. Accuracy stands beside every speed: the largest relative difference of the generalisation
error from the limit engine at a tenth of its tolerance, and from the closed form M1 on clean data.

    make bench                                     # with the other benchmarks
    python benchmarks/sweep.py --quick             # a smoke run
    python benchmarks/sweep.py --device gpu        # the first GPU instead of one CPU core
"""

from __future__ import annotations

import argparse
import functools
import statistics
from collections.abc import Callable
from typing import Any

import common  # pins the process to one core, so before JAX and NumPy
import jax
import jax.numpy as jnp
import numpy as np

from ssmbias import generalization_error, simulate_theorem1
from ssmbias.dynamics import LimitConfig, Outcome, Theorem1Config
from ssmbias.dynamics.limit.solve import Ends, Points, default_lanes, limits_of, run_points
from ssmbias.subjects import SETTINGS
from ssmbias.sweeps.grid import make_grid
from ssmbias.sweeps.starts import starts_of
from ssmbias.theory import clean_limit

T7 = SETTINGS["t7"]
STRENGTHS = [0.0, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 1e2, 1e3]
DIMENSIONS = (10, 30, 100, 300, 1000)


def points_of(axes: dict[str, Any], seq_len: int, state_dim: int) -> Points:
    """The points of a grid that can be started, as columns."""
    grid = make_grid(axes, seq_len, state_dim)
    points = grid.points()
    starts = starts_of(points, state_dim)
    rows = starts.usable
    return Points(
        jnp.asarray(starts.a0[rows].T),
        jnp.asarray(starts.log_gap[rows]),
        jnp.asarray(points["strength"][rows]),
    )


@functools.lru_cache
def limit_job(seq_len: int, num_lanes: int) -> Callable[..., Ends]:
    """The compiled engine with a fixed number of lanes."""
    return jax.jit(
        lambda points, count, limits: run_points(points, count, limits, seq_len, num_lanes)
    )


def run_limit(points: Points, seq_len: int, num_lanes: int, rtol: float) -> Callable[[], Ends]:
    """A warm job."""
    count = jnp.int32(points.strength.shape[0])
    limits = limits_of(LimitConfig(rtol=rtol))
    job = functools.partial(limit_job(seq_len, num_lanes), points, count, limits)
    jax.block_until_ready(job())
    return job


def run_time(points: Points, seq_len: int, config: Theorem1Config) -> Callable[[], Any]:
    """A warm job of the engine in time."""
    one = jax.jit(
        jax.vmap(lambda a, g, r: simulate_theorem1(a, seq_len, r, log_gap=g, config=config))
    )
    job = functools.partial(one, points.a0.T, points.log_gap, points.strength)
    jax.block_until_ready(job())
    return job


def errors(a: jax.Array) -> np.ndarray:
    """Generalisation error of each row."""
    return np.asarray(jax.jit(jax.vmap(generalization_error))(a))


def describe(times: list[float], steps: np.ndarray, spent: float) -> dict[str, object]:
    """Throughput, utilisation and the spread of costs."""
    number = steps.size
    return {
        "trajectories": number,
        "ms per trajectory": {k: v / number * 1e3 for k, v in common.spread(times).items()},
        "steps": {
            "min": int(steps.min()),
            "mean": float(steps.mean()),
            "max": int(steps.max()),
            "costliest over cheapest": float(steps.max() / steps.min()),
        },
        "useful part of the lane-steps": float(steps.sum() / spent),
        "ns per lane-step": statistics.median(times) / spent * 1e9,
    }


def against_foundation(quick: bool, repeats: int) -> dict[str, object]:
    """T7, both engines, at accuracies of like size."""
    seeds = 16 if quick else 512
    points = points_of({"seed": range(seeds), "strength": STRENGTHS, "gap": T7.gap}, 7, 10)
    lanes = default_lanes(10)
    truth = errors(run_limit(points, 7, lanes, 3e-12)().a.T).copy()
    clean = np.asarray(points.strength) == 0
    closed = jax.vmap(lambda a, g: clean_limit(a, 7, log_gap=g))(
        points.a0.T[clean], points.log_gap[clean]
    )
    truth[clean] = errors(closed)
    report: dict[str, Any] = {}
    for rtol in (1e-10, LimitConfig().rtol):
        job = run_limit(points, 7, lanes, rtol)
        ends = job()
        report[f"limit engine, rtol {rtol:g}"] = {
            **describe(
                common.seconds(job, repeats), np.asarray(ends.num_steps), float(ends.lane_steps)
            ),
            "converged": int(np.sum(np.asarray(ends.outcome) == Outcome.CONVERGED)),
            "worst relative error": float(np.max(np.abs(errors(ends.a.T) / truth - 1))),
        }
    job = run_time(points, 7, Theorem1Config())
    run = job()
    steps = np.asarray(run.num_steps)
    report["foundation, rtol 1e-10"] = {
        **describe(common.seconds(job, repeats), steps, float(steps.sum())),
        "worst relative error": float(np.max(np.abs(errors(run.a) / truth - 1))),
    }
    theirs = report["foundation, rtol 1e-10"]["ms per trajectory"]
    for name in [name for name in report if name.startswith("limit")]:
        ours = report[name]["ms per trajectory"]
        report[f"throughput over the foundation: {name}"] = common.ratio(theirs, ours)
    return report


def against_plain_vmap(
    axes: dict[str, Any], state_dim: int, repeats: int, foundation: bool
) -> dict[str, object]:
    """A phase diagram, κ = 7: refilled lanes, and all lanes in one loop."""
    points = points_of(axes, 7, state_dim)
    number = points.strength.shape[0]
    report: dict[str, Any] = {"grid": {k: str(v) for k, v in axes.items()}}
    rtol = LimitConfig().rtol
    for name, lanes in (("refilled lanes", default_lanes(state_dim)), ("plain vmap", number)):
        job = run_limit(points, 7, lanes, rtol)
        ends = job()
        report[f"limit engine, {name}"] = describe(
            common.seconds(job, repeats), np.asarray(ends.num_steps), float(ends.lane_steps)
        )
    if foundation:
        job = run_time(points, 7, Theorem1Config(lanes_per_chunk=number))
        run = job()
        steps = np.asarray(run.num_steps)
        report["foundation, plain vmap"] = {
            **describe(common.seconds(job, 1), steps, float(steps.max() * number)),
            "not converged": int(np.sum(np.asarray(run.outcome) != Outcome.CONVERGED)),
        }
    ours = report["limit engine, refilled lanes"]["ms per trajectory"]
    for name in [name for name in report if name.endswith("plain vmap")]:
        theirs = report[name]["ms per trajectory"]
        report[f"throughput of refilled lanes over: {name}"] = common.ratio(theirs, ours)
    return report


def phase_diagrams(quick: bool, repeats: int) -> dict[str, object]:
    """The setting d = 10, and d = 3, where the costs of the limit engine differ most."""
    ten = {
        "seed": range(1 if quick else 4),
        "strength": "0 + logspace(-12, 4, 33)",
        "relative_gap": "0 + logspace(-9, -1, 5)",
        "init_scale": [1e-3, 1e-2, 5e-2],
    }
    three = {
        "seed": range(1 if quick else 12),
        "strength": "0 + logspace(-14, 6, 41)",
        "relative_gap": "0 + logspace(-12, -1, 6)",
        "init_scale": [1e-5, 1e-3, 1e-1, 0.3],
    }
    return {
        "d=10": against_plain_vmap(ten, 10, repeats, foundation=not quick),
        "d=3": against_plain_vmap(three, 3, repeats, foundation=False),
    }


def by_lanes(quick: bool) -> dict[str, float]:
    """Ms per trajectory by lanes that step together."""
    points = points_of({"seed": range(256), "strength": STRENGTHS, "gap": T7.gap}, 7, 10)
    found = {}
    for lanes in (64, 128) if quick else (16, 32, 64, 128, 256, 512):
        job = run_limit(points, 7, lanes, LimitConfig().rtol)
        found[str(lanes)] = min(common.seconds(job, 2)) / points.strength.size * 1e3
    return found


def by_dimension(quick: bool) -> dict[str, dict[str, float]]:
    """Cost of a lane-step as the state grows: κ = 7, starts with d · init_scale fixed."""
    found = {}
    for state_dim in DIMENSIONS[:2] if quick else DIMENSIONS:
        axes = {
            "seed": range(max(16, 5120 // state_dim)),
            "strength": [0.0, 1e-4, 1.0, 100.0],
            "relative_gap": 1e-6,
            "init_scale": 1e-2 / state_dim,
        }
        points = points_of(axes, 7, state_dim)
        lanes = default_lanes(state_dim)
        job = run_limit(points, 7, lanes, LimitConfig().rtol)
        ends = job()
        cost = min(common.seconds(job, 3)) / float(ends.lane_steps) * 1e9
        found[str(state_dim)] = {
            "lanes": lanes,
            "ns per lane-step": cost,
            "ns per lane-step and entry": cost / state_dim,
            "steps, mean": float(np.mean(np.asarray(ends.num_steps))),
        }
    sizes = [int(name) for name in found]
    costs = [row["ns per lane-step"] for row in found.values()]
    slope = np.polyfit(np.log(sizes[-3:]), np.log(costs[-3:]), 1)[0]
    return {**found, "exponent over the last three": {"d": float(slope)}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    options = parser.parse_args()
    device = jax.devices(options.device)[0]
    repeats = 1 if options.quick else 5
    with jax.default_device(device):
        report = {
            "machine": common.machine("jax"),
            "device": f"{device.platform} {device.device_kind}",
            "T7 (κ=7, d=10), strengths 0 and 1e-3..1e3": against_foundation(options.quick, repeats),
            "phase diagrams, κ=7": phase_diagrams(options.quick, repeats),
            "ms per trajectory by lanes, T7": by_lanes(options.quick),
            "by state_dim": by_dimension(options.quick),
        }
    common.publish(report, "sweep", options.quick, options.device)


if __name__ == "__main__":
    main()
