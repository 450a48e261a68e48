"""M3: the passage map against quadrature in 50 digits, its drift against SciPy, its laws."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from mpmath import mpf
from scipy.integrate import solve_ivp

from ssmbias.metrics import generalization_error
from ssmbias.theory import (
    clean_limit,
    escape_time_leading,
    passage_defect,
    passage_end,
    passage_error_exponent,
    passage_exponent,
    passage_limit,
    passage_onset,
    passage_ratio,
    passage_second_entry,
    passage_time,
    tied_limit,
)

EPS = np.finfo(np.float64).eps

# Two Newton solutions in log-log, sums of 11 and 16 nodes, each to a few roundings.
MAP_RTOL = 1e-13

START = (0.02, 0.015, 0.003, 0.0)


def time_between(low, high, seq_len, strength):
    """∫ dx / (ρ + (κ-1) x^p) from low to high (or infinity), by quadrature in 50 digits."""
    power, rho = seq_len - 2, mpf(strength)
    cross = (rho / (power + 1)) ** (mpf(1) / power)
    middle = min(max(cross, low), high)
    early = mpmath.quad(lambda x: 1 / (rho + (power + 1) * x**power), [low, middle])
    # Beyond the crossover in y = x^(1-p), where the integrand is nearly constant; in pieces,
    # because of the branch point at y = 0.
    root = mpf(power) / (power - 1)
    left, right = (x ** (1 - power) for x in (high, middle))
    if left == right:
        return early
    points = [left, right]
    while points[-2] < points[-1] / 1000:
        points.insert(-1, max(1000 * points[-2], right / mpf(10) ** 18))
    late = mpmath.quad(lambda y: 1 / (power + 1 + rho * y**root), points)
    return early + late / (power - 1)


def worst_mismatch(a0, log_gap, seq_len, strength, end):
    """By what relative change of an entry T(a_j) - T(a_1) misses its value at the start."""
    start = [mpf(float(x)) for x in a0]
    if log_gap is not None:
        start[0] = start[1] + mpmath.exp(mpf(log_gap))
    ends = [mpf(float(x)) for x in end]
    worst = mpf(0)
    for j in range(1, len(start)):
        lead = time_between(start[j], start[0], seq_len, strength)
        error = time_between(ends[j], ends[0], seq_len, strength) - lead
        speed = mpf(strength) + (seq_len - 1) * ends[j] ** (seq_len - 2)
        worst = max(worst, abs(error) * speed / ends[j])
    return float(worst)


class TestEndOfPassage:
    @pytest.mark.parametrize(
        ("seq_len", "a0", "log_gap"),
        [
            (5, START, None),
            (15, START, None),
            (5, (5e-3, 5e-3, 3e-3, 1e-3), math.log(5e-12)),
            (9, (5e-3, 5e-3, 3e-3, 1e-3), math.log(1e-19)),
        ],
    )
    def test_against_quadrature(self, seq_len, a0, log_gap):
        strengths = np.array([1e-300, 1e-12, 1e-6, 1e-4, 1e-2, 1.0])
        others = passage_end(np.array(a0), 9 if seq_len == 5 else 5, 1e-6, log_gap=log_gap)
        for strength in strengths:
            end = np.asarray(passage_end(np.array(a0), seq_len, strength, log_gap=log_gap))
            assert abs(np.sum(end ** (seq_len - 1)) - 1.0) < 8 * seq_len * EPS
            assert worst_mismatch(a0, log_gap, seq_len, strength, end) < MAP_RTOL, strength
            # Control: a strength that is off by a thousandth, where poison is felt and the entries
            # have not left together.
            if 1e-6 <= strength <= 1e-4:
                assert worst_mismatch(a0, log_gap, seq_len, 1.001 * strength, end) > 1e-8
        assert worst_mismatch(a0, log_gap, seq_len, 1e-6, others) > 1e-2

    @pytest.mark.parametrize("seq_len", [5, 15])
    @pytest.mark.parametrize("log_gap", [None, math.log(5e-12), math.log(1e-19), -math.inf])
    def test_without_poison_it_is_the_clean_limit(self, seq_len, log_gap):
        rng = np.random.default_rng(seq_len)
        for scale in (0.05, 1e-3, 1e-6):
            a0 = rng.uniform(0.0, scale, 4)
            a0[2] *= scale  # entries of different orders
            want = clean_limit(a0, seq_len, log_gap=log_gap)
            # A strength so small that nothing is left of it counts as none, before the drift.
            for function, strength in (
                (passage_end, 0.0),
                (passage_end, 1e-300),
                (passage_limit, 0.0),
            ):
                got = function(a0, seq_len, strength, log_gap=log_gap)
                np.testing.assert_allclose(got, want, rtol=MAP_RTOL)

    @pytest.mark.slow
    def test_nothing_overflows(self):
        rng, seq_len = np.random.default_rng(0), 15
        strengths = jnp.array([1e-300, 1e-200, 1e-100, 1e-30, 1e-10, 1e-3, 1.0])
        predict = jax.jit(
            jax.vmap(lambda a, rho: (passage_end(a, seq_len, rho), passage_limit(a, seq_len, rho)),
                     in_axes=(None, 0))
        )  # fmt: skip
        for dim, scales in ((1000, (1e-6, 1e-3, 0.02)),):
            for scale in scales:
                a0 = jnp.asarray(rng.uniform(0.0, scale, dim)).at[0].set(0.0)
                end, limit = predict(a0, strengths)
                total = np.sum(end ** (seq_len - 1), 1)
                np.testing.assert_allclose(total, 1.0, rtol=8 * dim * EPS)
                assert bool(jnp.all(jnp.argmax(end, axis=1) == jnp.argmax(a0)))
                # All of them leave together where gaps are far below the strength.
                told = dim ** (1 - 1 / (seq_len - 1)) - np.sum(end, 1) > 1e-6
                assert told.sum() >= 4
                for order in (1, seq_len - 1):
                    total = np.sum(limit[told] ** order, 1)
                    np.testing.assert_allclose(total, 1.0, rtol=1e-11)


class TestDrift:
    @pytest.mark.parametrize(
        ("seq_len", "a0", "log_gap", "strength"),
        [
            (5, START, None, 1e-5),
            (5, (1e-3, 1e-3, 1e-3, 5e-4), math.log(1e-7), 1e-6),
            (9, (1e-3, 1e-3, 5e-4, 1e-4), math.log(1e-16), 1e-12),  # two entries leave together
        ],
    )
    def test_against_scipy(self, seq_len, a0, log_gap, strength):
        end = np.asarray(passage_end(np.array(a0), seq_len, strength, log_gap=log_gap))
        power = seq_len - 2

        def slope(_, a):
            tangent = 1 - a**power * np.sum(a**power) / np.sum(a ** (2 * power))
            return tangent / np.sum(tangent)  # per unit of S_1

        flow = solve_ivp(slope, (end.sum(), 1.0), end, method="DOP853", rtol=1e-12, atol=1e-14)
        limit = passage_limit(np.array(a0), seq_len, strength, log_gap=log_gap)
        np.testing.assert_allclose(limit, flow.y[:, -1], rtol=0, atol=1e-8)  # nearly tied
        # Control: it matters, and where the second entry is large it is no common shift.
        assert np.max(np.abs(limit - end)) > 1e-3

    def test_common_shift_to_leading_order(self):
        end = np.asarray(passage_end(np.array(START), 5, 1e-5))
        limit = np.asarray(passage_limit(np.array(START), 5, 1e-5))
        shifted = end[1:] - np.mean(end[1:])
        # What differs are third powers of the second entry, and what a_1 takes up.
        np.testing.assert_allclose(limit[1:], shifted, rtol=0, atol=2 * end[1] ** 3)
        assert end[1] > 0.02

    @pytest.mark.parametrize("strength", [1e-300, 1e-9, 1.0])
    def test_ties_end_in_the_tied_limit(self, strength):
        """M4, which holds at every strength: two conditions and the order fix it."""
        for m in (1, 2, 5, 9):
            a0 = np.where(np.arange(10) < m, 2e-3, 1e-3)
            limit = np.asarray(passage_limit(a0, 7, strength))
            assert np.unique(limit).size == 2
            np.testing.assert_allclose(limit[[0, -1]], tied_limit(10, 7, m), rtol=0, atol=1e-12)

    def test_poison_is_not_continuous_at_zero(self):
        a0 = np.array(START)
        least = passage_limit(a0, 5, 1e-300)
        assert float(jnp.sum(least)) == pytest.approx(1.0, abs=1e-14)
        assert float(jnp.sum(passage_limit(a0, 5, 0.0))) > 1.02


class TestLaws:
    @pytest.mark.parametrize("seq_len", [5, 9])
    @pytest.mark.slow
    def test_exponents_of_entry_and_error(self, seq_len):
        """Over eight decades of Δ at a strength so small that every correction is."""
        rho, scale = 1e-60, 1e-3 * (1e-60) ** (1 / (seq_len - 2))
        second = np.geomspace(1e-4, 1e-2, 5)
        log_gap = np.log(rho / ((seq_len - 1) * (seq_len - 3))) - (seq_len - 3) * np.log(second)
        a0 = scale * np.array([1.0, 1.0, 0.5, 0.2])

        def predict(gap):
            end = passage_end(a0, seq_len, rho, log_gap=gap)
            limit = passage_limit(a0, seq_len, rho, log_gap=gap)
            return end[1], generalization_error(limit, 20)

        entry, error = (np.asarray(x) for x in jax.vmap(predict)(log_gap))
        ratio = rho / np.exp(log_gap)
        slopes = np.diff(np.log([entry, error])) / np.diff(np.log(ratio))
        # Corrections: the square of the largest second entry, and the other entries over the least.
        others = float((rho / (scale * seq_len**2 * 0.5)) ** (1 / (seq_len - 3)))
        tolerance = max(1e-4, 4 * others / second[0])
        assert tolerance < 2e-3
        np.testing.assert_allclose(slopes[0], passage_exponent(seq_len), rtol=tolerance)
        np.testing.assert_allclose(slopes[1], passage_error_exponent(seq_len), rtol=tolerance)
        np.testing.assert_allclose(entry, passage_second_entry(ratio, seq_len), rtol=1e-3)
        # The line of a given error, four states.
        np.testing.assert_allclose(passage_ratio(error, seq_len, 4), ratio, rtol=3 * tolerance)
        assert passage_exponent(seq_len) != pytest.approx(1 / (seq_len - 2), rel=0.1)

    @pytest.mark.slow
    def test_second_entry_without_poison_is_that_of_the_clean_limit(self):
        a0, log_gap = np.array([1e-3, 1e-3, 5e-4]), math.log(1e-9)
        ratio = passage_onset(1e-3, 7) / 1e-9
        clean = clean_limit(a0, 7, log_gap=log_gap)[1]
        assert float(passage_second_entry(ratio, 7)) == pytest.approx(float(clean), rel=1e-5)

    def test_error_follows_the_ratio_and_not_the_strength(self):
        a0 = 1e-11 * np.array([1.0, 1.0, 0.5, 0.2])

        def error(strength, gap):
            limit = passage_limit(a0, 5, strength, log_gap=math.log(gap))
            return float(generalization_error(limit, 20))

        base = error(1e-28, 1e-24)
        assert error(1e-27, 1e-23) == pytest.approx(base, rel=1e-2)
        assert error(1e-27, 1e-24) == pytest.approx(10 * base, rel=1e-2)

    @pytest.mark.parametrize("strength", [1e-9, 1e-5, 1e-2])
    def test_defect_and_time(self, strength):
        largest, power = mpf(START[0]), 5
        whole = time_between(largest, mpmath.inf, 7, strength)
        speed = mpf(strength) + 6 * largest**power
        want = strength * (sum(map(mpf, START)) / speed + 4 * whole)
        got = passage_defect(np.array(START), 7, strength)
        assert float(got) == pytest.approx(float(want), rel=MAP_RTOL)
        time = passage_time(np.array(START), 7, strength)
        assert float(time) == pytest.approx(float((1 + mpf(strength)) / 2 * whole), rel=MAP_RTOL)

    def test_defect_of_small_starts_and_without_poison(self):
        a0, rho = 1e-6 * np.array([1.0, 0.5, 0.2]), 1e-10
        want = 3 * (rho / 6) ** 0.2 * (math.pi / 5) / math.sin(math.pi / 5)
        assert float(passage_defect(a0, 7, rho)) == pytest.approx(want, rel=2e-4)
        assert float(passage_defect(a0, 7, 0.0)) == 0.0
        time, clean = passage_time(a0, 7, 0.0), escape_time_leading(a0, 7)
        assert float(time) == pytest.approx(float(clean), rel=1e-13)


class TestArrays:
    def test_order_is_kept_and_lanes_are_independent(self):
        rng = np.random.default_rng(1)
        a0 = rng.uniform(1e-3, 2e-2, (5, 4))
        a0[2, 0], a0[4] = -1.0, 0.01
        strengths = np.array([1e-8, 1e-6, 1e-6, 1e-4, 1e-6])
        limits = jax.jit(jax.vmap(lambda a, rho: passage_limit(a, 5, rho)))(a0, strengths)
        bad = [False, False, True, False, True]
        np.testing.assert_array_equal(np.isnan(limits).all(axis=1), bad)
        np.testing.assert_array_equal(np.isnan(limits).any(axis=1), bad)
        for i in (0, 1, 3):
            alone = passage_limit(a0[i], 5, strengths[i])
            np.testing.assert_allclose(limits[i], alone, rtol=1e-11)
            np.testing.assert_array_equal(np.argsort(limits[i]), np.argsort(a0[i]))
            shuffled = rng.permutation(4)
            again = passage_limit(a0[i][shuffled], 5, strengths[i])
            np.testing.assert_allclose(again, limits[i][shuffled], rtol=1e-11)

    def test_all_tied(self):
        np.testing.assert_allclose(passage_end(np.full(4, 0.01), 5, 1e-6), 4**-0.25, rtol=4 * EPS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: passage_limit(np.ones(1) / 9, 5, 1e-6), "a0 has 1 entries"),
        (lambda: passage_limit(np.array([0.1, -0.1]), 5, 1e-6), "a0=.*must be positive"),
        (lambda: passage_limit(np.array([0.9, 0.9]), 5, 1e-6), "a0: S_4 = 1.3122 is not below 1"),
        (lambda: passage_limit(np.full(3, 0.1), 5, 1e-6), "a0=.*all entries are equal"),
        (
            lambda: passage_limit(np.array([0.2, 0.1]), 5, 1e-6, log_gap=-math.inf),
            "log_gap=-inf: all entries are equal",
        ),
        (lambda: passage_limit(np.array([0.2, 0.1]), 6, 1e-6), "seq_len=6: must be odd"),
        (lambda: passage_limit(np.array([0.2, 0.1]), 5, -1.0), "strength=.*must be 0 or greater"),
        (lambda: passage_end(np.array([0.2, 0.1]), 3, 1.0), "seq_len=3: must be >= 5"),
        (lambda: passage_defect(np.float32([0.2, 0.1]), 5, 1.0), "a0 has dtype float32"),
        (lambda: passage_time(np.zeros(2), 5, 1.0), "a0: all entries are 0"),
        (lambda: passage_exponent(6), "seq_len=6: must be odd"),
        (lambda: passage_onset(0.0, 5), "largest=.*greater than 0"),
        (lambda: passage_second_entry(-1.0, 5), "ratio=.*0 or greater"),
        (lambda: passage_ratio(1e-3, 5, 2), "state_dim=2: must be >= 3"),
        (lambda: passage_ratio(-1e-3, 5, 3), "error=.*0 or greater"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
