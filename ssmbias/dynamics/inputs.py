"""Guards for what the integrators take beside the problem itself."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ssmbias.core.checks import as_float64, is_concrete, require_nonnegative
from ssmbias.core.types import Array
from ssmbias.data import LagGram
from ssmbias.models import DiagonalSSM


def as_log_gaps(value: Any, *, ndim: int = 1, name: str = "log_gaps") -> Float[Array, "..."]:
    """Logarithms of gaps as float64: finite numbers, or -inf for an exact tie.

    Raises:
      ValueError: an entry is nan or +inf, or dtype or shape are wrong.
    """
    if is_concrete(value):
        ties = np.isneginf(np.asarray(value, dtype=np.float64))
        finite = as_float64(name, np.where(ties, 0.0, value), ndim=ndim)
        return jnp.where(ties, -jnp.inf, finite)
    return as_float64(name, value, ndim=ndim)


def as_save_times(value: Any) -> Float[Array, " time"]:
    """Physical times as float64: ascending and not negative.

    Raises:
      ValueError: a time is negative or smaller than the one before it.
    """
    times = as_float64("save_times", value, ndim=1)
    require_nonnegative("save_times", times)
    if is_concrete(times) and bool(np.any(np.diff(np.asarray(times)) < 0)):
        raise ValueError("save_times: must ascend; sort them first")
    # Where they cannot be inspected: no time is reached.
    ascend = jnp.all(jnp.diff(times) >= 0) & jnp.all(times >= 0)
    return jnp.where(ascend, times, jnp.nan)


def require_statistics(data: LagGram) -> LagGram:
    """Sufficient statistics as float64.

    Raises:
      ValueError: shapes or dtypes are wrong.
    """
    if not isinstance(data, LagGram):
        raise ValueError(
            f"data is a {type(data).__name__}: expected sufficient statistics, from "
            "ssmbias.data.lag_gram(training_set, teacher)"
        )
    gram = as_float64("data.gram", data.gram, ndim=2)
    response = as_float64("data.response", data.response, ndim=1)
    num_lags = response.shape[0]
    if gram.shape != (num_lags, num_lags) or num_lags < 3:
        raise ValueError(
            f"data.gram has shape {gram.shape} for {num_lags} lags in data.response: "
            "take ssmbias.data.lag_gram of sequences of length 3 or more"
        )
    return LagGram(gram, response)


def require_trainable(trainable: Any) -> None:
    """Raise `ValueError` unless `trainable` is a tuple of parameters of a student, each once."""
    leaves = DiagonalSSM._fields
    if (
        not isinstance(trainable, tuple)
        or not trainable
        or len(set(trainable)) != len(trainable)
        or not set(trainable) <= set(leaves)
    ):
        raise ValueError(
            f"trainable={trainable!r}: name some of 'a', 'b', 'c', each once, as a tuple "
            "such as ('a',)"
        )
