"""The clean path and its escape times, against 60 digits."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from mpmath import mpf
from scipy.integrate import solve_ivp
from theory.clean_oracle import LIMIT_RTOL, oracle_curve, oracle_start, relative_error

from ssmbias.theory import clean_limit, clean_path, escape_time, escape_time_leading

EPS = np.finfo(np.float64).eps
# Panels of 8 nodes add positive terms, and up to 128 panels are added: rounding only.
TIME_RTOL = 20 * EPS


def oracle_escape_time(a, lag, level):
    """The clock integral, by tanh-sinh quadrature on unit intervals of log(u - u_limit)."""
    q_min, _, power_sum, root = oracle_curve(a, lag)
    end = root(mpf(1))
    low, high = mpmath.log(root(mpf(level)) - end), mpmath.log(q_min - end)
    points = mpmath.linspace(low, high, int(high - low) + 2)

    def integrand(w):
        rise = mpmath.exp(w)
        return rise / (2 * lag * (lag - 2) * (1 - power_sum(end + rise)))

    with mpmath.workdps(25):
        return mpmath.quad(integrand, points)


class TestPath:
    CASES = (
        ([0.3, 0.2, 0.15], 7),
        ([0.5, 0.4999, 0.1, 0.0], 5),
        ([0.6, 0.2], 4),
        ([0.4, 0.4, 0.4, 0.1], 6),
    )

    @staticmethod
    def scipy_path(a0, seq_len, times, factor=2.0):
        def velocity(_, a):
            missing = 1 - np.sum(a ** (seq_len - 1))
            return factor * (seq_len - 1) * missing * a ** (seq_len - 2)

        flow = solve_ivp(
            velocity, (0, times[-1]), a0, method="DOP853", rtol=1e-13, atol=1e-18, t_eval=times
        )
        return flow.y.T

    @pytest.mark.parametrize(("a0", "seq_len"), CASES)
    def test_against_scipy(self, a0, seq_len):
        a0 = np.array(a0)
        parts = np.array([0.0, 1e-3, 0.1, 0.5, 0.9, 0.99, 1.0, 1.01, 1.5, 3.0, 6.0])
        times = float(escape_time(a0, seq_len)) * parts
        got = np.asarray(clean_path(a0, seq_len, times))
        want = self.scipy_path(a0, seq_len, times)
        # The solver's local tolerance times its steps, amplified during the escape.
        np.testing.assert_allclose(got, want, rtol=1e-11)
        # Control: the clock of half the loss.
        slow = self.scipy_path(a0, seq_len, times, factor=1.0)
        assert np.max(np.abs(got - slow)) > 1e-2

    def test_ends(self, reference_rows):
        for row in reference_rows[1:3]:
            a0, seq_len = row["a0"], row["kappa"]
            late = 1e6 * float(escape_time(a0, seq_len))
            path = clean_path(a0, seq_len, np.array([late, 0.0]))
            np.testing.assert_allclose(path[0], clean_limit(a0, seq_len), rtol=LIMIT_RTOL)
            np.testing.assert_allclose(path[1], a0, rtol=2 * LIMIT_RTOL)

    def test_reaches_its_levels(self):
        a0, levels = np.array([0.3, 0.29999, 0.1]), jnp.array([0.1, 0.5, 0.9, 0.999999])
        times = jax.jit(jax.vmap(lambda level: escape_time(a0, 8, level)))(levels)
        path = clean_path(a0, 8, times)
        missed = np.abs(np.sum(path**7, axis=1) - levels)
        # A relative error of `TIME_RTOL` in t moves S by that times t dS/dt.
        speed = 2 * 7**2 * (1 - levels) * np.sum(path**12, axis=1)
        assert np.all(missed <= TIME_RTOL * times * speed + 7 * LIMIT_RTOL * levels)
        # Control: the last level but one is not reached a percent earlier.
        early = clean_path(a0, 8, 0.99 * times)
        assert float(jnp.sum(early[2] ** 7)) < 0.85

    def test_start_on_the_limit_stays(self):
        limit = clean_limit(np.array([0.5, 0.2, 0.1]), 7)
        path = clean_path(limit, 7, np.array([0.0, 1.0, 1e9]))
        np.testing.assert_allclose(path, np.tile(limit, (3, 1)), rtol=LIMIT_RTOL)

    def test_late_tail_is_the_linear_rate(self):
        # Near the limit 1 - S decays with 2 m^2 Σ a^(2m-2): Section M6 for one sequence.
        a0 = np.array([0.5, 0.3])
        limit = np.asarray(clean_limit(a0, 5))
        path = np.asarray(clean_path(a0, 5, np.array([0.7, 0.9])))
        missing = 1 - np.sum(path**4, axis=1)
        rate = -np.log(missing[1] / missing[0]) / 0.2
        # Corrections are of the size of `missing` (1e-9), rounding of eps / missing.
        assert rate == pytest.approx(2 * 16 * np.sum(limit**6), rel=1e-5)


class TestEscapeTime:
    @pytest.mark.parametrize("index", [0, 2])
    def test_reference_starts(self, reference_rows, index):
        row = reference_rows[index]
        want = oracle_escape_time(oracle_start(row["a0"]), row["kappa"] - 1, 0.5)
        assert relative_error([escape_time(row["a0"], row["kappa"])], [want]) < TIME_RTOL

    @pytest.mark.parametrize("log_gap", [math.log(1e-19), -math.inf])
    def test_with_log_gap(self, log_gap):
        a0 = np.array([0.3, 0.3, 0.1])
        want = oracle_escape_time(oracle_start(a0, log_gap), 6, 0.9)
        assert relative_error([escape_time(a0, 7, 0.9, log_gap=log_gap)], [want]) < TIME_RTOL

    @pytest.mark.parametrize("level", [1e-8, 0.2, 0.999, 1 - 1e-9])
    def test_levels(self, level):
        a0 = np.array([0.02, 0.015, 0.0149999])
        want = oracle_escape_time([mpf(x) for x in a0], 4, level)
        assert relative_error([escape_time(a0, 5, level)], [want]) < TIME_RTOL

    def test_leading_order(self):
        # t = leading (1 - c a^(p-1)): halving the scale divides the remainder by 2^(p-1).
        a0 = np.array([1.0, 0.5])
        remainders = [
            1 - float(escape_time(s * a0, 5)) / float(escape_time_leading(s * a0, 5))
            for s in (0.02, 0.01)
        ]
        # The next term is smaller by another a^(p-1) = 4e-4, up to its constant.
        assert math.log2(remainders[0] / remainders[1]) == pytest.approx(2.0, abs=4e-3)

    def test_zero_at_or_above_the_level(self):
        assert float(escape_time(np.array([0.95, 0.1]), 5, 0.5)) == 0.0
