"""The lag Gram matrix: the loss as a quadratic form of responses."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from data.samples import a_problem

from ssmbias.data import (
    gram_loss,
    gram_omega,
    labels,
    lag_gram,
    theorem1_gram,
    theorem1_training_set,
)
from ssmbias.metrics import sample_loss
from ssmbias.models import (
    apply,
    impulse_response,
    paper_teacher,
    theorem1_student,
    theorem1_teacher,
)

EPS = np.finfo(np.float64).eps


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
