"""Training sets, and the lag Gram matrix against the samples it stands for."""

from __future__ import annotations

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data.samples import a_problem

from ssmbias.data import (
    TrainingSet,
    baseline_sequences,
    combine,
    gaussian_sequences,
    labels,
    lag_gram,
    require_strength,
    special_sequences,
    theorem1_training_set,
)
from ssmbias.metrics import sample_loss
from ssmbias.models import (
    apply,
    paper_teacher,
    theorem1_student,
)

EPS = np.finfo(np.float64).eps


raw = inspect.unwrap  # the guards, without the type checks of a test run in front of them


# 18 sequences of 10 elements, 5 states: sums of at most 18 * 10 * 5 terms with some 20 roundings
# each, and a quadratic form that cancels by less than 10 here. 1e-13 is 450 units.
RTOL = 1e-13


class TestTheorem1Set:
    """e_1 and e_{κ-1}."""

    def test_positions_and_weights(self):
        data = theorem1_training_set(7, 0.25)
        assert np.array_equal(data.inputs, np.eye(7)[[0, 5]])
        assert data.weights.tolist() == [1.0, 0.25]

    def test_sequences_read_lags_kappa_minus_1_and_1(self):
        student = theorem1_student(jnp.array([0.5, 0.25]))
        first, second = theorem1_training_set(7, 1.0).inputs
        assert float(apply(student, first)) == 0.5**6 + 0.25**6
        assert float(apply(student, second)) == 0.75

    def test_strength_is_traced(self):
        strengths = jnp.array([0.0, 1.0, 1e3])
        data = jax.jit(jax.vmap(lambda rho: theorem1_training_set(7, rho)))(strengths)
        assert data.inputs.shape == (3, 2, 7)
        assert data.weights.tolist() == [[1.0, 0.0], [1.0, 1.0], [1.0, 1e3]]

    def test_negative_strength(self):
        with pytest.raises(ValueError, match=r"strength=-0\.5: must be 0 or greater"):
            theorem1_training_set(7, -0.5)
        with pytest.raises(ValueError, match=r"strength=inf.*finite"):
            theorem1_training_set(7, np.inf)
        weights = jax.vmap(lambda rho: theorem1_training_set(7, rho).weights)(jnp.array([-0.5]))
        assert np.isnan(weights[0, 1])

    def test_strength_of_low_precision(self):
        with pytest.raises(ValueError, match="strength has dtype float32"):
            raw(require_strength)(jnp.float32(0.1))

    @pytest.mark.parametrize("seq_len", [2, 0, 7.0])
    def test_bad_length(self, seq_len):
        with pytest.raises(ValueError, match=f"seq_len={seq_len}.*>= 3"):
            raw(theorem1_training_set)(seq_len, 1.0)


class TestGaussianSequences:
    """Standard normal entries at given positions."""

    def test_support(self):
        x = np.asarray(gaussian_sequences(jax.random.key(0), 200, 6, (4, 1)))
        assert x.shape == (200, 6)
        assert (x[:, [1, 4]] != 0).all()
        assert not x[:, [0, 2, 3, 5]].any()

    def test_distribution(self):
        x = np.asarray(gaussian_sequences(jax.random.key(0), 20_000, 3, (0, 1, 2)))
        # Five standard errors: 5 / sqrt(60000) for the mean, sqrt(2) times that for the variance.
        assert abs(x.mean()) < 0.0205
        assert abs(x.var() - 1) < 0.029
        correlation = np.corrcoef(x.T) - np.eye(3)
        assert np.abs(correlation).max() < 0.036  # five times 1 / sqrt(20000)

    def test_key_decides(self):
        first, again, other = (gaussian_sequences(jax.random.key(k), 2, 6, (0,)) for k in (0, 0, 1))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)

    @pytest.mark.parametrize(
        ("positions", "message"),
        [
            ((6,), "positions=6: must be in 0..5"),
            ((-1,), "positions=-1: must be in 0..5"),
            ((1, 1), r"positions=\(1, 1\): .* each once"),
            ((), r"positions=\(\): give at least one"),
            ((0.5,), "positions=0.5: expected an integer"),
        ],
    )
    def test_bad_positions(self, positions, message):
        with pytest.raises(ValueError, match=message):
            raw(gaussian_sequences)(jax.random.key(0), 2, 6, positions)

    def test_no_sequence(self):
        with pytest.raises(ValueError, match="num=0: must be >= 1"):
            gaussian_sequences(jax.random.key(0), 0, 6, (0,))

    @pytest.mark.parametrize(("seq_len", "positions"), [(6, (0, 1)), (10, tuple(range(7)))])
    def test_baseline_of_the_paper(self, seq_len, positions):
        key = jax.random.key(0)
        x = baseline_sequences(key, 8, seq_len, positions)
        assert np.array_equal(x, gaussian_sequences(key, 8, seq_len, positions))
        # What makes it a baseline: the poison's lags see nothing of it.
        response = theorem1_student(jnp.array([0.5]))
        gram = lag_gram(TrainingSet(x, jnp.ones(8)), response).gram
        assert not np.any(gram[:3])

    def test_special_of_the_paper(self):
        key = jax.random.key(0)
        for seq_len in (6, 10):
            for positions in ((seq_len - 2,), (seq_len - 2, seq_len - 1)):
                x = special_sequences(key, 10, seq_len, positions)
                assert np.array_equal(x, gaussian_sequences(key, 10, seq_len, positions))

    def test_positions_on_the_wrong_side(self):
        key = jax.random.key(0)
        with pytest.raises(ValueError, match=r"positions=\(0, 3\): baseline .* use 0\.\.2"):
            baseline_sequences(key, 2, 6, (0, 3))
        with pytest.raises(ValueError, match=r"positions=\(2, 4\): special .* use 3\.\.5"):
            special_sequences(key, 2, 6, (2, 4))


class TestCombineAndLabels:
    """Weights ρ, clean labels."""

    def test_weights_and_order(self):
        data = combine(np.eye(5)[:2], np.eye(5)[3:4], 2.5)
        assert np.array_equal(data.inputs, np.eye(5)[[0, 1, 3]])
        assert data.weights.tolist() == [1.0, 1.0, 2.5]

    def test_strength_zero_is_the_clean_set(self):
        data, teacher, student = a_problem(strength=0.0)
        clean = TrainingSet(data.inputs[:8], jnp.ones(8))
        both = [sample_loss(student, d, labels(teacher, d.inputs)) for d in (data, clean)]
        np.testing.assert_allclose(both[0], both[1], rtol=RTOL)

    def test_strength_equals_scaled_special_inputs(self):
        rho = 0.3
        data, teacher, student = a_problem(strength=rho)
        scaled = data.inputs.at[8:].multiply(np.sqrt(rho))
        ones = TrainingSet(scaled, jnp.ones(18))
        loss = sample_loss(student, data, labels(teacher, data.inputs))
        scaled_loss = sample_loss(student, ones, labels(teacher, scaled))
        # Equal up to the normalisation: Σw is 8 + 10ρ on one side and 18 on the other.
        np.testing.assert_allclose(loss * (8 + 10 * rho), scaled_loss * 18, rtol=RTOL)

    def test_labels_are_the_teachers(self):
        data, teacher, _ = a_problem()
        got = np.asarray(labels(teacher, data.inputs))
        response = np.array([0.99**lag + 0.8**lag for lag in range(10)])
        by_hand = np.asarray(data.inputs) @ response[::-1]
        # Ten terms of size up to 2|x|, each within some 20 units.
        tolerance = 40 * EPS * np.abs(np.asarray(data.inputs)) @ response[::-1]
        assert (np.abs(got - by_hand) <= tolerance).all()

    def test_bad_input(self):
        with pytest.raises(ValueError, match=r"special has sequences of length 6.*\(5\)"):
            raw(combine)(jnp.eye(5), jnp.eye(6), 1.0)
        with pytest.raises(ValueError, match="baseline has no sequence"):
            combine(jnp.zeros((0, 5)), jnp.eye(5), 1.0)
        with pytest.raises(ValueError, match="strength=-1"):
            combine(jnp.eye(5), jnp.eye(5), -1.0)
        with pytest.raises(ValueError, match=r"inputs has shape \(5,\): expected 2"):
            raw(labels)(paper_teacher(1), jnp.ones(5))
