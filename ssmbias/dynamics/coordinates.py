r"""Coordinates in which a flow is integrated.

Two sets: the trained leaves themselves, or, where only the diagonal is trained and all
products b_j c_j agree, the smallest entry and the growth of the log-gaps above it. In the
second case every entry solves the same scalar equation da/dt = β g'(a) (identity I4), so a gap
Δ_k = a_k - a_{k+1} obeys d log Δ_k/dt = β Σ_l γ_l (a_k^l - a_{k+1}^l)/(a_k - a_{k+1}), whose
quotients are sums without cancellation: ties far below the spacing of doubles are resolved.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ssmbias._types import Array
from ssmbias.data import LagGram, gram_omega
from ssmbias.models import DiagonalSSM, impulse_response

_EPS = float(np.finfo(np.float64).eps)


def force(model: DiagonalSSM, data: LagGram) -> Float[Array, " lag"]:
    """ω, the force of the data on every lag 0..κ-1 (minus the gradient of the loss in h)."""
    return gram_omega(impulse_response(model, data.response.shape[0]), data)


def force_rounding(model: DiagonalSSM, data: LagGram) -> Float[Array, " lag"]:
    """Size of the rounding error of `force`: the sum of the absolute values of its terms x 8 eps.

    Eight covers the handful of roundings that each term passes through (powers, products, sums).
    """
    magnitudes = jnp.abs(data.response) + impulse_response(
        DiagonalSSM(*map(jnp.abs, model)), data.response.shape[0]
    )
    return 16.0 * _EPS * (jnp.abs(data.gram) @ magnitudes)


def slope_coefficients(omega: Float[Array, " lag"]) -> Float[Array, " lag-1"]:
    """γ_l = (l+1) ω_{l+1}, the coefficients of g' for g(z) = Σ_l ω_l z^l."""
    return omega[1:] * jnp.arange(1.0, omega.shape[0])


def polynomial(coeffs: Float[Array, " lag"], z: Float[Array, " state"]) -> Float[Array, " state"]:
    """Σ_l coeffs_l z^l by Horner's rule (right for z <= 0, finite gradients at 0)."""
    total = jnp.zeros_like(z)
    for coeff in coeffs[::-1]:
        total = total * z + coeff
    return total


def divided_difference(
    coeffs: Float[Array, " lag"], x: Float[Array, " gap"], y: Float[Array, " gap"]
) -> Float[Array, " gap"]:
    """Σ_l coeffs_l (x^l - y^l)/(x - y) without cancellation, also at x = y.

    Horner's rule divided by x - y: with P_k the partial polynomial in y,
    D_{k+1} = D_k x + P_k and P_{k+1} = P_k y + c.
    """
    difference = jnp.zeros_like(x)
    partial = jnp.zeros_like(y)
    for coeff in coeffs[::-1]:
        difference = difference * x + partial
        partial = partial * y + coeff
    return difference


def velocity(
    model: DiagonalSSM, omega: Float[Array, " lag"], trainable: tuple[str, ...]
) -> DiagonalSSM:
    """dθ/dt under the force ω (Proposition 1); zero for what is not trained."""
    a, b, c = model
    zero = jnp.zeros_like(a)
    g = polynomial(omega, a)
    return DiagonalSSM(
        a=b * c * polynomial(slope_coefficients(omega), a) if "a" in trainable else zero,
        b=c * g if "b" in trainable else zero,
        c=b * g if "c" in trainable else zero,
    )


def curvature_scale(
    model: DiagonalSSM, data: LagGram, trainable: tuple[str, ...]
) -> Float[Array, ""]:
    """A smooth bound of the size of the loss's Hessian: the rate of the solver's clock.

    Gauss-Newton part: the trace of 2 Jᵀ G J with J = ∂h/∂θ. Residual part: the root of the
    sum of squares of Σ_l ω_l ∂²h_l over the trained blocks. On the plateau near zero the second
    part is the rate of escape, however small; near a solution the first part dominates.
    """
    omega = force(model, data)
    gamma = slope_coefficients(omega)
    a, b, c = model
    lags = jnp.arange(1.0, data.response.shape[0])
    power = jnp.cumprod(jnp.concatenate([jnp.ones((1, a.shape[0])), _rows(a, lags.shape[0])]), 0)
    slope = jnp.concatenate([jnp.zeros((1, a.shape[0])), lags[:, None] * power[:-1]])
    blocks, curvature = [], [jnp.zeros_like(a)]
    second = gamma[1:] * lags[:-1]
    if "a" in trainable:
        blocks.append((b * c)[None] * slope)
        curvature.append(b * c * polynomial(second, a))
    if "b" in trainable:
        blocks.append(c[None] * power)
    if "c" in trainable:
        blocks.append(b[None] * power)
    if "a" in trainable and "b" in trainable:
        curvature.append(c * polynomial(gamma, a))
    if "a" in trainable and "c" in trainable:
        curvature.append(b * polynomial(gamma, a))
    if "b" in trainable and "c" in trainable:
        curvature.append(polynomial(omega, a))
    jacobian = jnp.concatenate(blocks, axis=1)
    gauss_newton = 2.0 * jnp.sum(jacobian * (data.gram @ jacobian))
    squares = jnp.sum(jnp.stack(curvature) ** 2)
    safe = jnp.where(squares > 0, squares, 1.0)
    return gauss_newton + jnp.where(squares > 0, jnp.sqrt(safe), 0.0)


def _rows(a: Float[Array, " state"], num: int) -> Float[Array, "lag state"]:
    return jnp.broadcast_to(a[None], (num, a.shape[0]))


class GapState(NamedTuple):
    """Smallest entry, and for each gap above it 1 + log(Δ_k/Δ_k(0)).

    The one makes a solver's relative tolerance an absolute one on the logarithm, that is a
    relative one on the gap, from the first step on.
    """

    anchor: Float[Array, ""]
    growth: Float[Array, " gap"]


class GapFrame(NamedTuple):
    """What stays fixed in gap coordinates: log-gaps of the start, b and c, in descending order."""

    log_gaps: Float[Array, " gap"]
    b: Float[Array, " state"]
    c: Float[Array, " state"]


def gaps(state: GapState, frame: GapFrame) -> Float[Array, " gap"]:
    """Differences of consecutive entries."""
    return jnp.exp(frame.log_gaps + (state.growth - 1.0))


def entries(state: GapState, frame: GapFrame) -> Float[Array, " state"]:
    """The diagonal in descending order."""
    above = jnp.cumsum(gaps(state, frame)[::-1])[::-1]
    return state.anchor + jnp.concatenate([above, jnp.zeros(1)])


def gap_velocity(
    a: Float[Array, " state"], frame: GapFrame, omega: Float[Array, " lag"]
) -> GapState:
    """Time derivative of the gap coordinates at the descending diagonal `a` under the force ω.

    Exact ties stay exact, so their log-gap is not moved.
    """
    gamma = slope_coefficients(omega)
    product = frame.b[0] * frame.c[0]
    growth = product * divided_difference(gamma, a[:-1], a[1:])
    return GapState(
        anchor=product * polynomial(gamma, a[-1:])[0],
        growth=jnp.where(jnp.isneginf(frame.log_gaps), 0.0, growth),
    )
