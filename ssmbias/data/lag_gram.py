"""Sufficient statistics of a linear problem: the lag Gram matrix."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ssmbias.core.checks import (
    as_float64,
    is_concrete,
    require_int,
    require_nonnegative,
    require_seq_len,
)
from ssmbias.core.types import AnyArray, Array, ScalarLike
from ssmbias.data.sequences import TrainingSet, require_strength
from ssmbias.models.ssm import DiagonalSSM, impulse_response


class LagGram(NamedTuple):
    r"""All that gradient flow of a linear student under a linear teacher sees of its data.

    With $h$ and $h^*$ the responses of student and teacher at lags $0, \dots, \kappa-1$ and
    $G_{lm} = \sum_i w_i x^{(i)}_{\kappa-l} x^{(i)}_{\kappa-m} / \sum_i w_i$, the loss is
    $(h^*-h)^\top G (h^*-h)$. Poison fills the first rows of $G$, which are zero for clean data.

    `gram` is $G$ and `response` is $h^*$.

    Example:
      >>> data = theorem1_gram(state_dim=10, seq_len=7, strength=1.0)
      >>> jnp.diag(data.gram).tolist()
      [0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.5]
    """

    gram: Float[Array, "lag lag"]
    response: Float[Array, " lag"]


def lag_gram(training_set: TrainingSet, teacher: DiagonalSSM) -> LagGram:
    r"""The lag Gram matrix of a training set, and the teacher's response beside it.

    Args:
      training_set: sequences and non-negative weights, of which one at least is positive.
      teacher: the teacher that labels them.

    Returns:
      The sufficient statistics, of size $\kappa$ whatever the number of sequences.

    Raises:
      ValueError: shapes disagree, a weight is negative, or all weights are zero.

    Example:
      >>> from ssmbias.data.sequences import theorem1_training_set
      >>> from ssmbias.models import theorem1_teacher
      >>> data = lag_gram(theorem1_training_set(7, 0.25), theorem1_teacher(10))
      >>> bool(jnp.allclose(data.gram, theorem1_gram(10, 7, 0.25).gram, rtol=1e-15))
      True

    References:
      Derivation in docs/theory.md (identity I6).
    """
    inputs, weights = require_training_set(training_set)
    by_lag = inputs[:, ::-1]  # column l holds x_{κ-l}
    gram = (by_lag * weights[:, None]).T @ by_lag / jnp.sum(weights)
    return LagGram(gram, impulse_response(teacher, inputs.shape[1]))


def theorem1_gram(state_dim: int, seq_len: int, strength: ScalarLike) -> LagGram:
    r"""The lag Gram matrix of Theorem 1, written down without samples.

    $G$ is zero but for $G_{\kappa-1,\kappa-1} = 1/(1+\rho)$ and $G_{1,1} = \rho/(1+\rho)$;
    $h^* = (d, 1, \dots, 1)$ exactly.

    Args:
      state_dim: the student's number of states $d \ge 2$.
      seq_len: sequence length $\kappa \ge 3$.
      strength: poison strength $\rho \ge 0$; may be traced. 0 is the clean set.

    Returns:
      The sufficient statistics.

    Raises:
      ValueError: a number is out of range.

    Example:
      >>> data = theorem1_gram(state_dim=10, seq_len=5, strength=0.0)
      >>> jnp.diag(data.gram).tolist(), data.response.tolist()
      ([0.0, 0.0, 0.0, 0.0, 1.0], [10.0, 1.0, 1.0, 1.0, 1.0])

    References:
      Slutzky et al. (2025), arXiv:2410.10473, Theorem 1; derivation in docs/theory.md (I6).
    """
    state_dim = require_int("state_dim", state_dim, minimum=2)
    seq_len = require_seq_len(seq_len, minimum=3, odd=False)
    rho = require_strength(strength)
    gram = jnp.zeros((seq_len, seq_len), jnp.float64)
    gram = gram.at[seq_len - 1, seq_len - 1].set(1.0 / (1.0 + rho)).at[1, 1].set(rho / (1.0 + rho))
    return LagGram(gram, jnp.ones(seq_len, jnp.float64).at[0].set(float(state_dim)))


def gram_loss(response: Float[AnyArray, " lag"], data: LagGram) -> Float[Array, ""]:
    r"""The loss $(h^*-h)^\top G (h^*-h)$ of a student with response $h$.

    A quadratic form of the small quantity $h^*-h$: unlike the mean of squared differences of
    outputs it does not stall at the rounding of the outputs.

    Args:
      response: the student's $h$ at lags $0, \dots, \kappa-1$.
      data: the sufficient statistics.

    Returns:
      The loss.

    Raises:
      ValueError: `response` is not a float64 vector of length $\kappa$.

    Example:
      >>> from ssmbias.models import impulse_response, theorem1_student
      >>> a = jnp.array([0.5, 0.0])
      >>> h = impulse_response(theorem1_student(a), 5)
      >>> float(gram_loss(h, theorem1_gram(2, 5, 1.0))) == (0.5**2 + (1 - 0.5**4) ** 2) / 2
      True

    References:
      Derivation in docs/theory.md (identity I6).
    """
    error = _error(response, data)
    return error @ (data.gram @ error)


def gram_omega(response: Float[AnyArray, " lag"], data: LagGram) -> Float[Array, " lag"]:
    r"""The force $\omega = 2 G (h^*-h)$ on each lag: minus the gradient of the loss in $h$.

    With $g(z) = \sum_l \omega_l z^l$, gradient flow is $\dot a_j = b_j c_j g'(a_j)$,
    $\dot b_j = c_j g(a_j)$, $\dot c_j = b_j g(a_j)$.

    Args:
      response: the student's $h$ at lags $0, \dots, \kappa-1$.
      data: the sufficient statistics.

    Returns:
      $\omega_0, \dots, \omega_{\kappa-1}$.

    Raises:
      ValueError: `response` is not a float64 vector of length $\kappa$.

    Example:
      >>> gram_omega(jnp.array([2.0, 0.5, 0.25]), theorem1_gram(2, 3, 1.0)).tolist()
      [0.0, 0.5, 0.75]

    References:
      Slutzky et al. (2025), arXiv:2410.10473, Proposition 1; derivation in docs/theory.md (I6).
    """
    return 2.0 * (data.gram @ _error(response, data))


def require_training_set(
    training_set: TrainingSet,
) -> tuple[Float[Array, "sample seq"], Float[Array, " sample"]]:
    r"""Return the inputs and weights of a training set, or say what is wrong with them.

    Args:
      training_set: a matrix of sequences and one weight $w_i \ge 0$ a sequence.

    Returns:
      Both as float64 JAX arrays.

    Raises:
      ValueError: shapes disagree, a weight is negative, or no weight is positive.

    Example:
      >>> inputs, weights = require_training_set(TrainingSet([[1.0, 0.0]], [1.0]))
      >>> inputs.shape, weights.shape
      ((1, 2), (1,))
    """
    inputs = as_float64("training_set.inputs", training_set.inputs, ndim=2)
    weights = as_float64("training_set.weights", training_set.weights, ndim=1)
    if weights.shape[0] != inputs.shape[0]:
        raise ValueError(
            f"training_set.weights has {weights.shape[0]} entries for {inputs.shape[0]} "
            "sequences: give one weight a sequence"
        )
    require_nonnegative("training_set.weights", weights)
    if is_concrete(weights) and not bool(np.any(np.asarray(weights) > 0)):
        raise ValueError("training_set.weights: all are 0; at least one must be positive")
    return inputs, weights


def require_targets(
    targets: Float[AnyArray, " sample"], weights: Float[Array, " sample"]
) -> Float[Array, " sample"]:
    """Return one label a sequence as a float64 array, or say what is wrong with them.

    Args:
      targets: the labels.
      weights: the weights of the sequences, as `require_training_set` returns them.

    Raises:
      ValueError: not one number a sequence.

    Example:
      >>> require_targets([1.0, 2.0], jnp.ones(2)).tolist()
      [1.0, 2.0]
    """
    targets = as_float64("targets", targets, ndim=1)
    if targets.shape != weights.shape:
        raise ValueError(
            f"targets has {targets.shape[0]} entries for {weights.shape[0]} sequences: "
            "take ssmbias.data.labels(teacher, training_set.inputs)"
        )
    return targets


def _error(response: Float[AnyArray, " lag"], data: LagGram) -> Float[Array, " lag"]:
    response = as_float64("response", response, ndim=1)
    if response.shape != data.response.shape:
        raise ValueError(
            f"response has {response.shape[0]} lags and the data {data.response.shape[0]}: "
            "take impulse_response(model, seq_len)"
        )
    return data.response - response
