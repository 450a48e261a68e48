"""Gradient descent of any loss: precision, projections, bad input."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from dynamics.descent.descent_compare import farthest, identical, pick

from ssmbias.dynamics import (
    DescentConfig,
    Outcome,
    adaptive_step,
    descend,
)
from ssmbias.dynamics.descent.loop import Gradient
from ssmbias.dynamics.descent.solve import descend_problem, general_problem

SGD, ADAM = optax.sgd(0.05), optax.adam(0.02)


def quartic(params, target):
    """Not quadratic, of a matrix and a vector."""
    return jnp.sum((params["m"] @ params["v"] - target) ** 4) + 0.1 * jnp.sum(params["m"] ** 2)


def size_and_shift(params, target):
    return {"size": jnp.linalg.norm(params["m"]), "shift": params["v"] - target[0]}


PARAMS = {
    "m": np.arange(6.0, dtype=np.float32).reshape(2, 3) / 8,
    "v": np.array([1.0, -0.5, 0.25], np.float32),
}
TARGETS = np.array([[0.5, 0.25], [-0.125, 1.0], [0.75, 0.0]], np.float32)


def plain_quartic(target: np.ndarray, step: float, num_steps: int):
    """Descent in double precision, in NumPy."""
    m, v = PARAMS["m"].astype(float), PARAMS["v"].astype(float)
    for _ in range(num_steps):
        slope = 4 * (m @ v - target) ** 3
        m, v = m - step * (np.outer(slope, v) + 0.2 * m), v - step * slope @ m
    return {"m": m, "v": v}


@pytest.mark.slow
def test_any_loss_is_descended_in_the_precision_of_its_parameters() -> None:
    config = DescentConfig(loss_tol=0.0, max_steps=50, log_every=25, max_logs=4)
    run = descend(quartic, PARAMS, TARGETS[0], SGD, observe=size_and_shift, config=config)
    values = (run.model, run.loss, run.optimizer_state, run.log.loss, run.log.value)
    assert {x.dtype for x in jax.tree.leaves(values)} == {jnp.dtype(jnp.float32)}
    # Fifty steps whose rounding of 6e-8 adds up at worst; control: double precision is far below.
    error = farthest(run.model, plain_quartic(TARGETS[0], 0.05, 50))
    assert 1e-12 < error <= 50 * 6e-8
    assert farthest(run.model, plain_quartic(TARGETS[0], 0.05, 49)) > 1e-5
    half = plain_quartic(TARGETS[0], 0.05, 25)
    assert run.log.recorded.tolist() == [True, True, True, False]
    assert run.log.step[:3].tolist() == [0, 25, 50]
    observed = jax.tree.map(lambda x: x[1], run.log.value)
    expected = {"size": np.linalg.norm(half["m"]), "shift": half["v"] - TARGETS[0][0]}
    assert farthest(observed, expected) <= 50 * 6e-8
    # Without `observe` the parameters are logged.
    bare = descend(quartic, PARAMS, TARGETS[0], SGD, config=config)
    assert identical(jax.tree.map(lambda x: x[2], bare.log.value), bare.model)


@pytest.mark.slow
def test_double_precision_is_kept_too_and_mapped() -> None:
    params = jax.tree.map(lambda x: x.astype(np.float64), PARAMS)
    config = DescentConfig(loss_tol=0.0, max_steps=50, max_logs=4, lanes_per_chunk=2)
    runs = jax.vmap(lambda t: descend(quartic, params, t, SGD, config=config))(
        TARGETS.astype(float)
    )
    for i, target in enumerate(TARGETS):
        assert farthest(pick(runs, i).model, plain_quartic(target, 0.05, 50)) <= 1e-14
    assert farthest(pick(runs, 0).model, pick(runs, 1).model) > 1e-2  # control


def test_plain_numbers_are_parameters_too() -> None:
    run = descend(lambda p, d: (p - d) ** 2, 0.5, 1.0, SGD, config=DescentConfig(loss_tol=1e-6))
    assert run.model.dtype == jnp.float64
    # The first k with 0.5 · 0.9^k ≤ 1e-3.
    assert int(run.num_steps) == math.ceil(math.log(500) / -math.log(0.9))


def test_a_projection_acts_after_the_loss_was_tested() -> None:
    """Descent in (x, y) with y reset to 1 after every step, and a gradient that is given."""

    def loss(p, d):
        return (p["x"] * p["y"] - d) ** 2 + (p["y"] - 1.5) ** 2

    def gradient(p, d):
        return Gradient(*jax.value_and_grad(loss)(p, d), norm=jnp.float64(4.0))

    def reset(p):
        return p | {"y": jnp.ones_like(p["y"])}

    def plain(tol):
        x, y, norm = 0.2, 1.2, 0.0
        for k in range(1, 200):
            error = x * y - 2.0
            norm = 0.8 * norm + 0.2 * 4.0
            step = 0.05 / (math.sqrt(norm / (1 - 0.8**k)) + 1e-6)
            x, y = x - step * 2 * error * y, y - step * (2 * error * x + 2 * (y - 1.5))
            tested = (x * y - 2.0) ** 2 + (y - 1.5) ** 2
            y = 1.0
            if tested <= tol:
                return k, x
        raise AssertionError

    problem = general_problem(loss, None, gradient, reset)
    start = {"x": jnp.float64(0.2), "y": jnp.float64(1.2)}
    for tol in (0.5, 0.3):
        config = DescentConfig(loss_tol=tol, max_steps=200)
        run = descend_problem(problem, start, 2.0, adaptive_step(0.05), config=config)
        number, x = plain(tol)
        assert int(run.outcome) == Outcome.CONVERGED
        assert int(run.num_steps) == number
        assert abs(float(run.model["x"]) - x) <= 1e-14
        assert float(run.model["y"]) == 1.0
        # Control: the loss after the projection is another one.
        assert abs(float(run.loss) - ((x - 2.0) ** 2 + 0.25)) <= 1e-14


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": 3.0}, r"loss=3\.0: expected a function \(parameters, data\)"),
        ({"observe": 1}, r"observe=1: expected a function"),
        ({"loss": lambda p, d: p["v"]}, r"loss: returns .*one floating-point number"),
        ({"loss": lambda p, d: (1.0, 2.0)}, r"loss: returns .*one floating-point number"),
        ({"params": {}}, r"params: holds no array"),
        ({"params": {"m": np.arange(3)}}, r"params: holds int64; convert"),
        ({"optimizer": optax.sgd}, r"optimizer=<function sgd.*: expected an optax transformation"),
        ({"step_size": -1.0}, r"step_size=-1\.0: must be greater than 0"),
        ({"optimizer_state": ADAM.init(PARAMS)}, r"optimizer_state: is not a state"),
    ],
)
def test_bad_arguments_are_named(change, message) -> None:
    arguments = {"loss": quartic, "params": PARAMS, "data": TARGETS[0], "optimizer": SGD, **change}
    with pytest.raises(ValueError, match=message):
        descend(**arguments)
