"""The Theorem 1 engine against 60-digit limits, SciPy, and the definitions of what it saves."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.integrate

from ssmbias.dynamics import Outcome, Theorem1Config, simulate_theorem1
from ssmbias.dynamics.theorem1 import lanes
from ssmbias.metrics import generalization_error

SEQ_LEN = 7
# In no particular order and with both signs. Four entries and six saved times are the shapes that
# most tests share, because each new shape compiles for two seconds.
START = np.array([0.06, 0.12, -0.02, 0.11])
TIMES = np.array([0.0, 0.5, 3.0, 3.0, 12.0, 1e6])  # the last one is beyond the end


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
