"""I1, I3, I4, I5 against matrix powers in 50 digits and against automatic differentiation."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from mpmath import mpf
from theory.identity_cases import FEW_EPS, SAMPLES, SEQ_LEN, STATES, make_case, negative_gradient

from ssmbias.data import TrainingSet, gram_omega, lag_gram, theorem1_training_set
from ssmbias.data import labels as teacher_labels
from ssmbias.models import impulse_response, theorem1_student, theorem1_teacher
from ssmbias.theory import (
    balancedness_drift,
    balancedness_residual,
    characterization_residual,
    clean_limit,
    energy_rate,
    energy_residual,
    flow_velocity,
    gamma_coefficients,
    log_gap_rate,
    log_gap_residual,
    omega_coefficients,
    relative_residual,
    theorem1_residual,
    theorem1_velocity,
    velocity_scale,
)

EPS = np.finfo(np.float64).eps


def exact_loss(parameters, inputs, weights, targets):
    """The loss from the definition, with matrix powers C A^(κ-k) B, in 50 digits."""
    a, b, c = (parameters[i * STATES : (i + 1) * STATES] for i in range(3))
    matrix = mpmath.diag(a)
    total = mpf(0)
    for sequence, weight, target in zip(inputs, weights, targets, strict=True):
        output = mpf(0)
        for k, x in enumerate(sequence, start=1):
            power = matrix ** (len(sequence) - k)
            output += (mpmath.matrix([c]) * power * mpmath.matrix(b))[0] * mpf(float(x))
        total += mpf(float(weight)) * (mpf(float(target)) - output) ** 2
    return total / mpmath.fsum(mpf(float(w)) for w in weights)


class TestCharacterization:
    @pytest.mark.parametrize("seed", [0, 1])
    def test_velocity_is_minus_the_gradient_of_the_definition(self, seed):
        model, data, targets = make_case(seed)
        got = np.concatenate(flow_velocity(model, data, targets))
        scale = np.concatenate(velocity_scale(model, data, targets))
        arrays = [np.asarray(x) for x in (data.inputs, data.weights, targets)]
        with mpmath.workdps(50):
            parameters = [mpf(float(x)) for x in np.concatenate(model)]
            step = mpf("1e-20")  # the loss has degree 12: central differences err by 1e-40
            for i in range(3 * STATES):
                losses = []
                for sign in (1, -1):
                    moved = list(parameters)
                    moved[i] += sign * step
                    losses.append(exact_loss(moved, *arrays))
                slope = (losses[0] - losses[1]) / (2 * step)
                assert abs(float(mpf(float(got[i])) + slope)) <= FEW_EPS * scale[i]

    @pytest.mark.parametrize("seed", range(4))
    def test_residual_of_automatic_differentiation(self, seed):
        model, data, targets = make_case(seed)
        velocity = negative_gradient(model, data, targets)
        assert float(characterization_residual(model, data, targets, velocity)) < FEW_EPS

    def test_wrong_velocities_are_rejected(self):
        model, data, targets = make_case(0)
        right = negative_gradient(model, data, targets)
        omega = omega_coefficients(model, data, targets)
        g = jnp.polyval(omega[::-1], model.a)
        reverse = TrainingSet(data.inputs[:, ::-1], data.weights)
        unweighted = TrainingSet(data.inputs, jnp.ones(SAMPLES))
        wrong = {
            "no factor l + 1": right._replace(
                a=model.b * model.c * jnp.polyval(omega[:0:-1], model.a)
            ),
            "b and c exchanged": right._replace(b=model.b * g, c=model.c * g),
            "sign": jax.tree.map(jnp.negative, right),
            "half": jax.tree.map(lambda x: 0.5 * x, right),
            "x_k seen at lag k - 1": negative_gradient(model, reverse, targets),
            "weights": negative_gradient(model, unweighted, targets),
        }
        for name, velocity in wrong.items():
            residual = float(characterization_residual(model, data, targets, velocity))
            assert residual > 1e-3, name

    def test_only_trainable_parameters_are_compared(self):
        model, data, targets = make_case(3)
        frozen = negative_gradient(model, data, targets)._replace(
            b=jnp.zeros(STATES), c=jnp.zeros(STATES)
        )
        residual = characterization_residual(model, data, targets, frozen, trainable=("a",))
        assert float(residual) < FEW_EPS
        assert float(characterization_residual(model, data, targets, frozen)) > 1e-3

    def test_near_zero_loss(self):
        # Terms cancel to 1e-9 of their size, so that the two sides agree to seven digits only...
        limit = clean_limit(np.array([0.5, 0.2, 0.1]), 7)
        student, data = theorem1_student(limit * (1 + 1e-9)), theorem1_training_set(7, 0.0)
        velocity = negative_gradient(student, data, jnp.ones(2))
        assert 1e-10 < float(jnp.max(jnp.abs(velocity.a))) < 1e-6
        residual = characterization_residual(student, data, jnp.ones(2), velocity)
        assert float(residual) < FEW_EPS
        predicted = flow_velocity(student, data, jnp.ones(2))
        scale = velocity_scale(student, data, jnp.ones(2))
        assert float(jnp.min(scale.a / jnp.abs(predicted.a))) > 1e7
        # ... which also means that nothing is proven there: half the velocity passes as well
        # at 1e-9, and identities have to be checked along the whole flow.
        half = characterization_residual(
            student, data, jnp.ones(2), jax.tree.map(lambda x: 0.5 * x, velocity)
        )
        assert 1e-10 < float(half) < 1e-8

    def test_coefficients(self):
        model, data, targets = make_case(2)
        omega = omega_coefficients(model, data, targets)
        gamma = gamma_coefficients(model, data, targets)
        assert omega.shape == (SEQ_LEN,)
        assert gamma.shape == (SEQ_LEN - 1,)
        for lag in range(SEQ_LEN):
            # Element x_k, k = 1..κ, is seen at lag κ - k.
            seen = np.asarray(data.inputs)[:, SEQ_LEN - lag - 1]
            outputs = np.asarray(data.inputs) @ np.asarray(impulse_response(model, SEQ_LEN))[::-1]
            terms = np.asarray(data.weights) * (np.asarray(targets) - outputs) * seen
            want = 2 * math.fsum(terms) / math.fsum(np.asarray(data.weights))
            size = 2 * math.fsum(np.abs(terms)) / math.fsum(np.asarray(data.weights))
            # `size` takes residuals as they are; outputs are sums of terms up to 10 times that.
            assert abs(float(omega[lag]) - want) <= 10 * FEW_EPS * size
            if lag > 0:
                assert float(gamma[lag - 1]) == pytest.approx(lag * float(omega[lag]), rel=EPS)

    def test_samples_and_gram_form_agree(self):
        student, teacher = theorem1_student(np.array([0.7, 0.2, -0.1])), theorem1_teacher(3)
        inputs = jnp.asarray(np.random.default_rng(5).normal(size=(SAMPLES, SEQ_LEN)))
        data = TrainingSet(inputs, jnp.arange(1.0, SAMPLES + 1))
        targets = teacher_labels(teacher, inputs)
        from_samples = omega_coefficients(student, data, targets)
        from_gram = gram_omega(impulse_response(student, SEQ_LEN), lag_gram(data, teacher))
        size = float(jnp.max(jnp.abs(from_samples)))
        assert float(jnp.max(jnp.abs(from_samples - from_gram))) < 10 * FEW_EPS * size

    def test_scale_bounds_the_velocity(self):
        model, data, targets = make_case(1)
        velocity, scale = (f(model, data, targets) for f in (flow_velocity, velocity_scale))
        for v, s in zip(velocity, scale, strict=True):
            assert bool(jnp.all(jnp.abs(v) <= s))


class TestTheorem1:
    @pytest.mark.parametrize("strength", [0.0, 0.3, 1.0, 1e3])
    @pytest.mark.parametrize("seq_len", [5, 7, 8])
    def test_displayed_equations(self, seq_len, strength):
        a = np.array([0.9, 0.5, 0.0, -0.3])
        data, ones = theorem1_training_set(seq_len, strength), jnp.ones(2)
        velocity = negative_gradient(theorem1_student(a), data, ones).a
        assert float(theorem1_residual(a, seq_len, strength, velocity)) < FEW_EPS
        proposition = flow_velocity(theorem1_student(a), data, ones).a
        assert float(theorem1_residual(a, seq_len, strength, proposition)) < FEW_EPS
        # Controls: another clock, another exponent, another strength.
        for wrong in (
            velocity * (1.0 + strength + 1e-3),
            theorem1_velocity(a, seq_len + 1, strength),
            theorem1_velocity(a, seq_len, 2.0 * strength + 0.1) + 0.1 * (strength > 100),
        ):
            assert float(theorem1_residual(a, seq_len, strength, wrong)) > 1e-5

    def test_clean_and_poisoned_as_in_the_paper(self):
        a = np.array([0.5, 0.25])
        lag6 = 6 * (1 - np.sum(a**6)) * a**5
        np.testing.assert_allclose(theorem1_velocity(a, 7, 0.0), 2 * lag6, rtol=4 * EPS)
        np.testing.assert_allclose(theorem1_velocity(a, 7, 1.0), lag6 + 0.25, rtol=4 * EPS)

    def test_negative_strength_is_nan_where_traced(self):
        a = np.array([0.5, 0.25])
        got = jax.vmap(lambda s: theorem1_velocity(a, 7, s))(jnp.array([-1.0, 1.0]))
        assert bool(jnp.all(jnp.isnan(got[0])) & jnp.all(jnp.isfinite(got[1])))


def test_everything_under_jit_and_vmap():
    cases = [make_case(seed) for seed in range(3)]
    models, data, targets = jax.tree.map(lambda *leaves: jnp.stack(leaves), *cases)

    def residuals(model, data, targets):
        velocity = negative_gradient(model, data, targets)
        scale = velocity_scale(model, data, targets)
        return jnp.stack(
            [
                characterization_residual(model, data, targets, velocity),
                balancedness_residual(model, velocity, scale),
                energy_residual(energy_rate(velocity), velocity, scale),
                balancedness_drift(model, model),
            ]
        )

    got = jax.jit(jax.vmap(residuals))(models, data, targets)
    assert got.shape == (3, 4)
    assert float(jnp.max(got)) < FEW_EPS
    # Control: the velocities of another lane.
    shuffled = jax.vmap(characterization_residual)(
        models, data, targets, jax.vmap(flow_velocity)(models, data, targets[::-1])
    )
    assert float(shuffled[0]) > 1e-3


MODEL, DATA, TARGETS = make_case(0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: omega_coefficients(MODEL, DATA, TARGETS[:2]), "targets has 2 entries for 5"),
        (lambda: flow_velocity(MODEL._replace(b=jnp.ones(2)), DATA, TARGETS), "lengths 4, 2, 4"),
        (
            lambda: gamma_coefficients(MODEL, DATA._replace(weights=-DATA.weights), TARGETS),
            "weights=.*0 or greater",
        ),
        (
            lambda: characterization_residual(MODEL, DATA, TARGETS, MODEL, trainable=("d",)),
            "trainable='d': choose one of a, b, c",
        ),
        (
            lambda: characterization_residual(MODEL, DATA, TARGETS, MODEL, trainable=()),
            "trainable=",
        ),
        (lambda: theorem1_velocity(np.ones(2), 3, 1.0), "seq_len=3: must be >= 4"),
        (lambda: theorem1_velocity(np.ones(2), 7, -1.0), r"strength=-1\."),
        (lambda: theorem1_velocity(np.float32([1.0]), 7, 1.0), "a has dtype float32"),
        (
            lambda: log_gap_residual(np.ones(1), np.ones(3), np.ones(1), np.ones(1)),
            "give at least 2 entries",
        ),
        (lambda: relative_residual(np.ones(1), np.ones(1), -np.ones(1)), "scale=.*0 or greater"),
        (lambda: log_gap_rate(math.nan, 0.0, np.ones(3)), "a_i=nan"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
