"""Training sequences: baseline, special (poisonous), and their weighted union."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from ssmbias.core.checks import as_float64, require_int, require_nonnegative, require_seq_len
from ssmbias.core.types import AnyArray, Array, ScalarLike
from ssmbias.models.ssm import DiagonalSSM, apply

FIRST_BASELINE_LAG = 3
"""The smallest lag at which small entries grow faster than exponentially, one at a time.

Data at lag l drives da_j/dt like a_j^(l-1): superlinear from lag 3 on, and from the small lags
0, 1, 2 constant or linear at most.
"""


class TrainingSet(NamedTuple):
    r"""Sequences and the weights $w_i$ of their squared errors.

    The loss is $\sum_i w_i \delta_i^2 / \sum_i w_i$. Labels are not stored: they are always the
    teacher's output (`labels`).

    Example:
      >>> data = theorem1_training_set(7, strength=0.5)
      >>> data.inputs.shape, [float(w) for w in data.weights]
      ((2, 7), [1.0, 0.5])
    """

    inputs: Float[Array, "sample seq"]
    weights: Float[Array, " sample"]


def require_strength(strength: ScalarLike) -> Float[Array, ""]:
    r"""Return the poison strength $\rho \ge 0$ as a float64 scalar.

    Args:
      strength: the number; may be traced.

    Returns:
      The same number; a negative one that cannot be inspected becomes `nan`.

    Raises:
      ValueError: not one finite real number, or negative.

    Example:
      >>> float(require_strength(2))
      2.0
    """
    rho = as_float64("strength", strength, ndim=0)
    require_nonnegative("strength", rho)
    return jnp.where(rho >= 0, rho, jnp.nan)


def theorem1_training_set(seq_len: int, strength: ScalarLike) -> TrainingSet:
    r"""The two one-hot sequences of Theorem 1: $e_1$ and, poisonous, $e_{\kappa-1}$.

    $e_1$ is seen at lag $\kappa-1$ and has weight 1; $e_{\kappa-1}$ is seen at lag 1 and has
    weight $\rho$. $\rho = 0$ is the clean set, of the same shape.

    Args:
      seq_len: sequence length $\kappa \ge 3$.
      strength: poison strength $\rho \ge 0$; may be traced.

    Returns:
      The training set.

    Raises:
      ValueError: `seq_len` or `strength` is out of range.

    Example:
      >>> theorem1_training_set(5, strength=1.0).inputs.astype(int).tolist()
      [[1, 0, 0, 0, 0], [0, 0, 0, 1, 0]]

    References:
      Slutzky et al. (2025), arXiv:2410.10473, Theorem 1.
    """
    seq_len = require_seq_len(seq_len, minimum=3, odd=False)
    rho = require_strength(strength)
    inputs = jnp.zeros((2, seq_len), jnp.float64).at[0, 0].set(1.0).at[1, seq_len - 2].set(1.0)
    return TrainingSet(inputs, jnp.stack([jnp.ones_like(rho), rho]))


def gaussian_sequences(
    key: jax.Array, num: int, seq_len: int, positions: Sequence[int]
) -> Float[Array, "sample seq"]:
    r"""Sequences with independent standard normal entries at some positions, zero elsewhere.

    Args:
      key: a JAX random key.
      num: how many sequences, at least 1.
      seq_len: sequence length $\kappa \ge 1$.
      positions: the non-zero positions, counted from 0 (position $q$ is seen at lag
        $\kappa-1-q$), distinct.

    Returns:
      One sequence a row.

    Raises:
      ValueError: a count is out of range, or `positions` is empty, repeats or leaves 0..κ-1.

    Example:
      >>> x = gaussian_sequences(jax.random.key(0), num=3, seq_len=6, positions=(0, 1))
      >>> (x != 0).astype(int).tolist()[0]
      [1, 1, 0, 0, 0, 0]
    """
    num = require_int("num", num, minimum=1)
    seq_len = require_seq_len(seq_len, minimum=1, odd=False)
    columns = _require_positions(positions, seq_len)
    draws = jax.random.normal(key, (num, len(columns)), jnp.float64)
    return jnp.zeros((num, seq_len), jnp.float64).at[:, jnp.array(columns)].set(draws)


def baseline_sequences(
    key: jax.Array, num: int, seq_len: int, positions: Sequence[int]
) -> Float[Array, "sample seq"]:
    r"""`gaussian_sequences` that are zero at the last three positions (lags 0, 1, 2).

    Args:
      key: a JAX random key.
      num: how many sequences, at least 1.
      seq_len: sequence length $\kappa \ge 4$.
      positions: the non-zero positions, counted from 0, all at most $\kappa-4$.

    Returns:
      One sequence a row.

    Raises:
      ValueError: as `gaussian_sequences`, or a position is too late for a baseline sequence.

    Example:
      >>> x = baseline_sequences(jax.random.key(0), num=8, seq_len=10, positions=range(7))
      >>> bool((x[:, 7:] == 0).all())
      True
    """
    seq_len = require_seq_len(seq_len, minimum=FIRST_BASELINE_LAG + 1, odd=False)
    last = seq_len - 1 - FIRST_BASELINE_LAG
    columns = _require_positions(positions, seq_len)
    if max(columns) > last:
        raise ValueError(
            f"positions={columns}: baseline sequences are zero at the last "
            f"{FIRST_BASELINE_LAG} positions, so use 0..{last}; "
            "gaussian_sequences takes any position"
        )
    return gaussian_sequences(key, num, seq_len, columns)


def special_sequences(
    key: jax.Array, num: int, seq_len: int, positions: Sequence[int]
) -> Float[Array, "sample seq"]:
    r"""`gaussian_sequences` that are zero except at the last three positions (lags 0, 1, 2).

    Args:
      key: a JAX random key.
      num: how many sequences, at least 1.
      seq_len: sequence length $\kappa \ge 4$.
      positions: the non-zero positions, counted from 0, all at least $\kappa-3$. The paper
        takes $\kappa-2$ (lag 1), in some experiments with $\kappa-1$ (lag 0).

    Returns:
      One sequence a row.

    Raises:
      ValueError: as `gaussian_sequences`, or a position is too early for a special sequence.

    Example:
      >>> x = special_sequences(jax.random.key(0), num=2, seq_len=6, positions=(4,))
      >>> (x != 0).astype(int).tolist()[1]
      [0, 0, 0, 0, 1, 0]
    """
    seq_len = require_seq_len(seq_len, minimum=FIRST_BASELINE_LAG + 1, odd=False)
    first = seq_len - FIRST_BASELINE_LAG
    columns = _require_positions(positions, seq_len)
    if min(columns) < first:
        raise ValueError(
            f"positions={columns}: special sequences are zero except at the last "
            f"{FIRST_BASELINE_LAG} positions, so use {first}..{seq_len - 1}; "
            "gaussian_sequences takes any position"
        )
    return gaussian_sequences(key, num, seq_len, columns)


def combine(
    baseline: Float[AnyArray, "baseline seq"],
    special: Float[AnyArray, "special seq"],
    strength: ScalarLike,
) -> TrainingSet:
    r"""Baseline sequences of weight 1 followed by special ones of weight $\rho$.

    Args:
      baseline: baseline sequences, one a row.
      special: special sequences of the same length, one a row.
      strength: poison strength $\rho \ge 0$; may be traced. 0 is the clean set.

    Returns:
      The training set; its shape does not depend on the strength.

    Raises:
      ValueError: the lengths differ, there is no baseline sequence, or $\rho < 0$.

    Example:
      >>> data = combine(jnp.eye(4)[:1], jnp.eye(4)[2:], strength=0.0)
      >>> data.weights.tolist()
      [1.0, 0.0, 0.0]
    """
    baseline = as_float64("baseline", baseline, ndim=2)
    special = as_float64("special", special, ndim=2)
    if baseline.shape[0] == 0:
        raise ValueError("baseline has no sequence: the clean set (strength 0) would be empty")
    if baseline.shape[1] != special.shape[1]:
        raise ValueError(
            f"special has sequences of length {special.shape[1]}: "
            f"make them as long as the baseline ones ({baseline.shape[1]})"
        )
    rho = require_strength(strength)
    weights = [jnp.ones(baseline.shape[0], jnp.float64), jnp.full(special.shape[0], rho)]
    return TrainingSet(jnp.concatenate([baseline, special]), jnp.concatenate(weights))


def labels(teacher: DiagonalSSM, inputs: Float[AnyArray, "sample seq"]) -> Float[Array, " sample"]:
    r"""Clean labels: the teacher's output $y_i = \varphi^*(x^{(i)})$ for each sequence.

    Args:
      teacher: the teacher.
      inputs: sequences, one a row, special ones included: poison never touches a label.

    Returns:
      One label a sequence.

    Raises:
      ValueError: a malformed teacher, or `inputs` is not a float64 matrix.

    Example:
      >>> from ssmbias.models import theorem1_teacher
      >>> labels(theorem1_teacher(10), theorem1_training_set(7, 1.0).inputs).tolist()
      [1.0, 1.0]
    """
    inputs = as_float64("inputs", inputs, ndim=2)
    return jax.vmap(lambda sequence: apply(teacher, sequence))(inputs)


def _require_positions(positions: Any, seq_len: int) -> tuple[int, ...]:
    columns = tuple(require_int("positions", q, minimum=0, maximum=seq_len - 1) for q in positions)
    if not columns or len(set(columns)) != len(columns):
        raise ValueError(
            f"positions={columns}: give at least one position in 0..{seq_len - 1}, each once"
        )
    return columns
