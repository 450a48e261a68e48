"""M5: exponents and prefactors of escape times against SciPy and closed forms."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.special import elliprf

from ssmbias.data import LagGram, TrainingSet, lag_gram, theorem1_gram, theorem1_training_set
from ssmbias.models import DiagonalSSM, theorem1_student, theorem1_teacher
from ssmbias.theory import (
    blowup_time,
    escape_exponent,
    escape_log_slope,
    escape_time_leading,
    first_lag,
    initial_force,
)

ALL, FIXED = ("a", "b", "c"), ("a",)
# The quadrature's own error: a node every 0.04 of a double-exponential rule (escape.py).
QUADRATURE = 1e-12


def one_lag(lag: int, force: float, size: int = 6) -> LagGram:
    """Data at one lag that pull with the given force at zero response."""
    response = np.zeros(size)
    response[lag] = force / 2.0
    return LagGram(jnp.diag(jnp.arange(size) == lag).astype(float), jnp.asarray(response))


def student(a, b=1.0, c=1.0) -> DiagonalSSM:
    return DiagonalSSM(*(jnp.atleast_1d(jnp.float64(x)) for x in (a, b, c)))


class TestFirstLag:
    def test_poison_lowers_it(self):
        for strength, lag in ((0.0, 6), (1e-9, 1)):
            assert first_lag(theorem1_training_set(7, strength)) == lag
            assert first_lag(theorem1_gram(10, 7, strength)) == lag

    def test_sequences_and_gram_agree_and_weights_of_zero_do_not_count(self):
        rng = np.random.default_rng(0)
        for lag in range(5):
            inputs = rng.normal(size=(3, 6))
            inputs[:, 6 - lag :] = 0.0
            extra = np.concatenate([inputs, np.ones((1, 6))])
            data = TrainingSet(jnp.asarray(extra), jnp.array([1.0, 2.0, 0.5, 0.0]))
            assert first_lag(data) == first_lag(lag_gram(data, theorem1_teacher(3))) == lag

    def test_minimum_passes_over_smaller_lags(self):
        data = TrainingSet(jnp.array([[1.0, 0.0, 0.0, 1.0]]), jnp.ones(1))
        assert (first_lag(data), first_lag(data, minimum=1)) == (0, 3)

    def test_refuses_empty_and_traced_data(self):
        with pytest.raises(ValueError, match="no lag from 4 on is excited"):
            first_lag(one_lag(3, 1.0), minimum=4)
        with pytest.raises(ValueError, match=r"before jax\.jit"):
            jax.jit(first_lag)(one_lag(3, 1.0))


class TestExponent:
    def test_both_modes(self):
        assert [escape_exponent(lag, FIXED) for lag in (1, 2, 3, 4)] == [-1, 0, 1, 2]
        assert [escape_exponent(lag, ALL) for lag in (0, 1, 2, 3)] == [0, 1, 2, 3]

    @pytest.mark.parametrize(
        ("lag", "trainable", "message"),
        [
            (0, FIXED, "lag=0: must be >= 1"),
            (-1, ALL, "lag=-1"),
            (1, ("b", "c"), "without 'a'"),
            (1, ("a", "a"), "name 'a'"),
            (1, ("a", "d"), "name 'a'"),
        ],
    )
    def test_refuses(self, lag, trainable, message):
        with pytest.raises(ValueError, match=message):
            escape_exponent(lag, trainable)

    def test_laws_refuse_one_another(self):
        with pytest.raises(ValueError, match="take escape_log_slope"):
            blowup_time(student(1.0), one_lag(2, 1.0), 2, FIXED)
        with pytest.raises(ValueError, match="take blowup_time"):
            escape_log_slope(student(1.0), one_lag(3, 1.0), 3, FIXED)


def test_force_feels_the_constant_response_of_fixed_leaves():
    data = LagGram(jnp.ones((3, 3)), jnp.array([5.0, 1.0, 1.0]))
    start = student([0.1, 0.2], [1.0, 2.0], [1.0, 1.0])
    assert initial_force(start, data, FIXED).tolist() == [8.0] * 3  # 2 (5 - 3 + 1 + 1)
    assert initial_force(start, data, ALL).tolist() == [14.0] * 3


class TestBlowup:
    @pytest.mark.parametrize("lag", [3, 4, 7])
    def test_fixed_leaves_in_closed_form(self, lag):
        a, b, c, force = np.array([0.3, 0.2]), np.array([1.0, 2.0]), np.array([0.5, 3.0]), 0.7
        found = blowup_time(student(a, b, c), one_lag(lag, force, 9), lag, FIXED)
        each = a ** (2.0 - lag) / (lag * (lag - 2) * b * c * force)
        np.testing.assert_allclose(found, each.min(), rtol=QUADRATURE)

    def test_lag_one_is_an_elliptic_integral(self):
        for a, b, c in np.random.default_rng(1).uniform(0.01, 2.0, (8, 3)):
            found = blowup_time(student(a, b, c), one_lag(1, -0.6), 1, ALL)
            # F < 0: from the start down to zero, and twice that more than up from zero.
            up = blowup_time(student(a, b, c), one_lag(1, 0.6), 1, ALL)
            np.testing.assert_allclose(up, elliprf(a * a, b * b, c * c) / 0.6, rtol=QUADRATURE)
            x = np.array([a, b, c]) ** 2
            whole = elliprf(*(x - x.min())) / 0.6
            np.testing.assert_allclose(found, 2 * whole - up, rtol=1e-9)

    def test_agrees_with_the_clean_path(self):
        a0 = jnp.array([0.01, 0.005, 0.0])
        found = blowup_time(theorem1_student(a0), theorem1_gram(3, 7, 0.0), 6, FIXED)
        np.testing.assert_allclose(found, escape_time_leading(a0, 7), rtol=QUADRATURE)

    @pytest.mark.parametrize(
        ("lag", "trainable"),
        [(1, ALL), (2, ALL), (3, ALL), (2, ("a", "b")), (3, ("a", "c")), (3, FIXED)],
    )
    def test_any_signs_against_the_leading_flow(self, lag, trainable):
        """SciPy on the flow of F = ω c b a^l, far out; infinite where it never gets there."""
        rng = np.random.default_rng(lag + 10 * len(trainable))
        moves = np.array([name in trainable for name in ALL])
        exponent = escape_exponent(lag, trainable)
        distance = 1e6 ** (1 / exponent)  # further out the time left is below its spacing
        for start in rng.normal(size=(6, 3)):
            force = rng.choice([-0.8, 0.8])

            def flow(_, y, force=force):
                a, b, c = y
                slopes = np.array([lag * b * c * a ** (lag - 1), c * a**lag, b * a**lag])
                return force * slopes * moves

            def far(_, y):
                return np.max(np.abs(y)) - distance

            far.terminal = True
            run = solve_ivp(flow, (0, 1e3), start, "DOP853", events=far, rtol=1e-11, atol=1e-13)
            found = float(blowup_time(student(*start), one_lag(lag, force), lag, trainable))
            # What is left from there is about 1e-6 / (ω |product of the fixed leaves|) at most:
            # beyond, the largest entry x grows at least like that product times ω x^{k+1}.
            left = 1e-6 / (0.8 * np.prod(np.abs(start[~moves])))
            if run.status == 1:
                np.testing.assert_allclose(run.t[-1], found, rtol=1e-9, atol=2 * left)
            else:
                assert found == np.inf

    @pytest.mark.slow
    def test_is_homogeneous_and_maps(self):
        start = DiagonalSSM(*jnp.asarray(np.random.default_rng(3).normal(size=(3, 4))))
        data = one_lag(2, 0.9)

        def at(scale):
            return blowup_time(jax.tree.map(lambda x: scale * x, start), data, 2, ALL)

        scales = jnp.array([1.0, 1e-3, 1e-6])
        found = jax.jit(jax.vmap(at))(scales)
        np.testing.assert_allclose(found * scales**2, jnp.repeat(at(1.0), 3), rtol=QUADRATURE)


class TestLogSlope:
    def test_against_the_growth_rates_of_linear_flows(self):
        """The leading flow is linear: its matrix has the inverse slope as its largest rate."""
        b, c, w = 1.3, -0.4, 0.7
        cases = [
            (2, FIXED, np.array([[2 * w * b * -c]])),
            (0, ALL, w * np.array([[0.0, 1.0], [1.0, 0.0]])),
            (1, ("a", "b"), w * -c * np.array([[0.0, 1.0], [1.0, 0.0]])),
            (1, ("a", "c"), w * b * np.array([[0.0, 1.0], [1.0, 0.0]])),
        ]
        for lag, trainable, matrix in cases:
            slope = escape_log_slope(student(0.2, b, c), one_lag(lag, -w), lag, trainable)
            np.testing.assert_allclose(1.0 / slope, np.linalg.eigvalsh(matrix).max(), rtol=1e-14)

    def test_states_that_do_not_escape_do_not_count(self):
        data = one_lag(2, 1.0)
        assert escape_log_slope(student([0.2, 0.2], [1, -9], [1, 1]), data, 2, FIXED) == 0.5
        assert escape_log_slope(student(0.2, -1.0), data, 2, FIXED) == np.inf
        assert escape_log_slope(student(0.2, 1.0, -1.0), one_lag(0, 1.0), 0, ALL) == np.inf


def sampled_escape(start, inputs, target, trainable, level=0.9):
    """SciPy on the loss over samples, with central outputs by the recurrence; no lag in sight."""
    moves = np.repeat([name in trainable for name in ALL], len(start) // 3)

    def outputs_and_gradient(y):
        a, b, c = y.reshape(3, -1)
        outputs, slopes = [], []
        for x in inputs:
            s = np.zeros_like(a)
            da, db = np.zeros_like(a), np.zeros_like(a)
            for value in x:
                da, db = s + a * da, a * db + value
                s = a * s + b * value
            outputs.append(c @ s)
            slopes.append(np.concatenate([c * da, c * db, s]))
        return np.array(outputs), np.array(slopes)

    def flow(_, y):
        outputs, slopes = outputs_and_gradient(y)
        return 2.0 / len(inputs) * (target - outputs) @ slopes * moves

    initial = np.mean(target**2)

    def fallen(_, y):
        return np.mean((target - outputs_and_gradient(y)[0]) ** 2) - level * initial

    fallen.terminal = True
    run = solve_ivp(flow, (0, 1e9), start, "LSODA", events=fallen, rtol=1e-9, atol=1e-13)
    assert run.status == 1
    return run.t[-1]


@pytest.mark.parametrize(("lag", "trainable"), [(1, ALL), (3, FIXED), (2, ("a", "b"))])
def test_escape_from_samples_follows_exponent_and_prefactor(lag, trainable):
    rng = np.random.default_rng(5)
    inputs = np.abs(rng.normal(size=(4, 5)))
    inputs[:, 5 - lag :] = 0.0
    target = inputs @ np.ones(5)
    start = rng.uniform(0.3, 1.0, (3, 2))
    moves = np.array([[name in trainable] for name in ALL])
    scales = 2e-3 * np.array([1.0, 0.5, 0.25])
    times = np.array(
        [
            sampled_escape(np.where(moves, s * start, start).ravel(), inputs, target, trainable)
            for s in scales
        ]
    )
    data = LagGram(jnp.asarray(inputs[:, ::-1].T @ inputs[:, ::-1] / 4), jnp.ones(5))
    assert first_lag(data, minimum=int(trainable == FIXED)) == lag
    exponent = escape_exponent(lag, trainable)
    unit = float(blowup_time(DiagonalSSM(*jnp.asarray(start)), data, lag, trainable))
    ratio = times * scales**exponent / unit
    # The correction is of order α log(1/α): extrapolate in α, and allow what that changes.
    limit = 2 * ratio[2] - ratio[1]
    allowed = abs(limit - ratio[2])
    assert abs(limit - 1.0) <= allowed < 0.02
    # Exponents one off would have the ratio double or halve from scale to scale.
    assert np.all(np.abs(np.log2(ratio[1:] / ratio[:-1])) < 0.05)
