"""Groups of poisons and targets, and the published allocation."""

from __future__ import annotations

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from poison_matching import (
    KEY,
    PARAMS,
    POISONS,
    SHORT,
    TARGETS,
    logistic,
    run,
)

from ssmbias.poison.search.groups import allocate, check_groups, count_groups, equal_groups


@pytest.mark.slow
def test_groups_in_one_batch_or_one_by_one() -> None:
    config = replace(SHORT, steps=5, restarts=1, num_groups=3)
    found = run(KEY, logistic, PARAMS, POISONS, TARGETS, config)
    for at_once in (2, 3):
        other = replace(config, groups_at_once=at_once)
        delta = run(KEY, logistic, PARAMS, POISONS, TARGETS, other).delta
        # Five steps of .1; only a slope of about 1e-16 could take another sign.
        np.testing.assert_allclose(found.delta, delta, rtol=0, atol=1e-12)


def test_allocation_by_hand() -> None:
    losses = np.array([0.2, 0.9, 5.0, 0.4, 0.4, 3.0, 0.1])
    correct = np.array([True, True, False, True, True, False, True])
    # Right and hardest first: 1, then 3 and 4 (tie), 0, 6; then the wrong ones 2 and 5.
    found = allocate(losses, correct, 9, group_size=2, high_fraction=3 / 7, high_poisons=5 / 9)
    listed = [
        (t, p)
        for block in found
        for t, p in zip(block.targets.tolist(), block.poisons.tolist(), strict=True)
    ]
    assert listed == [
        ([1, 3], [0, 1, 2]),
        ([4], [3, 4]),
        ([0, 6], [5, 6]),
        ([2, 5], [7, 8]),
    ]
    # Control: by loss alone the wrong ones would come first.
    wrong = allocate(losses, np.ones(7, bool), 9, group_size=2)
    assert wrong[0].targets[0].tolist() == [2, 5]
    many = jax.vmap(lambda x: allocate(x, correct, 9, group_size=2)[0].targets)(
        jnp.stack([losses, -losses])
    )
    assert many.tolist() == [[[1, 3]], [[6, 0]]]


def test_published_allocation() -> None:
    rng = np.random.default_rng(0)
    losses, correct = rng.exponential(size=3000), rng.random(3000) < 0.8
    found = allocate(losses, correct, 10_000, group_size=50)
    shapes = [(block.targets.shape, block.poisons.shape) for block in found]
    assert shapes == [((20, 50), (20, 250)), ((40, 50), (40, 125))]
    high = np.asarray(found[0].targets).ravel()
    assert correct[high].all()
    assert losses[high].min() >= losses[correct & ~np.isin(np.arange(3000), high)].max()
    assert np.array_equal(np.ravel(found[0].poisons), np.arange(5000))
    check_groups(found, 3000, 10_000)


def test_groups_are_numpys_array_split() -> None:
    for targets, poisons, num in itertools.product((4, 5, 7), (4, 6, 11), (1, 2, 3, 4)):
        found = equal_groups(targets, poisons, num)
        check_groups(found, targets, poisons)
        assert count_groups(found) == num
        for field, size in (("targets", targets), ("poisons", poisons)):
            rows = [row.tolist() for block in found for row in getattr(block, field)]
            assert rows == [part.tolist() for part in np.array_split(np.arange(size), num)]
