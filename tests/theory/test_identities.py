"""I1, I3, I4, I5 against matrix powers in 50 digits and against automatic differentiation."""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from mpmath import mpf

from ssmbias.data import TrainingSet, gram_omega, lag_gram, theorem1_training_set
from ssmbias.data import labels as teacher_labels
from ssmbias.metrics import sample_loss
from ssmbias.models import DiagonalSSM, impulse_response, theorem1_student, theorem1_teacher
from ssmbias.theory import (
    balancedness,
    balancedness_drift,
    balancedness_rate,
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

STATES, SAMPLES, SEQ_LEN = 4, 5, 6

# Half an eps for each addition and multiplication in sequence: d + n + 2κ of them on either
# side. Rounding errors mostly cancel: about 2 eps is what is measured.
FEW_EPS = (STATES + SAMPLES + 2 * SEQ_LEN) * EPS


def make_case(seed):
    """A model with zero and negative entries, weighted random sequences, any targets."""
    rng = np.random.default_rng(seed)
    a, b, c = rng.normal(size=(3, STATES))
    a[1] = 0.0
    inputs = rng.normal(size=(SAMPLES, SEQ_LEN))
    inputs[2, :-2] = 0.0
    weights = np.array([1.0, 1.0, 0.3, 0.0, 2.5])
    targets = rng.normal(size=SAMPLES)
    model = DiagonalSSM(*map(jnp.asarray, (a, b, c)))
    return model, TrainingSet(jnp.asarray(inputs), jnp.asarray(weights)), jnp.asarray(targets)


def negative_gradient(model, training_set, targets):
    gradient = jax.grad(sample_loss)(model, training_set, targets)
    return jax.tree.map(jnp.negative, gradient)


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


class TestBalancedness:
    def test_rate_vanishes_under_gradient_flow(self):
        for seed in range(3):
            model, data, targets = make_case(seed)
            velocity = negative_gradient(model, data, targets)
            scale = velocity_scale(model, data, targets)
            assert float(balancedness_residual(model, velocity, scale)) < FEW_EPS
            exchanged = velocity._replace(b=velocity.c, c=velocity.b)
            assert float(balancedness_residual(model, exchanged, scale)) > 1e-3

    def test_rate_is_the_derivative(self):
        model, _, _ = make_case(4)
        velocity, _, _ = make_case(0)
        _, derivative = jax.jvp(balancedness, (model,), (velocity,))
        np.testing.assert_allclose(
            balancedness_rate(model, velocity), derivative, atol=16 * EPS, rtol=16 * EPS
        )
        assert float(jnp.max(jnp.abs(derivative))) > 0.1

    def test_drift_along_a_flow(self):
        start, data, targets = make_case(5)
        start = start._replace(a=0.1 * start.a, b=0.5 * start.b)

        def euler(model, step, num):
            def advance(_, m):
                velocity = flow_velocity(m, data, targets)
                return jax.tree.map(lambda x, v: x + step * v, m, velocity)

            return jax.lax.fori_loop(0, num, advance, model)

        ends = [euler(start, 0.1 / num, num) for num in (1000, 2000)]
        drifts = [float(balancedness_drift(end, start)) for end in ends]
        # Euler's method keeps it to first order in the step: halved, and not zero.
        assert drifts[0] / drifts[1] == pytest.approx(2.0, rel=0.02)
        assert 0.0 < drifts[0] < 1e-2
        assert float(balancedness_drift(start, start)) == 0.0


class TestEnergy:
    def test_rate_of_the_loss(self):
        for seed, frozen in itertools.product(range(2), ((), ("b", "c"))):
            model, data, targets = make_case(seed)
            scale = velocity_scale(model, data, targets)
            velocity = negative_gradient(model, data, targets)
            velocity = velocity._replace(**{name: jnp.zeros(STATES) for name in frozen})
            _, rate = jax.jvp(lambda m: sample_loss(m, data, targets), (model,), (velocity,))  # noqa: B023
            assert float(rate) < 0
            assert float(energy_residual(rate, velocity, scale)) < FEW_EPS
            assert float(energy_residual(0.5 * rate, velocity, scale)) > 1e-3
            assert float(energy_residual(-rate, velocity, scale)) > 1e-3

    def test_energy_rate(self):
        velocity = DiagonalSSM(jnp.array([1.0, 2.0]), jnp.array([0.0, 2.0]), jnp.array([4.0, 0.0]))
        assert float(energy_rate(velocity)) == -25.0


class TestLogGap:
    GAMMA = (0.3, -1.7, 0.0, 2.5, -0.4, 6.0)

    @pytest.mark.parametrize("gap", [0.5, 1e-3, 1e-12, 1e-19, 4e-28])
    @pytest.mark.parametrize("a_j", [0.8, 5e-3, 0.0, -0.7])
    def test_against_50_digits(self, gap, a_j):
        got = log_gap_rate(a_j + gap, a_j, jnp.array(self.GAMMA))
        with mpmath.workdps(50):
            low = mpf(a_j)
            high = low + mpf(gap)
            velocities = [
                mpmath.fsum(mpf(g) * x**lag for lag, g in enumerate(self.GAMMA))
                for x in (high, low)
            ]
            want = (velocities[0] - velocities[1]) / (high - low)
            size = sum(
                abs(g) * lag * float(max(abs(high), abs(low))) ** (lag - 1)
                for lag, g in enumerate(self.GAMMA)
                if lag > 0
            )
            # a_j + gap is rounded to a double: half an eps, times the exponent.
            assert abs(float(mpf(float(got)) - want)) <= 8 * EPS * size

    def test_the_quotient_of_doubles_would_fail(self):
        gamma, high, low = np.array(self.GAMMA), 0.8 + 1e-12, 0.8
        velocity = [float(np.polyval(gamma[::-1], x)) for x in (high, low)]
        naive = (velocity[0] - velocity[1]) / (high - low)
        rate = float(log_gap_rate(high, low, gamma))
        assert abs(naive / rate - 1) > 1e-6
        # Nor is it the derivative of an entry, unless the gap is small.
        slope = float(np.polyval(np.polyder(gamma[::-1]), 0.8))
        assert float(log_gap_rate(0.8, 0.8, gamma)) == pytest.approx(slope, rel=16 * EPS)
        assert abs(float(log_gap_rate(0.9, 0.8, gamma)) / slope - 1) > 0.1

    def test_residual_of_automatic_differentiation(self):
        a = np.array([0.3, 0.9, 0.9 - 1e-9, 0.0, -0.4])
        data, ones = theorem1_training_set(7, 0.5), jnp.ones(2)
        student = theorem1_student(a)
        gamma = gamma_coefficients(student, data, ones)
        velocity = negative_gradient(student, data, ones).a
        scale = velocity_scale(student, data, ones).a
        assert float(log_gap_residual(a, gamma, velocity, scale)) < FEW_EPS
        # Controls: entries that do not follow one equation; coefficients of another lag.
        assert float(log_gap_residual(a, gamma, velocity.at[0].mul(1.1), scale)) > 1e-3
        assert float(log_gap_residual(a, jnp.roll(gamma, 1), velocity, scale)) > 1e-3


class TestRelativeResidual:
    def test_entries_without_terms(self):
        zero, one = jnp.zeros(2), jnp.array([1.0, 0.0])
        assert float(relative_residual(zero, zero, zero)) == 0.0
        assert float(relative_residual(one, zero, zero)) == math.inf
        assert float(relative_residual(one, zero, 4.0 * one)) == 0.25
        assert float(relative_residual(one[:0], one[:0], one[:0])) == 0.0

    def test_nan_stays(self):
        got = jax.jit(relative_residual)(jnp.array([jnp.nan, 1.0]), jnp.ones(2), jnp.ones(2))
        assert math.isnan(float(got))
        got = jax.jit(relative_residual)(jnp.array([jnp.nan, 1.0]), jnp.ones(2), jnp.zeros(2))
        assert math.isnan(float(got))


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
