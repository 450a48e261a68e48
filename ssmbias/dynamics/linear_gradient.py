r"""The closed gradient of a linear student (identities I1 and I6), for many lanes at once.

The lanes are the last axis: every operation is a loop over contiguous lanes, which compilers
vectorise. Powers are products, never `a ** l`, so that zero and negative entries are exact.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Float

from ssmbias._types import Array
from ssmbias.data import LagGram
from ssmbias.dynamics.descent_loop import Gradient
from ssmbias.models import DiagonalSSM


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
      full_norm: whether `norm` is to count the off-diagonal entries of dL/dA.

    Returns:
      Loss [lane], gradient by leaf, and the sum of norms [lane] if `full_norm`.
    """
    a, b, c = model
    num_lags = data.response.shape[0]
    product = b * c
    omega, loss = _omega(a, product, data)
    # Without the barrier XLA computes ω anew for each entry of the gradient.
    omega = jax.lax.optimization_barrier(omega)
    # Horner's rule for g and g' together.
    g = jnp.broadcast_to(omega[num_lags - 1], a.shape)
    slope = jnp.zeros_like(a)
    for lag in range(num_lags - 2, -1, -1):
        slope = slope * a + g
        g = g * a + omega[lag][None]
    leaves = {"a": -product * slope, "b": -c * g, "c": -b * g}
    wanted = {name: leaves[name] for name in trainable}
    norm = _sum_of_norms(wanted, model, omega) if full_norm else None
    return Gradient(loss, wanted, norm)


def loss(model: DiagonalSSM, data: LagGram) -> Float[Array, " lane"]:
    """The loss (h* - h)ᵀ G (h* - h) of every lane, by the operations of `gradient`."""
    return _omega(model.a, model.b * model.c, data)[1]


def _omega(
    a: Float[Array, "state lane"], product: Float[Array, "state lane"], data: LagGram
) -> tuple[Float[Array, "lag lane"], Float[Array, " lane"]]:
    terms = [product]
    for _ in range(data.response.shape[0] - 1):
        terms.append(terms[-1] * a)
    error = data.response - jnp.sum(jnp.stack(terms), axis=1)
    half = jnp.sum(data.gram * error[None], axis=1)
    return 2.0 * half, jnp.sum(error * half, axis=0)


def _sum_of_norms(
    wanted: dict[str, Array], model: DiagonalSSM, omega: Float[Array, "lag lane"]
) -> Float[Array, " lane"]:
    norms = [jnp.sqrt(jnp.sum(wanted[name] ** 2, axis=0)) for name in wanted if name != "a"]
    if "a" in wanted:
        norms.append(jnp.sqrt(squared_norm_of_full_gradient(model, omega)))
    return jnp.sum(jnp.stack(norms), axis=0)


def squared_norm_of_full_gradient(
    model: DiagonalSSM, omega: Float[Array, "lag lane"]
) -> Float[Array, " lane"]:
    r"""Squared Frobenius norm of $\partial L/\partial A$, off-diagonal entries included.

    $\partial L/\partial A_{ij} = -c_i b_j \sum_{m,n} \omega_{m+n+1} a_i^m a_j^n$ at diagonal $A$,
    with $m, n \ge 0$ and $m+n+1 < \kappa$. With the Hankel matrix
    $\Omega_{mn} = \omega_{m+n+1}$, $U_{mn} = \sum_i c_i^2 a_i^{m+n}$ and
    $V_{mn} = \sum_j b_j^2 a_j^{m+n}$ the sum of squares is $\operatorname{tr}(U\Omega V\Omega)$;
    $U$, $V$ and $\Omega$ are all Hankel, so that no $d \times d$ matrix is formed.

    Args:
      model: a, b, c as [state, lane].
      omega: the force on each lag.

    Returns:
      One number a lane; rounding cannot make it negative.
    """
    size = omega.shape[0] - 1
    squares, moments = jnp.stack([model.c**2, model.b**2]), []
    for _ in range(2 * size - 1):
        moments.append(jnp.sum(squares, axis=1))
        squares = squares * model.a[None]
    force = omega[1:]
    zeros = jnp.zeros_like(force)
    hankel = jnp.stack([jnp.concatenate([force[m:], zeros[:m]]) for m in range(size)])
    # UΩ and VΩ, [(c, b), row, column, lane].
    products = jnp.stack(
        [
            jnp.sum(jnp.stack(moments[m : m + size], axis=1)[:, :, None] * hankel[None], axis=1)
            for m in range(size)
        ],
        axis=1,
    )
    trace = jnp.sum(products[0] * jnp.swapaxes(products[1], 0, 1), axis=(0, 1))
    return jnp.maximum(trace, 0.0)
