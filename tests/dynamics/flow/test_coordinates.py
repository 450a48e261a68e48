"""Coordinates and clock of the general flow."""

from __future__ import annotations

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from dynamics.flow.flow_cases import log_gaps_of, loss, random_data, student

from ssmbias.data import (
    LagGram,
    lag_gram,
)
from ssmbias.dynamics.flow import coordinates
from ssmbias.models import DiagonalSSM, paper_teacher

EPS = float(np.finfo(np.float64).eps)
TEACHER = paper_teacher(2)
SUBSETS = [subset for size in (1, 2, 3) for subset in itertools.combinations(("a", "b", "c"), size)]


@pytest.mark.parametrize("trainable", SUBSETS)
def test_velocity_is_minus_the_gradient(trainable) -> None:
    data = lag_gram(random_data(0.7), TEACHER)
    model = student(0.9)
    expected = jax.grad(loss)(model, data)
    velocity = coordinates.velocity(model, coordinates.force(model, data), trainable)
    assert set(velocity) == set(trainable)
    for leaf in trainable:
        wanted = -np.asarray(getattr(expected, leaf))
        # Sums of six products of terms below ten.
        np.testing.assert_allclose(velocity[leaf], wanted, rtol=0, atol=6 * 10 * 4 * EPS)
        assert np.max(np.abs(wanted)) > 1e-2


@pytest.mark.parametrize("scale", [1e-3, 0.3, 1.0])
def test_the_clock_is_of_the_size_of_the_curvature(scale) -> None:
    data = lag_gram(random_data(0.7), TEACHER)
    model = student(scale)
    at = coordinates.force(model, data)
    hessian = jax.jit(jax.hessian(loss))(model, data)
    for trainable in SUBSETS:
        blocks = [[getattr(getattr(hessian, i), j) for j in trainable] for i in trainable]
        norm = np.linalg.norm(np.block([[np.asarray(x) for x in row] for row in blocks]), 2)
        clock = float(coordinates.curvature_scale(model, at, data, trainable))
        # From above up to sqrt(2), mixed derivatives being counted once; from below by the number
        # of directions, the trace and the Frobenius norm being at most that much larger.
        assert norm <= math.sqrt(2) * clock
        assert clock <= 2 * 3 * len(trainable) * norm


def test_gap_rates_do_not_cancel() -> None:
    # Ten by ten random statistics: every γ_l is there, of both signs.
    rng = np.random.default_rng(0)
    root = rng.normal(size=(6, 6))
    data = LagGram(jnp.asarray(root @ root.T), jnp.asarray(rng.normal(size=6)))
    a = np.array([0.7, 0.7 - 3e-15, 0.3, 0.0, -0.2, -0.9, -0.9])
    frame = coordinates.GapFrame(jnp.asarray(log_gaps_of(a)), 2 * jnp.ones(7), 0.5 * jnp.ones(7))
    at = coordinates.force(DiagonalSSM(jnp.asarray(a), frame.b, frame.c), data)
    rate = coordinates.gap_velocity(jnp.asarray(a), frame, at)
    gamma = np.asarray(at.gamma)

    def exact(z: float) -> Any:
        return sum(mpmath.mpf(float(g)) * mpmath.mpf(float(z)) ** i for i, g in enumerate(gamma))

    # Fifteen terms of at most max|γ|, each through ten roundings at most.
    tol = 15 * 10 * EPS * np.max(np.abs(gamma))
    with mpmath.workdps(50):
        assert abs(float(rate.anchor) - float(exact(a[-1]))) <= tol
        for k in range(5):
            x, y = mpmath.mpf(float(a[k])), mpmath.mpf(float(a[k + 1]))
            expected = float((exact(a[k]) - exact(a[k + 1])) / (x - y))
            assert abs(float(rate.growth[k]) - expected) <= tol
    assert rate.growth[5] == 0.0  # an exact tie stays one
    naive = np.polyval(gamma[::-1], a[0]) - np.polyval(gamma[::-1], a[1])
    assert abs(naive / (a[0] - a[1]) - float(rate.growth[0])) > 1e6 * tol  # control
