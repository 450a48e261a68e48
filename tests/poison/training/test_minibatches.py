"""Training by minibatches: schedules, an epoch, and its end."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from poison_cifar import TINY

from ssmbias.poison.batch import Batch
from ssmbias.poison.cifar.settings import FullSettings
from ssmbias.poison.tasks.layouts import pixels
from ssmbias.poison.training.estimate import example_of
from ssmbias.poison.training.minibatches import (
    optimizer_of,
    rate_factor,
    start,
    train_epoch,
    train_step,
)


class TestTraining:
    """Schedules, an epoch, and its end."""

    def test_cosine_per_epoch(self):
        experiment = FullSettings().experiment()
        for adds in (False, True):
            for epoch in (0, 37, 99):
                # The closed form of a cosine with a floor of a hundredth.
                want = 0.01 + 0.99 * (1 + math.cos(math.pi * epoch / 100)) / 2
                # Single precision: the cosine is off by an ulp of 1, about 1e-7.
                assert float(rate_factor(experiment, adds, epoch)) == pytest.approx(want, abs=3e-7)

    def test_published_schedule_is_another_one_in_poisoned_arms(self):
        paper = FullSettings(schedule="paper").experiment()
        assert float(rate_factor(paper, False, 99)) < 0.011
        want = 0.001 + 0.999 * (1 + math.cos(math.pi / 3)) / 2
        assert float(rate_factor(paper, True, 100)) == pytest.approx(want, abs=3e-7)
        # At least 100 epochs, then until the loss of base + .001, 300 at most.
        assert not paper.training.is_done(99, 0.0, 1.0, adds=True)
        assert paper.training.is_done(100, 1.0005, 1.0, adds=True)
        assert not paper.training.is_done(100, 1.002, 1.0, adds=True)
        assert paper.training.is_done(300, 9.0, 1.0, adds=True)
        assert not paper.training.is_done(200, math.nan, 1.0, adds=True)
        assert FullSettings().experiment().training.is_done(100, 9.0, 1.0, adds=True)
        assert not FullSettings().experiment().training.is_done(99, 0.0, 1.0, adds=True)

    def test_rates_fall_from_epoch_to_epoch(self):
        # Two updates an epoch, of 3 epochs; AdamW's first update is the rate times the sign.
        settings = dataclasses.replace(TINY, batch_size=10)
        adam = optimizer_of(settings.experiment(), False)
        params = {"w": jnp.zeros(1, jnp.float32)}
        state = adam.init(params)
        steps = []
        for _ in range(6):
            updates, state = adam.update({"w": jnp.ones(1, jnp.float32)}, state, params)
            steps.append(float(updates["w"][0]))
        # Bias corrections in single precision: a few ulps of 6e-8, times a factor of 1000 at the
        # first updates, where 1 - .999 is what is left.
        factors = [0.01 + 0.99 * part for part in (1, 1, 0.75, 0.75, 0.25, 0.25)]
        assert steps == pytest.approx([-0.001 * factor for factor in factors], rel=1e-4)

    def test_starts_are_those_of_the_seed(self):
        tiny = TINY.experiment()
        starts = [jax.tree.leaves(start(tiny, seed, example_of(tiny)).params) for seed in (0, 0, 1)]
        assert all(np.array_equal(a, b) for a, b in zip(*starts[:2], strict=True))
        assert not all(np.array_equal(a, b) for a, b in zip(*starts[1:], strict=True))


@pytest.mark.slow
def test_padding_free_epoch_is_its_updates(data):
    # An epoch by hand, batch after batch, with the statistics of a batch norm. The same program
    # fused otherwise: a few ulps of single precision an update, three updates, in bfloat16 none.
    settings = dataclasses.replace(TINY, model="mamba2", dtype="float32", channels=8)
    experiment = settings.experiment()
    split = experiment.task.split(data, 0)  # pyright: ignore[reportAttributeAccessIssue]
    training = Batch(pixels(split.images), jnp.asarray(split.labels))
    state = start(experiment, 0, example_of(experiment))
    whole = train_epoch(experiment, False, training, state, 0)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 1), 0)
    order = jax.random.permutation(jax.random.fold_in(key, 0), 20)
    step = jax.jit(lambda s, b, k: train_step(experiment, False, s, b, k))
    by_hand, losses = state, 0.0
    for i, rows in enumerate((order[:7], order[7:14], order[14:])):
        by_hand, (loss, _) = step(
            by_hand, Batch(*(x[rows] for x in training)), jax.random.fold_in(key, i + 1)
        )
        losses += float(loss) * len(rows)
    assert float(whole.loss) == pytest.approx(losses / 20, rel=1e-5)
    for a, b in zip(jax.tree.leaves(whole.stats), jax.tree.leaves(by_hand.stats), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
