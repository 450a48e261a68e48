"""States that the Theorem 1 engine saves on the way."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssmbias.data import labels, theorem1_training_set
from ssmbias.dynamics import Outcome, Theorem1Config, simulate_theorem1
from ssmbias.metrics import sample_loss
from ssmbias.models import theorem1_student, theorem1_teacher

EPS = float(np.finfo(np.float64).eps)
SEQ_LEN = 7
# In no particular order and with both signs. Four entries and six saved times are the shapes that
# most tests share, because each new shape compiles for two seconds.
START = np.array([0.06, 0.12, -0.02, 0.11])
TIMES = np.array([0.0, 0.5, 3.0, 3.0, 12.0, 1e6])  # the last one is beyond the end


@pytest.fixture(scope="module")
def saved() -> dict[float, Any]:
    """Runs with saved times, by tolerance."""
    return {
        rtol: simulate_theorem1(
            START, SEQ_LEN, 0.7, save_times=TIMES, config=Theorem1Config(rtol=rtol)
        )
        for rtol in (1e-10, 1e-13)
    }


def test_saved_times_are_hit_exactly(saved) -> None:
    usual, tight = saved[1e-10].trajectory, saved[1e-13].trajectory
    assert usual.reached.tolist() == [True] * 5 + [False]
    assert usual.time.tolist() == TIMES.tolist()
    # About 250 steps, each within 1e-10 of its size; measured differences are 2e-12 at most.
    np.testing.assert_allclose(usual.a, tight.a, rtol=0, atol=1e-10)
    np.testing.assert_allclose(usual.a[0], START, rtol=0, atol=EPS)
    np.testing.assert_array_equal(usual.a[2], usual.a[3])
    np.testing.assert_array_equal(usual.a[5], saved[1e-10].a)  # the final state is repeated
    # Control: were 3.0 missed by 1e-8, a would be off by more than the tolerance.
    speed = np.max(np.abs(usual.a[4] - usual.a[2])) / 9
    assert speed * 1e-8 > 1e-10
    # Saving does not change where the run ends.
    assert np.max(np.abs(saved[1e-10].a - simulate_theorem1(START, SEQ_LEN, 0.7).a)) <= 1e-10


def test_saved_observables_follow_their_definitions(saved) -> None:
    path, rho = saved[1e-10].trajectory, 0.7
    a = np.asarray(path.a)
    first, second = 1 - (a ** (SEQ_LEN - 1)).sum(1), 1 - a.sum(1)
    gamma = np.zeros((len(a), SEQ_LEN - 1))
    gamma[:, 0] = 2 * rho / (1 + rho) * second
    gamma[:, SEQ_LEN - 2] = (SEQ_LEN - 1) * 2 / (1 + rho) * first
    # Sums of four terms below one, times at most 12: 1e-14. (Residuals, not products of them.)
    np.testing.assert_allclose(path.gamma, gamma, rtol=0, atol=1e-14)
    np.testing.assert_allclose(path.loss, (first**2 + rho * second**2) / (1 + rho), atol=1e-14)
    assert np.all(np.diff(path.loss) <= 1e-15)
    np.testing.assert_array_equal(path.b, np.ones_like(a))
    np.testing.assert_array_equal(path.c, np.ones_like(a))
    gaps = -np.diff(np.sort(a)[:, ::-1])
    np.testing.assert_allclose(path.gaps, gaps, rtol=0, atol=4 * EPS)
    assert not np.allclose(path.gamma[:, 0], rho * second)  # control: another clock


def test_saved_gaps_resolve_what_doubles_do_not() -> None:
    a0 = np.array([0.2, 0.2, 0.1, 0.05])
    times = np.array([0.0, 2.0, 4.99, 5.0, 5.01, 8.0])
    run = simulate_theorem1(a0, SEQ_LEN, 0.7, log_gap=math.log(1e-19), save_times=times)
    path = run.trajectory
    assert np.all(path.a[:5, 0] == path.a[:5, 1])
    assert path.a[5, 0] > path.a[5, 1]
    assert abs(float(path.gaps[0, 0]) / 1e-19 - 1) <= 50 * EPS  # exp turns the log's ulp into this
    # d log Δ/dt = Σ_l γ_l l a^(l-1) for a tie, against a central difference: it varies by its own
    # size in a time of one, so the difference is off by 0.01²/6 of it.
    rate = 5 * float(path.gamma[3, 5] * path.a[3, 0] ** 4)
    measured = math.log(float(path.gaps[4, 0] / path.gaps[2, 0])) / 0.02
    assert abs(measured / rate - 1) < 1e-3
    assert abs(measured / (rate / 5) - 1) > 0.1  # control: γ_l a^(l-1) without the factor l


def test_saved_times_beyond_the_horizon_are_not_reached() -> None:
    run = simulate_theorem1(
        START, SEQ_LEN, 0.7, save_times=TIMES, config=Theorem1Config(horizon=3.0)
    )
    assert int(run.outcome) == Outcome.HORIZON
    assert run.trajectory.reached.tolist() == [True] * 4 + [False] * 2
    np.testing.assert_array_equal(run.trajectory.a[2], run.trajectory.a[5])


@pytest.mark.parametrize("strength", [0.0, 0.1, 1.0, 2.0, 3.0])
def test_every_time_before_the_end_counts_as_reached(strength) -> None:
    # Times pass through two roundings on their way to the solver's clock and back.
    times = np.sort(np.random.default_rng(0).uniform(0.0, 15.0, (24, 6)))
    for row in times:
        assert np.all(
            simulate_theorem1(START, SEQ_LEN, strength, save_times=row).trajectory.reached
        )


@pytest.mark.parametrize("strength", [0.0, 0.7, 5.0])
def test_time_is_that_of_the_gradient_flow_of_the_sample_loss(strength) -> None:
    start = np.array([0.9, 0.3, -0.2, 0.6])
    training_set = theorem1_training_set(SEQ_LEN, strength)
    targets = labels(theorem1_teacher(4), training_set.inputs)
    expected = -jax.grad(lambda a: sample_loss(theorem1_student(a), training_set, targets))(
        jnp.asarray(start)
    )
    h = 1e-5
    run = simulate_theorem1(
        start,
        SEQ_LEN,
        strength,
        save_times=h * np.arange(6.0),
        config=Theorem1Config(rtol=1e-13),
    )
    a1, a2 = np.asarray(run.trajectory.a)[1:3]
    slope = (4 * a1 - a2 - 3 * start) / (2 * h)
    # The one-sided difference is off by h²/3 times the third derivative, of the size of the squared
    # rate (at most 60) times the velocity (3): 4e-7; and by the run's 1e-13 over h.
    np.testing.assert_allclose(slope, expected, rtol=0, atol=5e-7)
    assert np.max(np.abs(slope - (1 + strength) / 2 * expected)) > 0.1  # control: the other clock
