r"""The closed gradient of a linear student (identities I1 and I6), for many lanes at once.

The lanes are the last axis: every operation is a loop over contiguous lanes, which compilers
vectorise. Powers are products, never `a ** l`, so that zero and negative entries are exact.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Float

from ssmbias.core.types import Array
from ssmbias.data import LagGram
from ssmbias.dynamics.descent.loop import Gradient
from ssmbias.models import DiagonalSSM

# Terms in the body of a sum that XLA's compiler for CPUs unrolls: then it vectorises over lanes.
_UNROLLED = 100


def gradient(
    model: DiagonalSSM, data: LagGram, trainable: tuple[str, ...], full_norm: bool
) -> Gradient:
    r"""Loss and gradient of every lane.

    With $\omega = 2G(h^*-h)$, $g(z) = \sum_l \omega_l z^l$:
    $\partial L/\partial a_j = -b_j c_j g'(a_j)$, $\partial L/\partial b_j = -c_j g(a_j)$,
    $\partial L/\partial c_j = -b_j g(a_j)$.

    Args:
      model: a, b, c as [state, lane].
      data: Gram matrices [lag, lag, lane] and teachers' responses [lag, lane].
      trainable: which gradients are wanted.
      full_norm: whether `norm` is to be that of the paper's code: of the dense dL/dA, and of
        dL/dB and dL/dC also where these are not trained.

    Returns:
      Loss [lane], gradient by leaf, and the sum of norms [lane] if `full_norm`.
    """
    a, b, c = model
    num_lags = data.response.shape[0]
    product = b * c
    omega, loss = _omega(a, product, data)
    # Horner's rule for g and g' together.
    g = jnp.broadcast_to(omega[num_lags - 1], a.shape)
    slope = jnp.zeros_like(a)
    for lag in range(num_lags - 2, -1, -1):
        slope = slope * a + g
        g = g * a + omega[lag][None]
    leaves = {"a": -product * slope, "b": -c * g, "c": -b * g}
    wanted = {name: leaves[name] for name in trainable}
    norm = _sum_of_norms(leaves, model, omega) if full_norm else None
    return Gradient(loss, wanted, norm)


def loss(model: DiagonalSSM, data: LagGram) -> Float[Array, " lane"]:
    """The loss (h* - h)ᵀ G (h* - h) of every lane, by the operations of `gradient`."""
    return _omega(model.a, model.b * model.c, data)[1]


def _omega(
    a: Float[Array, "state lane"], product: Float[Array, "state lane"], data: LagGram
) -> tuple[Float[Array, "lag lane"], Float[Array, " lane"]]:
    num_lags = data.response.shape[0]
    error = data.response - _power_sums(a, product, num_lags)
    rows = [data.gram[lag] * error for lag in range(num_lags)]
    group = max(1, _UNROLLED // num_lags)
    half = jnp.concatenate([_sums(rows[i : i + group], axis=0) for i in range(0, num_lags, group)])
    return 2.0 * half, jnp.sum(error * half, axis=0)


def _power_sums(
    a: Float[Array, "state lane"], weights: Float[Array, "state lane"], num: int
) -> Float[Array, "power lane"]:
    """The sums over states of w a^l, l = 0..num-1."""
    terms = [weights]
    for _ in range(num - 1):
        terms.append(terms[-1] * a)
    return _over_states(terms)


def _over_states(
    terms: list[Float[Array, "state lane"]], cost: int = 1
) -> Float[Array, "term lane"]:
    """Sums over states, block by block if a loop over all of them would not be unrolled."""
    num_states, num_lanes = terms[0].shape
    most = _UNROLLED // (cost * len(terms))
    size = max((k for k in range(2, num_states) if num_states % k == 0 and k <= most), default=0)
    if num_states <= most or not size:
        size = num_states
    return jnp.sum(_sums([term.reshape(-1, size, num_lanes) for term in terms], axis=1), axis=1)


def _sums(arrays: list[Array], axis: int) -> Array:
    """Sums over an axis, stacked, in one loop: what the arrays share is computed once.

    Of a sum for each of them XLA makes as many loops, and has each compute its array from scratch.
    """
    zeros = tuple(jnp.zeros((), x.dtype) for x in arrays)
    add = lambda xs, ys: tuple(x + y for x, y in zip(xs, ys, strict=True))  # noqa: E731
    return jnp.stack(jax.lax.reduce(tuple(arrays), zeros, add, (axis,)))


def _sum_of_norms(
    leaves: dict[str, Array], model: DiagonalSSM, omega: Float[Array, "lag lane"]
) -> Float[Array, " lane"]:
    """The norms of dL/dA, dL/dB and dL/dC added up, whatever is trained, as in the paper's code."""
    squares = [jnp.sum(leaves[name] ** 2, axis=0) for name in ("b", "c")]
    squares.append(squared_norm_of_full_gradient(model, omega))
    return jnp.sum(jnp.sqrt(jnp.stack(squares)), axis=0)


def squared_norm_of_full_gradient(
    model: DiagonalSSM, omega: Float[Array, "lag lane"]
) -> Float[Array, " lane"]:
    r"""Squared Frobenius norm of $\partial L/\partial A$, off-diagonal entries included.

    At diagonal $A$, $\partial L/\partial A_{ij} = -c_i b_j \sum_m W_m(a_j) a_i^m$ with
    $W_m(z) = \sum_n \omega_{m+n+1} z^n$, $m, n \ge 0$ and $m+n+1 < \kappa$: the numbers that
    Horner's rule for $g(z)$ passes through. With the coefficients $Y_k(z)$ of
    $\bigl(\sum_m W_m(z) x^m\bigr)^2$ in $x$ the sum of squares is
    $\sum_k \bigl(\sum_i c_i^2 a_i^k\bigr) \bigl(\sum_j b_j^2 Y_k(a_j)\bigr)$, so that no
    $d \times d$ matrix is formed.

    Args:
      model: a, b, c as [state, lane].
      omega: the force on each lag.

    Returns:
      One number a lane; rounding cannot make it negative.
    """
    a, b, c = model
    num = omega.shape[0] - 1
    weights = [jnp.broadcast_to(omega[num], a.shape)]
    for lag in range(num - 1, 0, -1):
        weights.append(weights[-1] * a + omega[lag][None])
    weights = [b * weight for weight in reversed(weights)]
    squares = []
    for k in range(2 * num - 1):
        below = range(max(0, k - num + 1), (k + 1) // 2)
        square = sum((2.0 * weights[m] * weights[k - m] for m in below), jnp.zeros_like(a))
        squares.append(square + weights[k // 2] ** 2 if k % 2 == 0 else square)
    # The squares are dear: about twice a product and a sum each.
    total = _power_sums(a, c * c, 2 * num - 1) * _over_states(squares, cost=2)
    return jnp.maximum(jnp.sum(total, axis=0), 0.0)
