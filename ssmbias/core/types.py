"""Axis vocabulary and array aliases.

One name per axis, everywhere in the package:

| axis       | meaning                                                    | paper |
|------------|------------------------------------------------------------|-------|
| ``state``  | diagonal entries of a student or teacher, ``state_dim``     | d, d* |
| ``lag``    | lags 0..seq_len-1; element ``x_k`` is seen at lag κ-k       | l     |
| ``seq``    | positions k = 1..seq_len of a training sequence             | k, κ  |
| ``sample`` | training sequences                                          | i, n  |
| ``time``   | saved times of a trajectory                                 | t     |
| ``lane``   | independent runs (seeds x strengths) inside one solver call |       |
"""

from __future__ import annotations

from typing import TypeAlias

import jax
import numpy as np
from jaxtyping import Float

Array: TypeAlias = jax.Array
"""A JAX array, traced or concrete."""

AnyArray: TypeAlias = jax.Array | np.ndarray
"""What public functions accept where they document an array."""

ScalarLike: TypeAlias = Float[jax.Array, ""] | Float[np.ndarray, ""] | np.number | float | int
"""A real number: Python, NumPy, or a traced JAX scalar."""
