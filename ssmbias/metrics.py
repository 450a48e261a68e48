"""What is measured of a model: loss, generalisation error, effective rank, gaps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ssmbias.core.checks import as_float64, is_concrete, require_int
from ssmbias.core.types import AnyArray, Array
from ssmbias.data.lag_gram import require_targets, require_training_set
from ssmbias.data.sequences import TrainingSet
from ssmbias.models.ssm import DiagonalSSM, apply, impulse_response, theorem1_student


def sample_loss(
    model: DiagonalSSM, training_set: TrainingSet, targets: Float[AnyArray, " sample"]
) -> Float[Array, ""]:
    r"""The weighted mean of squared residuals, $\sum_i w_i (y_i-\varphi(x^{(i)}))^2/\sum_i w_i$.

    Args:
      model: the student $\varphi$.
      training_set: sequences $x^{(i)}$ and weights $w_i$.
      targets: the labels $y_i$, from `ssmbias.data.labels`.

    Returns:
      The loss.

    Raises:
      ValueError: a malformed model or training set, or not one target a sequence.

    Example:
      >>> from ssmbias.data import theorem1_training_set
      >>> data = theorem1_training_set(5, strength=1.0)
      >>> student = theorem1_student(jnp.array([0.5, 0.0]))
      >>> float(sample_loss(student, data, jnp.ones(2))) == (0.5**2 + (1 - 0.5**4) ** 2) / 2
      True

    References:
      Slutzky et al. (2025), arXiv:2410.10473.
    """
    inputs, weights = require_training_set(training_set)
    targets = require_targets(targets, weights)
    residuals = targets - jax.vmap(lambda sequence: apply(model, sequence))(inputs)
    return jnp.sum(weights * residuals**2) / jnp.sum(weights)


def impulse_error(
    model: DiagonalSSM, teacher: DiagonalSSM, horizon: int, normalize: bool = True
) -> Float[Array, ""]:
    r"""The largest difference of two responses over a horizon, $\max_{0\le l<H}|h_l-h^*_l|$.

    Args:
      model: the student, with response $h$.
      teacher: the teacher, with response $h^*$; its dimension is free.
      horizon: number of lags $H \ge 1$. The error depends on it: say which one was taken.
      normalize: whether to divide by $\max_{0\le l<H}|h^*_l|$.

    Returns:
      The generalisation error over the horizon; `nan` or `inf` if it is normalised by a
      response that is zero over the horizon.

    Raises:
      ValueError: a malformed model or teacher, or `horizon < 1`.

    Example:
      >>> from ssmbias.models import paper_teacher
      >>> teacher = paper_teacher(1)  # every lag 1
      >>> student = DiagonalSSM(jnp.array([0.5]), jnp.ones(1), jnp.ones(1))
      >>> float(impulse_error(student, teacher, horizon=3))
      0.75

    References:
      Slutzky et al. (2025), arXiv:2410.10473.
    """
    horizon = require_int("horizon", horizon, minimum=1)
    target = impulse_response(teacher, horizon)
    error = jnp.max(jnp.abs(impulse_response(model, horizon) - target))
    return error / jnp.max(jnp.abs(target)) if normalize else error


def generalization_error(
    a: Float[AnyArray, " state"], horizon: int = 20, normalize: bool = True
) -> Float[Array, ""]:
    r"""The generalisation error in the setting of Theorem 1.

    The student has $B = C = 1$, the teacher the response $(d, 1, 1, \dots)$. Lag 0 matches
    whatever $a$ is, so the error is $\max_{1\le l<H} |\sum_j a_j^l - 1|$, or that over $d$.

    Args:
      a: the student's diagonal, float64, any sign and order; map over more with `jax.vmap`.
      horizon: number of lags $H \ge 1$, lag 0 included. With all $|a_j| < 1$ the error tends
        to 1 (not normalised) as $H$ grows, with $|a_1| > 1$ to infinity.
      normalize: whether to divide by $\max_l |h^*_l| = d$.

    Returns:
      The error.

    Raises:
      ValueError: `a` is not a float64 vector of at least 2 finite numbers, or `horizon < 1`.

    Example:
      >>> float(generalization_error(jnp.array([1.0, 0.0, 0.0])))
      0.0
      >>> float(generalization_error(jnp.array([1.0, 0.5]), normalize=False))
      0.5

    References:
      Slutzky et al. (2025), arXiv:2410.10473, Theorem 1.
    """
    a = as_float64("a", a, ndim=1)
    horizon = require_int("horizon", horizon, minimum=1)
    state_dim = a.shape[0]
    if state_dim < 2:
        raise ValueError(
            f"a has {state_dim} entries: a student of Theorem 1 has at least 2 (state_dim >= 2)"
        )
    # The teacher's response is written down: through sqrt(d - 1)^2 lag 0 would be off by rounding.
    target = jnp.ones(horizon, jnp.float64).at[0].set(float(state_dim))
    error = jnp.max(jnp.abs(impulse_response(theorem1_student(a), horizon) - target))
    return error / state_dim if normalize else error


def effective_rank(a: Float[AnyArray, " state"]) -> Float[Array, ""]:
    r"""The effective rank $\exp(-\sum_j p_j \log p_j)$ with $p_j = |a_j| / \sum_i |a_i|$.

    1 if a single entry is non-zero, $d$ if all have the same magnitude. Zero entries count for
    nothing; the derivative with respect to them, which is infinite, is given as 0.

    Args:
      a: a diagonal, float64, not all zero; map over more with `jax.vmap`.

    Returns:
      A number from 1 to $d$; `nan` for a vector of zeros that cannot be inspected.

    Raises:
      ValueError: `a` is not a float64 vector of finite numbers, or all are zero.

    Example:
      >>> round(float(effective_rank(jnp.array([0.3, -0.3, 0.0]))), 12)
      2.0

    References:
      Slutzky et al. (2025), arXiv:2410.10473, experiments; Roy and Vetterli (2007), "The
      effective rank: a measure of effective dimensionality".
    """
    a = as_float64("a", a, ndim=1)
    if is_concrete(a) and not bool(np.any(np.asarray(a) != 0)):
        raise ValueError("a: the effective rank needs at least one entry that is not 0")
    # JAX's derivative of |a| at 0 is 1; this one is 0.
    magnitude = jnp.where(a == 0, 0.0, jnp.abs(a))
    p = magnitude / jnp.sum(magnitude)
    # The inner `where` keeps log(0) out of the gradient as well as out of the value.
    return jnp.exp(-jnp.sum(p * jnp.log(jnp.where(p == 0, 1.0, p))))


def adjacent_gaps(a: Float[AnyArray, " state"]) -> Float[Array, " state-1"]:
    r"""Differences $a_{(j)} - a_{(j+1)} \ge 0$ of neighbours in descending order.

    The subtraction is of stored doubles: a gap below their spacing reads 0. Such gaps are kept
    as logarithms by the flows that need them.

    Args:
      a: a diagonal of at least 2 entries, float64, in any order.

    Returns:
      One gap fewer than there are entries.

    Raises:
      ValueError: `a` is not a float64 vector of at least 2 finite numbers.

    Example:
      >>> adjacent_gaps(jnp.array([0.25, 1.0, 0.5])).tolist()
      [0.5, 0.25]
    """
    a = as_float64("a", a, ndim=1)
    if a.shape[0] < 2:
        raise ValueError(f"a has {a.shape[0]} entries: a gap needs at least 2")
    descending = jnp.sort(a, descending=True)
    return descending[:-1] - descending[1:]
