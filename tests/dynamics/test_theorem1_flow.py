"""The Theorem 1 engine against 60-digit limits, SciPy, and the definitions of what it saves."""

from __future__ import annotations

import inspect
import math
import os
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.integrate

from ssmbias.data import labels, theorem1_training_set
from ssmbias.dynamics import Outcome, Theorem1Config, inputs, simulate_theorem1
from ssmbias.dynamics.theorem1 import lanes
from ssmbias.metrics import generalization_error, sample_loss
from ssmbias.models import theorem1_student, theorem1_teacher

EPS = float(np.finfo(np.float64).eps)
SEQ_LEN = 7
# In no particular order and with both signs. Four entries and six saved times are the shapes that
# most tests share, because each new shape compiles for two seconds.
START = np.array([0.06, 0.12, -0.02, 0.11])
TIMES = np.array([0.0, 0.5, 3.0, 3.0, 12.0, 1e6])  # the last one is beyond the end


def raw(function):
    """The function without the run-time type checks that test runs may put around it."""
    return inspect.unwrap(function)


# -- oracles -------------------------------------------------------------------------------


def exact_clean_limit(a0: np.ndarray, seq_len: int, gap: Any = None) -> list[Any]:
    """M1 in 60 digits: the root u of Σ_j (q_j - q_1 + u)^(-(κ-1)/(p-1)) = 1, q_j = a_j^(1-p).

    `gap` replaces the first entry by the second plus `gap`.
    """
    with mpmath.workdps(60):
        a = [mpmath.mpf(float(x)) for x in a0]
        if gap is not None:
            a[0] = a[1] + mpmath.mpf(gap)
        p = seq_len - 2
        q = [x ** (1 - p) for x in a]
        offset = [x - min(q) for x in q]

        def excess(u):
            return sum((x + u) ** (-mpmath.mpf(p + 1) / (p - 1)) for x in offset) - 1

        # At u = 1 the largest entry alone gives 1, at the upper end none gives more than 1/d.
        bracket = (mpmath.mpf(1), mpmath.mpf(len(a)) ** (mpmath.mpf(p - 1) / (p + 1)))
        u = mpmath.findroot(excess, bracket, solver="anderson")
        return [(x + u) ** (-mpmath.mpf(1) / (p - 1)) for x in offset]


def exact_error(limit: list[Any]) -> float:
    """The normalised generalisation error over lags 0..19 in 60 digits."""
    with mpmath.workdps(60):
        worst = max(abs(sum(x**lag for x in limit) - 1) for lag in range(1, 20))
        return float(worst / len(limit))


def exact_tied_limit(state_dim: int, seq_len: int, multiplicity: int) -> tuple[float, float]:
    """M4 in 60 digits: mα + (d-m)β = 1 and mα^(κ-1) + (d-m)β^(κ-1) = 1 with α > β."""
    m, rest = multiplicity, state_dim - multiplicity
    with mpmath.workdps(60):

        def beta(alpha):
            return (1 - m * alpha) / rest

        def residual(alpha):
            return m * alpha ** (seq_len - 1) + rest * beta(alpha) ** (seq_len - 1) - 1

        # Increasing in α from 1/d, where α = β and all powers are small, to 1.
        alpha = mpmath.findroot(
            residual, (mpmath.mpf(1) / state_dim, mpmath.mpf(1)), solver="ridder", maxsteps=200
        )
        return float(alpha), float(beta(alpha))


def scipy_limit(
    a0: np.ndarray, log_gap: float, seq_len: int, strength: float, end: float
) -> tuple[np.ndarray, float]:
    """The flow by SciPy's LSODA in log time, with log(a_1 - a_2) in place of a_1; both at the end.

    Not Radau or BDF: in one of these starts (gap 1e-19) their log-gap is off by 5e-3 whatever the
    tolerance, where LSODA, DOP853 and both of our integrators agree.
    """
    p = seq_len - 2

    def velocity(log_time, state):
        a = np.concatenate([[state[0] + np.exp(state[-1])], state[:-1]])
        q = (seq_len - 1) * (1 - np.sum(a ** (seq_len - 1)))
        gap_rate = q * sum(a[0] ** m * a[1] ** (p - 1 - m) for m in range(p))
        rate = np.append(q * a[1:] ** p + strength * (1 - np.sum(a)), gap_rate)
        return np.exp(log_time) * 2 / (1 + strength) * rate

    span = (math.log(1e-9), math.log(end))  # nothing moves by 1e-9 before
    start = np.append(a0[1:], log_gap)
    run = scipy.integrate.solve_ivp(velocity, span, start, "LSODA", rtol=1e-13, atol=1e-15)
    assert run.success
    last = run.y[:, -1]
    return np.concatenate([[last[0] + np.exp(last[-1])], last[:-1]]), last[-1]


# -- where the flow ends -------------------------------------------------------------------


@pytest.mark.parametrize("index", range(4))
def test_poisoned_limits_are_the_published_ones(index, reference_rows) -> None:
    row = reference_rows[index]
    run = simulate_theorem1(row["a0"], row["kappa"], 1.0)
    assert bool(run.converged)
    assert float(run.loss) <= 1e-24
    # A local tolerance of 1e-10 over about 1000 steps, most of them on the plateau where errors
    # do not grow: independent solvers agree to 4e-11 (THEORY.md, section 3).
    assert abs(float(generalization_error(run.a)) / row["poisoned_err"] - 1) <= 1e-9
    np.testing.assert_allclose(run.a, row["poisoned_limit"], rtol=0, atol=1e-10)
    # Control: a start whose gap is off by a millionth is told apart.
    off = math.log(row["a0"][0] - row["a0"][1]) + 1e-6
    other = simulate_theorem1(row["a0"], row["kappa"], 1.0, log_gap=off)
    assert abs(float(generalization_error(other.a)) / row["poisoned_err"] - 1) > 1e-8


@pytest.mark.parametrize("index", range(4))
def test_clean_limits_match_60_digits(index, reference_rows) -> None:
    row = reference_rows[index]
    run = simulate_theorem1(row["a0"], row["kappa"], 0.0)
    assert bool(run.converged)
    assert float(run.loss) <= 1e-24
    limit = exact_clean_limit(row["a0"], row["kappa"])
    error = exact_error(limit)
    assert abs(float(generalization_error(run.a)) / error - 1) <= 1e-10
    np.testing.assert_allclose(run.a, [float(x) for x in limit], rtol=1e-10, atol=0)
    if row["kappa"] == 7:
        assert abs(row["clean_err"] / error - 1) <= 1e-10
    else:  # the stored values are off (tests/data/README.md), which this comparison sees
        assert abs(row["clean_err"] / error - 1) > 1e-9


@pytest.mark.parametrize("gap", ["1e-8", "5e-12", "1e-19"])
def test_clean_limits_of_tiny_gaps(gap, reference_rows) -> None:
    a0 = reference_rows[0]["a0"]
    run = simulate_theorem1(a0, SEQ_LEN, 0.0, log_gap=math.log(float(gap)))
    assert bool(run.converged)
    expected = [float(x) for x in exact_clean_limit(a0, SEQ_LEN, gap)]
    np.testing.assert_allclose(run.a, expected, rtol=1e-10, atol=0)
    # The log-gap at the end is that of the 60-digit limit, too. It grows by up to 35, which is
    # integrated at a relative tolerance of 1e-10.
    with mpmath.workdps(60):
        first, second = exact_clean_limit(a0, SEQ_LEN, gap)[:2]
        log_gap = float(mpmath.log(first - second))
    assert abs(float(run.log_gap) - log_gap) <= 3.5e-9
    # Control: a gap that is a millionth too wide is told apart.
    wider = simulate_theorem1(a0, SEQ_LEN, 0.0, log_gap=math.log(float(gap)) + 1e-6)
    difference = np.max(np.abs(wider.a / np.array(expected) - 1))
    assert max(difference, abs(float(wider.log_gap) - log_gap)) > 1e-7


@pytest.mark.parametrize(
    ("a0", "log_gap", "strength"),
    [
        ("reference", None, 1.0),
        ("reference", math.log(1e-19), 1.0),
        (np.sort(START)[::-1], None, 0.4),
        (np.sort(START)[::-1], None, 0.0),
    ],
)
def test_scipy_agrees(a0, log_gap, strength, reference_rows) -> None:
    if isinstance(a0, str):
        a0 = reference_rows[0]["a0"]
    run = simulate_theorem1(a0, SEQ_LEN, strength, log_gap=log_gap)
    gap = math.log(a0[0] - a0[1]) if log_gap is None else log_gap
    expected, end_log_gap = scipy_limit(a0, gap, SEQ_LEN, strength, 2.0 * float(run.time))
    # LSODA takes about 5000 steps, each within 1e-13 of the entries and of the log-gap (up to 44).
    np.testing.assert_allclose(run.a, expected, rtol=0, atol=1e-9)
    assert abs(float(run.log_gap) - end_log_gap) <= 3e-8
    if strength > 0:  # control: the strength off by 1e-5 is told apart
        other = simulate_theorem1(a0, SEQ_LEN, strength * (1 + 1e-5), log_gap=log_gap)
        by_entries = float(np.max(np.abs(other.a - expected)))
        by_gap = abs(float(other.log_gap) - end_log_gap)
        assert by_entries > 1e-8 or by_gap > 1e-7


@pytest.mark.parametrize("multiplicity", [2, 3])
@pytest.mark.parametrize("log_gap", [None, -math.inf])
def test_tied_starts_end_at_the_tied_limits(multiplicity, log_gap) -> None:
    a0 = np.where(np.arange(4) < multiplicity, 0.12, 0.05)
    run = simulate_theorem1(a0, SEQ_LEN, 1.0, log_gap=log_gap)
    assert bool(run.converged)
    assert float(run.log_gap) == -math.inf
    alpha, beta = exact_tied_limit(4, SEQ_LEN, multiplicity)
    expected = np.where(np.arange(4) < multiplicity, alpha, beta)
    # On this set the limit does not depend on the path: only the residual at the end (squared
    # below 1e-26) is left, and the two equations for (α, β) multiply it by less than ten.
    np.testing.assert_allclose(run.a, expected, rtol=0, atol=1e-12)
    assert len(np.unique(run.a)) == 2  # ties stay ties to the last bit
    wrong = exact_tied_limit(4, SEQ_LEN, 5 - multiplicity)[0]
    assert abs(float(run.a[0]) - wrong) > 1e-2


def test_the_order_of_the_start_is_kept() -> None:
    run = simulate_theorem1(START, SEQ_LEN, 1.0, save_times=TIMES)
    for order in ([3, 1, 0, 2], [1, 3, 0, 2]):
        other = simulate_theorem1(START[order], SEQ_LEN, 1.0, save_times=TIMES)
        np.testing.assert_array_equal(other.a, np.asarray(run.a)[order])
        np.testing.assert_array_equal(other.trajectory.a, np.asarray(run.trajectory.a)[:, order])
        np.testing.assert_array_equal(other.trajectory.gaps, run.trajectory.gaps)
    assert np.array_equal(np.argsort(run.a), np.argsort(START))


# -- transformations -----------------------------------------------------------------------


@pytest.mark.slow
def test_nested_vmap_equals_one_by_one() -> None:
    starts = np.stack([START, 1.3 * START, START[::-1]])
    strengths = jnp.array([0.0, 1.0, 30.0])
    config = Theorem1Config(lanes_per_chunk=4)  # nine lanes: two full chunks and one filled up

    def run(a0, strength, config=None):
        return simulate_theorem1(a0, SEQ_LEN, strength, config=config)

    over_both = jax.vmap(jax.vmap(run, in_axes=(None, 0)), in_axes=(0, None))
    whole = over_both(jnp.asarray(starts), strengths)
    chunks = jax.jit(
        lambda a0, rho: jax.vmap(lambda r: jax.vmap(lambda a: run(a, r, config))(a0), out_axes=1)(
            rho
        )
    )(starts, strengths)
    assert whole.a.shape == (3, 3, 4)
    for i, j in np.ndindex(3, 3):
        single = run(starts[i], strengths[j])
        assert bool(single.converged)
        for batch in (whole, chunks):
            # The same arithmetic but for the order of sums: 400 steps, rounding of 1e-16 in each,
            # and differences of entries that grow tenfold.
            np.testing.assert_allclose(batch.a[i, j], single.a, rtol=0, atol=1e-12)
            assert int(batch.outcome[i, j]) == Outcome.CONVERGED
            assert abs(int(batch.num_steps[i, j]) - int(single.num_steps)) <= 3
            assert abs(float(batch.time[i, j]) / float(single.time) - 1) < 1e-2
    # Control: lanes are not mixed up.
    assert np.max(np.abs(whole.a[0, 1] - whole.a[0, 2])) > 1e-4
    assert np.max(np.abs(whole.a[0, 1] - whole.a[1, 1])) > 1e-4


def test_a_second_call_compiles_nothing(monkeypatch) -> None:
    traced = []
    original = lanes.field

    def counting(*args, **kwargs):
        traced.append(1)
        return original(*args, **kwargs)

    monkeypatch.setattr(lanes, "field", counting)
    a0 = np.array([0.3, 0.2, 0.1])  # a shape of its own, so that nothing is compiled yet
    simulate_theorem1(a0, 5, 1.0)
    assert traced, "the probe sees a first trace"
    traced.clear()
    loose = Theorem1Config(rtol=1e-6, loss_tol=1e-16, horizon=50.0, max_steps=500)
    simulate_theorem1(a0[::-1], 5, 0.25)
    simulate_theorem1(a0, 5, 2.0, log_gap=-30.0)
    simulate_theorem1(a0, 5, 2.0, config=loose)
    assert not traced
    simulate_theorem1(np.array([0.3, 0.1]), 5, 1.0)  # control: another shape is traced
    assert traced


@pytest.mark.slow
def test_a_second_batched_call_compiles_nothing(monkeypatch) -> None:
    starts = jnp.asarray([[0.3, 0.2, 0.1], [0.2, 0.1, 0.1]])
    batch = jax.vmap(lambda a0: simulate_theorem1(a0, 5, 1.0))
    batch(starts)
    monkeypatch.setattr(lanes, "field", None)  # a trace would call it
    assert batch(1.1 * starts).a.shape == (2, 3)
    with pytest.raises(TypeError, match="NoneType"):  # control: another number of lanes is traced
        batch(jnp.tile(starts, (4, 1))[:7])


def test_reverse_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="reverse-mode"):
        jax.grad(lambda a0: simulate_theorem1(a0, SEQ_LEN, 1.0).a[1])(jnp.asarray(START))


# -- outcomes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strength", "horizon"),
    # In the second and third row the way to the solver's clock (1+ρ)/2 and back is not exact.
    [(0.0, 2.2), (0.3, 2.188232194149646), (2.0, 12.126649073594619), (1e3, 2.2)],
)
def test_the_horizon_is_hit_exactly(strength, horizon) -> None:
    run = simulate_theorem1(START, SEQ_LEN, strength, config=Theorem1Config(horizon=horizon))
    assert int(run.outcome) == Outcome.HORIZON
    assert not bool(run.converged)
    assert float(run.time) == horizon
    assert float(run.loss) > 1e-24
    times = np.array([0.0, 0.0, 0.0, horizon, 1e9, 1e9])
    path = simulate_theorem1(START, SEQ_LEN, strength, save_times=times).trajectory
    np.testing.assert_allclose(run.a, path.a[3], rtol=0, atol=1e-14)  # the same steps


def test_a_spent_step_budget_is_reported() -> None:
    run = simulate_theorem1(START, SEQ_LEN, 1.0, config=Theorem1Config(max_steps=100))
    assert int(run.outcome) == Outcome.MAX_STEPS
    assert int(run.num_steps) == 100
    enough = simulate_theorem1(START, SEQ_LEN, 1.0)
    exact = Theorem1Config(max_steps=int(enough.num_steps))
    one_less = Theorem1Config(max_steps=int(enough.num_steps) - 1)
    assert not bool(simulate_theorem1(START, SEQ_LEN, 1.0, config=one_less).converged)
    assert bool(enough.converged)
    assert bool(simulate_theorem1(START, SEQ_LEN, 1.0, config=exact).converged)


@pytest.mark.parametrize(
    ("a0", "strength"),
    [
        (np.full(4, 0.01), 1.0),
        (np.zeros(4), 1.0),
        (np.full(4, 0.4), 50.0),
        (np.zeros(4), 0.0),
        (np.full(4, 1e-80), 0.0),  # its fifth power is zero in double precision
    ],
)
def test_critical_points_that_solve_nothing_are_stalls(a0, strength) -> None:
    run = simulate_theorem1(a0, SEQ_LEN, strength)
    assert int(run.outcome) == Outcome.STALLED
    assert np.ptp(run.a) == 0.0
    # The velocity (κ-1)(1 - d x^(κ-1)) x^p + ρ(1 - d x) vanishes at the common entry x, to the
    # rounding of its terms, while the loss does not.
    x, terms = float(run.a[0]), 6 + strength
    velocity = 6 * (1 - 4 * x**6) * x**5 + strength * (1 - 4 * x)
    assert abs(velocity) <= 32 * EPS * terms
    assert float(run.loss) > 0.1 / (1 + strength)
    # Control: the same tie leaves its stall by an untied entry.
    if strength > 0:
        assert bool(simulate_theorem1(a0, SEQ_LEN, strength, log_gap=-20.0).converged)


def test_a_plateau_is_no_stall() -> None:
    # Velocities of 1e-19 for a time of 1e15, and of 1e-59 for a time of 1e47.
    for scale in (1e-4, 1e-12):
        run = simulate_theorem1(scale * np.array([1.0, 0.9, 0.5, 0.1]), SEQ_LEN, 0.0)
        assert bool(run.converged)
        assert float(run.time) > 0.01 * scale**-4


def test_lanes_with_bad_values_fail_alone() -> None:
    nan = math.nan
    lanes_ = [  # start, strength, log-gap
        (START, 1.0, math.log(0.01)),
        (START * nan, 1.0, -5.0),
        (START, -1.0, -5.0),
        (START, nan, -5.0),
        (START, -0.25, -5.0),
        (START, 1.0, nan),
        (START, 1.0, math.inf),
        (START, 1.0, -math.inf),
    ]
    starts, strengths, gaps = (jnp.asarray(column) for column in zip(*lanes_, strict=True))

    def run(a0, strength, gap):
        return simulate_theorem1(a0, SEQ_LEN, strength, log_gap=gap)

    runs = jax.vmap(run)(starts, strengths, gaps)
    assert runs.outcome.tolist() == [Outcome.CONVERGED] + 6 * [Outcome.FAILED] + [Outcome.CONVERGED]
    assert np.all(np.isnan(runs.loss[1:5]))
    alone = run(*lanes_[0])
    np.testing.assert_allclose(runs.a[0], alone.a, rtol=0, atol=1e-12)


def test_save_times_that_cannot_be_inspected_are_not_reached() -> None:
    traced = jax.jit(inputs.as_save_times)
    assert traced(TIMES).tolist() == TIMES.tolist()
    assert np.all(np.isnan(traced(TIMES[::-1])))
    assert np.all(np.isnan(traced(TIMES - 1.0)))


def test_every_outcome_is_explained() -> None:
    explanations = {outcome.explanation for outcome in Outcome}
    assert len(explanations) == len(Outcome)


# -- saved states --------------------------------------------------------------------------


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


# -- bad input -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seq_len": 6}, r"seq_len=6: must be odd .* use 5 or 7"),
        ({"seq_len": 3}, r"seq_len=3: must be >= 5"),
        ({"seq_len": 7.0}, r"seq_len=7\.0: expected an integer"),
        ({"a0": START.astype(np.float32)}, r"a0 has dtype float32: pass float64"),
        ({"a0": START[None]}, r"a0 has shape \(1, 4\): expected 1 dimension.*jax\.vmap"),
        ({"a0": START[:1]}, r"a0 has 1 entries: state_dim must be at least 2"),
        ({"a0": np.array([0.1, np.inf])}, r"a0=.*every entry must be finite"),
        # A third entry that is nearly tied with the top pair, which alone has a log-gap.
        (
            {"a0": np.array([0.3, 0.1, 0.3 - 1e-12, 0.3 - 2e-12])},
            r"a0: entries 2 and 3 .*nearly tied",
        ),
        ({"strength": -1.0}, r"strength=-1.*must be 0 or greater"),
        ({"strength": math.nan}, r"strength=nan: every entry must be finite"),
        ({"strength": np.ones(2)}, r"strength has shape \(2,\): expected 0"),
        ({"strength": "1"}, r"strength='1': expected real numbers"),
        ({"log_gap": math.nan}, r"log_gap=nan: every entry must be finite"),
        ({"log_gap": math.inf}, r"log_gap=inf: every entry must be finite"),
        ({"save_times": np.array([2.0, 1.0])}, r"save_times: must ascend"),
        ({"save_times": np.array([-1.0, 1.0])}, r"save_times=.*must be 0 or greater"),
        ({"save_times": np.float64(1.0)}, r"save_times has shape \(\): expected 1"),
    ],
)
def test_bad_arguments_are_named(change, message) -> None:
    arguments: dict[str, Any] = {"a0": START, "seq_len": SEQ_LEN, "strength": 1.0, **change}
    with pytest.raises(ValueError, match=message):
        raw(simulate_theorem1)(**arguments)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"rtol": 0.0}, r"rtol=0\.0: must lie in"),
        ({"rtol": math.nan}, r"rtol=nan: must lie in"),
        ({"loss_tol": 1e-40}, r"loss_tol=1e-40: must be at least 1e-30"),
        ({"horizon": 0.0}, r"horizon=0\.0: must be greater than 0"),
        ({"horizon": math.nan}, r"horizon=nan: must be greater than 0"),
        ({"max_steps": 0}, r"max_steps=0: must be >= 1"),
        ({"lanes_per_chunk": 0}, r"lanes_per_chunk=0: must be >= 1"),
    ],
)
def test_bad_configurations_are_named(choices, message) -> None:
    with pytest.raises(ValueError, match=message):
        Theorem1Config(**choices)


def test_single_precision_is_refused() -> None:
    code = (
        "import numpy as np\n"
        "from ssmbias.dynamics import simulate_theorem1\n"
        "try:\n    simulate_theorem1(np.array([0.2, 0.1]), 7)\n"
        "except ValueError as err:\n    print(err)\n"
    )
    env = {**os.environ, "JAX_ENABLE_X64": "0"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert "a0: float64 is needed" in done.stdout
    assert "JAX_ENABLE_X64=1" in done.stdout


def test_near_ties_that_stay_resolved_are_accepted() -> None:
    # Two near-ties that the dynamics keeps apart from the top pair, and an exact triple tie.
    for a0 in ([0.3, 0.29, 0.1, 0.1 - 1e-12], [0.3, 0.3, 0.3, 0.1]):
        assert bool(simulate_theorem1(np.array(a0), SEQ_LEN, 1.0).converged)
