"""Gradient matching: what it finds and what it keeps, with controls that must fail."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from poison_matching import (
    KEY,
    LENGTH,
    PARAMS,
    POISONS,
    SHORT,
    TARGETS,
    logistic,
    make,
    numpy_gradient,
    numpy_objective,
    numpy_slope,
    run,
    teacher,
)

from ssmbias.poison.batch import Batch
from ssmbias.poison.search.groups import equal_groups
from ssmbias.poison.search.matching import brew, poisoned
from ssmbias.poison.search.matching_config import MatchingConfig
from ssmbias.poison.search.signed_adam import Brewed


def test_first_update_is_one_signed_step_of_every_group() -> None:
    """With groups, a teacher and an augmentation; Adam's first step is rate / (1 + 1e-8)."""

    def mirror(key, x):
        return -x[::-1]

    config = replace(SHORT, steps=1, restarts=1, init_scale=0.0, learning_rate=1e-3)
    found = run(
        KEY,
        logistic,
        PARAMS,
        POISONS,
        TARGETS,
        config,
        groups=equal_groups(6, 4, 2),
        relabel=teacher,
        augment=mirror,
    )
    # The teacher labels what is trained on before the augmentation, which keeps labels.
    inputs, given = np.asarray(POISONS.inputs), np.asarray(POISONS.labels)
    labels = np.where(inputs.sum(1) > 0, 1, -1)
    steps, values, controls = [], [], []
    for t, p in (([0, 1, 2], [0, 1]), ([3, 4, 5], [2, 3])):
        part = Batch(*(np.asarray(x)[t] for x in TARGETS))
        slope = numpy_slope(PARAMS, -inputs[p, ::-1], labels[p], part)
        steps.append(1e-3 * np.sign(slope)[:, ::-1])
        values.append(numpy_objective(PARAMS, -inputs[p, ::-1], labels[p], part))
        controls.append(numpy_slope(PARAMS, -inputs[p, ::-1], given[p], part)[:, ::-1])
    np.testing.assert_allclose(found.delta, np.concatenate(steps), rtol=1e-7)
    np.testing.assert_allclose(found.history, [np.mean(values)], rtol=0, atol=1e-13)
    # Controls: with the given labels, without the augmentation, or as one group, it is another.
    signs = np.sign(found.delta)
    assert np.any(np.sign(np.concatenate(controls)) != signs)
    assert np.any(-np.sign(numpy_slope(PARAMS, inputs, labels, TARGETS)) != signs)
    whole = numpy_slope(PARAMS, -inputs[:, ::-1], labels, TARGETS)[:, ::-1]
    assert np.any(np.sign(whole) != signs)


def test_rate_falls_at_the_published_steps() -> None:
    config = MatchingConfig(budget=1.0, learning_rate=1.0)
    rates = np.array([config.schedule(count) for count in (0, 92, 93, 155, 156, 217, 218, 249)])
    np.testing.assert_allclose(rates, [1, 1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001], rtol=1e-14)
    assert float(replace(config, steps=1).schedule(0)) == 1.0  # it never falls before a step
    # .0977 for pixels over a deviation of .247 and a budget of 16/255.
    assert MatchingConfig(budget=16 / 255 / 0.247).rate == pytest.approx(0.0977, rel=1e-12)


def effect(brewed: Brewed) -> tuple[float, float]:
    """Objective, and by how much a training step on the poison raises the targets' loss."""
    batch = poisoned(brewed, POISONS)
    step = numpy_gradient(PARAMS, *batch)
    step = 1e-3 * step / np.linalg.norm(step)
    w, b = np.asarray(PARAMS["w"]), float(PARAMS["b"])
    x, y = np.asarray(TARGETS.inputs), np.asarray(TARGETS.labels)
    losses = [
        np.logaddexp(0, -y * (x @ w + b)).mean() for w, b in ((w - step[:-1], b - step[-1]), (w, b))
    ]
    return numpy_objective(PARAMS, *batch, TARGETS), losses[0] - losses[1]


def test_objective_falls_and_rises_with_the_goal_flipped() -> None:
    found = run(KEY, logistic, PARAMS, POISONS, TARGETS, SHORT)
    config = replace(SHORT, box=(-3.0, 3.0), init="uniform")
    support = np.arange(LENGTH) >= 2
    flipped = run(
        KEY,
        logistic,
        PARAMS,
        POISONS,
        TARGETS,
        config,
        target_labels=TARGETS.labels,
        support=support,
    )
    start, rise_before = effect(Brewed(jnp.zeros((4, LENGTH)), KEY, KEY, KEY))
    (objective, rise), (control, rise_flipped) = effect(found), effect(flipped)
    assert objective < start - 0.1
    assert control > start + 0.1
    # What it is for: training on the poison raises the targets' loss more (less) than before.
    assert rise > rise_before > rise_flipped
    # The final objective is that of the perturbation that is returned.
    np.testing.assert_allclose(found.objective[found.kept], objective, rtol=0, atol=1e-13)
    np.testing.assert_allclose(flipped.objective[flipped.kept], 2 - control, rtol=0, atol=1e-13)
    # Budget and support.
    for brewed in (found, flipped):
        assert np.abs(brewed.delta).max() <= 0.3
        assert np.all(np.abs(np.asarray(brewed.delta)[:, 2:]).max(1) > 0)
    np.testing.assert_array_equal(np.asarray(flipped.delta)[:, :2], 0.0)
    assert np.abs(np.asarray(found.delta)[:, :2]).max() > 0.1  # control
    edge = Batch(jnp.clip(4 * POISONS.inputs, -3, 3), POISONS.labels)
    boxed = run(
        KEY, logistic, PARAMS, edge, TARGETS, config, target_labels=TARGETS.labels, support=support
    )
    assert np.abs(poisoned(boxed, edge).inputs).max() == 3.0
    assert np.abs(np.asarray(edge.inputs + found.delta)).max() > 3.0  # control


def test_best_restart_is_kept() -> None:
    found = run(KEY, logistic, PARAMS, POISONS, TARGETS, SHORT)
    assert found.objective.shape == (3,)
    assert found.history.shape == (30,)
    assert int(found.kept) == int(np.argmin(found.objective))
    assert np.ptp(found.objective) > 1e-6  # control: they differ
    expected = numpy_objective(PARAMS, POISONS.inputs + found.delta, POISONS.labels, TARGETS)
    np.testing.assert_allclose(np.min(found.objective), expected, rtol=0, atol=1e-13)


def test_a_restart_that_fails_is_not_kept() -> None:
    # The first element starts between -.3 and .3, has no slope, and fails above .29.
    poisons = Batch(POISONS.inputs.at[:, 0].set(0.0), POISONS.labels)
    targets = Batch(TARGETS.inputs.at[:, 0].set(0.0), TARGETS.labels)
    params = PARAMS | {"limit": 0.29, "mask": (jnp.arange(LENGTH) > 0).astype(float)}
    failed = []
    for seed in range(6):
        found = run(jax.random.key(seed), logistic, params, poisons, targets, SHORT)
        bad = np.isnan(found.objective)
        failed.append(bad.sum())
        if not bad.all():
            assert float(found.objective[found.kept]) == np.nanmin(found.objective)
            assert np.all(np.isfinite(found.delta))
    assert any(0 < num < 3 for num in failed)  # control: some do fail


def test_zero_and_tiny_gradients_are_harmless() -> None:
    flat = run(KEY, logistic, PARAMS | {"scale": 0.0}, POISONS, TARGETS, SHORT)
    assert np.all(np.isfinite(flat.delta))
    np.testing.assert_array_equal(flat.objective, 1.0)
    np.testing.assert_array_equal(flat.history, 1.0)
    # Squares of such gradients underflow; a power of two changes no digit.
    tiny = run(KEY, logistic, PARAMS | {"scale": 2.0**-600}, POISONS, TARGETS, SHORT)
    plain = run(KEY, logistic, PARAMS, POISONS, TARGETS, SHORT)
    np.testing.assert_array_equal(tiny.delta, plain.delta)
    np.testing.assert_array_equal(tiny.history, plain.history)
    assert not np.array_equal(plain.delta, flat.delta)  # control


def test_single_precision_stays_single() -> None:
    single = jax.tree.map(lambda x: x if x.dtype == int else x.astype(np.float32), make(0))
    found = jax.eval_shape(lambda *args: brew(KEY, logistic, *args, SHORT), *single)
    assert {x.dtype for x in found[:3]} == {np.dtype(np.float32)}


def test_labels_are_never_changed() -> None:
    assert "labels" not in Brewed._fields
    for labels in (POISONS.labels, jnp.array([0.1, np.pi, -0.0, 1e300])):
        given = Batch(POISONS.inputs, labels)
        brewed = Brewed(POISONS.inputs / 3, jnp.zeros(1), jnp.zeros(1), jnp.array(0))
        batch = poisoned(brewed, given)
        assert batch.labels.dtype == labels.dtype
        assert np.asarray(batch.labels).tobytes() == np.asarray(labels).tobytes()
        np.testing.assert_array_equal(batch.inputs, POISONS.inputs + POISONS.inputs / 3)


SEEDS = replace(SHORT, steps=12, restarts=2, keep="best")


def test_the_teacher_labels_what_was_found() -> None:
    zeros = Batch(jnp.zeros((4, LENGTH)), jnp.zeros(4, int))
    # Zero inputs with a budget: the perturbation is the whole sequence.
    found = run(KEY, logistic, PARAMS, zeros, TARGETS, SEEDS, relabel=teacher)
    batch = poisoned(found, zeros, teacher)
    expected = np.where(np.asarray(found.delta).sum(1) > 0, 1, -1)
    np.testing.assert_array_equal(batch.labels, expected)
    assert batch.labels.dtype == zeros.labels.dtype
    assert set(expected) == {-1, 1}  # control: not one label for all
    # The search itself used these labels.
    np.testing.assert_allclose(
        found.objective[found.kept],
        numpy_objective(PARAMS, found.delta, expected, TARGETS),
        rtol=0,
        atol=1e-13,
    )


def test_the_best_on_the_way_can_be_kept() -> None:
    zeros = Batch(jnp.zeros((4, LENGTH)), jnp.zeros(4, int))
    gains = []
    for key in jax.random.split(KEY, 8):
        found = run(key, logistic, PARAMS, zeros, TARGETS, SEEDS, relabel=teacher)
        labels = np.where(np.asarray(found.delta).sum(1) > 0, 1, -1)
        objective = numpy_objective(PARAMS, found.delta, labels, TARGETS)
        np.testing.assert_allclose(found.objective[found.kept], objective, rtol=0, atol=1e-13)
        assert objective <= np.min(found.history) + 1e-13
        gains.append(float(found.history[-1]) - objective)
    assert max(gains) > 0.01  # control: some search ends above its best


def test_many_seeds_at_once_equal_one_by_one() -> None:
    keys = jax.random.split(KEY, 3)
    data = [make(seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *x: np.stack(x), *data)

    def one(key, params, poisons, targets):
        return brew(key, logistic, params, poisons, targets, SEEDS, relabel=teacher)

    together = jax.jit(jax.vmap(one))(keys, *stacked)
    for i, (params, poisons, targets) in enumerate(data):
        alone = run(keys[i], logistic, params, poisons, targets, SEEDS, relabel=teacher)
        # Sums in another order; only a slope of about 1e-16 could take another sign.
        np.testing.assert_allclose(together.delta[i], alone.delta, rtol=0, atol=1e-12)
        np.testing.assert_allclose(together.objective[i], alone.objective, rtol=0, atol=1e-12)
        assert together.kept[i] == alone.kept
    deltas = np.asarray(together.delta)
    assert np.abs(deltas[0] - deltas[1]).max() > 1e-2  # control: seeds differ
