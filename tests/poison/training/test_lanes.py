"""Training and measuring all seeds at once, against plain loops and differences."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from poison_tiny import F1

from ssmbias.data.tasks.sum_sign import SignTask, teacher_label, training_inputs
from ssmbias.models.networks.sequence import SequenceNetwork
from ssmbias.poison.training import lanes
from ssmbias.poison.training.learner import learner_of, optimizer_of


class TestTraining:
    def test_against_a_plain_loop(self, prepared) -> None:
        arm = "late"
        params, loss = lanes.train_arm(F1, prepared, True, prepared.by_hand[arm])
        network, index = SequenceNetwork(F1.network), 1  # pyright: ignore[reportArgumentType]
        train = prepared.problem.train
        inputs = jnp.concatenate([train.inputs[index], prepared.by_hand[arm].inputs[index]])
        signs = (
            2.0 * jnp.concatenate([train.labels[index], prepared.by_hand[arm].labels[index]]) - 1
        )

        def mean_loss(weights):
            margins = jax.vmap(lambda x: network.apply({"params": weights}, x))(inputs)[:, 0]  # pyright: ignore
            return jnp.mean(jnp.log1p(jnp.exp(-signs * margins)))

        weights = jax.tree.map(lambda leaf: leaf[index], prepared.start)
        rate = optax.cosine_decay_schedule(0.005, 3)
        adam = optax.adamw(rate, weight_decay=0.01)
        state, gradient = adam.init(weights), jax.jit(jax.grad(mean_loss))
        for _ in range(3):
            updates, state = adam.update(gradient(weights), state, weights)
            weights = optax.apply_updates(weights, updates)
        # Adam divides by the size of the gradient: entries with a tiny one move by rounding more.
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a[index], b, rtol=1e-9, atol=1e-11),
            params, weights,
        )  # fmt: skip
        assert float(loss[index]) == pytest.approx(float(mean_loss(weights)), rel=1e-10)

    def test_sequences_without_weight_teach_nothing(self, prepared) -> None:
        base, _ = lanes.train_arm(F1, prepared, False, prepared.by_hand["base"])
        other, _ = lanes.train_arm(F1, prepared, False, prepared.by_hand["late"])
        late, _ = lanes.train_arm(F1, prepared, True, prepared.by_hand["late"])
        leaves = [np.asarray(tree["head"]["out"]["kernel"]) for tree in (base, other, late)]
        np.testing.assert_allclose(leaves[0], leaves[1], rtol=1e-9)
        assert np.abs(leaves[0] / leaves[2] - 1).max() > 1e-4  # control
        assert lanes.arm_weights(F1, False).sum() == 6

    def test_optimizers_and_schedules(self) -> None:
        plain = dataclasses.replace(F1.training, optimizer="sgd", schedule="constant")
        rule = optimizer_of(plain)
        updates, _ = rule.update(jnp.ones(1), rule.init(jnp.ones(1)), jnp.ones(1))
        assert float(updates[0]) == -0.005


class TestMeasures:
    def test_sensitivity_against_differences(self, prepared) -> None:
        found = lanes.measure(F1, prepared.start, prepared.problem)
        learner = learner_of(F1)
        params = jax.tree.map(lambda leaf: leaf[0], prepared.start)
        outputs = jax.jit(jax.vmap(lambda x: learner.outputs(params, x)[0]))
        tests, step = np.asarray(prepared.problem.tests["test"].inputs[0]), 1e-5
        slopes = np.stack(
            [(outputs(tests + d) - outputs(tests - d)) / (2 * step)
             for d in step * np.eye(8)[:, :, None]], axis=1,
        )  # fmt: skip
        share = (slopes**2).sum(axis=0) / (slopes**2).sum()
        # Differences of outputs of size 1e-1 over 1e-5: rounding 1e-12 in slopes of about 1e-2.
        np.testing.assert_allclose(found["input_share"][0], share, rtol=1e-4)
        cosine = slopes.sum(axis=1) / np.linalg.norm(slopes, axis=1) / np.sqrt(8)
        assert float(found["teacher_cosine"][0]) == pytest.approx(cosine.mean(), abs=1e-5)
        right = (np.asarray(outputs(tests)) > 0) == (tests.sum(axis=(1, 2)) > 0)
        assert float(found["test_accuracy"][0]) == right.mean()

    def test_teacher_of_any_dimension(self) -> None:
        task = SignTask(teacher_a=(0.5, -0.9), teacher_bc=(2.0, 1.0), output="value")
        x = np.random.default_rng(0).normal(size=(6, 1))
        state, expected = np.zeros(2), 0.0
        for element in x[:, 0]:
            state = np.array([0.5, -0.9]) * state + element
            expected = np.array([2.0, 1.0]) @ state
        assert float(teacher_label(task, x)) == pytest.approx(expected, rel=1e-13)
        sign = dataclasses.replace(task, output="sign")
        assert int(teacher_label(sign, x)) == int(expected > 0) != int(teacher_label(sign, -x))

    def test_off_support_elements_are_exactly_zero_unless_asked_for(self) -> None:
        key = jax.random.key(0)
        assert (training_inputs(key, SignTask())[:, 8:] == 0).all()
        assert (training_inputs(key, SignTask(off_support=0.1))[:, 8:] != 0).all()
