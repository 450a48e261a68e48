"""The SSM in a network: outputs, gradients, and Proposition 1 with the head's slope (I2)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssmbias.data import TrainingSet
from ssmbias.models import DiagonalSSM, apply
from ssmbias.models.networks.paper import SSMNetwork, network_params, paper_network_teacher, ssm_of
from ssmbias.theory import head_omega, head_velocity, omega_coefficients

WIDTHS = [(), (3,), (4, 5), (2, 3, 4)]
INPUTS = np.random.default_rng(0).normal(size=(7, 6))


def network(hidden: tuple[int, ...], seed: int = 0) -> tuple[SSMNetwork, dict]:
    module = SSMNetwork(3, hidden, sd_a=0.5, sd_bc=0.7, sd_head=0.8)
    return module, module.init(jax.random.key(seed), jnp.asarray(INPUTS))


def numpy_output(params: dict, sequence: np.ndarray, hidden: tuple[int, ...]) -> float:
    """Step by step through the recurrence, then layer by layer."""
    leaves = {name: np.asarray(value) for name, value in params["params"].items()}
    state = np.zeros(3)
    for x in sequence:
        state = leaves["a"] * state + leaves["b"] * x
    layer = np.array([leaves["c"] @ state])
    for i in range(len(hidden) + 1 if hidden else 0):
        layer = layer @ leaves[f"D{i}"]
        if i < len(hidden):
            layer = np.maximum(layer, 0.0)
    return float(layer[0])


@pytest.mark.parametrize("hidden", WIDTHS)
def test_output_is_ssm_then_layers(hidden) -> None:
    module, params = network(hidden)
    expected = [numpy_output(params, x, hidden) for x in INPUTS]
    # About fifty operations on numbers of order one.
    np.testing.assert_allclose(module.apply(params, INPUTS), expected, rtol=0, atol=1e-13)
    assert np.ptp(expected) > 0.1  # control: not a constant
    z = module.apply(params, INPUTS, method="ssm_output")
    one_by_one = [apply(ssm_of(params), jnp.asarray(x)) for x in INPUTS]
    np.testing.assert_allclose(z, one_by_one, rtol=0, atol=1e-13)


@pytest.mark.parametrize("hidden", WIDTHS)
def test_the_slope_of_the_head_carries_proposition_1_over(hidden) -> None:
    module, params = network(hidden, seed=1)
    rng = np.random.default_rng(1)
    targets, weights = jnp.asarray(rng.normal(size=7)), jnp.asarray(rng.uniform(size=7))
    training_set = TrainingSet(jnp.asarray(INPUTS), weights)

    def loss(params):
        residuals = targets - module.apply(params, training_set.inputs)
        return jnp.sum(weights * residuals**2) / jnp.sum(weights)

    gradient = jax.grad(loss)(params)["params"]
    z = module.apply(params, INPUTS, method="ssm_output")
    slopes = module.apply(params, z, method="head_slope")
    residuals = targets - module.apply(params, z, method="head")
    velocity = head_velocity(ssm_of(params), head_omega(training_set, residuals, slopes))
    for leaf in "abc":
        np.testing.assert_allclose(getattr(velocity, leaf), -gradient[leaf], rtol=1e-11, atol=1e-13)
    if hidden:  # control: the slope matters
        wrong = head_velocity(ssm_of(params), head_omega(training_set, residuals, jnp.ones(7)))
        assert np.max(np.abs(wrong.a + gradient["a"])) > 1e-3


def test_without_a_head_it_is_the_standalone_formula() -> None:
    module, params = network(())
    training_set = TrainingSet(jnp.asarray(INPUTS), jnp.ones(7))
    targets = jnp.arange(7.0)
    residuals = targets - module.apply(params, INPUTS)
    np.testing.assert_allclose(
        head_omega(training_set, residuals, jnp.ones(7)),
        omega_coefficients(ssm_of(params), training_set, targets),
        rtol=1e-12,
    )


def test_the_papers_teacher() -> None:
    teacher = paper_network_teacher(15)
    module = SSMNetwork(1, (15, 15))
    z = INPUTS.sum(1)  # a = b = c = 1
    np.testing.assert_allclose(module.apply(teacher, INPUTS), 7.5 * np.maximum(z, 0), rtol=1e-13)


def test_starts_are_positive_sorted_and_follow_their_key() -> None:
    _, params = network((4,))
    model = ssm_of(params)
    for leaf in model:
        assert np.all(np.asarray(leaf) > 0)
    assert np.all(np.diff(model.a) <= 0)
    assert np.all(np.diff(model.b) <= 0)
    assert not np.array_equal(model.a, ssm_of(network((4,), seed=2)[1]).a)


def test_single_precision_stays_single() -> None:
    module, params = network((4, 5))
    single = jax.tree.map(lambda x: x.astype(jnp.float32), params)
    assert module.apply(single, INPUTS.astype(np.float32)).dtype == jnp.float32


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SSMNetwork(0), "state_dim=0"),
        (lambda: SSMNetwork(2, (3, 0)), "hidden=0"),
        (lambda: SSMNetwork(2, sd_a=-1.0), "sd_a=-1.0"),
        (lambda: paper_network_teacher(0), "width=0"),
        (lambda: network_params(DiagonalSSM(*jnp.ones((3, 1))), jnp.ones((1, 2))), "at least two"),
        (
            lambda: network_params(
                DiagonalSSM(*jnp.ones((3, 1))), jnp.ones((1, 2)), jnp.ones((3, 1))
            ),
            "each takes the width of the one before",
        ),
        (
            lambda: head_omega(
                TrainingSet(jnp.ones((2, 4)), jnp.ones(2)), jnp.ones(3), jnp.ones(2)
            ),
            "residuals and slopes have 3 and 2",
        ),
    ],
)
def test_bad_input_is_named(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()
