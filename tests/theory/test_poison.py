"""M2, M4 and B1: poisoned limits against Taylor series in 45 digits, and against SciPy."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from mpmath import mpf
from scipy.integrate import solve_ivp

from ssmbias.theory import (
    clean_limit,
    poison_bound,
    poison_margin,
    strong_poison_limit,
    tied_limit,
)

EPS = np.finfo(np.float64).eps
# About 100 steps (250 for the smallest gaps) with a local error of 1e-13 in every log-gap, in
# either direction: 1e-12. At most 6e-14 was measured.
LIMIT_RTOL = 1e-12
TAYLOR_ORDER, TAYLOR_TOLERANCE = 30, mpf("1e-32")


def horner(coefficients, time):
    total = mpf(0)
    for coefficient in reversed(coefficients):
        total = total * time + coefficient
    return total


def taylor_limit(a0, seq_len):
    """x' = x^p - mean(x^p) on S_1 = 1 until S_{κ-1} = 1, by Taylor series in x itself."""
    power, dim = seq_len - 2, len(a0)
    mean = mpmath.fsum(a0) / dim
    x = [value - mean + mpf(1) / dim for value in a0]

    def excess(entries):
        return mpmath.fsum(value ** (seq_len - 1) for value in entries) - 1

    sign = -1 if excess(x) > 0 else 1
    while True:
        # series[q][j]: coefficients of x_j^(q+1).
        series = [[[value**q] for value in x] for q in range(1, power + 1)]
        for n in range(TAYLOR_ORDER):
            rates = [series[-1][j][n] for j in range(dim)]
            mean = mpmath.fsum(rates) / dim
            for j in range(dim):
                series[0][j].append(sign * (rates[j] - mean) / (n + 1))
                for q in range(1, power):
                    lower, base = series[q - 1][j], series[0][j]
                    series[q][j].append(mpmath.fdot(lower[: n + 2], base[n + 1 :: -1]))
        last, one_before = (max(abs(c[-k]) for c in series[0]) for k in (1, 2))
        step = min(
            (TAYLOR_TOLERANCE / last) ** (mpf(1) / TAYLOR_ORDER),
            (TAYLOR_TOLERANCE / one_before) ** (mpf(1) / (TAYLOR_ORDER - 1)),
        )

        def at(time, coefficients=series[0]):
            return [horner(c, time) for c in coefficients]

        if sign * excess(at(step)) >= 0:
            bracket = (mpf(0), step)
            time = mpmath.findroot(
                lambda t, at=at: excess(at(t)), bracket, solver="anderson", tol=1e-70
            )
            return at(time)
        x = at(step)


def oracle(a0, seq_len, log_gap=None):
    a = [mpf(float(x)) for x in a0]
    if log_gap is not None:
        a[0] = a[1] + mpmath.exp(mpf(log_gap))
    return taylor_limit(a, seq_len)


def relative_error(got, want):
    pairs = zip(np.asarray(got), want, strict=True)
    return float(max(abs(mpf(float(x)) / y - 1) for x, y in pairs))


def simulate(a0, seq_len, strength):
    """The full poisoned flow, with the leading log-gap as a state, in log(1 + time)."""
    power = seq_len - 2
    start = np.append(a0[1:], math.log(a0[0] - a0[1]))

    def entries(state):
        return np.append(state[0] + math.exp(state[-1]), state[:-1])

    def velocity(log_time, state):
        a = entries(state)
        force = (power + 1) * (1 - np.sum(a ** (power + 1)))
        rate = force * sum(a[0] ** i * a[1] ** (power - 1 - i) for i in range(power))
        moved = force * a[1:] ** power + strength * (1 - np.sum(a))
        return np.exp(log_time) * np.append(moved, rate)

    # From time 1e-9 / strength; what is left out moves a by 1e-9 of the first jump.
    span = (math.log(1e-9 / strength), math.log(1e8))
    flow = solve_ivp(velocity, span, start, method="Radau", rtol=1e-9, atol=1e-12)
    return entries(flow.y[:, -1])


class TestStrongPoisonLimit:
    @pytest.mark.parametrize(
        ("a0", "seq_len", "log_gap"),
        [
            ([0.02, 0.01, 0.005], 7, None),
            ([0.3, 0.1, 0.05, -0.2], 5, None),
            ([3.0, 0.1, 0.05, -0.2], 5, None),  # starts beyond S = 1 and runs back
            ([0.02, 0.01, 0.005], 9, math.log(1e-8)),
            ([0.02, 0.01, 0.005], 7, math.log(4e-28)),
        ],
    )
    def test_against_taylor_series(self, a0, seq_len, log_gap):
        got = strong_poison_limit(np.array(a0), seq_len, log_gap=log_gap)
        assert relative_error(got, oracle(a0, seq_len, log_gap)) < LIMIT_RTOL

    def test_reference_start(self, reference_rows):
        row = reference_rows[0]
        want = oracle(row["a0"], row["kappa"])
        assert relative_error(strong_poison_limit(row["a0"], row["kappa"]), want) < LIMIT_RTOL
        # Control: the leading gap is seen. A percent more of it is another limit.
        wider = math.log(1.01 * (row["a0"][0] - row["a0"][1]))
        got = strong_poison_limit(row["a0"], row["kappa"], log_gap=wider)
        assert relative_error(got, want) > 1e-4

    def test_another_exponent_is_rejected(self):
        a0 = [0.02, 0.01, 0.005]
        assert relative_error(strong_poison_limit(np.array(a0), 7), oracle(a0, 9)) > 1e-3

    def test_full_flow_approaches_it_like_one_over_strength(self, reference_rows):
        row = reference_rows[0]
        limit = np.asarray(strong_poison_limit(row["a0"], row["kappa"]))
        strengths = np.array([1.0, 10.0, 100.0, 1000.0])
        ends = np.array([simulate(row["a0"], row["kappa"], s) for s in strengths])
        distances = np.max(np.abs(ends - limit), axis=1)
        # An independent engine gives 6.09e-3, 6.862e-4, 6.913e-5, 6.917e-6; Radau here 1e-9.
        np.testing.assert_allclose(distances, [6.090e-3, 6.862e-4, 6.913e-5, 6.917e-6], rtol=1e-3)
        slope = np.polyfit(np.log(strengths[1:]), np.log(distances[1:]), 1)[0]
        # distance * strength changes by 0.8 % over the last two decades: log10(1.008) / 2.
        assert slope == pytest.approx(-1.0, abs=3e-3)
        # Control: the flow does not approach the clean limit.
        clean = np.asarray(clean_limit(row["a0"], row["kappa"]))
        assert np.min(np.max(np.abs(ends - clean), axis=1)) > 0.1

    @pytest.mark.parametrize("seq_len", [5, 7, 11])
    def test_is_on_both_surfaces_in_order(self, seq_len):
        a0 = np.random.default_rng(seq_len).uniform(-1e-2, 1e-2, size=(16, 6))
        limit = np.asarray(jax.jit(jax.vmap(lambda a: strong_poison_limit(a, seq_len)))(a0))
        # A Newton step leaves the rounding of six powers.
        np.testing.assert_allclose(np.sum(limit, axis=1), 1.0, rtol=8 * EPS)
        power_sum = np.sum(limit ** (seq_len - 1), axis=1)
        np.testing.assert_allclose(power_sum, 1.0, rtol=4 * seq_len * EPS)
        np.testing.assert_array_equal(np.argsort(limit, axis=1), np.argsort(a0, axis=1))
        assert np.max(np.abs(np.sum(limit**2, axis=1) - 1.0)) > 1e-3  # not every S_l is 1

    def test_ties_permutations_and_shifts(self):
        a0 = np.array([0.1, 0.4, 0.1, 0.4, 0.3])
        limit = np.asarray(strong_poison_limit(a0, 7))
        assert limit[0] == limit[2]
        assert limit[1] == limit[3]
        shuffled = np.array([3, 1, 4, 0, 2])
        again = strong_poison_limit(a0[shuffled], 7)
        np.testing.assert_allclose(again, limit[shuffled], rtol=LIMIT_RTOL)
        # The first jump forgets the mean; differences of 0.25 and its multiples are exact.
        quarters = np.array([0.25, 0.5, 1.0])
        shifted = strong_poison_limit(quarters + 4.0, 7)
        np.testing.assert_array_equal(shifted, strong_poison_limit(quarters, 7))

    def test_start_on_the_limit_stays(self):
        limit = strong_poison_limit(np.array([0.2, 0.3, 0.29, 0.0]), 7)
        np.testing.assert_allclose(strong_poison_limit(limit, 7), limit, rtol=LIMIT_RTOL)
        one_hot = np.array([0.0, 1.0, 0.0])
        np.testing.assert_allclose(strong_poison_limit(one_hot, 7), one_hot, atol=2 * EPS)

    @pytest.mark.slow
    def test_gradient(self):
        a0, log_gap, step = np.array([0.02, 0.018, 0.005]), -6.0, mpf("1e-12")
        gradient = jax.jit(
            jax.grad(lambda a, g: strong_poison_limit(a, 7, log_gap=g)[1], argnums=(0, 1))
        )
        in_a0, in_log_gap = gradient(jnp.asarray(a0), log_gap)

        def second_entry(shift, log_shift):
            second = mpf(a0[1]) + shift
            first = second + mpmath.exp(mpf(log_gap) + log_shift)
            return taylor_limit([first, second, mpf(a0[2])], 7)[1]

        # Central differences err by step^2 / gap^2 = 1e-18, the series by 1e-32 / step = 1e-20.
        # What counts is the derivative of the steps taken: the controller sees the steps' own
        # error (1e-13) only, and derivatives lose some of that.
        slope = (second_entry(step, 0) - second_entry(-step, 0)) / (2 * step)
        assert float(in_a0[1]) == pytest.approx(float(slope), rel=1e-10)
        slope = (second_entry(0, step) - second_entry(0, -step)) / (2 * step)
        assert float(in_log_gap) == pytest.approx(float(slope), rel=1e-10)
        assert float(in_a0[0]) == 0.0  # the stored largest entry is not used
        # Only gaps matter: a common shift changes nothing.
        assert float(jnp.sum(in_a0)) == pytest.approx(0.0, abs=1e-12 * float(jnp.abs(in_a0[1])))

    def test_bad_traced_lanes_do_not_disturb_others(self):
        good = np.array([0.02, 0.01, 0.005])
        lanes = np.stack([np.ones(3), good, np.array([0.1, np.nan, 0.0])])
        limits = jax.jit(jax.vmap(lambda a: strong_poison_limit(a, 7)))(lanes)
        assert bool(jnp.all(jnp.isnan(limits[0])) & jnp.all(jnp.isnan(limits[2])))
        # Lanes share no step sizes.
        np.testing.assert_allclose(limits[1], strong_poison_limit(good, 7), rtol=LIMIT_RTOL)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: strong_poison_limit(np.ones(3), 7), "a0=.*all entries are equal"),
        (lambda: strong_poison_limit(np.ones(1), 7), "a0 has 1 entries"),
        (lambda: strong_poison_limit(np.array([1.0, 0.5]), 6), "seq_len=6: must be odd"),
        (lambda: strong_poison_limit(np.array([1.0, 0.5]), 3), "seq_len=3: must be >= 5"),
        (
            lambda: strong_poison_limit(np.array([1.0, 0.5]), 7, log_gap=-math.inf),
            "log_gap=-inf: all entries are equal",
        ),
        (lambda: strong_poison_limit(np.array([1.0, np.inf]), 7), "a0=.*finite"),
        (lambda: strong_poison_limit(np.float32([1.0, 0.5]), 7), "a0 has dtype float32"),
        (lambda: tied_limit(3, 7, 3), r"multiplicity=3: must be in 1\.\.2"),
        (lambda: tied_limit(3, 7, 0), r"multiplicity=0: must be in 1\.\.2"),
        (lambda: tied_limit(1, 7, 1), "state_dim=1: must be >= 2"),
        (lambda: tied_limit(3, 8, 2), "seq_len=8: must be odd"),
        (lambda: poison_bound(10, 8), "seq_len=8: must be odd"),
        (lambda: poison_bound(10, 5), "seq_len=5: must be >= 7"),
        (lambda: poison_bound(10, 7, base=1.0), "base=1.0: must lie between 0 and 1"),
        (lambda: poison_bound(10, 7, constant=0.0), "constant=0.0: must be positive"),
        (lambda: poison_bound(10, 7, denominator_factor=-9.0), "denominator_factor=-9.0"),
        (lambda: poison_margin(-0.1, 10, 7), "error=-0.1: must be 0 or greater"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
