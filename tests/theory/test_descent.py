"""M7 and descent's versions of I3 and I5: against solvable problems, SciPy and exact fractions."""

from __future__ import annotations

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from ssmbias.data import LagGram, TrainingSet, labels, lag_gram
from ssmbias.metrics import sample_loss
from ssmbias.models import DiagonalSSM, paper_teacher
from ssmbias.theory import (
    balancedness_factor,
    descent_energy_rate,
    descent_expansion,
    distance_bound,
    energy_rate,
    flow_velocity,
)

TEACHER = paper_teacher(2)


# Called as it is, it is compiled anew for each call.
expand = jax.jit(descent_expansion, static_argnames=("num_steps", "trainable"))


def make_case(seed=0):
    """Three states, six weighted sequences of length 5, the dim-2 teacher's labels.

    Inputs are small enough for the curvature to be about 10 on the way.
    """
    rng = np.random.default_rng(seed)
    model = DiagonalSSM(*map(jnp.asarray, 0.6 * rng.normal(size=(3, 3))))
    training_set = TrainingSet(
        jnp.asarray(0.5 * rng.normal(size=(6, 5))), jnp.asarray(rng.uniform(0.5, 2.0, 6))
    )
    return model, training_set, labels(TEACHER, training_set.inputs)


def quadratic():
    """κ = 2 and one state with b = c = 1: L = (h* - a)² with h* = 2, so descent is a power."""
    one = jnp.ones(1)
    data = LagGram(jnp.diag(jnp.array([0.0, 1.0])), jnp.array([0.0, 2.0]))
    return DiagonalSSM(0.5 * one, one, one), data


class TestExpansion:
    def test_on_a_quadratic_loss(self):
        # a_k - h* = (1 - 2η)^k (a_0 - h*), and (1 - 2η)^{t/η} = exp(-2t) (1 - 2ηt + O(η²)).
        start, data = quadratic()
        path = expand(start, data, 0.75, num_steps=256, trainable=("a",))
        decay = (start.a[0] - 2.0) * np.exp(-2.0 * np.asarray(path.time))
        # A step of 2 x 0.75 / 256 in units of the rate: (6e-3)^4 / 120 is 1e-11.
        np.testing.assert_allclose(path.flow.a[:, 0], 2.0 + decay, rtol=1e-11)
        np.testing.assert_allclose(
            path.correction.a[:, 0], -2.0 * np.asarray(path.time) * decay, atol=1e-10
        )

    def test_is_the_derivative_of_the_flow_of_the_modified_loss(self):
        """Flow of L + (η/4)|∇L|² from samples by SciPy, differentiated in η at 0."""
        start, training_set, targets = make_case()

        def loss(theta):
            return sample_loss(DiagonalSSM(*theta.reshape(3, 3)), training_set, targets)

        def modified(theta, step):
            return loss(theta) + 0.25 * step * jnp.sum(jax.grad(loss)(theta) ** 2)

        slope = jax.jit(jax.grad(modified))

        def end(step):
            solution = solve_ivp(
                lambda _, theta: -np.asarray(slope(jnp.asarray(theta), step)),
                (0.0, 1.0),
                np.concatenate(start),
                method="DOP853",
                rtol=1e-12,
                atol=1e-12,
            )
            return solution.y[:, -1]

        path = expand(start, lag_gram(training_set, TEACHER), 1.0)
        flow, correction = (
            np.concatenate([leaf[-1] for leaf in model]) for model in (path.flow, path.correction)
        )
        np.testing.assert_allclose(flow, end(0.0), atol=1e-9)
        # A central difference errs by η²/6 = 1.5e-8 times a third derivative, of order 100 here.
        step = 3e-4
        np.testing.assert_allclose(correction, (end(step) - end(-step)) / (2 * step), atol=1e-5)
        assert np.max(np.abs(correction)) > 0.1

    def test_error_of_fourth_order_in_the_steps(self):
        start, training_set, _ = make_case(1)
        data = lag_gram(training_set, TEACHER)

        def end(num_steps):
            path = expand(start, data, 1.0, num_steps=num_steps)
            return np.concatenate([leaf[-1] for model in path[1:] for leaf in model])

        exact = end(1024)
        errors = [np.linalg.norm(end(n) - exact) for n in (128, 256)]
        assert 3.7 < np.log2(errors[0] / errors[1]) < 4.3

    def test_fixed_leaves_stay(self):
        start, training_set, _ = make_case()
        path = expand(
            start, lag_gram(training_set, TEACHER), 0.5, num_steps=8, trainable=("a", "c")
        )
        assert path.time.shape == (9,)
        np.testing.assert_array_equal(path.flow.b, jnp.broadcast_to(start.b, (9, 3)))
        assert not np.any(path.correction.b)
        assert np.all(path.correction.a[-1] != 0)

    def test_maps_and_traces(self):
        start, training_set, _ = make_case()
        data = lag_gram(training_set, TEACHER)
        durations = jnp.array([0.25, 0.5])
        paths = jax.vmap(lambda t: expand(start, data, t, num_steps=32))(durations)
        alone = expand(start, data, 0.5, num_steps=32)
        # The same operations, sums in another order.
        np.testing.assert_allclose(paths.correction.a[1], alone.correction.a, rtol=1e-12)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"duration": 0.0}, "duration=0.: every entry must be greater than 0"),
            ({"num_steps": 0}, "num_steps=0: must be >= 1"),
            ({"trainable": ()}, "name at least one of a, b, c"),
            ({"trainable": ("d",)}, "trainable='d': choose one of a, b, c"),
        ],
    )
    def test_refuses(self, arguments, message):
        start, data = quadratic()
        arguments = {"duration": 1.0} | arguments
        with pytest.raises(ValueError, match=message):
            descent_expansion(start, data, **arguments)


class TestBalancedness:
    def test_factor_is_exact(self):
        """A step in rational numbers, written out for one state and three lags."""
        a, b, c, step = Fraction(1, 2), Fraction(3, 4), Fraction(-5, 4), Fraction(1, 8)
        inputs = [[Fraction(1), Fraction(2), Fraction(-1)], [Fraction(0), Fraction(1), Fraction(3)]]
        targets = [Fraction(2), Fraction(-1)]
        # φ = c b (x_3 + a x_2 + a² x_1), L the mean of the two squares.
        features = [x[2] + a * x[1] + a**2 * x[0] for x in inputs]
        g = sum((y - c * b * f) * f for y, f in zip(targets, features, strict=True))
        after = (b + step * c * g) ** 2 - (c + step * b * g) ** 2
        exact = after / (b**2 - c**2)
        assert exact == 1 - (step * g) ** 2
        model = DiagonalSSM(*(jnp.array([float(x)]) for x in (a, b, c)))
        training_set = TrainingSet(
            jnp.array([[float(x) for x in row] for row in inputs]), jnp.ones(2)
        )
        factor = balancedness_factor(model, training_set, np.array([2.0, -1.0]), 0.125)
        # Every number is a short binary fraction.
        assert float(factor[0]) == float(exact)

    def test_balanced_states_stay_balanced_and_others_approach(self):
        model, training_set, targets = make_case()
        model = model._replace(c=model.b.at[0].multiply(2.0))
        velocity = flow_velocity(model, training_set, targets)
        after = jax.tree.map(lambda x, v: x + 0.01 * v, model, velocity)
        balance = np.asarray(after.b**2 - after.c**2)
        factor = np.asarray(balancedness_factor(model, training_set, targets, 0.01))
        # Rounding of squares of size 1.
        np.testing.assert_allclose(balance[1:], 0.0, atol=1e-15)
        np.testing.assert_allclose(
            balance[0], factor[0] * (model.b[0] ** 2 - model.c[0] ** 2), rtol=1e-14
        )
        assert np.all((factor > 0) & (factor < 1))

    def test_refuses(self):
        model, training_set, targets = make_case()
        with pytest.raises(ValueError, match=r"step_size=-0\.1: every entry must be greater"):
            balancedness_factor(model, training_set, targets, -0.1)


class TestEnergy:
    def test_orders(self):
        """Halving the step halves the error of the flow's rate and quarters that of descent's."""
        model, training_set, targets = make_case(2)
        velocity = flow_velocity(model, training_set, targets)
        errors = []
        for step in (1e-3, 5e-4):
            after = jax.tree.map(lambda x, v, step=step: x + step * v, model, velocity)
            losses = [float(sample_loss(x, training_set, targets)) for x in (after, model)]
            rate = (losses[0] - losses[1]) / step
            next_velocity = flow_velocity(after, training_set, targets)
            errors.append(
                [
                    rate - float(energy_rate(velocity)),
                    rate - float(descent_energy_rate(velocity, next_velocity)),
                    rate - 0.5 * float(energy_rate(velocity) + energy_rate(next_velocity)),
                ]
            )
        ratios = np.divide(*errors)
        # The mean of both ends, which is right for the flow, is of first order only.
        np.testing.assert_allclose(ratios, [2.0, 4.0, 2.0], rtol=0.02)

    def test_exact_on_a_quadratic_loss_without_curvature_change(self):
        # L = x² / 2 with step η: ΔL/η = -x² (1 - η/2); (3 + (1-η)²)/4 = 1 - η/2 + η²/4.
        step, zero = 0.1, jnp.zeros(1)
        before, after = (DiagonalSSM(x * jnp.ones(1), zero, zero) for x in (1.0, 1.0 - step))
        assert float(descent_energy_rate(before, after)) == pytest.approx(
            -(1 - step / 2 + step**2 / 4), rel=1e-15
        )


class TestDistance:
    def test_equality_on_a_quadratic_loss(self):
        # L = (h* - a)², K = 2 (∂h/∂a)² = 2: the distance is √L.
        for gap in (1e-8, 0.3, 7.0):
            assert float(distance_bound(gap**2, 2.0)) == pytest.approx(gap, rel=1e-15)

    def test_without_a_rate_there_is_no_bound(self):
        assert float(distance_bound(0.1, 0.0)) == np.inf
        assert float(distance_bound(0.0, 1.0)) == 0.0

    @pytest.mark.parametrize(
        ("loss", "rate", "message"),
        [(-1.0, 1.0, "loss=-1.: must be 0 or greater"), (1.0, -2.0, "rate=-2.: must be 0")],
    )
    def test_refuses(self, loss, rate, message):
        with pytest.raises(ValueError, match=message):
            distance_bound(loss, rate)
