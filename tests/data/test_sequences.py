"""Training sets, and the lag Gram matrix against the samples it stands for."""

from __future__ import annotations

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssmbias.data import (
    TrainingSet,
    baseline_sequences,
    combine,
    gaussian_sequences,
    gram_loss,
    gram_omega,
    labels,
    lag_gram,
    require_strength,
    special_sequences,
    theorem1_gram,
    theorem1_training_set,
)
from ssmbias.metrics import sample_loss
from ssmbias.models import (
    DiagonalSSM,
    apply,
    impulse_response,
    paper_teacher,
    theorem1_student,
    theorem1_teacher,
)

EPS = np.finfo(np.float64).eps
raw = inspect.unwrap  # the guards, without the type checks of a test run in front of them


def a_problem(strength=0.3, seed=0):
    """Eight baseline and ten special sequences, a student of both signs with a zero."""
    key1, key2 = jax.random.split(jax.random.key(seed))
    data = combine(
        baseline_sequences(key1, 8, 10, range(7)),
        special_sequences(key2, 10, 10, (8, 9)),
        strength,
    )
    rng = np.random.default_rng(seed)
    a = rng.uniform(-0.9, 0.9, 5)
    a[2] = 0.0
    b, c = rng.normal(size=(2, 5))
    return data, paper_teacher(2), DiagonalSSM(jnp.asarray(a), jnp.asarray(b), jnp.asarray(c))


def loss_by_hand(student, teacher, data, *, lag_of_x=lambda kappa, k: kappa - k, weights=None):
    """The loss from its definition: loops, matrix powers, nothing of the library."""
    inputs = np.asarray(data.inputs)
    weights = np.asarray(data.weights if weights is None else weights)
    kappa = inputs.shape[1]

    def output(model, x):
        a, b, c = (np.asarray(leaf) for leaf in model)
        power = np.linalg.matrix_power
        return sum(
            c @ power(np.diag(a), lag_of_x(kappa, k)) @ b * x[k - 1] for k in range(1, kappa + 1)
        )

    squares = [(output(teacher, x) - output(student, x)) ** 2 for x in inputs]
    return float(np.dot(weights, squares) / weights.sum())


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


class TestLagGram:
    """I6: L = (h*-h)^T G (h*-h), ω = 2 G (h*-h)."""

    def test_loss_equals_the_samples(self):
        data, teacher, student = a_problem()
        by_gram = float(gram_loss(impulse_response(student, 10), lag_gram(data, teacher)))
        by_sample = float(sample_loss(student, data, labels(teacher, data.inputs)))
        by_hand = loss_by_hand(student, teacher, data)
        np.testing.assert_allclose([by_gram, by_sample], by_hand, rtol=RTOL)

    def test_gradient_equals_the_samples(self):
        data, teacher, student = a_problem()
        statistics = lag_gram(data, teacher)
        targets = labels(teacher, data.inputs)
        by_gram = jax.grad(lambda m: gram_loss(impulse_response(m, 10), statistics))(student)
        by_sample = jax.grad(lambda m: sample_loss(m, data, targets))(student)
        for leaf, other in zip(by_gram, by_sample, strict=True):
            np.testing.assert_allclose(leaf, other, rtol=0, atol=RTOL * np.abs(other).max())

    def test_omega_drives_the_flow(self):
        # Proposition 1: -dL/da_j = b_j c_j g'(a_j), -dL/db_j = c_j g(a_j), g(z) = Σ ω_l z^l.
        data, teacher, student = a_problem()
        omega = gram_omega(impulse_response(student, 10), lag_gram(data, teacher))
        targets = labels(teacher, data.inputs)
        gradient = jax.grad(lambda m: sample_loss(m, data, targets))(student)
        g = np.polynomial.Polynomial(np.asarray(omega))
        a, b, c = (np.asarray(leaf) for leaf in student)
        for flow, minus in (
            (b * c * g.deriv()(a), gradient.a),
            (c * g(a), gradient.b),
            (b * g(a), gradient.c),
        ):
            np.testing.assert_allclose(flow, -minus, rtol=0, atol=RTOL * np.abs(minus).max())

    def test_omega_is_the_sum_over_samples(self):
        data, teacher, student = a_problem()
        omega = np.asarray(gram_omega(impulse_response(student, 10), lag_gram(data, teacher)))
        x, w = np.asarray(data.inputs), np.asarray(data.weights)
        delta = np.asarray(
            labels(teacher, data.inputs) - jax.vmap(lambda s: apply(student, s))(data.inputs)
        )
        by_hand = [2 * np.sum(w * delta * x[:, 10 - lag - 1]) / w.sum() for lag in range(10)]
        np.testing.assert_allclose(omega, by_hand, rtol=0, atol=RTOL * np.abs(by_hand).max())

    def test_omega_is_minus_the_gradient_in_the_response(self):
        data, teacher, student = a_problem()
        statistics = lag_gram(data, teacher)
        h = impulse_response(student, 10)
        gradient = np.asarray(jax.grad(gram_loss)(h, statistics))
        tolerance = RTOL * np.abs(gradient).max()
        np.testing.assert_allclose(gram_omega(h, statistics), -gradient, rtol=0, atol=tolerance)

    def test_control_wrong_lag_convention_is_rejected(self):
        data, teacher, student = a_problem()
        right = float(gram_loss(impulse_response(student, 10), lag_gram(data, teacher)))
        wrong = loss_by_hand(student, teacher, data, lag_of_x=lambda kappa, k: k - 1)
        assert abs(right - wrong) > 1e-2 * wrong

    def test_control_forgotten_weights_are_rejected(self):
        data, teacher, student = a_problem()
        right = float(gram_loss(impulse_response(student, 10), lag_gram(data, teacher)))
        wrong = loss_by_hand(student, teacher, data, weights=np.ones(18))
        assert abs(right - wrong) > 1e-2 * wrong

    def test_poison_fills_the_row_of_lag_1(self):
        clean, poisoned = (lag_gram(a_problem(rho)[0], paper_teacher(2)).gram for rho in (0, 1))
        assert not np.any(clean[:3])
        assert float(poisoned[1, 1]) > 0.1

    @pytest.mark.parametrize("strength", [0.0, 1e-3, 1.0, 1e3])
    @pytest.mark.parametrize(("state_dim", "seq_len"), [(10, 7), (20, 9)])
    def test_theorem1_equals_its_samples(self, state_dim, seq_len, strength):
        direct = theorem1_gram(state_dim, seq_len, strength)
        sampled = lag_gram(theorem1_training_set(seq_len, strength), theorem1_teacher(state_dim))
        # One division against two roundings; h*_0 = (√(d-1))² + 1 against d.
        np.testing.assert_allclose(direct.gram, sampled.gram, rtol=4 * EPS)
        np.testing.assert_allclose(direct.response, sampled.response, rtol=4 * EPS)

    def test_theorem1_flow(self):
        # THEORY 3, poisoned: da_j/dt = (κ-1)(1 - S_{κ-1}) a_j^{κ-2} + (1 - S_1).
        a = np.array([0.8, 0.3, 0.0, -0.2])
        statistics = theorem1_gram(4, 7, 1.0)

        def loss(a):
            return gram_loss(impulse_response(theorem1_student(a), 7), statistics)

        s1, s6 = a.sum(), (a**6).sum()
        right = 6 * (1 - s6) * a**5 + (1 - s1)
        got = -np.asarray(jax.grad(loss)(jnp.asarray(a)))
        np.testing.assert_allclose(got, right, rtol=0, atol=32 * EPS * np.abs(right).max())
        # Control: the clean flow is something else.
        assert np.abs(got - 12 * (1 - s6) * a**5).max() > 1e-2

    def test_loss_is_followed_far_below_the_rounding_of_outputs(self):
        teacher = theorem1_teacher(3)
        data = lag_gram(theorem1_training_set(7, 1.0), teacher)
        a = np.array([1.0, 3e-16, 0.0])
        # e_1 = -3e-16 at lag 1 (the response there is 1 + 2 * 2^-53 exactly), the other lag is met.
        loss = float(gram_loss(impulse_response(theorem1_student(a), 7), data))
        assert loss == (2.0**-52) ** 2 / 2

    def test_strength_is_traced_and_differentiable(self):
        def loss(rho):
            h = impulse_response(theorem1_student(jnp.array([0.5, 0.25])), 7)
            return gram_loss(h, theorem1_gram(2, 7, rho))

        e1, e6 = (1 - 0.75) ** 2, (1 - 0.5**6 - 0.25**6) ** 2
        value, slope = jax.vmap(jax.value_and_grad(loss))(jnp.array([0.0, 1.0]))
        np.testing.assert_allclose(value, [e6, (e6 + e1) / 2], rtol=8 * EPS)
        # d/dρ (e6 + ρ e1) / (1 + ρ) = (e1 - e6) / (1 + ρ)²
        np.testing.assert_allclose(slope, [e1 - e6, (e1 - e6) / 4], rtol=16 * EPS)

    def test_bad_input(self):
        data, teacher, student = a_problem()
        with pytest.raises(ValueError, match="response has 7 lags and the data 10"):
            gram_loss(impulse_response(student, 7), lag_gram(data, teacher))
        with pytest.raises(ValueError, match="17 entries for 18 sequences"):
            lag_gram(data._replace(weights=data.weights[1:]), teacher)
        with pytest.raises(ValueError, match="weights: all are 0"):
            lag_gram(data._replace(weights=jnp.zeros(18)), teacher)
        with pytest.raises(ValueError, match=r"weights=.*must be 0 or greater"):
            lag_gram(data._replace(weights=-data.weights), teacher)
        with pytest.raises(ValueError, match="seq_len=2: must be >= 3"):
            theorem1_gram(10, 2, 1.0)
        with pytest.raises(ValueError, match="state_dim=1: must be >= 2"):
            theorem1_gram(1, 7, 1.0)
        with pytest.raises(ValueError, match="strength=-1"):
            theorem1_gram(10, 7, -1.0)
