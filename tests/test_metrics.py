"""Metrics against mpmath, SciPy and hand computation."""

from __future__ import annotations

import inspect

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.stats

from ssmbias.data import TrainingSet, labels, theorem1_training_set
from ssmbias.metrics import (
    adjacent_gaps,
    effective_rank,
    generalization_error,
    impulse_error,
    sample_loss,
)
from ssmbias.models import DiagonalSSM, paper_teacher, theorem1_student, theorem1_teacher

EPS = np.finfo(np.float64).eps
raw = inspect.unwrap  # the guards, without the type checks of a test run in front of them


def exact_error(a, horizon):
    """max over lags 1..H-1 of |Σ a_j^l - 1| with 50 digits, divided by d."""
    with mpmath.workdps(50):
        powers = [abs(sum(mpmath.mpf(x) ** lag for x in a) - 1) for lag in range(1, horizon)]
        return float(max(powers) / len(a))


class TestGeneralizationError:
    """The error in the setting of Theorem 1."""

    def test_reference_rows(self, reference_rows):
        # The stored error was computed from the stored limit, in doubles: Σ a_j^l - 1 carries some
        # (d + l) units, of an error d e of at least 1e-2: 30 * 1.1e-16 / 1e-2 < 1e-12.
        for row in reference_rows:
            for which in ("clean", "poisoned"):
                a = row[f"{which}_limit"]
                got = float(generalization_error(a))
                np.testing.assert_allclose(got, exact_error(a, 20), rtol=1e-12)
                np.testing.assert_allclose(got, row[f"{which}_err"], rtol=1e-12)

    def test_control_other_horizon_or_normalisation_is_rejected(self, reference_rows):
        row = reference_rows[0]
        a, error = row["poisoned_limit"], row["poisoned_err"]
        assert abs(float(generalization_error(a, horizon=60)) / error - 1) > 1e-2
        assert abs(float(generalization_error(a, normalize=False)) / error - 1) > 1e-2

    def test_equals_impulse_error(self):
        rng = np.random.default_rng(0)
        for normalize in (True, False):
            a = rng.uniform(-1, 1, 10)
            by_definition = impulse_error(theorem1_student(a), theorem1_teacher(10), 20, normalize)
            got = generalization_error(a, 20, normalize)
            np.testing.assert_allclose(got, by_definition, rtol=64 * EPS)

    def test_zero_error_in_any_order(self):
        assert float(generalization_error(np.array([0.0, 1.0, 0.0]))) == 0.0

    @pytest.mark.parametrize("state_dim", [2, 3, 19, 20])
    def test_lag_0_matches_exactly(self, state_dim):
        # Through √(d-1)² it would be off by rounding (d = 3, 20 among others).
        a = jnp.linspace(0.0, 0.1, state_dim)
        assert float(generalization_error(a, horizon=1)) == 0.0

    def test_horizon_matters(self):
        a = jnp.array([0.99, 0.0])
        short, long = (float(generalization_error(a, h, normalize=False)) for h in (20, 5000))
        np.testing.assert_allclose(short, 1 - 0.99**19, rtol=1e-13)
        assert abs(long - 1) < 1e-12

    def test_entry_outside_the_unit_circle(self):
        a = np.array([1.02, -0.1, 0.05])
        np.testing.assert_allclose(generalization_error(a, 40), exact_error(a, 40), rtol=1e-12)

    def test_maps_under_jit(self):
        a = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (4, 6)))
        got = jax.jit(jax.vmap(generalization_error))(a)
        np.testing.assert_allclose(got, [exact_error(row, 20) for row in a.tolist()], rtol=1e-13)

    def test_gradient_is_finite(self):
        gradient = jax.jit(jax.grad(generalization_error))(jnp.array([0.9, 0.0, -0.1]))
        assert bool(jnp.all(jnp.isfinite(gradient)))
        assert bool(jnp.any(gradient != 0))

    def test_bad_input(self):
        with pytest.raises(ValueError, match="horizon=0: must be >= 1"):
            generalization_error(jnp.ones(3), horizon=0)
        with pytest.raises(ValueError, match=r"a has shape \(2, 3\).*vmap"):
            raw(generalization_error)(jnp.ones((2, 3)))
        with pytest.raises(ValueError, match="a has 1 entries"):
            generalization_error(jnp.ones(1))
        with pytest.raises(ValueError, match="a has dtype float32"):
            raw(generalization_error)(jnp.ones(3, jnp.float32))
        with pytest.raises(ValueError, match=r"a=.*finite"):
            generalization_error(np.array([1.0, np.nan]))


class TestImpulseError:
    """Any student, any teacher."""

    def test_by_hand(self):
        student = DiagonalSSM(jnp.array([0.5]), jnp.array([2.0]), jnp.array([1.0]))
        # (2, 1, 0.5) against (2, 1.79, 0.99² + 0.8²)
        error = 0.99**2 + 0.8**2 - 0.5
        teacher = paper_teacher(2)
        got = impulse_error(student, teacher, 3, normalize=False)
        np.testing.assert_allclose(got, error, rtol=8 * EPS)
        np.testing.assert_allclose(impulse_error(student, teacher, 3), error / 2, rtol=8 * EPS)

    def test_zero_for_the_teacher_itself(self):
        assert float(impulse_error(paper_teacher(4), paper_teacher(4), 40)) == 0.0

    def test_bad_horizon(self):
        with pytest.raises(ValueError, match="horizon=0"):
            impulse_error(paper_teacher(1), paper_teacher(1), 0)


class TestSampleLoss:
    """The weighted mean of squared residuals."""

    def test_by_hand(self):
        data = TrainingSet(jnp.array([[1.0, 0.0], [0.0, 2.0]]), jnp.array([1.0, 3.0]))
        student = theorem1_student(jnp.array([0.5]))  # outputs 0.5 and 2
        assert float(sample_loss(student, data, jnp.array([1.5, 1.0]))) == (1.0 + 3.0) / 4

    def test_zero_at_the_teacher(self):
        data = theorem1_training_set(7, 1.0)
        teacher = paper_teacher(3)
        assert float(sample_loss(teacher, data, labels(teacher, data.inputs))) == 0.0

    def test_bad_input(self):
        data = theorem1_training_set(7, 1.0)
        with pytest.raises(ValueError, match="targets has 3 entries for 2 sequences"):
            sample_loss(paper_teacher(1), data, jnp.ones(3))
        with pytest.raises(ValueError, match="1 entries for 2 sequences"):
            sample_loss(paper_teacher(1), data._replace(weights=jnp.ones(1)), jnp.ones(2))


class TestEffectiveRank:
    """exp(entropy(|a| / Σ|a|))."""

    def test_equals_scipy_entropy(self):
        a = np.random.default_rng(0).normal(size=12)
        a[[3, 7]] = 0.0
        expected = np.exp(scipy.stats.entropy(np.abs(a)))
        np.testing.assert_allclose(effective_rank(a), expected, rtol=32 * EPS)
        # Control: without magnitudes, or with squares, it is another number.
        assert abs(float(effective_rank(a**2)) / expected - 1) > 1e-2

    @pytest.mark.parametrize("count", [1, 2, 5])
    def test_counts_equal_entries(self, count):
        a = np.zeros(7)
        a[:count] = -0.25
        np.testing.assert_allclose(effective_rank(a), count, rtol=8 * EPS)

    def test_scale_does_not_matter(self):
        a = np.array([1.0, 0.5, 0.25])
        rank = float(effective_rank(a))
        for scale in (1e-200, 2.0**40):
            np.testing.assert_allclose(effective_rank(scale * a), rank, rtol=16 * EPS)

    def test_gradient_with_zeros(self):
        gradient = np.asarray(jax.grad(effective_rank)(jnp.array([0.5, 0.0, -0.25])))
        assert np.isfinite(gradient).all()
        assert gradient[1] == 0.0

        def by_hand(x):
            p = np.abs([x, -0.25]) / (abs(x) + 0.25)
            return np.exp(-np.sum(p * np.log(p)))

        # Central difference: truncation (1e-5)² and rounding 1e-16 / 1e-5, times a number near 1.
        slope = (by_hand(0.5 + 1e-5) - by_hand(0.5 - 1e-5)) / 2e-5
        np.testing.assert_allclose(gradient[0], slope, rtol=0, atol=1e-9)

    def test_zeros_alone(self):
        with pytest.raises(ValueError, match="at least one entry that is not 0"):
            effective_rank(jnp.zeros(3))
        assert np.isnan(jax.jit(effective_rank)(jnp.zeros(3)))


class TestAdjacentGaps:
    """Differences in descending order."""

    def test_by_hand(self):
        assert adjacent_gaps(np.array([-0.5, 1.0, 0.25])).tolist() == [0.75, 0.75]

    def test_near_tie_is_exact(self, reference_rows):
        for row in reference_rows:
            gaps = np.asarray(adjacent_gaps(row["a0"][::-1].copy()))
            assert np.array_equal(gaps, -np.diff(row["a0"]))
            assert (gaps >= 0).all()

    def test_maps_under_jit(self):
        got = jax.jit(jax.vmap(adjacent_gaps))(jnp.array([[1.0, 2.0], [5.0, 5.0]]))
        assert got.tolist() == [[1.0], [0.0]]

    def test_too_few(self):
        with pytest.raises(ValueError, match="a has 1 entries: a gap needs at least 2"):
            adjacent_gaps(jnp.ones(1))
