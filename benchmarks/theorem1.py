"""Speed of `simulate_theorem1` against SciPy, at stated accuracy, in one run on one core.

Peers: (a) `solve_ivp(method="LSODA")` in logarithmic time with the log-gap as a state, the
strongest that we could get out of SciPy; (b) `odeint` at its default tolerances on the entries
themselves, which is how the authors of the paper integrate. Accuracy is measured for every
number: the largest relative difference of the generalisation error from a run of another kind
(closed form M1 for clean data, the engine at a thousandth of its tolerance otherwise).

    make bench                     # this and descent.py, six minutes; writes benchmarks/results/
    make bench ARGS="--quick"      # a smoke run of both
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
import warnings
from collections.abc import Callable

import common  # pins the process to one core, so before JAX and NumPy
import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import odeint, solve_ivp

from ssmbias import generalization_error, simulate_theorem1
from ssmbias.dynamics import Theorem1Config, Theorem1Result
from ssmbias.models import reference_start
from ssmbias.subjects import SETTINGS
from ssmbias.theory import clean_limit

SETTING = SETTINGS["t7"]
STRENGTHS = np.array([0.0, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 1e2, 1e3])
CHUNK = 64
P = SETTING.seq_len - 2


def velocity(a: np.ndarray, strength: float) -> np.ndarray:
    """da/dt in physical time."""
    powers = a**P
    force = (P + 1) * (1.0 - a @ powers) * powers + strength * (1.0 - a.sum())
    return 2.0 / (1.0 + strength) * force


def lsoda(a0: np.ndarray, log_gap: float, strength: float, rtol: float) -> np.ndarray:
    """Limit by LSODA over log time; state (a_2, ..., a_d, log(a_1 - a_2))."""

    def field(log_time: float, y: np.ndarray) -> np.ndarray:
        a = np.concatenate([[y[0] + np.exp(y[-1])], y[:-1]])
        rates = velocity(a, strength)
        quotient = sum(a[0] ** m * a[1] ** (P - 1 - m) for m in range(P))
        gap_rate = 2.0 / (1.0 + strength) * (P + 1) * (1.0 - np.sum(a ** (P + 1))) * quotient
        return np.exp(log_time) * np.concatenate([rates[1:], [gap_rate]])

    start = np.concatenate([a0[1:], [log_gap]])
    # Past the end of the slowest run: escape at 1e11 for clean data, O((1+ρ) 1e4) for poisoned.
    last = np.log(1e12 if strength == 0 else 1e6 * (1.0 + strength) + 1e4 / strength)
    run = solve_ivp(field, (np.log(1e-6), last), start, method="LSODA", rtol=rtol, atol=rtol * 1e-6)
    y = run.y[:, -1]
    return np.concatenate([[y[0] + np.exp(y[-1])], y[:-1]])


def authors_odeint(a0: np.ndarray, strength: float) -> np.ndarray:
    """Limit by odeint with default tolerances on a itself, times as the authors take them."""
    end = 1e11 if strength == 0 else 1e4
    times = np.concatenate([[0.0], np.geomspace(1e-2, end, 100)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return odeint(lambda a, t: velocity(a, strength), a0, times, mxstep=100_000)[-1]


def starts(num: int) -> tuple[np.ndarray, np.ndarray]:
    """Starts whose seeds leave room for the tie (a_3 below a_1 - gap)."""
    s = SETTING
    found, seed = [], 0
    while len(found) < num:
        # Some seeds have their third entry within the gap: another pair would be tied.
        with contextlib.suppress(ValueError):
            found.append(reference_start(seed, s.state_dim, s.init_scale, s.gap))
        seed += 1
    return np.stack([x.a for x in found]), np.array([x.log_gap for x in found])


def _warmed(job: Callable[[], Theorem1Result]) -> Callable[[], Theorem1Result]:
    """The job, compiled."""
    job()
    return job


def utilisation(num_steps: np.ndarray) -> float:
    """Mean over max of the steps in each chunk, lanes sorted by strength as the engine does."""
    flat = np.asarray(num_steps).T.ravel()  # [seed, strength] -> strength-major
    chunks = [flat[i : i + CHUNK] for i in range(0, len(flat), CHUNK)]
    return float(flat.sum() / sum(len(c) * c.max() for c in chunks))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    quick = parser.parse_args().quick
    num_seeds, peers, repeats = (16, 2, 1) if quick else (512, 8, 5)
    a0, log_gap = starts(num_seeds)
    error = jax.jit(jax.vmap(jax.vmap(generalization_error)))

    def batch(config: Theorem1Config) -> Callable[[], Theorem1Result]:
        def one(a, g, r):
            return simulate_theorem1(a, SETTING.seq_len, r, log_gap=g, config=config)

        run = jax.jit(jax.vmap(jax.vmap(one, (None, None, 0)), (0, 0, None)))
        return lambda: run(a0, log_gap, STRENGTHS)

    tight = batch(Theorem1Config(rtol=1e-13, max_steps=100_000))()
    assert bool(np.all(np.asarray(tight.converged)))
    truth = np.array(tight.a)
    clean = jax.jit(jax.vmap(lambda a, g: clean_limit(a, SETTING.seq_len, log_gap=g)))
    truth[:, 0] = clean(a0, log_gap)
    true_error = np.asarray(error(jnp.asarray(truth)))

    report: dict[str, object] = {
        "setting": "T7 (κ=7, d=10), strengths 0 and 1e-3..1e3 in decades, "
        f"{num_seeds} seeds x 8 strengths",
        "machine": common.machine("jax", "scipy"),
    }
    for rtol in (1e-10, 1e-9):
        job = batch(Theorem1Config(rtol=rtol))
        result = job()
        assert bool(np.all(np.asarray(result.converged)))
        times = common.seconds(job, repeats)
        lanes = num_seeds * len(STRENGTHS)
        steps = np.asarray(result.num_steps)
        use = utilisation(steps)
        median = statistics.median(times)
        report[f"engine, batch, rtol {rtol:g}"] = {
            "lanes": lanes,
            "ms per trajectory": {k: v / lanes * 1e3 for k, v in common.spread(times).items()},
            "ns per useful lane-step": median / steps.sum() * 1e9,
            "ns per lane-step run": median / steps.sum() * use * 1e9,
            "steps": {"mean": float(steps.mean()), "max": int(steps.max())},
            "utilisation": use,
            "worst relative error": _worst(error(result.a), true_error),
        }

    # What limits it: the same batch in chunks of other sizes. Small ones spend their time on
    # dispatch, large ones leave the second-level cache and wait for their slowest lane.
    report["ms per trajectory by lanes per chunk"] = {
        str(chunk): min(common.seconds(_warmed(batch(Theorem1Config(lanes_per_chunk=chunk))), 2))
        / (num_seeds * len(STRENGTHS))
        * 1e3
        for chunk in ((16, 64) if quick else (16, 32, 64, 128, 256, 512))
    }

    single = jax.jit(lambda a, g, r: simulate_theorem1(a, SETTING.seq_len, r, log_gap=g))
    single(a0[0], log_gap[0], 1.0)
    times = common.seconds(lambda: single(a0[0], log_gap[0], 1.0), 20)
    report["engine, one warm trajectory (ρ=1), ms"] = {
        k: v * 1e3 for k, v in common.spread(times).items()
    }
    for name, peer in (
        ("LSODA, rtol 1e-9", lambda a, g, r: lsoda(a, g, r, 1e-9)),
        ("LSODA, rtol 1e-12", lambda a, g, r: lsoda(a, g, r, 1e-12)),
        ("odeint as the authors call it", lambda a, g, r: authors_odeint(a, r)),
    ):
        limits = np.empty((peers, len(STRENGTHS), SETTING.state_dim))
        times = []
        for i in range(peers):
            begin = time.perf_counter()
            for j, r in enumerate(STRENGTHS):
                limits[i, j] = peer(a0[i], log_gap[i], float(r))
            times.append((time.perf_counter() - begin) / len(STRENGTHS))
        one = common.seconds(lambda peer=peer: peer(a0[0], log_gap[0], 1.0), max(3, repeats))
        errors = np.abs(np.asarray(error(limits)) / true_error[:peers] - 1)
        report[f"SciPy {name}"] = {
            "trajectories": peers * len(STRENGTHS),
            "ms per trajectory": {k: v * 1e3 for k, v in common.spread(times).items()},
            "one trajectory (ρ=1), ms": {k: v * 1e3 for k, v in common.spread(one).items()},
            "worst relative error": float(errors.max()),
            "median relative error": float(np.median(errors)),
        }
    _ratios(report)
    common.publish(report, "theorem1", quick)


def _ratios(report: dict) -> None:
    """Engine against each peer: medians, and the range over the extremes of both."""
    one = report["engine, one warm trajectory (ρ=1), ms"]
    for name in [key for key in report if key.startswith("SciPy")]:
        theirs = report[name]["ms per trajectory"]
        alone = report[name]["one trajectory (ρ=1), ms"]
        report[name]["ratio for one trajectory, engine at rtol 1e-10"] = (
            alone["median"] / one["median"]
        )
        for rtol in ("1e-10", "1e-09"):
            ours = report[f"engine, batch, rtol {rtol}"]["ms per trajectory"]
            report[name][f"throughput ratio in the batch, engine at rtol {rtol}"] = common.ratio(
                theirs, ours
            )


def _worst(measured: jax.Array, truth: np.ndarray) -> float:
    return float(np.max(np.abs(np.asarray(measured) / truth - 1.0)))


if __name__ == "__main__":
    main()
