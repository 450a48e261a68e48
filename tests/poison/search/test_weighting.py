"""Weights of positions, and where perturbations lie."""

from __future__ import annotations

import itertools
from dataclasses import replace

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
    run,
    share,
)

from ssmbias.poison.search.weighting import position_weights


@pytest.mark.parametrize("weighting", ["late", pytest.param("early", marks=pytest.mark.slow)])
def test_through_the_sign_a_penalty_acts_only_where_the_slope_is_small(weighting) -> None:
    config = replace(SHORT, weighting=weighting)  # of the published strength, 1e-7
    free = np.arange(LENGTH) >= 4 if weighting == "late" else np.arange(LENGTH) < 2

    def brewed(mask, config):
        params = PARAMS | {"mask": jnp.asarray(mask)}
        found = run(KEY, logistic, params, POISONS, TARGETS, config)
        return np.asarray(found.delta)

    # The loss does not see element 3.
    mask = np.where(np.arange(LENGTH) == 3, 0.0, 1.0)
    plain, weighted = brewed(mask, SHORT), brewed(mask, config)
    # Slopes of order .01 against 2e-7 · 5 · .3: where it looks not one bit changes, ...
    np.testing.assert_array_equal(weighted[:, mask > 0], plain[:, mask > 0])
    # ... and where it does not, the same penalty takes the perturbation towards zero: at first by
    # steps of .11 to and fro, in the end by a few of .0001.
    assert np.abs(weighted[:, 3]).max() < 0.25 * np.abs(plain[:, 3]).max()
    # Slopes of order 1e-10 at the penalised elements: now it moves all to the other end.
    mask = np.where(free, 1.0, 1e-8)
    plain, weighted = brewed(mask, SHORT), brewed(mask, config)
    if weighting == "early":
        plain, weighted = plain[:, ::-1], weighted[:, ::-1]
    assert float(share(weighted, last=2).share) > 0.95
    assert float(share(plain, last=2).share) < 0.9  # control


def test_weights_of_positions_and_of_rows() -> None:
    np.testing.assert_array_equal(position_weights("late", (5, 2))[:, 1], [4, 3, 2, 1, 0])
    np.testing.assert_array_equal(
        position_weights("early", (5, 2)), position_weights("late", (5, 2))[::-1]
    )
    rows = position_weights("rows", (1024, 3))
    for plane, i, j in itertools.product(range(3), (0, 5, 31), (0, 17, 31)):
        flat = plane * 1024 + 32 * i + j
        assert rows[flat // 3, flat % 3] == 31 - i
    # The trap: the published weighting is not the late one; step 341 ends the red plane.
    assert rows[340, 0] == 0
    assert rows[342, 0] == 31
    np.testing.assert_array_equal(rows.ravel(), position_weights("rows", (3, 32, 32)).ravel())


def test_late_share_and_its_reference() -> None:
    delta = np.random.default_rng(0).uniform(-1, 1, (100, 1024, 3))
    for last, image, reference in ((2, None, np.sqrt(2 / 1024)), (1, (3, 32, 32), np.sqrt(1 / 32))):
        found = share(delta, last=last, image=image)
        assert found.uniform == pytest.approx(reference, rel=1e-15)
        # A sum of six squares has a relative deviation of .37, its root .18; the root of the mean
        # lies 2 % above the mean of roots. The mean of 100: .018.
        assert float(found.share) == pytest.approx(reference, rel=0.02 + 4 * 0.018)
    assert found.uniform == pytest.approx(0.177, abs=5e-4)  # as published
    flat = np.zeros((1, 3072))
    flat[0, [31 * 32, 5]] = 3.0, 4.0  # last and first row of the red plane
    assert float(share(flat.reshape(1, 1024, 3), last=1, image=(3, 32, 32)).share) == 0.6
    assert float(share(flat.reshape(1, 1024, 3), last=1).share) == 0.0
    # Squares of small numbers do not vanish.
    tiny = np.array([[3e-30, 4e-30]], np.float32)
    assert float(share(tiny).share) == pytest.approx(0.8, rel=1e-6)
    assert np.isnan(share(np.zeros((2, 4))).share)
