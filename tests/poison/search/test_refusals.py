"""Bad input of gradient matching is named."""

from __future__ import annotations

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
)

from ssmbias.poison.batch import Batch, check_batch
from ssmbias.poison.search.groups import Block, allocate
from ssmbias.poison.search.matching import brew, poisoned
from ssmbias.poison.search.matching_config import MatchingConfig
from ssmbias.poison.search.perturbation import random_perturbation
from ssmbias.poison.search.signed_adam import Brewed
from ssmbias.poison.search.weighting import late_share


def call(**changes):
    """`brew` with one argument replaced, up to the check that must stop it."""
    args = {
        "key": KEY,
        "loss": logistic,
        "params": PARAMS,
        "poisons": POISONS,
        "targets": TARGETS,
        "config": SHORT,
    }
    return brew(**(args | changes))


CLASSES = replace(SHORT, num_classes=2)
ONES = Batch(POISONS.inputs, jnp.ones(4, int))


@pytest.mark.parametrize(
    ("make_it", "message"),
    [
        (lambda: MatchingConfig(budget=0), "budget=0: must be greater than 0"),
        (lambda: MatchingConfig(budget=-0.1), "budget=-0.1"),
        (lambda: MatchingConfig(budget=float("nan")), "budget=nan"),
        (lambda: MatchingConfig(0.1, steps=0), "steps=0"),
        (lambda: MatchingConfig(0.1, restarts=0), "restarts=0"),
        (lambda: MatchingConfig(0.1, learning_rate=0.0), "learning_rate=0.0"),
        (lambda: MatchingConfig(0.1, keep="first"), "keep='first'"),
        (lambda: MatchingConfig(0.1, init="ones"), "init='ones'"),
        (lambda: MatchingConfig(0.1, init_scale=-1), "init_scale=-1"),
        (lambda: MatchingConfig(0.1, weighting="last"), "weighting='last': choose one of none"),
        (lambda: MatchingConfig(0.1, weighting_strength=0), "weighting_strength=0"),
        (lambda: MatchingConfig(0.1, decay_steps=(93,)), "decay_steps=93"),
        (lambda: MatchingConfig(0.1, box=(1, 0)), "the lower bound must come first"),
        (lambda: MatchingConfig(0.1, image=(32, 32)), "image="),
        (lambda: MatchingConfig(0.1, num_classes=1), "num_classes=1"),
        (lambda: call(targets=Batch(jnp.zeros((0, LENGTH)), jnp.zeros(0))), "at least one example"),
        (lambda: call(targets=Batch(jnp.zeros((2, 5)), jnp.ones(2))), "the same network"),
        (lambda: call(poisons=Batch(POISONS.inputs, jnp.ones(3))), "one label an example"),
        (lambda: call(poisons=Batch(jnp.ones((2, 6), int), jnp.ones(2))), "dtype int64"),
        (lambda: call(poisons=Batch(POISONS.inputs * np.nan, jnp.ones(4))), "must be finite"),
        (lambda: call(config=CLASSES), "poisons.labels=-1: labels must be integers in 0..1"),
        (lambda: call(config=CLASSES, poisons=ONES), "targets.labels=-1"),
        (
            lambda: call(
                config=CLASSES,
                poisons=ONES,
                targets=ONES,
                target_labels=jnp.full(4, 2),
            ),
            "target_labels=2",
        ),
        (lambda: check_batch("x", Batch(POISONS.inputs, jnp.ones(4)), 2), "x.labels has dtype"),
        (lambda: call(target_labels=jnp.ones(5)), r"target_labels has shape \(5,\)"),
        (lambda: call(loss=lambda p, x, y: x), "expected a real scalar"),
        (lambda: call(relabel=lambda x: x), "relabel gives"),
        (lambda: call(config=replace(SHORT, num_groups=5)), "5 group"),
        (lambda: call(config=replace(SHORT, box=(0.0, 0.1))), "lies outside"),
        (lambda: call(config=replace(SHORT, weighting="rows")), "size of one input"),
        (lambda: call(support=jnp.ones(5, bool)), "support is bool"),
        (lambda: call(support=jnp.ones(6)), "support is float64"),
        (lambda: call(support=jnp.zeros(6, bool)), "support: is empty"),
        (lambda: call(groups=()), "groups have shapes"),
        (
            lambda: call(groups=(Block(jnp.array([[0]]), jnp.array([[0, 1, 2]])),)),
            "groups hold 3 poisons of 4",
        ),
        (
            lambda: call(groups=(Block(jnp.array([[0]]), jnp.array([[0, 1, 2, 2]])),)),
            "exactly one group",
        ),
        (
            lambda: call(groups=(Block(jnp.array([[6]]), jnp.array([[0, 1, 2, 3]])),)),
            "indices in 0..5",
        ),
        (lambda: allocate(np.ones(0), np.ones(0, bool), 3, group_size=1), "at least one"),
        (lambda: allocate(np.ones(3), np.ones(3), 3, group_size=1), "pass booleans"),
        (lambda: allocate(np.ones(9), np.ones(9, bool), 3, group_size=1), "more poisons"),
        (
            lambda: allocate(np.ones(3), np.ones(3, bool), 3, group_size=1, high_fraction=2),
            "high_fraction=2",
        ),
        (
            lambda: poisoned(
                Brewed(jnp.zeros((2, 4, 6)), jnp.zeros(1), jnp.zeros(1), jnp.array(0)), POISONS
            ),
            "one seed at a time",
        ),
        (lambda: late_share(np.ones((2, 4)), 5), "last=5"),
        (
            lambda: random_perturbation(KEY, POISONS, SHORT, like=np.ones((4, 5))),
            "like has shape",
        ),
    ],
)
def test_bad_input_is_named(make_it, message) -> None:
    with pytest.raises(ValueError, match=message):
        make_it()
