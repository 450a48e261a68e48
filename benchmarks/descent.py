"""Speed of `gradient_descent` for linear students, in time per step of one run on one core.

Peers: (a) the sample loss as one writes it down, `jax.vmap(jax.grad(loss))` in a `fori_loop`,
without stopping rule or log, in the faster of two spellings (recurrence, impulse response);
(b) our closed gradient from the lag Gram matrix in NumPy, vectorised over runs, in pieces that
stay in the cache. All have to end at the same students.

    make bench                     # with theorem1.py six minutes; writes benchmarks/results/
    make bench ARGS="--quick"      # a smoke run of both
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import common  # pins the process to one core, so before JAX and NumPy
import jax
import jax.numpy as jnp
import numpy as np
import optax

from ssmbias.data import LagGram, combine, lag_gram
from ssmbias.data.sequences import baseline_sequences, special_sequences
from ssmbias.dynamics import DescentConfig, DescentResult, adaptive_step, gradient_descent
from ssmbias.models import DiagonalSSM, impulse_response

STEP = 1e-3
# κ, d, and the positions of the paper's baseline sequences.
SIZES = ((6, 10, (0, 1)), (10, 20, tuple(range(7))))
NUM_BASELINE, NUM_SPECIAL = 8, 10
SGD = optax.sgd(STEP)
NUMPY_LANES = 1024  # of 64, 128, ... 4096 the best for the two sizes together
Theta = tuple[Any, Any, Any]


class Task(NamedTuple):
    """As many runs as there are lanes, each with a start and data of its own; lanes first."""

    start: DiagonalSSM
    gram: LagGram
    inputs: jax.Array
    targets: jax.Array
    weights: jax.Array


def make_task(seq_len: int, state_dim: int, positions: tuple[int, ...], lanes: int) -> Task:
    """Warm starts near 0.1 as in the paper's standalone runs, strengths from 1e-3 to 1."""
    teacher = DiagonalSSM(jnp.ones(1), jnp.ones(1), jnp.ones(1))

    def one(key: jax.Array, strength: jax.Array) -> Task:
        keys = jax.random.split(key, 5)
        baseline = baseline_sequences(keys[0], NUM_BASELINE, seq_len, positions)
        special = special_sequences(keys[1], NUM_SPECIAL, seq_len, (seq_len - 2,))
        data = combine(baseline, special, strength)
        a, b, c = (1e-3 * jnp.abs(jax.random.normal(k, (state_dim,))) for k in keys[2:])
        response = impulse_response(teacher, seq_len)
        targets = data.inputs[:, ::-1] @ response
        start = DiagonalSSM(a + 0.1, b + 0.1, c)
        return Task(start, lag_gram(data, teacher), data.inputs, targets, data.weights)

    keys = jax.random.split(jax.random.key(0), lanes)
    return jax.jit(jax.vmap(one))(keys, jnp.geomspace(1e-3, 1.0, lanes))


# -- ours ----------------------------------------------------------------------------------


def engine(
    task: Task, num_steps: int, optimizer: Any = SGD, **choices: Any
) -> Callable[[], DescentResult]:
    """A fixed number of steps; a log of two entries unless asked for more."""
    choices = {"log_every": 1_000_000, "max_logs": 2} | choices
    config = DescentConfig(loss_tol=0.0, max_steps=num_steps, **choices)
    run = jax.jit(jax.vmap(lambda s, g: gradient_descent(s, g, optimizer, config=config)))
    return lambda: run(task.start, task.gram)


# -- peers ---------------------------------------------------------------------------------


def by_recurrence(theta: Theta, inputs: jax.Array, targets: jax.Array, weights: jax.Array) -> Any:
    """The weighted mean of squared errors, from states as the model defines them."""
    a, b, c = theta
    state = jnp.zeros((inputs.shape[0], a.shape[0]))
    for k in range(inputs.shape[1]):
        state = a[None] * state + inputs[:, k, None] * b[None]
    return jnp.sum(weights * (targets - state @ c) ** 2) / jnp.sum(weights)


def by_response(theta: Theta, inputs: jax.Array, targets: jax.Array, weights: jax.Array) -> Any:
    """The same from the impulse response, powers by products."""
    a, b, c = theta
    terms = [b * c]
    for _ in range(inputs.shape[1] - 1):
        terms.append(terms[-1] * a)
    response = jnp.sum(jnp.stack(terms), axis=1)
    return jnp.sum(weights * (targets - inputs[:, ::-1] @ response) ** 2) / jnp.sum(weights)


def autodiff(task: Task, num_steps: int, loss: Callable) -> Callable[[], Any]:
    """Plain vmap(grad(loss)) in a loop."""
    gradient = jax.vmap(jax.grad(loss))

    @jax.jit
    def run(theta: Theta, *samples: jax.Array) -> Theta:
        def step(_: Any, theta: Theta) -> Theta:
            slopes = gradient(theta, *samples)
            return jax.tree.map(lambda x, g: x - STEP * g, theta, slopes)

        return jax.lax.fori_loop(0, num_steps, step, theta)

    return lambda: run(tuple(task.start), task.inputs, task.targets, task.weights)


def numpy_loop(task: Task, num_steps: int) -> Callable[[], Theta]:
    """The closed gradient, lanes last: loops over lags, everything else vectorised."""
    pieces: list[list[Any]] = []
    for i in range(0, len(task.start.a), NUMPY_LANES):
        lanes = slice(i, i + NUMPY_LANES)
        arrays = (*task.start, task.gram.response, task.gram.gram)
        # Lanes last, each array in one piece of memory.
        pieces.append([np.moveaxis(np.asarray(x[lanes]), 0, -1).copy() for x in arrays])

    def run() -> Theta:
        ends = [_numpy_descent(*piece, steps=num_steps) for piece in pieces]
        a, b, c = (np.concatenate(leaf, axis=1).T for leaf in zip(*ends, strict=True))
        return a, b, c

    return run


def _numpy_descent(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, target: np.ndarray, gram: np.ndarray, steps: int
) -> Theta:
    a, b, c = a.copy(), b.copy(), c.copy()
    response = np.empty_like(target)
    num_lags = len(target)
    for _ in range(steps):
        product = b * c
        term = product.copy()
        for lag in range(num_lags):
            term.sum(axis=0, out=response[lag])
            term *= a
        omega = 2.0 * np.einsum("lmj,mj->lj", gram, target - response)
        g = np.broadcast_to(omega[-1], a.shape).copy()
        slope = np.zeros_like(a)
        for lag in range(num_lags - 2, -1, -1):
            slope *= a
            slope += g
            g *= a
            g += omega[lag]
        a += STEP * product * slope
        b, c = b + STEP * c * g, c + STEP * b * g
    return a, b, c


# -- measurement ---------------------------------------------------------------------------


def measure(job: Callable[[], Any], lanes: int, num_steps: int, repeats: int) -> dict[str, float]:
    """Nanoseconds per step of one run, compilation apart."""
    jax.block_until_ready(job())
    scale = 1e9 / (lanes * num_steps)
    return common.spread([t * scale for t in common.seconds(job, repeats)])


def faster_loss(task: Task, num_steps: int) -> Callable:
    """The spelling of the loss with which peer (a) does better."""
    return min(
        (by_recurrence, by_response),
        key=lambda loss: measure(autodiff(task, num_steps, loss), 1, 1, 3)["min"],
    )


def check(task: Task, peers: list[Callable[[Task, int], Callable]]) -> None:
    """Everybody descends alike: 50 steps, each with a rounding of 1e-16."""
    ours = engine(task, 50)().model
    for peer in peers:
        theirs = peer(task, 50)()
        for x, y in zip(ours, theirs, strict=True):
            assert float(np.max(np.abs(np.asarray(x) - np.asarray(y)))) <= 1e-13
    assert float(jnp.max(jnp.abs(ours.a - engine(task, 49)().model.a))) > 1e-9  # told apart


def budget(lanes: int, quick: bool) -> tuple[int, int, int, int]:
    """Steps of the engine, of peer (a), of peer (b), and repeats."""
    if quick:
        return (50, 5, 5, 1) if lanes > 64 else (500, 50, 50, 1)
    return {
        1: (20_000, 5_000, 500, 7),
        64: (5_000, 500, 300, 7),
        4096: (500, 30, 30, 5),
        65536: (500, 4, 4, 3),  # as many steps as before: what a lane costs once is the same
    }[lanes]


def compare(size: tuple[int, int, tuple[int, ...]], quick: bool) -> dict[str, object]:
    """One size of problem: engine and peers, chunk sizes, optimisers, logging."""
    counts = (1, 64, 256) if quick else (1, 64, 4096, 65536)
    seq_len, state_dim, positions = size
    out: dict[str, Any] = {}
    small = make_task(seq_len, state_dim, positions, 64)
    loss = faster_loss(small, budget(64, quick)[1])
    check(small, [lambda t, n: autodiff(t, n, loss), numpy_loop])
    out["spelling of the loss in peer (a)"] = loss.__name__
    for lanes in counts:
        task = make_task(seq_len, state_dim, positions, lanes)
        ours, naive, by_numpy, repeats = budget(lanes, quick)
        row = {
            "engine": measure(engine(task, ours), lanes, ours, repeats),
            "vmap(grad)": measure(autodiff(task, naive, loss), lanes, naive, repeats),
            "NumPy": measure(numpy_loop(task, by_numpy), lanes, by_numpy, repeats),
        }
        out[f"{lanes} lanes, ns per lane-step"] = row | {
            f"{name} over engine": common.ratio(row[name], row["engine"])
            for name in ("vmap(grad)", "NumPy")
        }
    medians = [out[f"{n} lanes, ns per lane-step"]["engine"]["median"] for n in counts]
    out[f"cost per lane at {counts[-1]} over {counts[-2]} lanes"] = medians[-1] / medians[-2]

    # What limits it: arithmetic from the first-level cache. One lane shows what dispatch costs,
    # since a step of 64 lanes goes through as many kernels: a tenth of its time at most. Chunks
    # much smaller than 64 spend their time on it, those from 256 on no longer fit that cache where
    # κ = 10, and the more lanes share a loop, the longer they wait for the slowest.
    lanes = counts[2]
    steps, _, _, repeats = budget(lanes, quick)
    task = make_task(seq_len, state_dim, positions, lanes)

    def cost(optimizer: Any = SGD, **choices: Any) -> dict[str, float]:
        return measure(engine(task, steps, optimizer, **choices), lanes, steps, min(repeats, 3))

    out["share of dispatch in a step of 64 lanes, at most"] = medians[0] / (64 * medians[1])
    out[f"{lanes} lanes, ns per lane-step by lanes per chunk"] = {
        str(chunk): cost(lanes_per_chunk=chunk)["min"]
        for chunk in ((16, 64) if quick else (16, 32, 64, 128, 256, 512))
    }
    out[f"{lanes} lanes, ns per lane-step by optimiser"] = {
        "SGD": cost(),
        "SGD, only a trained": cost(trainable=("a",)),
        "momentum": cost(optax.sgd(STEP, momentum=0.9)),
        "adaptive_step": cost(adaptive_step(STEP)),
        "adaptive_step, full_gradient_norm": cost(adaptive_step(STEP), full_gradient_norm=True),
        "Adam": cost(optax.adam(STEP)),
    }
    logged = cost(log_every=max(1, steps // 10), max_logs=256)["median"]
    out["µs per lane for a log of 256 slots, of which ten are filled"] = (
        (logged - medians[2]) * steps / 1e3
    )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    quick = parser.parse_args().quick
    report: dict[str, object] = {
        "setting": f"linear students, {NUM_BASELINE} + {NUM_SPECIAL} sequences, a, b, c trained by "
        "optax.sgd for a fixed number of steps, float64; every lane has its own start and data",
        "machine": common.machine("jax", "numpy", "optax"),
    }
    for size in SIZES:
        report[f"κ={size[0]}, d={size[1]}"] = compare(size, quick)
    common.publish(report, "descent", quick)


if __name__ == "__main__":
    main()
