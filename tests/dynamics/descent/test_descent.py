"""Gradient descent of linear students against a plain loop: ends, outcomes, phases, logs."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from dynamics.descent.small_descent import ADAM, INPUTS, START, TEACHER, WEIGHTS, descend

from ssmbias.dynamics import Outcome
from ssmbias.models import DiagonalSSM

LEAVES = ("a", "b", "c")


# -- oracle: plain gradient descent on the samples, by the recurrence and its derivatives -------


def outputs(theta: dict[str, np.ndarray]):
    """The output for each sequence, and its derivatives, sample first."""
    a, b, c = (theta[name] for name in LEAVES)
    state = np.zeros((len(INPUTS), len(a)))
    by_a, by_b = np.zeros_like(state), np.zeros_like(state)
    for x in INPUTS.T:
        by_a, by_b = a * by_a + state, a * by_b + x[:, None]
        state = a * state + x[:, None] * b
    return state @ c, {"a": c * by_a, "b": c * by_b, "c": state}


TARGETS = outputs(TEACHER._asdict())[0]


def loss_and_gradient(theta: dict[str, np.ndarray]):
    found, slopes = outputs(theta)
    error = found - TARGETS
    weights = WEIGHTS / WEIGHTS.sum()
    return weights @ error**2, {k: 2 * (weights * error) @ slope for k, slope in slopes.items()}


def plain_descent(step: float, tol: float, max_steps: int, trainable=LEAVES):
    """Updates until the loss is at most `tol`: their number, the student, its loss."""
    theta = {k: v.copy() for k, v in START._asdict().items()}
    for k in range(max_steps + 1):
        loss, gradient = loss_and_gradient(theta)
        if loss <= tol or k == max_steps:
            return k, theta, loss
        for name in trainable:
            theta[name] = theta[name] - step * gradient[name]
    raise AssertionError


def distance(model: Any, theta: Any) -> float:
    theta = theta._asdict() if isinstance(theta, DiagonalSSM) else theta
    return max(float(np.max(np.abs(getattr(model, k) - theta[k]))) for k in LEAVES)


def steps_logged(log: Any) -> list[int]:
    return np.asarray(log.step)[np.asarray(log.recorded)].tolist()


# -- ends ----------------------------------------------------------------------------------


def test_the_oracle_has_the_right_gradient() -> None:
    theta = START._asdict()
    for name, index in (("a", 1), ("b", 2), ("c", 0)):
        ends = []
        for h in (1e-5, -1e-5):
            moved = {**theta, name: theta[name] + h * (np.arange(3) == index)}
            ends.append(loss_and_gradient(moved)[0])
        # h² times a third derivative of size ten, and rounding of 1e-16 over h.
        slope = (ends[0] - ends[1]) / 2e-5
        assert abs(slope - loss_and_gradient(theta)[1][name][index]) <= 1e-8


@pytest.mark.parametrize(("step", "tol"), [(0.1, 1e-3), (0.05, 1e-6), (0.08, 1e-7)])
def test_steps_and_end_are_those_of_a_plain_loop(step, tol) -> None:
    number, theta, loss = plain_descent(step, tol, 10_000)
    assert number > 100
    run = descend(step / 0.1, loss_tol=tol)
    assert int(run.outcome) == Outcome.CONVERGED
    assert bool(run.converged)
    assert int(run.steps_to_tol) == int(run.num_steps) == number
    # Each step rounds to 1e-16, and descent into a valley forgets most of it: measured 1e-15. The
    # loss is the square of a small quantity.
    assert distance(run.model, theta) <= 1e-14
    assert abs(float(run.loss) - loss) <= 1e-13 * math.sqrt(loss)
    assert float(run.loss) <= tol
    # Control: a step that is off by a thousandth.
    other, moved, _ = plain_descent(1.001 * step, tol, 10_000)
    assert other != number or distance(run.model, moved) > 1e-9


@pytest.mark.parametrize("trainable", [("a",), ("c", "b"), ("b", "a", "c")])
def test_only_what_is_trainable_moves(trainable) -> None:
    run = descend(loss_tol=0.0, max_steps=50, trainable=trainable)
    assert int(run.outcome) == Outcome.MAX_STEPS
    _, theta, _ = plain_descent(0.1, 0.0, 50, trainable)
    assert distance(run.model, theta) <= 50 * 1e-15
    for name in LEAVES:
        same = np.array_equal(getattr(run.model, name), getattr(START, name))
        assert same == (name not in trainable)


# -- outcomes ------------------------------------------------------------------------------


def test_a_step_that_is_too_large_fails_and_says_so() -> None:
    run = descend(300.0, max_steps=1000)
    assert int(run.outcome) == Outcome.FAILED
    assert not bool(run.converged)
    assert not math.isfinite(float(run.loss))
    assert int(run.num_steps) < 20  # stopped where it happened
    assert not bool(descend(300.0, max_steps=1000, extra_steps=5).extra_log.recorded.any())
    assert int(descend(2.0, max_steps=1000).outcome) == Outcome.MAX_STEPS  # control: to and fro


def test_a_start_at_the_tolerance_takes_no_step() -> None:
    padded = DiagonalSSM(*(np.append(x, 0.0) for x in TEACHER))
    run = descend(start=padded, loss_tol=1e-20)
    assert int(run.outcome) == Outcome.CONVERGED
    assert int(run.num_steps) == 0
    assert distance(run.model, padded) == 0.0
    assert steps_logged(run.log) == [0]
    assert int(descend(start=START, loss_tol=1e-3).num_steps) > 0  # control


def test_the_last_permitted_step_may_reach_the_tolerance() -> None:
    number = int(descend(loss_tol=1e-3).num_steps)
    exact = descend(loss_tol=1e-3, max_steps=number)
    assert int(exact.outcome) == Outcome.CONVERGED
    assert int(exact.num_steps) == number
    short = descend(loss_tol=1e-3, max_steps=number - 1)
    assert int(short.outcome) == Outcome.MAX_STEPS
    assert int(short.num_steps) == number - 1
    assert float(exact.loss) <= 1e-3 < float(short.loss)
    # A loss of the tolerance itself is enough.
    assert int(descend(loss_tol=float(short.loss)).num_steps) == number - 1
    assert int(descend(loss_tol=float(short.loss) * (1 - 1e-12)).num_steps) == number


# -- two phases ----------------------------------------------------------------------------


def test_the_second_phase_goes_on_with_the_optimiser() -> None:
    first = descend(optimizer=ADAM, loss_tol=1e-2)
    number = int(first.num_steps)
    assert 20 < number < 1000
    both = descend(optimizer=ADAM, loss_tol=1e-2, extra_steps=30)
    assert int(both.outcome) == Outcome.CONVERGED
    assert int(both.steps_to_tol) == number
    assert int(both.num_steps) == number + 30
    assert int(both.optimizer_state[0].count) == number + 30
    # One run that passes through the tolerance without noticing; the arithmetic is the same.
    through = descend(optimizer=ADAM, loss_tol=0.0, max_steps=number + 30)
    assert int(through.outcome) == Outcome.MAX_STEPS
    assert distance(both.model, through.model) <= (number + 30) * 1e-15
    assert abs(float(both.loss) / float(through.loss) - 1) <= 1e-10
    # And one that is handed the state by the user.
    state = first.optimizer_state
    by_hand = descend(
        start=first.model, optimizer=ADAM, optimizer_state=state, loss_tol=0.0, max_steps=30
    )
    assert distance(both.model, by_hand.model) <= (number + 30) * 1e-15
    # Control: Adam started anew goes elsewhere.
    anew = descend(start=first.model, optimizer=ADAM, loss_tol=0.0, max_steps=30)
    assert distance(both.model, anew.model) > 1e-4


def test_each_phase_has_a_log_that_counts_from_its_start() -> None:
    run = descend(loss_tol=1e-2, extra_steps=25, log_every=10, log_offset=1, max_logs=64)
    number = int(run.steps_to_tol)
    assert steps_logged(run.log) == list(range(1, number + 1, 10))
    assert steps_logged(run.extra_log) == [1, 11, 21]
    later = descend(loss_tol=0.0, max_steps=number + 11)
    last = jax.tree.map(lambda x: x[1], run.extra_log.value)
    assert distance(last, later.model) <= (number + 11) * 1e-15
    assert float(run.extra_log.loss[1]) < 1e-2


def test_without_reaching_the_tolerance_there_is_no_second_phase() -> None:
    run = descend(loss_tol=1e-2, max_steps=7, extra_steps=25)
    assert int(run.outcome) == Outcome.MAX_STEPS
    assert int(run.num_steps) == 7
    assert steps_logged(run.log) == [0]
    assert steps_logged(run.extra_log) == []
    assert descend(loss_tol=1e-2).extra_log is None


# -- logs ----------------------------------------------------------------------------------


def expected_entries(num_steps: int, every: int, offset: int, capacity: int) -> list[int]:
    """The rule in words: when full, keep every other entry and double the interval."""
    entries: list[int] = []
    for k in range(num_steps + 1):
        if k >= offset and (k - offset) % every == 0:
            entries.append(k)
            if len(entries) == capacity and k < num_steps:
                entries, every = entries[::2], 2 * every
    return entries


@pytest.mark.parametrize(
    ("every", "offset", "capacity"), [(10, 1, 64), (10, 0, 8), (7, 6, 5), (1, 0, 2)]
)
def test_logs_hold_what_shorter_runs_end_at(every, offset, capacity) -> None:
    choices = {"log_every": every, "log_offset": offset, "max_logs": capacity, "loss_tol": 0.0}
    for num_steps in (3, 70, 131):
        run = descend(max_steps=num_steps, **choices)
        entries = expected_entries(num_steps, every, offset, capacity)
        assert steps_logged(run.log) == entries
        assert run.log.step.shape == (capacity,)
        for slot, step in enumerate(entries[:: max(1, len(entries) // 3)]):
            index = slot * max(1, len(entries) // 3)
            if step == 0:
                model, loss = START, loss_and_gradient(START._asdict())[0]
            else:
                shorter = descend(max_steps=step, **choices)
                model, loss = shorter.model, shorter.loss
            entry = jax.tree.map(lambda x, i=index: x[i], run.log.value)
            assert distance(entry, model) == 0.0
            # The loss is a sum of squares of size one, evaluated by another piece of code.
            assert abs(float(run.log.loss[index]) - float(loss)) <= 1e-15
    # Control: neighbouring states are told apart.
    assert distance(descend(max_steps=9, **choices).model, descend(max_steps=8, **choices).model)


def test_slots_beyond_the_end_are_not_recorded() -> None:
    run = descend(loss_tol=0.0, max_steps=25, log_every=10, max_logs=8)
    assert run.log.recorded.tolist() == [True] * 3 + [False] * 5


# -- optimisers ----------------------------------------------------------------------------


OPTIMISERS = {
    "momentum": optax.sgd(0.05, momentum=0.9, nesterov=True),
    "adam": ADAM,
    "polyak": optax.polyak_sgd(max_learning_rate=0.5),
    "clipped": optax.chain(optax.clip_by_global_norm(0.1), optax.adam(0.02)),
    "schedule": optax.sgd(optax.exponential_decay(0.2, 5, 0.7)),
}


def by_hand(optimizer, num_steps: int, step_size: float):
    """A loop over the optimiser's own updates, with the oracle's gradients."""
    extended = optax.with_extra_args_support(optimizer)
    theta = {k: jnp.asarray(v) for k, v in START._asdict().items()}
    state = extended.init(theta)
    update = jax.jit(lambda g, s, p, v: extended.update(g, s, p, value=v, grad=g))
    for _ in range(num_steps):
        value, gradient = loss_and_gradient({k: np.asarray(v) for k, v in theta.items()})
        updates, state = update(gradient, state, theta, value)
        theta = {k: theta[k] + step_size * updates[k] for k in theta}
    return theta


@pytest.mark.parametrize("name", OPTIMISERS)
def test_any_optimiser_is_followed_step_by_step(name) -> None:
    optimizer = OPTIMISERS[name]
    run = descend(0.5, optimizer=optimizer, loss_tol=0.0, max_steps=10)
    # Ten steps, each with a rounding of 1e-16 (measured: 2e-16). More of them would be amplified by
    # Polyak's rule (8e-13 after twenty), which near the minimum divides by a small gradient.
    assert distance(run.model, by_hand(optimizer, 10, 0.5)) <= 1e-14
    # Controls: one step less, and the factor forgotten.
    assert distance(run.model, by_hand(optimizer, 9, 0.5)) > 1e-6
    assert distance(run.model, by_hand(optimizer, 10, 1.0)) > 1e-4


def test_line_searches_may_evaluate_the_loss() -> None:
    run = descend(optimizer=optax.lbfgs(), loss_tol=1e-20, max_steps=200)
    assert int(run.outcome) == Outcome.CONVERGED
    assert loss_and_gradient({k: np.asarray(getattr(run.model, k)) for k in LEAVES})[0] <= 1e-19
    assert int(run.num_steps) < int(descend(loss_tol=1e-3).num_steps)  # what it is good for
