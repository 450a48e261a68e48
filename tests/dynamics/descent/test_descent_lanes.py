"""Gradient descent of many runs at once, of other losses, in single precision."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from dynamics.descent.descent_compare import STARTS, STRENGTHS, data, farthest, identical, pick

from ssmbias.dynamics import (
    DescentConfig,
    Outcome,
    gradient_descent,
)
from ssmbias.dynamics.descent import linear_gradient
from ssmbias.models import DiagonalSSM

SGD, ADAM = optax.sgd(0.05), optax.adam(0.02)


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
