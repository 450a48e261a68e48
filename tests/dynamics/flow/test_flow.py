"""`gradient_flow` against the Theorem 1 engine, SciPy, closed forms and conservation laws.

A program of diffrax compiles for about ten seconds, whatever its size. The tests share few of them:
one for T7, one for T9, one for (a, b, c), one for a batch, one for a derivative.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import scipy.integrate
from dynamics.flow.flow_cases import ALL, quick, random_data, student

from ssmbias.data import (
    gram_loss,
    lag_gram,
)
from ssmbias.dynamics import (
    FlowConfig,
    FlowResult,
    Outcome,
    gradient_flow,
)
from ssmbias.models import DiagonalSSM, impulse_response, paper_teacher

TIMES = np.array([0.0, 1.0, 10.0, 30.0, 100.0, 1e3, 1e4, 2e4])
TEACHER = paper_teacher(2)


saved_flow = quick(lambda start, data: gradient_flow(start, data, save_times=TIMES, config=ALL))


def train(scale: float, strength: float) -> FlowResult:
    return saved_flow(student(scale), lag_gram(random_data(strength), TEACHER))


@pytest.fixture(scope="module")
def trained() -> dict[tuple[float, float], FlowResult]:
    """Runs by (scale, strength), one for each outcome."""
    cases = [(0.5, 0.0), (0.0, 1.0), (0.05, 1.0), (0.5, 1.0)]
    return {case: train(*case) for case in cases}


def test_every_outcome_is_told(trained) -> None:
    converged, stalled, stopped, spent = trained.values()
    assert int(converged.outcome) == Outcome.CONVERGED
    assert float(converged.loss) <= 1e-20
    assert float(converged.time) < 1e4
    assert converged.trajectory.reached.tolist() == [True] * 5 + [False] * 3

    # All zero: a critical point, where nothing is learnt.
    assert int(stalled.outcome) == Outcome.STALLED
    assert float(stalled.time) == 0.0
    assert float(stalled.loss) > 1

    assert int(stopped.outcome) == Outcome.HORIZON
    assert float(stopped.time) == 1e4
    assert stopped.trajectory.reached.tolist() == [True] * 7 + [False]
    assert 1e-20 < float(stopped.loss) < 1e-2

    assert int(spent.outcome) == Outcome.MAX_STEPS
    assert int(spent.num_steps) == 1600
    assert float(spent.loss) > 1e-20

    for run in trained.values():
        assert bool(run.converged) == (int(run.outcome) == Outcome.CONVERGED)


def test_saved_states_beyond_the_end_repeat_the_end(trained) -> None:
    for case in [(0.5, 0.0), (0.05, 1.0)]:
        run = trained[case]
        for leaf in "abc":
            path = getattr(run.trajectory, leaf)
            np.testing.assert_array_equal(path[-1], getattr(run.model, leaf))
            np.testing.assert_allclose(path[-2], path[-1], rtol=0, atol=1e-15)
            # The start comes back as it was, in its order.
            np.testing.assert_array_equal(path[0], getattr(student(case[0]), leaf))


def test_balancedness_is_conserved_and_the_loss_never_rises(trained) -> None:
    for (scale, _), run in trained.items():
        b, c = (np.asarray(x) for x in (run.trajectory.b, run.trajectory.c))
        # 1600 steps at a relative tolerance of 1e-12 of entries below 1.4; they do not all add up.
        np.testing.assert_allclose(b**2 - c**2, (b**2 - c**2)[:1].repeat(8, 0), rtol=0, atol=1e-11)
        if scale:
            assert np.ptp(b**2 + c**2, axis=0).max() > 0.5  # control: the sum is not conserved
            assert np.all(np.diff(run.trajectory.loss[:6]) < 0)
        assert np.all(np.diff(run.trajectory.loss) <= 0)


def test_saved_observables_follow_their_definitions(trained) -> None:
    run = trained[0.05, 1.0]
    path, training_set = run.trajectory, random_data(1.0)
    inputs, weights = np.asarray(training_set.inputs), np.asarray(training_set.weights)
    for i in range(len(TIMES)):
        model = DiagonalSSM(path.a[i], path.b[i], path.c[i])
        error = np.asarray(impulse_response(TEACHER, 6) - impulse_response(model, 6))
        residuals = inputs[:, ::-1] @ error
        loss = np.sum(weights * residuals**2) / weights.sum()
        # γ_l = 2 (l+1) Σ_i w_i δ_i x^{(i)}_{κ-l-1} / Σ_i w_i, l = 0..κ-2; position κ-l-1 counts
        # from one. Terms of at most ten, about twenty of them: 20 x 10 x eps.
        gamma = [
            2 * (lag + 1) * np.sum(weights * residuals * inputs[:, 6 - lag - 2]) / weights.sum()
            for lag in range(5)
        ]
        np.testing.assert_allclose(path.gamma[i], gamma, rtol=0, atol=5e-14)
        np.testing.assert_allclose(path.loss[i], loss, rtol=1e-12, atol=1e-14)
    descending = np.asarray(path.a)[:, np.argsort(-np.asarray(student(1.0).a))]
    np.testing.assert_allclose(path.gaps, descending[:, :-1] - descending[:, 1:], atol=1e-15)


def scipy_states(scale: float, strength: float, times: np.ndarray) -> np.ndarray:
    """(a, b, c) at `times` from the residuals of the samples, by SciPy's LSODA in log time."""
    training_set = random_data(strength)
    inputs, weights = np.asarray(training_set.inputs), np.asarray(training_set.weights)
    weights = weights / weights.sum()
    lags = np.arange(6)
    target = np.asarray(impulse_response(TEACHER, 6))

    def velocity(log_time, state):
        a, b, c = state.reshape(3, 3)
        powers = a[None, :] ** lags[:, None]
        slopes = lags[:, None] * a[None, :] ** np.maximum(lags - 1, 0)[:, None]
        residuals = inputs[:, ::-1] @ (target - powers @ (b * c))
        omega = 2 * inputs[:, ::-1].T @ (weights * residuals)
        rate = np.concatenate(
            [b * c * (omega @ slopes), c * (omega @ powers), b * (omega @ powers)]
        )
        return np.exp(log_time) * rate

    first = 1e-9  # nothing moves by more than 1e-8 before: start from Euler's step
    state = np.concatenate([np.asarray(x) for x in student(scale)])
    state = state + velocity(math.log(first), state)
    log_times = np.log(times)
    run = scipy.integrate.solve_ivp(
        velocity,
        (math.log(first), log_times[-1]),
        state,
        "LSODA",
        t_eval=log_times,
        rtol=1e-12,
        atol=1e-14,
    )
    assert run.success
    return run.y.T


@pytest.mark.parametrize("case", [(0.5, 0.0), (0.05, 1.0), (0.5, 1.0)])
def test_scipy_agrees_when_all_is_trained(case, trained) -> None:
    path = trained[case].trajectory
    expected = scipy_states(*case, TIMES[1:6])
    got = np.concatenate([path.a, path.b, path.c], axis=1)[1:6]
    # LSODA takes about 3000 steps within 1e-12 each, we about 1000.
    np.testing.assert_allclose(got, expected, rtol=0, atol=5e-9)
    other = scipy_states(case[0], case[1] + 1e-4, TIMES[1:6])
    assert np.max(np.abs(got - other)) > 5e-8  # control: another strength


@pytest.mark.slow
def test_the_explicit_solver_agrees(trained) -> None:
    config = dataclasses.replace(
        ALL, stiff=False, rtol=1e-11, atol=1e-11, horizon=40.0, max_steps=16_384
    )
    data = lag_gram(random_data(0.0), TEACHER)
    run = gradient_flow(student(0.5), data, save_times=TIMES[:4], config=config)
    expected = trained[0.5, 0.0].trajectory
    for leaf in "abc":
        # About a thousand steps of either solver, with 1e-11 in each at worst.
        np.testing.assert_allclose(
            getattr(run.trajectory, leaf), getattr(expected, leaf)[:4], rtol=0, atol=1e-8
        )
    assert np.ptp(expected.a[:4], axis=0).max() > 0.1  # control: there is something to miss


@pytest.mark.slow
@pytest.mark.parametrize("trainable", [("c",), ("b", "c"), ("a", "b")])
def test_subsets_train_alone(trainable) -> None:
    data = lag_gram(random_data(0.3), TEACHER)
    run = gradient_flow(student(0.5), data, config=FlowConfig(trainable=trainable, horizon=50.0))
    for leaf in "abc":
        moved = np.asarray(getattr(run.model, leaf)) != np.asarray(getattr(student(0.5), leaf))
        assert np.all(moved) if leaf in trainable else not np.any(moved)
    assert float(run.loss) < float(gram_loss(impulse_response(student(0.5), 6), data))
