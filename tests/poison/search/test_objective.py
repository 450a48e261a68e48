"""The objective of gradient matching against direct computations in NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from poison_matching import (
    LENGTH,
    PARAMS,
    POISONS,
    TARGETS,
    logistic,
    make,
    numpy_gradient,
    numpy_objective,
    numpy_slope,
    objective_of,
)

from ssmbias.poison.batch import Batch
from ssmbias.poison.search.objective import (
    matching_objective,
    mean_gradient,
    per_example_gradients,
)


def test_objective_is_one_minus_the_cosine() -> None:
    for seed in range(3):
        params, poisons, targets = make(seed)
        expected = numpy_objective(params, *poisons, targets)
        # A few dozen operations on numbers of order one.
        np.testing.assert_allclose(
            objective_of(logistic, params, poisons, targets), expected, rtol=0, atol=1e-13
        )
        other = -targets.labels
        found = objective_of(logistic, params, poisons, targets, other)
        expected_targeted = numpy_objective(params, *poisons, targets, other)
        np.testing.assert_allclose(found, expected_targeted, rtol=0, atol=1e-13)
        assert abs(expected - expected_targeted) > 1e-3  # control: the two goals differ
    # With true labels as goal the sign of the targets' gradient is flipped: c and -c.
    flipped = objective_of(logistic, PARAMS, POISONS, TARGETS, TARGETS.labels)
    straight = objective_of(logistic, PARAMS, POISONS, TARGETS)
    np.testing.assert_allclose(flipped, 2 - straight, rtol=0, atol=1e-13)


def test_slope_of_the_objective_by_finite_differences() -> None:
    def objective(delta):
        changed = Batch(POISONS.inputs + delta, POISONS.labels)
        return matching_objective(logistic, PARAMS, changed, TARGETS)

    slope = jax.jit(jax.grad(objective))(np.zeros((4, LENGTH)))
    expected = numpy_slope(PARAMS, *POISONS, TARGETS)
    np.testing.assert_allclose(slope, expected, rtol=0, atol=1e-9)
    assert np.abs(expected).max() > 1e-2  # control: the tolerance is far below the values


def test_group_gradient_is_the_mean_over_examples() -> None:
    each = jax.jit(per_example_gradients, static_argnums=0)(logistic, PARAMS, POISONS)
    assert each["w"].shape == (4, LENGTH)
    whole = jax.jit(mean_gradient, static_argnums=0)(logistic, PARAMS, POISONS)
    for leaf in ("w", "b"):
        np.testing.assert_allclose(each[leaf].mean(0), whole[leaf], rtol=0, atol=1e-15)
    np.testing.assert_allclose(
        np.append(whole["w"], whole["b"]), numpy_gradient(PARAMS, *POISONS), rtol=0, atol=1e-15
    )
    assert np.std(each["w"], axis=0).max() > 0.1  # control: examples differ


def test_complex_parameters_count_as_two_real_ones() -> None:
    def complex_loss(w, x, y):
        return jnp.real(w[0] * jnp.exp(1j * x[0])) + jnp.abs(w[1] - x[1]) ** 2 * y

    def real_loss(w, x, y):
        return complex_loss(w[0] + 1j * w[1], x, y)

    w = np.array([[0.3, -0.5], [0.7, 0.2]])
    found = objective_of(complex_loss, w[0] + 1j * w[1], POISONS, TARGETS)
    expected = objective_of(real_loss, w, POISONS, TARGETS)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)
