"""A small problem for gradient matching, and its slopes computed directly in NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ssmbias.poison.batch import Batch
from ssmbias.poison.search.matching import brew
from ssmbias.poison.search.matching_config import MatchingConfig
from ssmbias.poison.search.objective import matching_objective
from ssmbias.poison.search.perturbation import random_perturbation
from ssmbias.poison.search.weighting import late_share

LENGTH = 6
SHORT = MatchingConfig(budget=0.3, steps=30, restarts=3)


def logistic(params, x, y):
    """Linear logistic loss for a label of -1 or 1; nan where the first input exceeds `limit`.

    `scale`, `mask` and `limit` are numbers without a gradient, not settings: so one compiled
    attack serves many tests.
    """
    scale, mask, limit = (
        jax.lax.stop_gradient(params[name]) for name in ("scale", "mask", "limit")
    )
    loss = jnp.logaddexp(0.0, -y * (params["w"] @ (mask * x) + params["b"]))
    return loss * jnp.where(x[0] > limit, jnp.nan, scale)


def teacher(x):
    """The sign of the sum, for a batch."""
    return jnp.where(x.sum(1) > 0, 1, -1)


def make(seed: int, num: int = 4, num_targets: int = 6) -> tuple[dict, Batch, Batch]:
    rng = np.random.default_rng(seed)
    params = {"b": rng.normal(), "w": rng.normal(size=LENGTH)}
    params |= {"scale": 1.0, "mask": np.ones(LENGTH), "limit": np.inf}
    sets = [
        Batch(jnp.asarray(rng.normal(size=(n, LENGTH))), jnp.asarray(rng.choice([-1, 1], n)))
        for n in (num, num_targets)
    ]
    return jax.tree.map(jnp.asarray, params), *sets


PARAMS, POISONS, TARGETS = make(0)
KEY = jax.random.key(0)

# Static arguments are hashed, so tests with the same functions share what was compiled.
run = jax.jit(brew, static_argnames=("loss", "config", "relabel", "augment"))
objective_of = jax.jit(matching_objective, static_argnames="loss")
draw = jax.jit(random_perturbation, static_argnames="config")
share = jax.jit(late_share, static_argnames=("last", "image"))


def numpy_gradient(params: dict, inputs, labels) -> np.ndarray:
    """-y s(-y z) (x, 1), averaged, with s the logistic function."""
    x = np.asarray(inputs)
    y = np.asarray(labels, float)
    z = x @ np.asarray(params["w"]) + float(params["b"])
    each = (-y / (1 + np.exp(y * z)))[:, None] * np.column_stack([x, np.ones(len(x))])
    return each.mean(0)


def numpy_objective(params, inputs, labels, targets, target_labels=None) -> float:
    left = numpy_gradient(params, inputs, labels)
    wanted = targets.labels if target_labels is None else target_labels
    right = numpy_gradient(params, targets.inputs, wanted)
    right = -right if target_labels is None else right
    return 1 - left @ right / np.linalg.norm(left) / np.linalg.norm(right)


def numpy_slope(params, inputs, labels, targets) -> np.ndarray:
    """Central differences of step 1e-5: error about 1e-10 (truncation) and 1e-11 (rounding)."""
    inputs, slope = np.array(inputs), np.zeros(inputs.shape)
    for at in np.ndindex(inputs.shape):
        ends = []
        for shift in (1e-5, -1e-5):
            moved = inputs.copy()
            moved[at] += shift
            ends.append(numpy_objective(params, moved, labels, targets))
        slope[at] = (ends[0] - ends[1]) / 2e-5
    return slope
