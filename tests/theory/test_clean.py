"""M1: the clean limit, path and escape time against 60-digit arithmetic and SciPy."""

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

from ssmbias.metrics import generalization_error
from ssmbias.theory import clean_limit, clean_path, escape_time, escape_time_leading

EPS = np.finfo(np.float64).eps
# log(a_1 - a_2): as stored, resolvable, below the spacing of doubles, an exact tie.
LOG_GAPS = [None, *(math.log(gap) for gap in (1e-8, 5e-12, 1e-19, 4e-28)), -math.inf]


def oracle_limit(a, lag):
    _, differences, _, root = oracle_curve(a, lag)
    u = root(mpf(1))
    values = iter((x + u) ** (-1 / mpf(lag - 2)) for x in differences)
    return [next(values) if x > 0 else mpf(0) for x in a]


class TestLimit:
    @pytest.mark.parametrize("log_gap", LOG_GAPS)
    def test_reference_starts(self, reference_rows, log_gap):
        for row in reference_rows:
            want = oracle_limit(oracle_start(row["a0"], log_gap), row["kappa"] - 1)
            got = clean_limit(row["a0"], row["kappa"], log_gap=log_gap)
            assert relative_error(got, want) < LIMIT_RTOL

    def test_reference_errors(self, reference_rows):
        # 60-digit values, rounded to 14 digits; S_l - 1 itself is right to a few eps.
        errors = {342: 0.0072835149837027, 344: 0.0077220949973454}
        for row in reference_rows:
            got = float(generalization_error(clean_limit(row["a0"], row["kappa"])))
            if row["seed"] in errors:
                assert got == pytest.approx(errors[row["seed"]], rel=2e-14)
            else:
                # The published digits of T7 are right to 4e-11.
                assert got == pytest.approx(row["clean_err"], rel=1e-10)

    def test_naive_difference_of_powers_would_fail(self, reference_rows):
        row = reference_rows[2]
        log_gap, lag = math.log(5e-12), row["kappa"] - 1
        want = oracle_limit(oracle_start(row["a0"], log_gap), lag)
        a = row["a0"].copy()
        a[0] = a[1] + 5e-12
        q = a ** (2.0 - lag)
        u = float(oracle_curve(oracle_start(row["a0"], log_gap), lag)[3](mpf(1)))
        naive = (q - q.min() + u) ** (-1.0 / (lag - 2))
        assert relative_error(naive, want) > 1e4 * LIMIT_RTOL

    def test_neighbouring_exponents_are_rejected(self, reference_rows):
        row = reference_rows[0]
        got = clean_limit(row["a0"], row["kappa"])
        for wrong in (row["kappa"] - 2, row["kappa"]):
            want = oracle_limit(oracle_start(row["a0"]), wrong)
            assert relative_error(got, want) > 1e-3

    def test_random_starts_against_oracle(self):
        rng = np.random.default_rng(7)
        for dim, lag in ((1, 6), (2, 3), (5, 4), (9, 13)):
            scale = 10.0 ** rng.uniform(-4, 1, size=(8, 1))
            spread = 10.0 ** rng.uniform(-14, 0, size=(8, 1))
            a0 = scale * (1 + spread * rng.uniform(size=(8, dim)))
            for start in a0:
                got = clean_limit(start, lag + 1)
                want = oracle_limit([mpf(x) for x in start], lag)
                assert relative_error(got, want) < LIMIT_RTOL

    @pytest.mark.parametrize("seq_len", [4, 5, 7, 8, 15])
    def test_is_on_the_sphere_and_conserves_differences(self, seq_len):
        a0 = np.random.default_rng(seq_len).uniform(1e-3, 0.5, size=(32, 6))
        limit = np.asarray(jax.vmap(lambda a: clean_limit(a, seq_len))(a0))
        power_sum = np.sum(limit ** (seq_len - 1), axis=1)
        # Relative errors LIMIT_RTOL of entries, times the exponent.
        np.testing.assert_allclose(power_sum, 1.0, rtol=(seq_len - 1) * LIMIT_RTOL)
        before, after = a0 ** (3.0 - seq_len), limit ** (3.0 - seq_len)
        change = (before - before[:, :1]) - (after - after[:, :1])
        assert np.max(np.abs(change) / before.max(axis=1, keepdims=True)) < seq_len * LIMIT_RTOL
        # Control: the differences of the next power are not conserved.
        before, after = a0 ** (2.0 - seq_len), limit ** (2.0 - seq_len)
        change = (before - before[:, :1]) - (after - after[:, :1])
        wrong = np.max(np.abs(change) / before.max(axis=1, keepdims=True))
        assert wrong > 1e6 * seq_len * LIMIT_RTOL

    @pytest.mark.parametrize("lag", [1, 2, 3, 4])
    def test_single_lags_against_scipy(self, lag):
        a0 = np.array([0.3, 0.5, 0.1])

        def velocity(_, a):
            return 2 * lag * (1 - np.sum(a**lag)) * a ** (lag - 1)

        flow = solve_ivp(velocity, (0, 200), a0, method="DOP853", rtol=1e-13, atol=1e-15)
        got = np.asarray(clean_limit(a0, 6, lag=lag))
        # The solver's local tolerance times some hundred steps.
        np.testing.assert_allclose(got, flow.y[:, -1], rtol=1e-11)
        assert np.max(np.abs(got - clean_limit(a0, 6, lag=lag % 4 + 1))) > 1e-2

    def test_lags_1_and_2_take_any_sign(self):
        a0 = np.array([-2.0, 1.0])
        np.testing.assert_array_equal(clean_limit(a0, 5, lag=1), [-1.0, 2.0])
        np.testing.assert_allclose(clean_limit(a0, 5, lag=2), a0 / np.sqrt(5.0), rtol=2 * EPS)

    def test_start_beyond_the_sphere_flows_back(self):
        a0 = np.array([3.0, 2.0, 0.5])
        want = oracle_limit([mpf(x) for x in a0], 6)
        assert relative_error(clean_limit(a0, 7), want) < LIMIT_RTOL

    def test_zero_and_tied_entries_and_order(self):
        a0 = np.array([0.1, 0.0, 0.3, 0.3, 0.2])
        limit = np.asarray(clean_limit(a0, 7))
        assert limit[1] == 0.0
        assert limit[2] == limit[3]
        assert limit[2] > limit[4] > limit[0] > 0
        shuffled = np.array([3, 1, 4, 0, 2])
        np.testing.assert_allclose(clean_limit(a0[shuffled], 7), limit[shuffled], rtol=LIMIT_RTOL)

    def test_log_gap_of_the_stored_gap_changes_nothing(self):
        a0 = np.array([0.25, 0.125, 0.5])  # exact differences
        stored = clean_limit(a0, 7, log_gap=math.log(0.25))
        np.testing.assert_allclose(stored, clean_limit(a0, 7), rtol=LIMIT_RTOL)
        other = clean_limit(a0, 7, log_gap=math.log(0.2))
        assert float(jnp.max(jnp.abs(other - stored))) > 1e-3


class TestLimitDerivative:
    STEP = mpf("1e-20")  # central differences are then right to 1e-38 or so

    def differences(self, a, lag, move):
        up, down = (oracle_limit(move(a, sign * self.STEP), lag) for sign in (1, -1))
        return [(x - y) / (2 * self.STEP) for x, y in zip(up, down, strict=True)]

    @pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
    @pytest.mark.parametrize("log_gap", [None, math.log(5e-12), math.log(4e-28)])
    def test_against_oracle(self, reference_rows, log_gap, mode):
        row = reference_rows[2]
        lag, a = row["kappa"] - 1, oracle_start(row["a0"], log_gap)
        jacobian = jax.jit(mode(lambda a0: clean_limit(a0, lag + 1, log_gap=log_gap)))
        got = jacobian(jnp.asarray(row["a0"]))

        def move(column):
            def moved(a, step):
                a = list(a)
                a[column] += step
                if log_gap is not None and column == 1:
                    a[0] += step  # the largest entry hangs on the second one
                return a

            return moved

        for column in (0, 1, 2):
            want = self.differences(a, lag, move(column))
            if log_gap is not None and column == 0:
                want = [mpf(0)] * len(a)  # the stored largest entry is not used
            # Entries below 1e-16 of the largest in their column are below its rounding.
            size = float(max(abs(x) for x in want))
            errors = [abs(float(x) - float(y)) for x, y in zip(got[:, column], want, strict=True)]
            # (growth factor)^p multiplies the rounding of three powers: p * 10 eps.
            assert max(errors) <= 1e-13 * size

    @pytest.mark.parametrize("gap", [5e-12, 1e-19, 4e-28])
    @pytest.mark.slow
    def test_in_log_gap(self, reference_rows, gap):
        row, log_gap = reference_rows[2], math.log(gap)
        lag = row["kappa"] - 1
        got = jax.jacrev(lambda g: clean_limit(row["a0"], lag + 1, log_gap=g))(log_gap)
        a = oracle_start(row["a0"], log_gap)
        exact_gap = a[0] - a[1]

        def move(a, step):
            return [a[1] + exact_gap * mpmath.exp(step), *a[1:]]

        want = self.differences(a, lag, move)
        assert relative_error(got[:2], want[:2]) < 1e-13

    def test_second_derivative(self):
        a0 = np.array([0.3, 0.25, 0.1])
        got = jax.jit(jax.jacfwd(jax.jacrev(lambda a: clean_limit(a, 7)[1])))(jnp.asarray(a0))
        step = mpf("1e-15")

        def value(i, j):
            a = [mpf(x) for x in a0]
            a[0] += i * step
            a[1] += j * step
            return oracle_limit(a, 6)[1]

        # Wrong by step^2; the rounding of the first derivative (1e-13) is what is allowed for.
        mixed = (value(1, 1) - value(1, -1) - value(-1, 1) + value(-1, -1)) / (4 * step**2)
        assert float(got[0, 1]) == pytest.approx(float(mixed), rel=1e-12)
        assert float(got[1, 0]) == pytest.approx(float(mixed), rel=1e-12)

    def test_finite_at_ties_and_zeros(self):
        jacobian = jax.jit(jax.jacrev(lambda a: clean_limit(a, 7)))(jnp.array([0.2, 0.2, 0.0]))
        assert bool(jnp.all(jnp.isfinite(jacobian)))
        assert float(jacobian[2, 2]) == 1.0  # a_j(u) = a_j (1 + O(a_j^4)) for small entries
        tied = jax.grad(lambda g: clean_limit(np.array([0.2, 0.1]), 7, log_gap=g)[0])(-jnp.inf)
        assert float(tied) == 0.0


def everything(a0):
    times = np.array([0.0, 1.0, 1e4])
    return (
        clean_limit(a0, 7),
        clean_path(a0, 7, times),
        escape_time(a0, 7, 0.5),
        escape_time_leading(a0, 7),
    )


class TestTransformations:
    @pytest.mark.slow
    def test_jit_of_vmap_agrees_with_single_calls(self):
        a0 = np.random.default_rng(3).uniform(0.01, 0.5, size=(3, 4))
        batched = jax.jit(jax.vmap(everything))(a0)
        for lane, start in enumerate(a0):
            for got, want in zip(batched, everything(start), strict=True):
                np.testing.assert_allclose(got[lane], want, rtol=1e-13)

    def test_unsupported_traced_values_give_nan(self):
        a0 = np.array([[-0.1, 0.2], [0.0, 0.0], [np.nan, 0.2], [0.1, np.inf], [1e-200, 0.0]])
        good, beyond = np.array([0.2, 0.1]), np.array([2.0, 1.0])
        results = jax.jit(jax.vmap(everything))(np.stack([*a0, good, beyond]))
        for result in results:
            assert bool(jnp.all(jnp.isnan(result[:-2])))
            assert bool(jnp.all(jnp.isfinite(result[-2])))
        limit, path, escape, _ = results
        assert bool(jnp.all(jnp.isfinite(limit[-1])))
        assert bool(jnp.all(jnp.isnan(path[-1])) & jnp.isnan(escape[-1]))

    def test_unsupported_traced_gaps_and_levels_give_nan(self):
        gaps = jnp.array([jnp.nan, jnp.inf])
        tied = jax.vmap(lambda g: clean_limit(TWO, 7, log_gap=g))(gaps)
        assert bool(jnp.all(jnp.isnan(tied)))
        levels = jnp.array([0.0, 1.0, -1.0, jnp.nan])
        times = jax.jit(jax.vmap(lambda level: escape_time(TWO, 7, level)))(levels)
        assert bool(jnp.all(jnp.isnan(times)))


TWO = np.array([0.2, 0.1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: clean_limit(np.array([-0.1, 0.2]), 7), r"a0=.*positive, or zero"),
        (lambda: clean_limit(np.zeros(2), 7), "a0: all entries are 0"),
        (lambda: clean_limit(np.zeros(2), 7, lag=2), "a0: all entries are 0"),
        (lambda: clean_limit(np.zeros(0), 7), r"a0=\[\]"),
        (lambda: clean_limit(np.float32(TWO), 7), "a0 has dtype float32"),
        (lambda: clean_limit(np.array([np.nan, 1.0]), 7), "a0=.*finite"),
        (lambda: clean_limit(np.array([1e-80, 0.0]), 7), "a0: the largest entry 1e-80"),
        (lambda: clean_limit(TWO, 3), "seq_len=3: must be >= 4"),
        (lambda: clean_limit(TWO, 7, lag=7), r"lag=7: must be in 1\.\.6"),
        (lambda: clean_limit(TWO, 7, lag=0), r"lag=0: must be in 1\.\.6"),
        (lambda: clean_limit(TWO[:1], 7, log_gap=-3.0), "log_gap=-3.0: a0 has 1 entries"),
        (lambda: clean_limit(TWO, 7, log_gap=math.nan), "log_gap=nan"),
        (lambda: clean_limit(TWO, 7, log_gap=math.inf), "log_gap=inf"),
        (lambda: clean_limit(TWO, 7, log_gap=1e3), "log_gap=1000.0: its exponential overflows"),
        (lambda: clean_path(np.array([2.0, 0.1]), 7, np.zeros(1)), "a0: S_6 = 64.*exceeds 1"),
        (lambda: clean_path(TWO, 7, np.array([-1.0])), "times=.*0 or greater"),
        (lambda: clean_path(np.array([-0.1, 0.2]), 7, np.zeros(1)), "a0=.*positive, or zero"),
        (lambda: escape_time(TWO, 7, 1.0), "level=1: must lie between 0 and 1"),
        (lambda: escape_time(TWO, 3), "seq_len=3: must be >= 4"),
        (lambda: escape_time_leading(np.zeros(2), 7), "a0: all entries are 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
