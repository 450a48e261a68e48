"""Models against dense matrices, starts against the published ones bit for bit."""

from __future__ import annotations

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssmbias.models import (
    METHODS,
    DiagonalSSM,
    apply,
    impulse_response,
    paper_teacher,
    theorem1_student,
    theorem1_teacher,
)

EPS = np.finfo(np.float64).eps


def raw(function):
    """The function without the run-time type checks that test runs may put around it.

    Users have no such checks: for them the guards inside speak, and these are tested here.
    """
    return inspect.unwrap(function)


def a_model(num_states: int = 6, seed: int = 0) -> DiagonalSSM:
    """Both signs, an exact zero, and an entry a little outside the unit circle."""
    rng = np.random.default_rng(seed)
    a = rng.uniform(-1, 1, num_states)
    a[1], a[2] = 0.0, 1.01
    b, c = rng.normal(size=(2, num_states))
    return DiagonalSSM(jnp.asarray(a), jnp.asarray(b), jnp.asarray(c))


def dense_response(model: DiagonalSSM, num_lags: int) -> np.ndarray:
    """C A^l B with dense matrix powers."""
    a, b, c = (np.asarray(x) for x in model)
    return np.array([c @ np.linalg.matrix_power(np.diag(a), lag) @ b for lag in range(num_lags)])


def dense_output(model: DiagonalSSM, inputs: np.ndarray) -> float:
    """The recurrence with a dense transition matrix."""
    a, b, c = (np.asarray(x) for x in model)
    state = np.zeros_like(a)
    for x in inputs:
        state = np.diag(a) @ state + b * x
    return float(c @ state)


def response_tolerance(model: DiagonalSSM, num_lags: int) -> np.ndarray:
    """Rounding bound per lag: l products and d + 2 sums and factors, both sides, a unit each."""
    a, b, c = (np.abs(np.asarray(x)) for x in model)
    lags = np.arange(num_lags)
    size = (a[None, :] ** lags[:, None]) @ (b * c)
    return 2 * (lags + a.size + 2) * EPS * size


class TestImpulseResponse:
    """h_l = C A^l B."""

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("num_lags", [1, 2, 7, 40])
    def test_equals_matrix_powers(self, method, num_lags):
        model = a_model()
        got = np.asarray(impulse_response(model, num_lags, method))
        assert got.shape == (num_lags,)
        difference = np.abs(got - dense_response(model, num_lags))
        assert (difference <= response_tolerance(model, num_lags)).all()

    @pytest.mark.parametrize("method", METHODS)
    def test_control_one_lag_off_is_rejected(self, method):
        model = a_model()
        got = np.asarray(impulse_response(model, 8, method))
        wrong = dense_response(model, 9)[1:]
        assert (np.abs(got - wrong) > 1e6 * response_tolerance(model, 8)).all()

    @pytest.mark.parametrize("method", METHODS)
    def test_gradient_at_zero_and_negative_entries(self, method):
        model = a_model()
        num_lags = 9
        jacobian = jax.jacobian(lambda a: impulse_response(model._replace(a=a), num_lags, method))
        got = np.asarray(jax.jit(jacobian)(model.a))
        a, b, c = (np.asarray(x) for x in model)
        lags = np.arange(num_lags)[:, None]
        # d h_l / d a_j = l c_j b_j a_j^(l-1), with 0^0 = 1; lag 0 has none.
        below = a[None, :] ** np.maximum(lags - 1, 0)
        # Some l + 2 roundings in each of l product-rule terms, and as many again here.
        tolerance = 2 * (num_lags + 2) * EPS * lags * np.abs((b * c)[None, :] * below)
        assert (np.abs(got - lags * (b * c)[None, :] * below) <= tolerance).all()
        # Control: the entry at 0 does have a gradient, at lag 1 and there only.
        assert np.flatnonzero(got[:, 1]).tolist() == [1]

    @pytest.mark.parametrize("method", METHODS)
    def test_second_derivative_at_zero(self, method):
        model = theorem1_student(jnp.zeros(2))

        def total(a):
            return jnp.sum(impulse_response(model._replace(a=a), 6, method))

        # sum_l a^l has second derivative 2 at 0 (from lag 2), and no mixed one.
        assert np.array_equal(np.asarray(jax.jit(jax.hessian(total))(model.a)), 2 * np.eye(2))

    def test_gradient_with_respect_to_a_model_is_a_model(self):
        model = a_model()
        gradient = jax.grad(lambda m: impulse_response(m, 4)[0])(model)
        assert isinstance(gradient, DiagonalSSM)
        assert np.array_equal(gradient.b, model.c)
        assert np.array_equal(gradient.c, model.b)
        assert not np.any(gradient.a)

    def test_maps_over_models_under_jit(self):
        models = [a_model(seed=seed) for seed in range(3)]
        batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *models)
        got = jax.jit(jax.vmap(lambda m: impulse_response(m, 12)))(batch)
        for model, row in zip(models, np.asarray(got), strict=True):
            difference = np.abs(row - dense_response(model, 12))
            assert (difference <= response_tolerance(model, 12)).all()

    def test_theorem1_student_has_power_sums(self):
        a = np.array([0.5, -0.25, 0.0])
        got = np.asarray(impulse_response(theorem1_student(a), 5))
        assert got.tolist() == [3.0, 0.25, 0.3125, 0.109375, 0.06640625]


class TestApply:
    """y = C s_κ."""

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("seq_len", [1, 2, 7])
    def test_equals_dense_recurrence(self, method, seq_len):
        model = a_model()
        inputs = np.random.default_rng(1).normal(size=seq_len)
        got = float(apply(model, inputs, method))
        tolerance = np.sum(response_tolerance(model, seq_len)[::-1] * np.abs(inputs))
        # seq_len more sums on either side, of terms that the same sum bounds.
        assert abs(got - dense_output(model, inputs)) <= 2 * seq_len * tolerance

    @pytest.mark.parametrize("method", METHODS)
    def test_control_wrong_lag_convention_is_rejected(self, method):
        # x_k at lag k-1 instead of κ-k is the output of the reversed sequence.
        model = a_model()
        inputs = np.random.default_rng(1).normal(size=7)
        assert abs(float(apply(model, inputs, method)) - dense_output(model, inputs[::-1])) > 1e-2

    @pytest.mark.parametrize("method", METHODS)
    def test_one_hot_reads_one_lag(self, method):
        model = a_model()
        response = dense_response(model, 7)
        outputs = jax.jit(jax.vmap(lambda x: apply(model, x, method)))(jnp.eye(7))
        assert (np.abs(outputs - response[::-1]) <= response_tolerance(model, 7)[::-1]).all()

    @pytest.mark.parametrize("method", METHODS)
    def test_gradient_is_finite_at_zero(self, method):
        model = theorem1_student(jnp.array([0.0, -0.5]))
        gradient = jax.jit(jax.grad(lambda m: apply(m, jnp.ones(5), method)))(model)
        assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in gradient)
        assert float(gradient.a[0]) == 1.0  # lag 1 alone


class TestBadModels:
    """What is wrong is named."""

    def test_lengths_differ(self):
        model = DiagonalSSM(jnp.ones(3), jnp.ones(2), jnp.ones(3))
        with pytest.raises(ValueError, match="lengths 3, 2, 3"):
            impulse_response(model, 4)

    def test_single_precision(self):
        model = DiagonalSSM(jnp.ones(2, jnp.float32), jnp.ones(2), jnp.ones(2))
        with pytest.raises(ValueError, match=r"model\.a has dtype float32: pass float64"):
            impulse_response(model, 4)

    def test_batched_model(self):
        with pytest.raises(ValueError, match=r"model\.b has shape \(2, 3\).*vmap"):
            apply(DiagonalSSM(jnp.ones(3), jnp.ones((2, 3)), jnp.ones(3)), jnp.ones(4))

    def test_not_finite(self):
        with pytest.raises(ValueError, match=r"model\.c=.*finite"):
            apply(DiagonalSSM(jnp.ones(1), jnp.ones(1), jnp.array([np.nan])), jnp.ones(4))

    def test_no_state(self):
        with pytest.raises(ValueError, match="at least one state"):
            impulse_response(DiagonalSSM(jnp.ones(0), jnp.ones(0), jnp.ones(0)), 4)

    @pytest.mark.parametrize("num_lags", [0, -1, 2.0, True])
    def test_number_of_lags(self, num_lags):
        with pytest.raises(ValueError, match=f"num_lags={num_lags}.*>= 1"):
            raw(impulse_response)(a_model(), num_lags)

    @pytest.mark.parametrize("function", [impulse_response, apply])
    def test_unknown_method(self, function):
        argument = 4 if function is impulse_response else jnp.ones(4)
        with pytest.raises(ValueError, match="method='fft': choose one of lags, recurrence, scan"):
            function(a_model(), argument, "fft")

    def test_sequences(self):
        with pytest.raises(ValueError, match=r"inputs=\[\]"):
            apply(a_model(), jnp.ones(0))
        with pytest.raises(ValueError, match=r"inputs has shape \(2, 4\).*vmap"):
            raw(apply)(a_model(), jnp.ones((2, 4)))

    def test_student(self):
        with pytest.raises(ValueError, match=r"a has shape \(2, 4\)"):
            raw(theorem1_student)(jnp.ones((2, 4)))
        with pytest.raises(ValueError, match="a='one': expected real numbers"):
            raw(theorem1_student)("one")


class TestTeachers:
    """Theorem 1's teacher and those of the experiments."""

    @pytest.mark.parametrize("state_dim", [2, 10, 20])
    def test_theorem1(self, state_dim):
        teacher = theorem1_teacher(state_dim)
        assert teacher.a.tolist() == [1.0, 0.0]
        response = dense_response(teacher, 30)
        assert abs(response[0] - state_dim) <= 4 * EPS * state_dim  # two roundings of a root
        assert (response[1:] == 1.0).all()

    @pytest.mark.parametrize("dim", [1, 2, 3, 4])
    def test_paper(self, dim):
        teacher = paper_teacher(dim)
        diagonals = {1: [1.0], 2: [0.99, 0.8], 3: [0.99, 0.8, 0.5], 4: [0.99, 0.8, 0.5, 0.3]}
        assert teacher.a.tolist() == diagonals[dim]
        assert teacher.b.tolist() == teacher.c.tolist() == [1.0] * dim

    def test_bad_dimensions(self):
        with pytest.raises(ValueError, match=r"dim=5: must be in 1\.\.4"):
            paper_teacher(5)
        with pytest.raises(ValueError, match="state_dim=1: must be >= 2"):
            theorem1_teacher(1)
