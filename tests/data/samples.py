"""A training set with a student and a teacher."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from ssmbias.data import (
    baseline_sequences,
    combine,
    special_sequences,
)
from ssmbias.models import (
    DiagonalSSM,
    paper_teacher,
)


def a_problem(strength=0.3, seed=0):
    """Eight baseline and ten special sequences, a student of both signs with a zero."""
    key1, key2 = jax.random.split(jax.random.key(seed))
    data = combine(
        baseline_sequences(key1, 8, 10, range(7)),
        special_sequences(key2, 10, 10, (8, 9)),
        strength,
    )
    rng = np.random.default_rng(seed)
    a = rng.uniform(-0.9, 0.9, 5)
    a[2] = 0.0
    b, c = rng.normal(size=(2, 5))
    return data, paper_teacher(2), DiagonalSSM(jnp.asarray(a), jnp.asarray(b), jnp.asarray(c))
