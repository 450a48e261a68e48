"""M6: the tangent kernel against Jacobians of outputs, and its rate against SciPy's flow."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from ssmbias.data import LagGram, TrainingSet, lag_gram, theorem1_gram, theorem1_training_set
from ssmbias.models import (
    DiagonalSSM,
    apply,
    impulse_response,
    theorem1_student,
    theorem1_teacher,
)
from ssmbias.theory import clean_limit, local_rate, response_jacobian, tangent_kernel

ALL = ("a", "b", "c")
SUBSETS = [ALL, ("a",), ("b", "c"), ("c", "a")]


def random_problem(seed: int, num: int = 4, seq_len: int = 6, dim: int = 3):
    rng = np.random.default_rng(seed)
    model = DiagonalSSM(*jnp.asarray(rng.normal(size=(3, dim))))
    inputs = jnp.asarray(rng.normal(size=(num, seq_len)))
    return model, TrainingSet(inputs, jnp.asarray(rng.uniform(0.1, 2.0, num)))


def brute_force_kernel(model, training_set, trainable):
    """From the outputs of the recurrence, differentiated forwards, one sample at a time."""

    def outputs(leaves):
        student = model._replace(**leaves)
        return jnp.stack([apply(student, x, method="recurrence") for x in training_set.inputs])

    jacobian = jax.jacfwd(outputs)({name: getattr(model, name) for name in trainable})
    gradients = np.concatenate([np.asarray(jacobian[name]) for name in trainable], axis=1)
    weights = np.asarray(training_set.weights)
    root = np.sqrt(weights / weights.sum())
    return 2.0 * root[:, None] * (gradients @ gradients.T) * root


@pytest.mark.parametrize("trainable", SUBSETS)
@pytest.mark.slow
def test_kernel_against_jacobians_of_outputs(trainable):
    model, training_set = random_problem(0)
    expected = brute_force_kernel(model, training_set, trainable)
    found = tangent_kernel(model, training_set, trainable)
    np.testing.assert_allclose(found, expected, atol=1e-14 * np.abs(expected).max())


def test_equal_weights_give_the_paper_factor():
    model, training_set = random_problem(1)
    equal = training_set._replace(weights=jnp.ones(4))
    gradients = jax.vmap(jax.grad(apply), in_axes=(None, 0))(model, equal.inputs)
    flat = np.concatenate(gradients, axis=1)
    found = tangent_kernel(model, equal)
    np.testing.assert_allclose(found, 2 / 4 * flat @ flat.T, rtol=1e-12)


def test_kernel_moves_the_residuals():
    """d/dt of the weighted residuals along gradient flow is -K r, at any point."""
    model, training_set = random_problem(2)
    targets = jnp.arange(4.0)
    root = jnp.sqrt(training_set.weights / jnp.sum(training_set.weights))

    def residuals(m):
        return root * (targets - jax.vmap(lambda x: apply(m, x))(training_set.inputs))

    downhill = jax.tree.map(jnp.negative, jax.grad(lambda m: jnp.sum(residuals(m) ** 2))(model))
    value, rate = jax.jvp(residuals, (model,), (downhill,))
    kernel = tangent_kernel(model, training_set)
    scale = float(jnp.max(jnp.abs(rate)))
    np.testing.assert_allclose(rate, -kernel @ value, atol=1e-13 * scale)


@pytest.mark.parametrize("trainable", SUBSETS)
@pytest.mark.slow
def test_samples_and_lags_have_the_same_eigenvalues(trainable):
    for num in (2, 4, 9):
        model, training_set = random_problem(num, num=num, dim=4)
        by_sample = local_rate(model, training_set, trainable)
        by_lag = local_rate(model, lag_gram(training_set, theorem1_teacher(4)), trainable)
        rank = int(by_sample.rank)
        # Columns of b_j and c_j are parallel: a state has two directions at most.
        directions = 4 * (("a" in trainable) + ("c" in trainable))
        assert rank == int(by_lag.rank) == min(num, 6, directions)
        assert int(by_sample.data_rank) == int(by_lag.data_rank) == min(num, 6)
        # G^{1/2} knows small eigenvalues to eps of the largest: the tolerance is absolute.
        largest = float(by_lag.eigenvalues[0])
        np.testing.assert_allclose(
            by_sample.eigenvalues[:rank], by_lag.eigenvalues[:rank], atol=1e-12 * largest
        )
        np.testing.assert_allclose(by_sample.rate, by_lag.rate, atol=1e-12 * largest)
        kernel = np.linalg.eigvalsh(tangent_kernel(model, training_set, trainable))[::-1]
        np.testing.assert_allclose(
            by_sample.eigenvalues[:rank], kernel[:rank], atol=1e-13 * largest
        )


class TestRank:
    def test_repeated_sequences_leave_zero_eigenvalues_that_do_not_count(self):
        model, training_set = random_problem(3)
        twice = TrainingSet(
            jnp.concatenate([training_set.inputs] * 3), jnp.concatenate([training_set.weights] * 3)
        )
        once, found = local_rate(model, training_set), local_rate(model, twice)
        assert int(found.rank) == int(found.data_rank) == 4
        assert bool(found.is_complete)
        assert found.eigenvalues.shape == (9,)
        assert float(found.eigenvalues[4]) == 0.0
        np.testing.assert_allclose(found.rate, once.rate, rtol=1e-9)

    def test_an_eigenvalue_far_below_eps_is_found(self):
        """λ of 1e-24 times the largest one: eigenvalues of K itself are lost at 1e-16."""
        model, training_set = random_problem(4, num=2)
        faint = training_set._replace(weights=jnp.array([1.0, 1e-24]))
        found = local_rate(model, faint)
        assert int(found.rank) == int(found.data_rank) == 2
        ratio = found.eigenvalues[1] / found.eigenvalues[0]
        assert 1e-26 < float(ratio) < 1e-22
        # At 1e-34 the second sequence is rounding, and says so.
        gone = local_rate(model, training_set._replace(weights=jnp.array([1.0, 1e-34])))
        assert int(gone.rank) == int(gone.data_rank) == 1

    def test_a_degenerate_limit_is_told(self):
        """Equal entries move alike: two lags, one direction."""
        tied = theorem1_student(jnp.array([0.5, 0.5]))
        data = theorem1_gram(2, 7, 1.0)
        assert not bool(local_rate(tied, data, ("a",)).is_complete)
        apart = theorem1_student(jnp.array([0.5, 0.4]))
        assert bool(local_rate(apart, data, ("a",)).is_complete)

    def test_no_direction_at_all(self):
        nothing = local_rate(DiagonalSSM(*jnp.zeros((3, 2))), theorem1_gram(2, 7, 0.0))
        assert int(nothing.rank) == 0
        assert np.isnan(nothing.rate)
        assert not bool(nothing.is_complete)

    def test_maps_and_compiles(self):
        model, training_set = random_problem(5)
        models = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), model)
        found = jax.jit(jax.vmap(lambda m: local_rate(m, training_set)))(models)
        np.testing.assert_allclose(found.rate[0], local_rate(model, training_set).rate, rtol=1e-9)
        assert found.is_complete.tolist() == [True, True]


def test_clean_limit_in_closed_form():
    """2 (κ-1)² S_{2p}: the rate that the clock of the clean path has at its end (M1)."""
    limit = clean_limit(jnp.array([0.3, 0.2, 0.1]), 7)
    for data in (theorem1_gram(3, 7, 0.0), theorem1_training_set(7, 0.0)):
        found = local_rate(theorem1_student(limit), data, ("a",))
        np.testing.assert_allclose(found.rate, 72.0 * jnp.sum(limit**10), rtol=1e-13)


@pytest.mark.parametrize("trainable", [("a",), ALL])
def test_loss_decays_at_twice_the_rate(trainable):
    """SciPy from near a solution with two kernel directions; the other rate does not fit."""
    rng = np.random.default_rng(8)
    solution = DiagonalSSM(*jnp.asarray(rng.uniform(0.3, 1.0, (3, 2))))
    gram = np.zeros((5, 5))
    gram[1, 1], gram[3, 3], gram[1, 3], gram[3, 1] = 1.0, 0.7, 0.2, 0.2
    response = np.asarray(impulse_response(solution, 5))
    data = LagGram(jnp.asarray(gram), jnp.asarray(response))
    found = local_rate(solution, data, trainable)
    assert bool(found.is_complete)
    rate, second = float(found.rate), float(found.eigenvalues[0])
    moves = np.repeat([name in trainable for name in ALL], 2)
    lag = np.arange(5)[:, None]

    def loss_and_velocity(y):
        a, b, c = y.reshape(3, -1)
        error = response - np.sum(b * c * a**lag, axis=1)
        omega = 2.0 * gram @ error
        slope = omega[1:] @ (lag[1:] * a ** (lag[1:] - 1))
        value = omega @ a**lag
        return error @ gram @ error, np.concatenate([b * c * slope, c * value, b * value]) * moves

    start = np.concatenate(solution) + 1e-3 * moves * rng.normal(size=6)
    times = np.array([0.0, 8.0, 10.0]) / rate
    run = solve_ivp(
        lambda _, y: loss_and_velocity(y)[1],
        (0, times[-1]),
        start,
        "Radau",
        t_eval=times,
        rtol=1e-10,
        atol=1e-13,
    )
    # Where all leaves are trained the flow ends beside the solution that it started from.
    end = DiagonalSSM(*jnp.asarray(run.y[:, -1].reshape(3, -1)))
    rate = float(local_rate(end, data, trainable).rate)
    losses = [loss_and_velocity(y)[0] for y in run.y.T]
    slope = -np.diff(np.log(losses))[-1] / (times[2] - times[1])
    # Residuals of 1e-3 e^-8 = 3e-7 bend the slope by as much, times a constant of order 10, and
    # the second mode adds e^{-16 (λ_2/λ - 1)}, which is less.
    assert second > 3.0 * rate
    np.testing.assert_allclose(slope, 2.0 * rate, rtol=1e-4)
    assert abs(slope / (2.0 * second) - 1.0) > 0.1


def test_jacobian_of_the_response():
    model, _ = random_problem(6)
    a, b, c = (np.asarray(x) for x in model)
    found = np.asarray(response_jacobian(model, 5))
    for lag in range(5):
        by_a = lag * c * b * a ** max(lag - 1, 0)
        np.testing.assert_allclose(
            found[lag], np.concatenate([by_a, c * a**lag, b * a**lag]), rtol=1e-13
        )


@pytest.mark.parametrize("trainable", [(), ("a", "a"), ("d",)])
def test_refuses_unknown_leaves(trainable):
    with pytest.raises(ValueError, match="name some of 'a', 'b', 'c'"):
        local_rate(theorem1_student(jnp.array([0.5])), theorem1_gram(2, 5, 0.0), trainable)
