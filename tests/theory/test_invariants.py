"""Balancedness, energy, the dynamics of log-gaps, relative residuals."""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from mpmath import mpf
from theory.identity_cases import FEW_EPS, STATES, make_case, negative_gradient

from ssmbias.data import theorem1_training_set
from ssmbias.metrics import sample_loss
from ssmbias.models import DiagonalSSM, theorem1_student
from ssmbias.theory import (
    balancedness,
    balancedness_drift,
    balancedness_rate,
    balancedness_residual,
    energy_rate,
    energy_residual,
    flow_velocity,
    gamma_coefficients,
    log_gap_rate,
    log_gap_residual,
    relative_residual,
    velocity_scale,
)

EPS = np.finfo(np.float64).eps


class TestBalancedness:
    def test_rate_vanishes_under_gradient_flow(self):
        for seed in range(3):
            model, data, targets = make_case(seed)
            velocity = negative_gradient(model, data, targets)
            scale = velocity_scale(model, data, targets)
            assert float(balancedness_residual(model, velocity, scale)) < FEW_EPS
            exchanged = velocity._replace(b=velocity.c, c=velocity.b)
            assert float(balancedness_residual(model, exchanged, scale)) > 1e-3

    def test_rate_is_the_derivative(self):
        model, _, _ = make_case(4)
        velocity, _, _ = make_case(0)
        _, derivative = jax.jvp(balancedness, (model,), (velocity,))
        np.testing.assert_allclose(
            balancedness_rate(model, velocity), derivative, atol=16 * EPS, rtol=16 * EPS
        )
        assert float(jnp.max(jnp.abs(derivative))) > 0.1

    def test_drift_along_a_flow(self):
        start, data, targets = make_case(5)
        start = start._replace(a=0.1 * start.a, b=0.5 * start.b)

        def euler(model, step, num):
            def advance(_, m):
                velocity = flow_velocity(m, data, targets)
                return jax.tree.map(lambda x, v: x + step * v, m, velocity)

            return jax.lax.fori_loop(0, num, advance, model)

        ends = [euler(start, 0.1 / num, num) for num in (1000, 2000)]
        drifts = [float(balancedness_drift(end, start)) for end in ends]
        # Euler's method keeps it to first order in the step: halved, and not zero.
        assert drifts[0] / drifts[1] == pytest.approx(2.0, rel=0.02)
        assert 0.0 < drifts[0] < 1e-2
        assert float(balancedness_drift(start, start)) == 0.0


class TestEnergy:
    def test_rate_of_the_loss(self):
        for seed, frozen in itertools.product(range(2), ((), ("b", "c"))):
            model, data, targets = make_case(seed)
            scale = velocity_scale(model, data, targets)
            velocity = negative_gradient(model, data, targets)
            velocity = velocity._replace(**{name: jnp.zeros(STATES) for name in frozen})
            _, rate = jax.jvp(lambda m: sample_loss(m, data, targets), (model,), (velocity,))  # noqa: B023
            assert float(rate) < 0
            assert float(energy_residual(rate, velocity, scale)) < FEW_EPS
            assert float(energy_residual(0.5 * rate, velocity, scale)) > 1e-3
            assert float(energy_residual(-rate, velocity, scale)) > 1e-3

    def test_energy_rate(self):
        velocity = DiagonalSSM(jnp.array([1.0, 2.0]), jnp.array([0.0, 2.0]), jnp.array([4.0, 0.0]))
        assert float(energy_rate(velocity)) == -25.0


class TestLogGap:
    GAMMA = (0.3, -1.7, 0.0, 2.5, -0.4, 6.0)

    @pytest.mark.parametrize("gap", [0.5, 1e-3, 1e-12, 1e-19, 4e-28])
    @pytest.mark.parametrize("a_j", [0.8, 5e-3, 0.0, -0.7])
    def test_against_50_digits(self, gap, a_j):
        got = log_gap_rate(a_j + gap, a_j, jnp.array(self.GAMMA))
        with mpmath.workdps(50):
            low = mpf(a_j)
            high = low + mpf(gap)
            velocities = [
                mpmath.fsum(mpf(g) * x**lag for lag, g in enumerate(self.GAMMA))
                for x in (high, low)
            ]
            want = (velocities[0] - velocities[1]) / (high - low)
            size = sum(
                abs(g) * lag * float(max(abs(high), abs(low))) ** (lag - 1)
                for lag, g in enumerate(self.GAMMA)
                if lag > 0
            )
            # a_j + gap is rounded to a double: half an eps, times the exponent.
            assert abs(float(mpf(float(got)) - want)) <= 8 * EPS * size

    def test_the_quotient_of_doubles_would_fail(self):
        gamma, high, low = np.array(self.GAMMA), 0.8 + 1e-12, 0.8
        velocity = [float(np.polyval(gamma[::-1], x)) for x in (high, low)]
        naive = (velocity[0] - velocity[1]) / (high - low)
        rate = float(log_gap_rate(high, low, gamma))
        assert abs(naive / rate - 1) > 1e-6
        # Nor is it the derivative of an entry, unless the gap is small.
        slope = float(np.polyval(np.polyder(gamma[::-1]), 0.8))
        assert float(log_gap_rate(0.8, 0.8, gamma)) == pytest.approx(slope, rel=16 * EPS)
        assert abs(float(log_gap_rate(0.9, 0.8, gamma)) / slope - 1) > 0.1

    def test_residual_of_automatic_differentiation(self):
        a = np.array([0.3, 0.9, 0.9 - 1e-9, 0.0, -0.4])
        data, ones = theorem1_training_set(7, 0.5), jnp.ones(2)
        student = theorem1_student(a)
        gamma = gamma_coefficients(student, data, ones)
        velocity = negative_gradient(student, data, ones).a
        scale = velocity_scale(student, data, ones).a
        assert float(log_gap_residual(a, gamma, velocity, scale)) < FEW_EPS
        # Controls: entries that do not follow one equation; coefficients of another lag.
        assert float(log_gap_residual(a, gamma, velocity.at[0].mul(1.1), scale)) > 1e-3
        assert float(log_gap_residual(a, jnp.roll(gamma, 1), velocity, scale)) > 1e-3


class TestRelativeResidual:
    def test_entries_without_terms(self):
        zero, one = jnp.zeros(2), jnp.array([1.0, 0.0])
        assert float(relative_residual(zero, zero, zero)) == 0.0
        assert float(relative_residual(one, zero, zero)) == math.inf
        assert float(relative_residual(one, zero, 4.0 * one)) == 0.25
        assert float(relative_residual(one[:0], one[:0], one[:0])) == 0.0

    def test_nan_stays(self):
        got = jax.jit(relative_residual)(jnp.array([jnp.nan, 1.0]), jnp.ones(2), jnp.ones(2))
        assert math.isnan(float(got))
        got = jax.jit(relative_residual)(jnp.array([jnp.nan, 1.0]), jnp.ones(2), jnp.zeros(2))
        assert math.isnan(float(got))
