"""Starts and data of a few descents, and how far their results are apart."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssmbias.data import combine, lag_gram
from ssmbias.models import DiagonalSSM

RNG = np.random.default_rng(1)
BASELINE, SPECIAL = RNG.normal(size=(4, 6)), RNG.normal(size=(2, 6))
TEACHER = DiagonalSSM(np.array([0.8]), np.ones(1), np.ones(1))
STARTS = DiagonalSSM(*(RNG.uniform(0.2, 0.6, (3, 4)) for _ in range(3)))
STRENGTHS = jnp.array([0.0, 0.3, 1.0, 2.0])


def data(strength):
    return lag_gram(combine(BASELINE, SPECIAL, strength), TEACHER)


def pick(tree: Any, *index: int) -> Any:
    return jax.tree.map(lambda x: x[index], tree)


def farthest(x: Any, y: Any) -> float:
    pairs = zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True)
    return max((float(np.max(np.abs(u - v))) for u, v in pairs), default=0.0)


def identical(x: Any, y: Any) -> bool:
    pairs = zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True)
    return all(np.array_equal(u, v, equal_nan=True) for u, v in pairs)
