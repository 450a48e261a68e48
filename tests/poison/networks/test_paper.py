"""The network of the paper's theory: the forces that its entries feel."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssmbias.poison.batch import Batch
from ssmbias.poison.catalogue import find_experiment
from ssmbias.poison.networks.paper import PaperNetwork, lag_forces
from ssmbias.poison.training.learner import learner_of, weighted_loss


@pytest.mark.slow
def test_forces_are_those_that_gradient_flow_feels() -> None:
    config = PaperNetwork(state_dim=3, hidden=(4,))
    experiment = dataclasses.replace(find_experiment("f1_paper_network"), network=config)
    learner = learner_of(experiment)
    inputs = jax.random.normal(jax.random.key(1), (5, 6, 1))
    batch = Batch(inputs, jnp.array([0, 1, 1, 0, 1]))
    params, weights = learner.init(jax.random.key(0), inputs[0]), jnp.array([1.0, 2, 0, 1, 1])
    omega = np.asarray(lag_forces(config, params, batch, weights))
    a, b, c = (np.asarray(params[name]) for name in "abc")
    slope = sum(lag * omega[lag] * a ** (lag - 1) for lag in range(1, 6))
    gradient = jax.grad(weighted_loss, argnums=1)(learner, params, batch, weights)
    # Sums of a few numbers of one size: some last bits of 1e-16.
    np.testing.assert_allclose(-gradient["a"], b * c * slope, rtol=1e-12)
    wrong = sum(lag * omega[::-1][lag] * a ** (lag - 1) for lag in range(1, 6))  # control
    assert np.abs(b * c * wrong / -gradient["a"] - 1).max() > 0.1
