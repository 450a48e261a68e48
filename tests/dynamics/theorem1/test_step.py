"""One step of the Theorem 1 engine: powers, solves, a dense twin, and the measured order."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from dynamics.theorem1.tableau import transformed_tableau

from ssmbias.dynamics.theorem1 import rodas5p
from ssmbias.dynamics.theorem1.step import (
    field,
    integer_power,
    power_quotient,
    power_quotient_slope,
    trial_step,
)

EPS = float(np.finfo(np.float64).eps)
NUM_STAGES = rodas5p.NUM_STAGES
# -- powers and quotients ------------------------------------------------------------------


PAIRS = [
    (0.75, 0.5),
    (0.7, 0.7 - 3e-15),  # nearly tied: the quotient as written would lose most digits
    (0.3, 0.3),
    (0.0, 0.0),
    (0.5, 0.0),
    (0.0, -0.25),
    (0.6, -0.59),  # terms of both signs
    (-0.2, -0.9),
    (-0.7, -0.7),
    (1.3e-3, 1.2e-3),
]


def exact_quotient(x: float, y: float, p: int) -> tuple[Any, float]:
    """Σ x^m y^(p-1-m) in 60 digits and the sum of the terms' sizes."""
    with mpmath.workdps(60):
        if x == y:
            value = p * mpmath.mpf(x) ** (p - 1)
        else:
            value = (mpmath.mpf(x) ** p - mpmath.mpf(y) ** p) / (mpmath.mpf(x) - mpmath.mpf(y))
    return value, sum(abs(x) ** m * abs(y) ** (p - 1 - m) for m in range(p))


def exact_slope(x: float, y: float, p: int) -> tuple[Any, float]:
    """d/dx of the quotient in 60 digits and the sum of the sizes of its terms."""
    with mpmath.workdps(60):
        x_, y_ = mpmath.mpf(x), mpmath.mpf(y)
        if x == y:
            value = mpmath.mpf(p * (p - 1)) / 2 * x_ ** (p - 2)
        else:
            value = (p * x_ ** (p - 1) - (x_**p - y_**p) / (x_ - y_)) / (x_ - y_)
    return value, sum(m * abs(x) ** (m - 1) * abs(y) ** (p - 1 - m) for m in range(1, p))


@pytest.mark.parametrize("p", [2, 3, 5, 7, 21])
def test_quotient_and_slope_match_60_digits(p) -> None:
    x, y = (jnp.array(column) for column in zip(*PAIRS, strict=True))
    quotient, slope = power_quotient(x, y, p), power_quotient_slope(x, y, p)
    # Each of p terms passes p products and p sums, one rounding of eps/2 each: p eps of the terms'
    # sizes; one more for the factor m of the slope.
    for i, (x_i, y_i) in enumerate(PAIRS):
        value, size = exact_quotient(x_i, y_i, p)
        assert abs(float(quotient[i]) - value) <= p * EPS * size
        value, size = exact_slope(x_i, y_i, p)
        assert abs(float(slope[i]) - value) <= (p + 1) * EPS * size


def test_the_quotient_test_can_fail() -> None:
    x, y, p = *PAIRS[1], 5
    value, size = exact_quotient(x, y, p)
    assert abs((x**p - y**p) / (x - y) - value) > 1e3 * p * EPS * size  # as written: cancellation
    slope, size = exact_slope(*PAIRS[0], p)
    swapped = float(power_quotient_slope(jnp.array(PAIRS[0][1]), jnp.array(PAIRS[0][0]), p))
    assert abs(swapped - slope) > 1e3 * p * EPS * size  # derivative in y instead of in x


@pytest.mark.parametrize("exponent", [1, 2, 3, 5, 6, 8, 19])
def test_integer_power_is_right_for_any_sign(exponent) -> None:
    x = np.array([0.0, 1.0, -1.0, 0.9, -0.9, 1e-3, -3.0])
    # Repeated squaring: fewer than `exponent` products, an error of eps/2 each.
    np.testing.assert_allclose(
        integer_power(jnp.asarray(x), exponent), x**exponent, rtol=exponent * EPS, atol=0
    )


# -- linear solves -------------------------------------------------------------------------


def test_woodbury_solves_match_dense_ones() -> None:
    rng = np.random.default_rng(0)
    state_dim, num_lanes, alpha = 9, 6, 36.0
    # Lane by lane: mild, stiff by the first term, by the second, by both, indefinite, no poison.
    scales = np.array([1.0, 1e-2, 1.0, 1e-2, -0.3, 1.0])
    beta = np.array([0.5, 0.5, 1e4, 1e4, 0.7, 0.0])
    diagonal = scales[None] * rng.uniform(0.5, 2.0, (state_dim, num_lanes))
    p = rng.uniform(-1, 1, (state_dim, num_lanes))
    rhs = rng.normal(size=(state_dim, num_lanes))
    w = rodas5p.factorise(jnp.asarray(diagonal), jnp.asarray(p), alpha, jnp.asarray(beta))
    k, p_k, one_k = rodas5p.solve(w, jnp.asarray(rhs))
    for lane in range(num_lanes):
        matrix = np.diag(diagonal[:, lane]) + alpha * np.outer(p[:, lane], p[:, lane])
        matrix += beta[lane]
        exact = np.linalg.solve(matrix, rhs[:, lane])
        # Both solvers are off by rounding times the condition number; 16 is for the sums over
        # nine entries that each of them takes.
        tol = 16 * EPS * np.linalg.cond(matrix) * np.linalg.norm(exact)
        assert np.linalg.norm(k[:, lane] - exact) <= tol
        assert abs(float(p_k[lane]) - p[:, lane] @ exact) <= tol * np.linalg.norm(p[:, lane])
        assert abs(float(one_k[lane]) - exact.sum()) <= tol * math.sqrt(state_dim)
        # Control: the two weights exchanged.
        wrong = np.diag(diagonal[:, lane]) + beta[lane] * np.outer(p[:, lane], p[:, lane]) + alpha
        assert np.linalg.norm(k[:, lane] - np.linalg.solve(wrong, rhs[:, lane])) > 100 * tol


# -- the step against a dense twin ---------------------------------------------------------


def dense_velocity(state: jax.Array, strength: float, seq_len: int) -> jax.Array:
    """Right-hand side for (a, g), g the growth of log(a_1 - a_2), from the formulas as written."""
    a, p = state[:-1], seq_len - 2
    q = (seq_len - 1) * (1 - jnp.sum(a ** (seq_len - 1)))
    quotient = sum(a[0] ** m * a[1] ** (p - 1 - m) for m in range(p))
    return jnp.concatenate([q * a**p + strength * (1 - jnp.sum(a)), (q * quotient)[None]])


def dense_step(
    state: np.ndarray, h: float, strength: float, seq_len: int, *, drop_row: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Rodas5P with the full Jacobian of (a, g) by `jax.jacfwd`; returns new state and error."""
    a, c, m = transformed_tableau()
    velocity = functools.partial(dense_velocity, strength=strength, seq_len=seq_len)
    jacobian = np.array(jax.jacfwd(velocity)(jnp.asarray(state)))
    if drop_row:
        jacobian[-1] = 0.0
    w = np.eye(len(state)) / (h * rodas5p.GAMMA) - jacobian
    k = np.zeros((NUM_STAGES, len(state)))
    for i in range(NUM_STAGES):
        rhs = np.asarray(velocity(jnp.asarray(state + a[i] @ k))) + c[i] @ k / h
        k[i] = np.linalg.solve(w, rhs)
    return state + m @ k, k[-1]


LANES = [  # a, h, strength
    ([0.9, 0.7, 0.3, 0.1], 0.05, 0.0),
    ([0.9, 0.7, 0.3, 0.1], 0.1, 1.0),
    ([0.95, 0.6, -0.1, -0.2], 0.1, 1.0),
    ([0.8, 0.8, 0.0, -0.3], 0.02, 100.0),  # stiff, tied, with a zero
    ([1.1, 0.2, 0.1, 0.0], 0.02, 0.3),  # outside the unit circle: q < 0
]


@pytest.mark.parametrize("seq_len", [5, 9])
def test_the_step_is_that_of_a_dense_rodas5p(seq_len) -> None:
    a = jnp.asarray([lane[0] for lane in LANES]).T
    h, strength = (jnp.asarray([lane[i] for lane in LANES]) for i in (1, 2))
    growth = jnp.full(len(LANES), 0.25)
    step = jax.jit(trial_step, static_argnames="seq_len")(
        a, growth, field(a, strength, seq_len), h, strength, seq_len
    )
    got = np.concatenate([step.a, step.growth[None]]).T
    error = np.concatenate([step.a_error, step.growth_error[None]]).T
    for lane, (a0, h_, rho) in enumerate(LANES):
        state = np.array([*a0, 0.25])
        end, end_error = dense_step(state, h_, rho, seq_len)
        # The stage sums multiply increments by up to 168 and cancel: eps x 168 x 8 stages x the
        # increments' size (at most about one), times about three in each solve: 1e-12.
        tol = 1e-12
        np.testing.assert_allclose(got[lane], end, rtol=0, atol=tol, equal_nan=False)
        np.testing.assert_allclose(error[lane], end_error, rtol=0, atol=tol, equal_nan=False)
        # Control: without the row of g the growth is off by far more.
        wrong, _ = dense_step(state, h_, rho, seq_len, drop_row=True)
        assert abs(wrong[-1] - end[-1]) > 1e3 * tol


# -- measured order ------------------------------------------------------------------------

# A state of Theorem 1 in the middle of its transition, where the velocity is of order one.
SEQ_LEN, STRENGTH, DURATION = 7, 0.5, 0.4
START = np.array([0.8, 0.6, 0.3, 0.1])
FINE = 512


def one_step(a, growth, h):
    strength = jnp.array([STRENGTH])
    return trial_step(a, growth, field(a, strength, SEQ_LEN), h[None], strength, SEQ_LEN)


def state_after(*step_counts: int) -> list[np.ndarray]:
    """(a, g) after `DURATION` in equal steps, for each number of steps."""

    @jax.jit  # the number of steps is traced, so that one compilation serves all of them
    def run(num_steps):
        def body(_, state):
            out = one_step(state[0], state[1], DURATION / num_steps)
            return out.a, out.growth

        return jax.lax.fori_loop(0, num_steps, body, (jnp.asarray(START)[:, None], jnp.zeros(1)))

    runs = [run(jnp.int64(num)) for num in step_counts]
    return [np.array([*a[:, 0], growth[0]]) for a, growth in runs]


def fitted_order(sizes: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Slope of log error against log step size, one for each column."""
    return np.polyfit(np.log(sizes), np.log(np.abs(errors)), 1)[0]


STEP_COUNTS = (32, 64, 128)


def measured_order() -> np.ndarray:
    *coarse, fine = state_after(*STEP_COUNTS, FINE)
    return fitted_order(1 / np.array(STEP_COUNTS), np.stack(coarse) - fine)


def test_the_measured_order_is_five() -> None:
    # From 32 to 128 steps errors fall from 1e-7 to 1e-12, above rounding (4e-14), and the reference
    # is 4^5 = 1000 times finer than the finest: the fit sees the order, with a term of order six
    # that still shows (+0.3 at most).
    order = measured_order()
    assert np.all((order > 4.7) & (order < 5.5)), order


def test_a_coefficient_that_is_off_loses_the_order(monkeypatch) -> None:
    rows = [list(row) for row in rodas5p.COUPLINGS]
    rows[6][2] *= 1 + 1e-3
    monkeypatch.setattr(rodas5p, "COUPLINGS", tuple(map(tuple, rows)))
    assert np.max(measured_order()) < 3.5


def test_the_error_estimate_shrinks_like_the_fifth_power() -> None:
    sizes = DURATION / np.array([64, 128, 256])
    a, growth = jnp.asarray(START)[:, None], jnp.zeros(1)
    steps = [jax.jit(one_step)(a, growth, h) for h in jnp.asarray(sizes)]
    # What the controller looks at: the largest estimate among the entries and the log-gap.
    estimates = np.array([max(float(jnp.max(jnp.abs(x))) for x in step[2:]) for step in steps])
    # One step of an embedded method of order four: h^5, which is what the controller assumes.
    order = fitted_order(sizes, estimates)
    assert rodas5p.ERROR_ORDER - 0.3 < order < rodas5p.ERROR_ORDER + 0.5, order
    # The estimate is one of the real error: it bounds that of one step, which is of order six.
    two_halves = a, growth
    for _ in range(16):
        out = one_step(*two_halves, jnp.float64(sizes[0] / 16))
        two_halves = out.a, out.growth
    true_error = float(jnp.max(jnp.abs(steps[0].a - two_halves[0])))
    assert 0 < true_error < estimates[0]
