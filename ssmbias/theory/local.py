r"""Prediction M6: how fast the loss decays near its end.

With residuals $r_i = \sqrt{w_i / \sum_k w_k}\,\delta_i$ the loss is $\lVert r\rVert^2$ and gradient
flow moves them by $\dot r = -K r$, where $K$ is the tangent kernel. Near a solution $K$ is
constant to leading order, and what is left after a while decays at its smallest eigenvalue
$\lambda > 0$: $L \propto e^{-2\lambda t}$.

$K$ is singular wherever there are more sequences than lags that they excite, which does not
matter, because $r$ has no part there. Which eigenvalues are zero is decided on the singular
values of a factor $F$ of $K = F F^\top$, whose squares are the eigenvalues: rounding leaves
$\epsilon$ of the largest singular value, which is $\epsilon^2$ of the largest eigenvalue, where
the eigenvalues of $K$ itself would be known to $\epsilon$ only.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from ssmbias.core.checks import as_float64, require_int
from ssmbias.core.types import Array
from ssmbias.data import LagGram, TrainingSet, require_training_set
from ssmbias.models.ssm import DiagonalSSM, impulse_response, require_ssm

_EPS = float(np.finfo(np.float64).eps)

RANK_FACTOR = 8.0
"""A singular value of a matrix with m rows and n columns is zero if it is at most this times
max(m, n) eps times the largest one. LAPACK computes them to a small multiple of eps times the
largest; entries of F pass through about as many roundings as a^l has factors, fewer than m."""


class LocalRate(NamedTuple):
    r"""Eigenvalues of the tangent kernel, and what they say about the end of training.

    Attributes:
      rate: the smallest non-zero eigenvalue $\lambda$; `nan` if all are zero.
      eigenvalues: the largest min(number of lags or sequences, parameters) eigenvalues,
        descending, those that are zero by the threshold set to 0.
      rank: how many are not zero.
      data_rank: rank of the data, the number of directions that the residuals can have. Where
        `rank` falls short of it, some residuals do not decay to leading order, and $\lambda$ does
        not decide.
    """

    rate: Float[Array, ""]
    eigenvalues: Float[Array, " mode"]
    rank: Int[Array, ""]
    data_rank: Int[Array, ""]

    @property
    def is_complete(self) -> Bool[Array, "..."]:
        """Whether every residual that the data can have decays to leading order."""
        return self.rank == self.data_rank


def response_jacobian(
    model: DiagonalSSM, num_lags: int, trainable: tuple[str, ...] = ("a", "b", "c")
) -> Float[Array, "lag parameter"]:
    r"""Derivatives of the impulse response $h_l = \sum_j c_j b_j a_j^l$ in the trained leaves.

    Columns are $l\,c_j b_j a_j^{l-1}$ for $a$, $c_j a_j^l$ for $b$ and $b_j a_j^l$ for $c$, leaf by
    leaf in the order of `trainable`.

    Args:
      model: the student.
      num_lags: how many lags, at least 1.
      trainable: which of "a", "b", "c" are trained.

    Returns:
      One row a lag.

    Raises:
      ValueError: a malformed model, or `trainable` is no set of leaves.

    Example:
      >>> model = DiagonalSSM(jnp.array([0.5]), jnp.array([2.0]), jnp.array([3.0]))
      >>> response_jacobian(model, 3).tolist()
      [[0.0, 3.0, 2.0], [6.0, 1.5, 1.0], [6.0, 0.75, 0.5]]

    References:
      Derivation in docs/theory.md (I1, M6).
    """
    model = require_ssm("model", model)
    num_lags = require_int("num_lags", num_lags, minimum=1)
    names = tuple(trainable)
    if not names or len(set(names)) != len(names) or not set(names) <= {"a", "b", "c"}:
        raise ValueError(
            f"trainable={trainable!r}: name some of 'a', 'b', 'c', each once, as a tuple such as "
            "('a',)"
        )
    jacobian = jax.jacrev(impulse_response)(model, num_lags)
    return jnp.concatenate([getattr(jacobian, name) for name in names], axis=1)


def tangent_kernel(
    model: DiagonalSSM, training_set: TrainingSet, trainable: tuple[str, ...] = ("a", "b", "c")
) -> Float[Array, "sample sample"]:
    r"""The tangent kernel of weighted residuals, one row a sequence.

    $$K_{ik} = \frac{2\sqrt{w_i w_k}}{\sum_m w_m}\,
      \nabla\varphi(x_i) \cdot \nabla\varphi(x_k).$$
    Gradient flow moves the weighted residuals $r_i = \sqrt{w_i/\sum_m w_m}\,\delta_i$ by
    $\dot r = -K r$; with equal weights the factor is the $2/n$ of unweighted residuals.

    Args:
      model: the student $\varphi$.
      training_set: sequences $x_i$ and weights $w_i \ge 0$.
      trainable: the leaves with respect to which the gradient is taken.

    Returns:
      The symmetric kernel.

    Raises:
      ValueError: a malformed model or training set, or `trainable` is no set of leaves.

    Example:
      >>> from ssmbias.data import theorem1_training_set
      >>> from ssmbias.models import theorem1_student
      >>> limit = theorem1_student(jnp.array([1.0, 0.0]))
      >>> kernel = tangent_kernel(limit, theorem1_training_set(7, strength=1.0), ("a",))
      >>> jnp.round(kernel, 9).tolist()
      [[36.0, 6.0], [6.0, 2.0]]

    References:
      Derivation in docs/theory.md (M6).
    """
    factor, _ = _sample_factor(model, training_set, trainable)
    return factor @ factor.T


def local_rate(
    model: DiagonalSSM,
    data: LagGram | TrainingSet,
    trainable: tuple[str, ...] = ("a", "b", "c"),
) -> LocalRate:
    r"""The rate $\lambda$ of the loss's last decay, $L \propto e^{-2\lambda t}$.

    The smallest non-zero eigenvalue of the tangent kernel at a solution. From the lag Gram
    matrix, with $J = \partial h/\partial\theta$, the same eigenvalues are those of
    $2\,G^{1/2} J J^\top G^{1/2}$.

    Args:
      model: the student, at the solution.
      data: lag Gram matrix (its response plays no part), or sequences with weights.
      trainable: the trained leaves.

    Returns:
      The rate, all eigenvalues, and the ranks that say whether the rate decides.

    Raises:
      ValueError: a malformed model or training set, or `trainable` is no set of leaves.

    Example:
      >>> from ssmbias.data import theorem1_gram
      >>> from ssmbias.models import theorem1_student
      >>> limit = theorem1_student(jnp.array([1.0, 0.0]))
      >>> clean = local_rate(limit, theorem1_gram(2, 7, 0.0), ("a",))
      >>> round(float(clean.rate), 9), int(clean.rank)  # 2 (κ-1)²
      (72.0, 1)

    References:
      Derivation in docs/theory.md (M6).
    """
    if isinstance(data, TrainingSet):
        factor, root = _sample_factor(model, data, trainable)
    else:
        gram = as_float64("data.gram", data.gram, ndim=2)
        root = _square_root(gram)
        factor = np.sqrt(2.0) * root @ response_jacobian(model, gram.shape[0], trainable)
    values = _singular_values(factor)
    rank = jnp.sum(values > 0)
    smallest = jnp.min(jnp.where(values > 0, values, jnp.inf))
    rate = jnp.where(rank > 0, smallest, jnp.nan) ** 2
    return LocalRate(rate, values**2, rank, jnp.sum(_singular_values(root) > 0))


def _sample_factor(
    model: DiagonalSSM, training_set: TrainingSet, trainable: tuple[str, ...]
) -> tuple[Float[Array, "sample parameter"], Float[Array, "sample lag"]]:
    """F with K = F Fᵀ, and the weighted sequences by lag."""
    inputs, weights = require_training_set(training_set)
    scaled = jnp.sqrt(weights / jnp.sum(weights))[:, None] * inputs[:, ::-1]
    jacobian = response_jacobian(model, inputs.shape[1], trainable)
    return np.sqrt(2.0) * scaled @ jacobian, scaled


def _square_root(gram: Float[Array, "lag lag"]) -> Float[Array, "lag lag"]:
    """R with Rᵀ R = G; the others of this kind, such as G^{1/2}, give the same eigenvalues.

    Eigenvalues of G are known to a multiple of eps times the largest one; below that, and where
    negative, they are zero.
    """
    values, vectors = jnp.linalg.eigh(gram)
    floor = RANK_FACTOR * gram.shape[0] * _EPS * jnp.max(values)
    return jnp.sqrt(jnp.where(values > floor, values, 0.0))[:, None] * vectors.T


def _singular_values(matrix: Float[Array, "row column"]) -> Float[Array, " mode"]:
    """Singular values, descending, those below the rank threshold set to 0."""
    values = jnp.linalg.svd(matrix, compute_uv=False)
    threshold = RANK_FACTOR * max(matrix.shape) * _EPS * values[0]
    return jnp.where(values > threshold, values, 0.0)
