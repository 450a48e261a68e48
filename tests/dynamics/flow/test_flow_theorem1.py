"""The general flow in the setting of Theorem 1, beside the fast engine; maps and gradients."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dynamics.flow.flow_cases import log_gaps_of, quick

from ssmbias.data import (
    theorem1_gram,
)
from ssmbias.dynamics import (
    FlowResult,
    Outcome,
    Theorem1Config,
    gradient_flow,
    simulate_theorem1,
)
from ssmbias.models import theorem1_student
from ssmbias.theory import clean_limit, tied_limit

EPS = float(np.finfo(np.float64).eps)


gap_flow = quick(lambda a0, data, gaps: gradient_flow(theorem1_student(a0), data, log_gaps=gaps))


def flow(a0: np.ndarray, seq_len: int, strength: float, log_gap: float | None = None) -> FlowResult:
    data = theorem1_gram(a0.shape[0], seq_len, strength)
    return gap_flow(a0, data, log_gaps_of(a0, log_gap))


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
