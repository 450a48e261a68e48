"""Perturbations within budget and box, and random ones of a given size."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from poison_matching import (
    KEY,
    draw,
)

from ssmbias.poison.batch import Batch
from ssmbias.poison.search.matching_config import MatchingConfig
from ssmbias.poison.search.perturbation import perturbation_bounds, project


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("box", [None, (0.1, 0.9), (-7.3, 0.1), (-0.1, 1e3)])
def test_projection_is_exact(dtype, box) -> None:
    rng = np.random.default_rng(0)
    low, high = box or (-1.0, 1.0)
    bottom, top = dtype(low), dtype(high)
    inputs = np.clip(rng.uniform(low, high, (2000, 3)).astype(dtype), bottom, top)
    budget = 0.7 * (high - low)
    config = MatchingConfig(budget=budget, box=box)

    @jax.jit
    def ends(inputs, delta):
        found = project(delta, perturbation_bounds(inputs, config))
        return found, inputs + found

    for sign in (1, -1):
        delta, changed = (np.asarray(x) for x in ends(inputs, np.full_like(inputs, sign * 1e9)))
        assert delta.dtype == dtype
        assert np.abs(delta.astype(np.float64)).max() <= budget
        np.testing.assert_array_equal(changed, inputs + delta)
        if box is None:
            continue
        assert changed.min() >= bottom
        assert changed.max() <= top
        # No further from the bound than a few roundings of the larger of the two.
        bound = top if sign > 0 else bottom
        near = np.abs(delta) < 0.99 * budget
        slack = 4 * np.finfo(dtype).eps * (abs(low) + abs(high))
        np.testing.assert_allclose(changed[near], bound, rtol=0, atol=slack)
    if box == (-7.3, 0.1):  # control: the plain difference does leave the box
        assert np.any(inputs + (top - inputs) > top)


def test_random_perturbations_of_the_same_size() -> None:
    rng = np.random.default_rng(0)
    poisons = Batch(jnp.asarray(rng.uniform(size=(5, 40))), jnp.zeros(5))
    config = MatchingConfig(budget=0.1)
    like = 0.1 * rng.choice([-1.0, 1.0], (5, 40)) * np.array([1, 0.95, 0.5, 1e-4, 0])[:, None]
    found = draw(KEY, poisons, config, like=like)
    assert np.abs(np.asarray(found)).max() <= 0.1
    norms = np.linalg.norm(found, axis=1)
    # Sums of 40 squares, then a root.
    np.testing.assert_allclose(norms, np.linalg.norm(like, axis=1), rtol=1e-13)
    # Control: a random direction of the norm, merely clipped, loses much of it.
    other = rng.normal(size=(5, 40))
    clipped = np.clip(
        other * np.linalg.norm(like, axis=1)[:, None] / np.linalg.norm(other, axis=1)[:, None],
        -0.1,
        0.1,
    )
    assert np.linalg.norm(clipped[0]) < 0.95 * norms[0]
    # Only on the support, and within the box.
    support = np.arange(40) >= 30
    late = draw(
        jax.random.key(1),
        poisons,
        replace(config, box=(0.0, 1.0)),
        like=like * support,
        support=support,
    )
    late = np.asarray(late)
    np.testing.assert_array_equal(late[:, :30], 0.0)
    changed = np.asarray(poisons.inputs) + np.asarray(late)
    assert changed.min() >= 0
    assert changed.max() <= 1
    np.testing.assert_allclose(
        np.linalg.norm(late[2:], axis=1), np.linalg.norm((like * support)[2:], axis=1), rtol=1e-13
    )
    plain = draw(jax.random.key(2), poisons, config)
    # 200 uniform numbers: their mean square is 1/3 of the budget's, give or take .3/sqrt(200).
    assert float(np.mean(np.square(plain))) == pytest.approx(0.01 / 3, rel=0.25)
    assert 0.09 < np.abs(np.asarray(plain)).max() <= 0.1
