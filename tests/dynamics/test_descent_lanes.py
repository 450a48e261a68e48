"""Gradient descent of many runs at once, of other losses, in single precision."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ssmbias.data import combine, lag_gram
from ssmbias.dynamics import (
    DescentConfig,
    Outcome,
    adaptive_step,
    descend,
    gradient_descent,
)
from ssmbias.dynamics.descent import linear_gradient
from ssmbias.dynamics.descent.loop import Gradient
from ssmbias.dynamics.descent.solve import descend_problem, general_problem
from ssmbias.models import DiagonalSSM

SGD, ADAM = optax.sgd(0.05), optax.adam(0.02)
RNG = np.random.default_rng(1)
BASELINE, SPECIAL = RNG.normal(size=(4, 6)), RNG.normal(size=(2, 6))
TEACHER = DiagonalSSM(np.array([0.8]), np.ones(1), np.ones(1))
STARTS = DiagonalSSM(*(RNG.uniform(0.2, 0.6, (3, 4)) for _ in range(3)))
STRENGTHS = jnp.array([0.0, 0.3, 1.0, 2.0])


def data(strength):
    return lag_gram(combine(BASELINE, SPECIAL, strength), TEACHER)


def one(start, strength, step_size=1.0, *, optimizer=SGD, **choices):
    return gradient_descent(
        start,
        data(strength),
        optimizer,
        step_size=step_size,
        config=DescentConfig(**({"loss_tol": 1e-3, "max_logs": 16} | choices)),
    )


def over_both(**choices):
    """Starts x strengths, in two nested maps."""
    run = lambda s, r: one(s, r, **choices)  # noqa: E731
    return jax.vmap(jax.vmap(run, (None, 0)), (0, None))


def pick(tree: Any, *index: int) -> Any:
    return jax.tree.map(lambda x: x[index], tree)


def farthest(x: Any, y: Any) -> float:
    pairs = zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True)
    return max((float(np.max(np.abs(u - v))) for u, v in pairs), default=0.0)


def identical(x: Any, y: Any) -> bool:
    pairs = zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True)
    return all(np.array_equal(u, v, equal_nan=True) for u, v in pairs)


# -- lanes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("choices", [{}, {"lanes_per_chunk": 5}, {"lanes_per_chunk": 1}])
@pytest.mark.slow
def test_nested_vmap_equals_one_by_one(choices) -> None:
    optimizer = ADAM if choices else SGD
    batch = over_both(optimizer=optimizer, extra_steps=10, **choices)(STARTS, STRENGTHS)
    assert batch.model.a.shape == (3, 4, 4)
    assert batch.log.value.a.shape == (3, 4, 16, 4)
    single = jax.jit(lambda s, r: one(s, r, optimizer=optimizer, extra_steps=10))
    for i, j in np.ndindex(3, 4):
        alone, same = single(pick(STARTS, i), STRENGTHS[j]), pick(batch, i, j)
        assert int(alone.outcome) == int(same.outcome) == Outcome.CONVERGED
        assert int(alone.steps_to_tol) == int(same.steps_to_tol) > 5
        # Other orders of sums: 1e-16 a step, of a few hundred steps into a valley.
        assert farthest(alone.model, same.model) <= 1e-13
        assert farthest(alone.optimizer_state, same.optimizer_state) <= 1e-13
        recorded = alone.log.recorded
        if identical(alone.log.step, same.log.step):  # not thinned for the sake of a slower lane
            assert identical(recorded, same.log.recorded)
            entries = pick(alone.log.value, recorded), pick(same.log.value, recorded)
            assert farthest(*entries) <= 1e-13
    # Control: lanes are not mixed up.
    assert np.min(np.ptp(batch.model.a, axis=0)) > 1e-3
    assert len(set(np.ravel(batch.steps_to_tol).tolist())) > 6


@pytest.mark.slow
def test_maps_in_any_order_and_jit_give_the_same() -> None:
    batch = over_both()(STARTS, STRENGTHS)
    swapped = jax.vmap(lambda r: jax.vmap(lambda s: one(s, r))(STARTS), out_axes=1)(STRENGTHS)
    assert farthest(swapped.model, batch.model) <= 1e-13
    compiled = jax.jit(over_both())(STARTS, STRENGTHS)
    assert farthest(compiled.model, batch.model) <= 1e-13
    assert identical(compiled.steps_to_tol, batch.steps_to_tol)
    alone = jax.jit(one)(pick(STARTS, 1), STRENGTHS[2])
    assert farthest(alone.model, pick(batch, 1, 2).model) <= 1e-13


@pytest.mark.parametrize("lanes_per_chunk", [6, 3])
@pytest.mark.parametrize("optimizer", [SGD, ADAM], ids=["sgd", "adam"])
def test_a_stopped_lane_stays_as_it_is(lanes_per_chunk, optimizer) -> None:
    def run(start, size):
        choices = {"optimizer": optimizer, "lanes_per_chunk": lanes_per_chunk, "max_steps": 3000}
        return one(start, 1.0, size, **choices)

    batch = jax.vmap(run)
    six = jax.tree.map(lambda x: jnp.asarray(x[[0, 1, 2, 0, 1, 2]]), STARTS)
    alike = batch(six, jnp.full(6, 0.5))
    mixed = batch(six, jnp.array([0.5, 0.01, 0.5, 0.02, 0.5, 0.01]))
    quick, slow = jnp.array([0, 2, 4]), jnp.array([1, 3, 5])
    assert np.max(mixed.num_steps[quick]) < np.min(mixed.num_steps[slow])
    ends = [
        (x.model, x.loss, x.outcome, x.num_steps, x.optimizer_state)
        for x in (pick(mixed, quick), pick(alike, quick))
    ]
    assert identical(*ends)
    # Control: a step size that is off in its last digits shows.
    further = batch(six, jnp.full(6, 0.5 * (1 + 1e-12)))
    assert not identical(pick(further, quick).model, pick(alike, quick).model)


@pytest.mark.slow
def test_a_lane_that_fails_leaves_the_others_alone() -> None:
    sizes = jnp.array([1.0, 1e3, 0.5, jnp.nan, 0.4])
    # Three chunks of two, of which the last is filled with a repeat.
    choices = {"max_steps": 900, "lanes_per_chunk": 2}
    runs = jax.vmap(lambda s: one(pick(STARTS, 0), 1.0, s, **choices))(sizes)
    assert runs.outcome.tolist() == [0, Outcome.FAILED, 0, Outcome.FAILED, 0]
    assert int(runs.num_steps[3]) == 1
    for i in (0, 2, 4):
        alone = one(pick(STARTS, 0), 1.0, sizes[i], max_steps=900)
        assert farthest(pick(runs, i).model, alone.model) <= 1e-13


def test_lanes_end_a_phase_on_their_own() -> None:
    """Some lanes enter the second phase, others have spent their steps."""
    sizes = jnp.array([1.0, 0.02])
    runs = jax.vmap(lambda s: one(pick(STARTS, 0), 1.0, s, max_steps=500, extra_steps=20))(sizes)
    assert runs.outcome.tolist() == [Outcome.CONVERGED, Outcome.MAX_STEPS]
    assert int(runs.num_steps[0]) == int(runs.steps_to_tol[0]) + 20
    assert int(runs.num_steps[1]) == int(runs.steps_to_tol[1]) == 500
    assert np.any(runs.extra_log.recorded, axis=1).tolist() == [True, False]
    short = one(pick(STARTS, 0), 1.0, 0.02, max_steps=500)
    assert farthest(pick(runs, 1).model, short.model) <= 1e-13


def test_logs_of_lanes_share_a_clock_and_end_with_their_lane() -> None:
    sizes = jnp.array([1.0, 0.1])
    choices = {"log_every": 4, "log_offset": 1, "max_logs": 8, "max_steps": 5000}
    runs = jax.vmap(lambda s: one(pick(STARTS, 0), 1.0, s, **choices))(sizes)
    quick, slow = pick(runs, 0), pick(runs, 1)
    assert identical(quick.log.step, slow.log.step)  # thinned for the slower one
    for run in (quick, slow):
        reached = np.asarray(run.log.step) <= int(run.num_steps)
        reached &= np.asarray(slow.log.recorded)
        assert identical(run.log.recorded, reached)
    assert 0 < int(np.sum(quick.log.recorded)) < int(np.sum(slow.log.recorded))
    # Beyond its end a lane repeats it.
    after = ~np.asarray(quick.log.recorded) & np.asarray(slow.log.recorded)
    assert np.all(np.asarray(quick.log.value.a)[after] == np.asarray(quick.model.a))


def test_a_mapped_state_can_be_handed_on() -> None:
    def going_on(start, strength, state):
        config = DescentConfig(loss_tol=0.0, max_steps=20, max_logs=16)
        return gradient_descent(start, data(strength), ADAM, optimizer_state=state, config=config)

    run = lambda steps: over_both(optimizer=ADAM, loss_tol=0.0, max_steps=steps)  # noqa: E731
    first = run(30)(STARTS, STRENGTHS)
    rest = jax.vmap(jax.vmap(going_on, (0, 0, 0)), (0, None, 0))
    end = rest(first.model, STRENGTHS, first.optimizer_state)
    assert farthest(end.model, run(50)(STARTS, STRENGTHS).model) <= 1e-13
    # The batch axes of a mapped state are not those of one run.
    with pytest.raises(ValueError, match=r"optimizer_state: is not a state .* batch axes"):
        going_on(pick(STARTS, 0), 1.0, first.optimizer_state)


# -- compilation ---------------------------------------------------------------------------


def test_a_second_call_compiles_nothing(monkeypatch) -> None:
    traced = []
    original = linear_gradient.gradient

    def counting(*args):
        traced.append(1)
        return original(*args)

    monkeypatch.setattr(linear_gradient, "gradient", counting)
    start = DiagonalSSM(*(x[0, :2] for x in STARTS))  # a shape of its own
    one(start, 1.0, max_steps=5)
    assert traced, "the probe sees a first trace"
    traced.clear()
    one(start._replace(a=start.b), 0.25, max_steps=5)
    one(start, 1.0, 0.5, max_steps=6, loss_tol=1e-5)
    assert not traced
    one(start, 1.0, max_steps=5, optimizer=ADAM)  # control: another optimiser is traced
    assert traced


@pytest.mark.slow
def test_a_second_batched_call_compiles_nothing(monkeypatch) -> None:
    batch = jax.vmap(lambda s, r: one(s, r, max_steps=5))
    starts = jax.tree.map(lambda x: jnp.asarray(x[:, :2]), STARTS)
    batch(starts, STRENGTHS[:3])
    monkeypatch.setattr(linear_gradient, "gradient", None)  # a trace would call it
    other = jax.vmap(lambda s, r: one(s, r, 0.5, max_steps=7, loss_tol=1e-4))
    assert other(starts, 1.0 + STRENGTHS[:3]).model.a.shape == (3, 2)
    with pytest.raises(TypeError, match="NoneType"):  # control: another number of lanes is traced
        batch(pick(starts, jnp.arange(2)), STRENGTHS[:2])


def test_reverse_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="reverse-mode"):
        jax.grad(lambda a: one(DiagonalSSM(a, a, a), 1.0).loss)(jnp.array([0.3, 0.2]))


# -- other losses --------------------------------------------------------------------------


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
