"""The adaptive step against its formula, and the gradient norms that go into it."""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ssmbias.data import LagGram
from ssmbias.dynamics import DescentConfig, Outcome, adaptive_step, gradient_descent
from ssmbias.dynamics.descent.adaptive_step import sum_of_norms
from ssmbias.dynamics.descent.linear_gradient import gradient, squared_norm_of_full_gradient
from ssmbias.models import DiagonalSSM

EPS = float(np.finfo(np.float64).eps)
LEAVES = ("a", "b", "c")
SUBSETS = [s for n in (1, 2, 3) for s in itertools.combinations(LEAVES, n)]

# -- oracles -------------------------------------------------------------------------------


def formula(gradients, step, decay, soft, *, norms=None, corrected=True):
    """The updates of the paper's rule, one list of arrays after another, in plain NumPy."""
    mean, out = 0.0, []
    for k, leaves in enumerate(gradients):
        norm = sum(np.sqrt(np.sum(x**2)) for x in leaves) if norms is None else norms[k]
        mean = decay * mean + (1 - decay) * norm
        unbiased = mean / (1 - decay ** (k + 1)) if corrected else mean
        out.append([-step / (np.sqrt(unbiased) + soft) * x for x in leaves])
    return out


def followed(optimizer, gradients, dtype=np.float64, norms=None):
    """The same updates by the transformation."""
    names = ("x", "y")
    as_tree = [{n: jnp.asarray(v, dtype) for n, v in zip(names, g, strict=True)} for g in gradients]
    state, out = optimizer.init(as_tree[0]), []
    for k, tree in enumerate(as_tree):
        extra = {} if norms is None else {"gradient_norm": norms[k]}
        updates, state = optimizer.update(tree, state, tree, **extra)
        out.append([updates[n] for n in names])
    return out, state


def spread_gradients(num: int = 12):
    """Gradients over eight orders of magnitude, of a vector and of a matrix."""
    rng = np.random.default_rng(3)
    sizes = 10.0 ** rng.uniform(-6, 2, num)
    return [[s * rng.normal(size=3), s * rng.normal(size=(2, 2))] for s in sizes]


def farthest(found, expected) -> float:
    pairs = zip(itertools.chain(*found), itertools.chain(*expected), strict=True)
    return max(float(np.max(np.abs(np.asarray(x) / y - 1))) for x, y in pairs)


# -- the rule ------------------------------------------------------------------------------


@pytest.mark.parametrize(("decay", "soft"), [(0.8, 1e-6), (0.0, 1e-2), (0.99, 1e-3)])
def test_updates_follow_the_formula(decay, soft) -> None:
    gradients = spread_gradients()
    found, state = followed(adaptive_step(0.03, decay=decay, soft=soft), gradients)
    # A dozen sums of positive terms: no digit is lost but to the rounding of each. 1 - β is off by
    # an ulp of β, 100 ulp of itself at β = 0.99.
    assert farthest(found, formula(gradients, 0.03, decay, soft)) <= 400 * EPS
    assert int(state.count) == len(gradients)
    # Controls: no bias correction (β > 0), a soft constant within the root, a slightly other β.
    if decay > 0:
        assert farthest(found, formula(gradients, 0.03, decay, soft, corrected=False)) > 1e-2
        assert farthest(found, formula(gradients, 0.03, decay - 1e-6, soft)) > 1e-9
    assert farthest(found, formula(gradients, 0.03, decay, 0.0)) > 1e-6


@pytest.mark.parametrize("kind", [float, np.float64, jnp.float64])
def test_a_given_norm_takes_the_place_of_the_sum(kind) -> None:
    gradients = spread_gradients()
    norms = [kind(2.0 + k) for k in range(len(gradients))]
    found, _ = followed(adaptive_step(0.01), gradients, norms=norms)
    expected = formula(gradients, 0.01, 0.8, 1e-6, norms=[float(x) for x in norms])
    assert farthest(found, expected) <= 100 * EPS
    assert farthest(found, formula(gradients, 0.01, 0.8, 1e-6)) > 0.1  # control: the sum


def test_single_precision_stays_single() -> None:
    gradients = spread_gradients()
    found, state = followed(adaptive_step(0.01), gradients, np.float32)
    assert {x.dtype for x in jax.tree.leaves(found)} == {jnp.dtype(jnp.float32)}
    assert state.mean_norm.dtype == jnp.float32
    # Each of some 20 operations rounds to 6e-8.
    error = farthest(found, formula(gradients, 0.01, 0.8, 1e-6))
    assert 1e-9 < error <= 20 * 6e-8  # control: double precision would be below
    given, _ = followed(adaptive_step(0.01), gradients, np.float32, norms=[np.float64(1.0)] * 12)
    assert given[0][0].dtype == jnp.float32


def test_the_norm_is_a_sum_of_norms_not_the_norm_of_all() -> None:
    tree = {"a": jnp.array([3.0, 4.0]), "b": jnp.array([[12.0]])}
    assert float(sum_of_norms(tree)) == 17.0
    assert float(optax.tree.norm(tree)) == 13.0  # control


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"base_step": 0.0}, r"base_step=0\.0: must be greater than 0"),
        ({"base_step": math.inf}, r"base_step=inf: must be finite"),
        ({"base_step": "1"}, r"base_step='1': expected a number"),
        ({"decay": 1.0}, r"decay=1\.0: must lie in \[0, 1\); the paper takes 0\.8"),
        ({"decay": -0.1}, r"decay=-0\.1: must lie in"),
        ({"soft": 0.0}, r"soft=0\.0: must be greater than 0; the paper takes 1e-6"),
    ],
)
def test_bad_numbers_are_named(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        adaptive_step(**arguments)


# -- gradients of a linear student -----------------------------------------------------------


def problem(seq_len: int, state_dim: int, num_samples: int = 6):
    """Random sequences, targets, weights, and a student with zero, equal and negative entries."""
    rng = np.random.default_rng(seq_len)
    inputs = rng.normal(size=(num_samples, seq_len))
    response = rng.normal(size=seq_len)  # of no diagonal teacher in particular
    weights = rng.uniform(0.1, 2.0, num_samples)
    a = rng.uniform(-1.1, 1.1, state_dim)
    a[:3] = [0.0, -0.7, -0.7]
    b, c = rng.normal(size=(2, state_dim))
    b[1], c[0] = 0.0, -0.4
    return inputs, response, weights, (a, b, c)


def dense_loss(transition, b, c, inputs, response, weights):
    """The loss on samples of a state space model with a dense transition matrix."""
    state = jnp.zeros((inputs.shape[0], b.shape[0]))
    for x in inputs.T:
        state = state @ transition.T + x[:, None] * b[None]
    targets = inputs[:, ::-1] @ response
    return jnp.sum(weights * (targets - state @ c) ** 2) / np.sum(weights)


def as_lanes(inputs, response, weights, theta):
    """The problem for `linear_gradient`, with one lane."""
    by_lag = inputs[:, ::-1]
    gram = (by_lag * weights[:, None]).T @ by_lag / weights.sum()
    lane = lambda x: jnp.asarray(x)[..., None]  # noqa: E731
    return DiagonalSSM(*map(lane, theta)), LagGram(lane(gram), lane(response))


# The larger one is summed over states in blocks, and over lags in groups.
SHAPES = [(5, 4), (12, 24), (11, 13)]


@pytest.mark.parametrize(("seq_len", "state_dim"), SHAPES)
def test_closed_gradients_are_those_of_the_sample_loss(seq_len, state_dim) -> None:
    inputs, response, weights, theta = problem(seq_len, state_dim)

    def loss(a, b, c):
        return dense_loss(jnp.diag(a), b, c, inputs, response, weights)

    value, exact = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(*theta)
    exact = dict(zip(LEAVES, exact, strict=True))
    model, data = as_lanes(inputs, response, weights, theta)
    scale = max(float(jnp.max(jnp.abs(g))) for g in exact.values())
    for trainable in SUBSETS:
        found = jax.jit(gradient, static_argnums=(2, 3))(model, data, trainable, False)
        # Sums of at most κ d = 300 terms, some ten times as large as what they add up to.
        assert abs(float(found.loss[0]) / float(value) - 1) <= 300 * 10 * EPS
        assert tuple(sorted(found.gradient)) == trainable
        assert found.norm is None
        for name in trainable:
            np.testing.assert_allclose(
                found.gradient[name][:, 0], exact[name], rtol=0, atol=300 * 10 * EPS * scale
            )
    # Control: the difference is seen if one weight of the loss is off by a millionth.
    weights[0] *= 1 + 1e-6
    other = gradient(*as_lanes(inputs, response, weights, theta), LEAVES, False).gradient["a"]
    assert float(jnp.max(jnp.abs(other[:, 0] - exact["a"]))) > 1e-9 * scale


@pytest.mark.parametrize(("seq_len", "state_dim"), SHAPES)
@pytest.mark.parametrize("trainable", [("a",), ("a", "b", "c"), ("b",)])
def test_full_norms_are_those_of_a_dense_matrix(seq_len, state_dim, trainable) -> None:
    inputs, response, weights, theta = problem(seq_len, state_dim)
    a, b, c = theta
    dense, grad_b, grad_c = jax.jit(jax.grad(dense_loss, (0, 1, 2)))(
        jnp.diag(a), b, c, inputs, response, weights
    )
    norms = {k: float(jnp.linalg.norm(g)) for k, g in zip(LEAVES, (dense, grad_b, grad_c))}  # noqa: B905
    model, data = as_lanes(inputs, response, weights, theta)
    found = jax.jit(gradient, static_argnums=(2, 3))(model, data, trainable, True).norm
    # Sums of d² κ² = 8e4 products of either sign, whose roundings add up at random: 300 ulp.
    # Measured: 5e-16 at most.
    # All three count, whatever is trained, as in the paper's code.
    assert abs(float(found[0]) / sum(norms.values()) - 1) <= 300 * EPS
    # Controls: the diagonal alone, and the root of the sum of squares, are something else.
    diagonal = float(jnp.linalg.norm(jnp.diag(dense)))
    assert diagonal < 0.9 * norms["a"]
    assert math.hypot(*norms.values()) < 0.9 * float(found[0])


def test_norms_that_vanish_are_not_negative() -> None:
    _, _, _, theta = problem(5, 4)
    model = DiagonalSSM(*(jnp.asarray(x)[:, None] for x in theta))
    assert float(squared_norm_of_full_gradient(model, jnp.zeros((5, 1)))[0]) == 0.0
    # The polynomial ω vanishes twice at all entries: all that is left is rounding, of either sign.
    roots = np.tile(np.repeat([0.5, -0.3], 2)[:, None], (1, 64))
    roots[:2] *= np.linspace(0.1, 2.0, 64)
    a = np.stack([roots[0], roots[2], roots[0]])
    omega = np.stack([np.poly(r)[::-1] for r in roots.T], axis=1)
    ones = jnp.ones_like(jnp.asarray(a))
    square = squared_norm_of_full_gradient(DiagonalSSM(jnp.asarray(a), ones, ones), omega)
    assert np.all((square >= 0) & (square < 1e-10))


# -- within descent ------------------------------------------------------------------------


def test_descent_takes_the_norm_it_is_told_to() -> None:
    """Ten steps of the paper's rule, with and without the off-diagonal entries, in NumPy."""
    inputs, response, weights, theta = problem(5, 4)
    args = (inputs, response, weights)
    slope = jax.jit(jax.grad(dense_loss, (0, 1, 2)))

    def descent(full: bool):
        a, b, c = theta
        mean = 0.0
        for k in range(10):
            dense, grad_b, grad_c = map(np.asarray, slope(jnp.diag(a), b, c, *args))
            counted = dense if full else np.diag(dense)
            mean = 0.8 * mean + 0.2 * sum(np.sqrt(np.sum(g**2)) for g in (counted, grad_b, grad_c))
            step = 0.01 / (np.sqrt(mean / (1 - 0.8 ** (k + 1))) + 1e-6)
            a, b, c = a - step * np.diag(dense), b - step * grad_b, c - step * grad_c
        return a

    model, data = as_lanes(inputs, response, weights, theta)
    model, data = jax.tree.map(lambda x: x[..., 0], (model, data))
    rule = adaptive_step(0.01)
    ends = {}
    for full in (False, True):
        config = DescentConfig(loss_tol=0.0, max_steps=10, full_gradient_norm=full)
        run = gradient_descent(model, data, rule, config=config)
        assert int(run.outcome) == Outcome.MAX_STEPS
        assert int(run.optimizer_state.count) == 10
        # Ten steps that at most double a difference.
        np.testing.assert_allclose(run.model.a, descent(full), rtol=0, atol=1000 * 10 * EPS)
        ends[full] = run.model.a
    assert float(jnp.max(jnp.abs(ends[True] - ends[False]))) > 1e-4  # control


def test_the_norm_passes_through_a_chain() -> None:
    inputs, response, weights, theta = problem(5, 4)
    model, data = as_lanes(inputs, response, weights, theta)
    model, data = jax.tree.map(lambda x: x[..., 0], (model, data))
    config = DescentConfig(loss_tol=0.0, max_steps=10, full_gradient_norm=True)
    plain = gradient_descent(model, data, adaptive_step(0.01), config=config)
    chain = optax.chain(adaptive_step(0.02), optax.scale(0.5))
    halved = gradient_descent(model, data, chain, config=config)
    np.testing.assert_allclose(halved.model.a, plain.model.a, rtol=0, atol=100 * EPS)
    other = gradient_descent(model, data, adaptive_step(0.02), config=config)
    assert float(jnp.max(jnp.abs(other.model.a - plain.model.a))) > 1e-4  # control
