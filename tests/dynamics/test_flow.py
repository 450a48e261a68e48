"""`gradient_flow` against the Theorem 1 engine, SciPy, closed forms and conservation laws.

A program of diffrax compiles for about ten seconds, whatever its size. The tests share few of them:
one for T7, one for T9, one for (a, b, c), one for a batch, one for a derivative.
"""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.integrate

from ssmbias.data import (
    LagGram,
    TrainingSet,
    baseline_sequences,
    combine,
    gram_loss,
    lag_gram,
    special_sequences,
    theorem1_gram,
)
from ssmbias.dynamics import (
    FlowConfig,
    FlowResult,
    Outcome,
    Theorem1Config,
    gradient_flow,
    simulate_theorem1,
)
from ssmbias.dynamics.flow import coordinates
from ssmbias.models import DiagonalSSM, impulse_response, paper_teacher, theorem1_student
from ssmbias.theory import clean_limit, tied_limit

EPS = float(np.finfo(np.float64).eps)


def raw(function):
    """The function without the run-time type checks that test runs may put around it."""
    return inspect.unwrap(function)


# -- the setting of Theorem 1 --------------------------------------------------------------


def log_gaps_of(a0: np.ndarray, top: float | None = None) -> np.ndarray:
    """Logarithms of the gaps of a descending diagonal; `top` replaces the first."""
    with np.errstate(divide="ignore"):
        gaps = np.log(a0[:-1] - a0[1:])
    if top is not None:
        gaps[0] = top
    return gaps


def flow(a0: np.ndarray, seq_len: int, strength: float, log_gap: float | None = None) -> FlowResult:
    data = theorem1_gram(a0.shape[0], seq_len, strength)
    return gradient_flow(theorem1_student(a0), data, log_gaps=log_gaps_of(a0, log_gap))


def engine(a0: np.ndarray, seq_len: int, strength: float, log_gap: float | None = None):
    config = Theorem1Config(rtol=1e-12)
    return simulate_theorem1(a0, seq_len, strength, log_gap=log_gap, config=config)


TINY_GAP = math.log(1e-19)


def agreement(a0: np.ndarray, seq_len: int, strength: float, log_gap: float | None = None) -> Any:
    """Run both integrators and compare them; returns the limit of `gradient_flow`."""
    run = flow(a0, seq_len, strength, log_gap)
    other = engine(a0, seq_len, strength, log_gap)
    for result in (run, other):
        assert int(result.outcome) == Outcome.CONVERGED
        assert bool(result.converged)
        assert float(result.loss) <= 1e-24
    # Tolerances of 1e-12 a step, up to 5000 steps; the two share nothing but the mathematics.
    np.testing.assert_allclose(run.model.a, other.a, rtol=0, atol=1e-9)
    # The flow slows down towards its end, where each stops at a step of its own.
    assert abs(float(run.time / other.time) - 1) < 1e-2
    np.testing.assert_array_equal(run.model.b, np.ones_like(a0))  # not trained
    np.testing.assert_array_equal(run.model.c, np.ones_like(a0))
    return np.asarray(run.model.a)


@pytest.mark.parametrize("strength", [0.0, 1.0, 100.0])
@pytest.mark.parametrize("index", range(4))
@pytest.mark.slow
def test_both_integrators_agree(index, strength, reference_rows) -> None:
    a0, seq_len = reference_rows[index]["a0"], reference_rows[index]["kappa"]
    limit = agreement(a0, seq_len, strength)
    # Control: agreement is lost when the other run's strength, or gap, is a little off (at large
    # strengths the limit hardly depends on it any more).
    if strength > 0:
        stronger = engine(a0, seq_len, strength * (1 + 1e-3))
        assert np.max(np.abs(limit - stronger.a)) > 2e-9
    wider = engine(a0, seq_len, strength, float(log_gaps_of(a0)[0]) + 1e-6)
    assert np.max(np.abs(limit - wider.a)) > 2e-9


@pytest.mark.parametrize("strength", [0.0, 1.0])
@pytest.mark.slow
def test_a_gap_of_1e_19_is_resolved(strength, reference_rows) -> None:
    a0 = reference_rows[0]["a0"]
    limit = agreement(a0, 7, strength, TINY_GAP)
    if strength == 0:
        exact = clean_limit(a0, 7, log_gap=TINY_GAP)
        np.testing.assert_allclose(limit, exact, rtol=1e-10, atol=0)
        assert limit[0] - limit[1] > 1e-5
    # Control: read off the stored doubles the gap is another one, and so is the limit.
    assert np.max(np.abs(limit - engine(a0, 7, strength).a)) > 0.05


def test_three_near_ties_are_resolved(reference_rows) -> None:
    # In 50 digits, M1 depends on the second gap as it does on the first.
    a0 = reference_rows[0]["a0"].copy()
    a0[2] = a0[1] - 1e-12
    limit = np.asarray(flow(a0, 7, 0.0).model.a)
    np.testing.assert_allclose(limit, clean_limit(a0, 7), rtol=1e-9, atol=0)


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_tied_starts_keep_their_ties(strength) -> None:
    a0 = np.where(np.arange(10) < 2, 0.01, 0.004)
    limit = agreement(a0, 7, strength)
    assert len(np.unique(limit)) == 2
    if strength == 0:
        np.testing.assert_allclose(limit, clean_limit(a0, 7), rtol=0, atol=1e-10)
    else:
        # Fixed by the two residuals alone, whatever the path: 1e-13 each, times less than ten.
        expected = np.where(np.arange(10) < 2, *tied_limit(10, 7, 2))
        np.testing.assert_allclose(limit, expected, rtol=0, atol=1e-12)
        assert abs(limit[0] - tied_limit(10, 7, 3)[0]) > 0.01


@pytest.mark.parametrize("strength", [1.0, 100.0])
def test_all_tied_stalls_under_poison(strength) -> None:
    run = flow(np.full(10, 0.01), 7, strength)
    assert int(run.outcome) == Outcome.STALLED
    assert not bool(run.converged)
    a = np.asarray(run.model.a)
    assert np.ptp(a) == 0.0
    assert a[0] > 0.09  # a critical point away from zero
    velocity = 6 * (1 - 10 * a[0] ** 6) * a[0] ** 5 + strength * (1 - 10 * a[0])
    # The rounding of 1 - Σa, which has eleven terms of at most one.
    assert abs(velocity) <= 16 * EPS * (1 + strength)
    assert float(run.loss) > 0.9 / (1 + strength)
    assert bool(flow(np.full(10, 0.01), 7, 0.0).converged)  # control: clean data lead away


# -- transformations -----------------------------------------------------------------------

SMALL = np.array([[0.2, 0.35, 0.3], [0.3, 0.1, 0.05]])


def small_run(a0: jax.Array, strength: jax.Array | float) -> FlowResult:
    return gradient_flow(theorem1_student(a0), theorem1_gram(3, 5, strength))


@pytest.mark.slow
def test_a_batch_keeps_its_lanes_apart() -> None:
    starts = jnp.asarray([*SMALL, SMALL[0], SMALL[0] * math.nan, SMALL[0]])
    strengths = jnp.array([0.0, 1.0, 30.0, 1.0, -1.0])
    runs = jax.vmap(small_run)(starts, strengths)
    for lane in range(3):
        assert int(runs.outcome[lane]) == Outcome.CONVERGED
        other = engine(np.asarray(starts[lane]), 5, float(strengths[lane]))
        # Tolerances of 1e-12 a step, and about 500 steps.
        np.testing.assert_allclose(runs.model.a[lane], other.a, rtol=0, atol=1e-10)
    assert np.max(np.abs(runs.model.a[0] - runs.model.a[2])) > 1e-2  # control: lanes differ
    # What cannot be inspected fails alone, a start as well as data.
    assert runs.outcome[3:].tolist() == [Outcome.FAILED, Outcome.FAILED]


@pytest.mark.slow
def test_nested_vmap_equals_one_by_one() -> None:
    strengths = jnp.array([0.0, 1.0, 30.0])
    over_strengths = jax.vmap(small_run, in_axes=(None, 0))
    runs = jax.jit(jax.vmap(over_strengths, in_axes=(0, None)))(jnp.asarray(SMALL), strengths)
    for i, j in np.ndindex(2, 3):
        alone = small_run(jnp.asarray(SMALL[i]), strengths[j])
        assert int(runs.outcome[i, j]) == int(alone.outcome) == Outcome.CONVERGED
        # Equal but for the order of sums, which the step sizes feel: the tolerance of the run.
        np.testing.assert_allclose(runs.model.a[i, j], alone.model.a, rtol=0, atol=1e-11)
        assert abs(int(runs.num_steps[i, j]) / int(alone.num_steps) - 1) <= 0.02


@pytest.mark.slow  # the program of a derivative compiles for half a minute
def test_the_gradient_of_a_limit_is_that_of_the_closed_form() -> None:
    start = jnp.asarray(SMALL[0])  # in no particular order

    def limit(a0, log_gaps):
        student = theorem1_student(a0)
        run = gradient_flow(student, theorem1_gram(3, 5, 0.0), log_gaps=log_gaps)
        return run.model.a[2], run.converged

    gaps = jnp.log(jnp.array([0.05, 0.1]))
    gradient = jax.jit(jax.value_and_grad(limit, argnums=(0, 1), has_aux=True))
    (value, converged), (by_start, by_gaps) = gradient(start, gaps)
    assert bool(converged)

    def predicted(a0, log_gaps):
        # With log-gaps the smallest entry alone is taken from the start.
        smallest, (top, low) = a0[0], jnp.exp(log_gaps)
        entries = smallest + jnp.stack([jnp.zeros(()), top + low, low])
        return clean_limit(entries, 5)[2]

    np.testing.assert_allclose(value, predicted(start, gaps), rtol=1e-10)
    expected = jax.jacfwd(predicted, argnums=(0, 1))(start, gaps)
    # The derivative of the solver's steps: their tolerance of 1e-12 over 250 steps, amplified like
    # the state; the event's time is held fixed, where the velocity is 1e-13 and not zero.
    np.testing.assert_allclose(by_start, expected[0], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(by_gaps, expected[1], rtol=1e-6, atol=1e-8)
    assert by_start[1] == 0.0
    assert by_start[2] == 0.0
    # Control: the derivative is that of the limit, not of the start.
    assert abs(float(by_start[0]) - 1.0) > 0.05


# -- all of (a, b, c) ----------------------------------------------------------------------

ALL = FlowConfig(trainable=("a", "b", "c"), horizon=1e4, max_steps=1600, loss_tol=1e-20)
TIMES = np.array([0.0, 1.0, 10.0, 30.0, 100.0, 1e3, 1e4, 2e4])
TEACHER = paper_teacher(2)


def student(scale: float) -> DiagonalSSM:
    return DiagonalSSM(
        jnp.asarray(scale * np.array([0.6, 1.0, -0.2])),
        jnp.asarray(scale * np.array([0.8, 0.5, 0.9])),
        jnp.asarray(scale * np.array([-0.4, 0.7, 0.6])),
    )


def random_data(strength: float) -> TrainingSet:
    first, second = jax.random.split(jax.random.key(1))
    baseline = baseline_sequences(first, 4, 6, (0, 1))
    return combine(baseline, special_sequences(second, 3, 6, (4,)), strength)


def train(scale: float, strength: float) -> FlowResult:
    data = lag_gram(random_data(strength), TEACHER)
    return gradient_flow(student(scale), data, save_times=TIMES, config=ALL)


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


# -- coordinates ---------------------------------------------------------------------------

SUBSETS = [subset for size in (1, 2, 3) for subset in itertools.combinations(("a", "b", "c"), size)]


def loss(model: DiagonalSSM, data: LagGram) -> jax.Array:
    return gram_loss(impulse_response(model, data.response.shape[0]), data)


@pytest.mark.parametrize("trainable", SUBSETS)
def test_velocity_is_minus_the_gradient(trainable) -> None:
    data = lag_gram(random_data(0.7), TEACHER)
    model = student(0.9)
    expected = jax.grad(loss)(model, data)
    velocity = coordinates.velocity(model, coordinates.force(model, data), trainable)
    assert set(velocity) == set(trainable)
    for leaf in trainable:
        wanted = -np.asarray(getattr(expected, leaf))
        # Sums of six products of terms below ten.
        np.testing.assert_allclose(velocity[leaf], wanted, rtol=0, atol=6 * 10 * 4 * EPS)
        assert np.max(np.abs(wanted)) > 1e-2


@pytest.mark.parametrize("scale", [1e-3, 0.3, 1.0])
def test_the_clock_is_of_the_size_of_the_curvature(scale) -> None:
    data = lag_gram(random_data(0.7), TEACHER)
    model = student(scale)
    at = coordinates.force(model, data)
    hessian = jax.jit(jax.hessian(loss))(model, data)
    for trainable in SUBSETS:
        blocks = [[getattr(getattr(hessian, i), j) for j in trainable] for i in trainable]
        norm = np.linalg.norm(np.block([[np.asarray(x) for x in row] for row in blocks]), 2)
        clock = float(coordinates.curvature_scale(model, at, data, trainable))
        # From above up to sqrt(2), mixed derivatives being counted once; from below by the number
        # of directions, the trace and the Frobenius norm being at most that much larger.
        assert norm <= math.sqrt(2) * clock
        assert clock <= 2 * 3 * len(trainable) * norm


def test_gap_rates_do_not_cancel() -> None:
    # Ten by ten random statistics: every γ_l is there, of both signs.
    rng = np.random.default_rng(0)
    root = rng.normal(size=(6, 6))
    data = LagGram(jnp.asarray(root @ root.T), jnp.asarray(rng.normal(size=6)))
    a = np.array([0.7, 0.7 - 3e-15, 0.3, 0.0, -0.2, -0.9, -0.9])
    frame = coordinates.GapFrame(jnp.asarray(log_gaps_of(a)), 2 * jnp.ones(7), 0.5 * jnp.ones(7))
    at = coordinates.force(DiagonalSSM(jnp.asarray(a), frame.b, frame.c), data)
    rate = coordinates.gap_velocity(jnp.asarray(a), frame, at)
    gamma = np.asarray(at.gamma)

    def exact(z: float) -> Any:
        return sum(mpmath.mpf(float(g)) * mpmath.mpf(float(z)) ** i for i, g in enumerate(gamma))

    # Fifteen terms of at most max|γ|, each through ten roundings at most.
    tol = 15 * 10 * EPS * np.max(np.abs(gamma))
    with mpmath.workdps(50):
        assert abs(float(rate.anchor) - float(exact(a[-1]))) <= tol
        for k in range(5):
            x, y = mpmath.mpf(float(a[k])), mpmath.mpf(float(a[k + 1]))
            expected = float((exact(a[k]) - exact(a[k + 1])) / (x - y))
            assert abs(float(rate.growth[k]) - expected) <= tol
    assert rate.growth[5] == 0.0  # an exact tie stays one
    naive = np.polyval(gamma[::-1], a[0]) - np.polyval(gamma[::-1], a[1])
    assert abs(naive / (a[0] - a[1]) - float(rate.growth[0])) > 1e6 * tol  # control


# -- bad input -----------------------------------------------------------------------------

THREE = theorem1_student(np.array([0.3, 0.2, 0.1]))
DATA = theorem1_gram(3, 5, 1.0)


@pytest.mark.parametrize("leaf", ["a", "b", "c"])
def test_near_ties_that_cannot_be_followed_are_refused(leaf) -> None:
    close = {"a": 0.3, "b": 0.5, "c": 0.5}
    model = DiagonalSSM(
        *(jnp.array([close[x], close[x] - (1e-10 if x == leaf else 0.0), 0.1]) for x in "abc")
    )
    with pytest.raises(ValueError, match=r"entries 1 and 2 .* differ by .*e-10 relative"):
        gradient_flow(model, DATA, config=ALL)


def test_unequal_products_are_refused() -> None:
    model = THREE._replace(b=jnp.array([1.0, 1.0, 1.1]))
    with pytest.raises(ValueError, match=r"products b_j c_j .* differ.*follow_gaps=False"):
        gradient_flow(model, DATA)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"log_gaps": np.zeros(3)}, r"log_gaps has shape \(3,\): expected \(2,\)"),
        ({"log_gaps": np.array([0.0, math.nan])}, r"log_gaps=.*every entry must be finite"),
        ({"log_gaps": np.zeros(2), "config": ALL}, r"log_gaps: only usable where 'a' alone"),
        ({"save_times": np.array([2.0, 1.0])}, r"save_times: must ascend"),
        ({"save_times": np.array([-1.0])}, r"save_times=.*must be 0 or greater"),
        ({"start": THREE._replace(a=np.ones(3, np.float32))}, r"start\.a has dtype float32"),
        ({"start": THREE._replace(a=np.ones(2))}, r"start: a, b, c have lengths 2, 3, 3"),
        ({"start": THREE._replace(a=np.array([0.1, np.nan, 0.2]))}, r"start\.a=.*finite"),
    ],
)
def test_bad_arguments_are_named(change, message) -> None:
    arguments: dict[str, Any] = {"start": THREE, "data": DATA, **change}
    with pytest.raises(ValueError, match=message):
        raw(gradient_flow)(**arguments)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"trainable": ()}, r"trainable=\(\): name some of"),
        ({"trainable": ("a", "a")}, r"trainable=\('a', 'a'\): name some of"),
        ({"trainable": ("a", "q")}, r"trainable=\('a', 'q'\): name some of"),
        ({"trainable": ["a"]}, r"trainable=\['a'\]: name some of"),
        ({"trainable": "a"}, r"trainable='a': name some of"),
        ({"trainable": ("a", "b"), "follow_gaps": True}, r"follow_gaps=True with trainable="),
        ({"rtol": 0.0}, r"rtol=0\.0: must be greater than 0"),
        ({"atol": -1.0}, r"atol=-1\.0: must be greater than 0"),
        ({"loss_tol": math.nan}, r"loss_tol=nan: must be greater than 0"),
        ({"horizon": 0.0}, r"horizon=0\.0: must be greater than 0"),
        ({"max_steps": 0}, r"max_steps=0: must be"),
        ({"max_steps": 1e4}, r"max_steps=10000\.0: expected an integer"),
    ],
)
def test_bad_configurations_are_named(choices, message) -> None:
    with pytest.raises(ValueError, match=message):
        FlowConfig(**choices)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (LagGram(DATA.gram[:4], DATA.response), r"data\.gram has shape \(4, 5\) for 5 lags"),
        (LagGram(DATA.gram, DATA.response[:4]), r"data\.gram has shape \(5, 5\) for 4 lags"),
        (LagGram(DATA.gram * math.nan, DATA.response), r"(?s)data\.gram=.*finite"),
        (LagGram(np.eye(5, dtype=np.float32), np.ones(5)), r"data\.gram has dtype float32"),
    ],
)
def test_bad_statistics_are_named(data, message) -> None:
    with pytest.raises(ValueError, match=message):
        raw(gradient_flow)(THREE, data)
