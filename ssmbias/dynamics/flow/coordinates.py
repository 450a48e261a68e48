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

from ssmbias.core.types import Array
from ssmbias.data import LagGram
from ssmbias.models import DiagonalSSM

_EPS = float(np.finfo(np.float64).eps)


class Force(NamedTuple):
    """What the data do to a student, and what that was computed from.

    Attributes:
      powers: a_j^l for l = 0..κ-1, by repeated multiplication (right for a <= 0).
      error: h* - h.
      omega: ω = 2 G (h* - h), minus the gradient of the loss in h.
      gamma: γ_l = (l+1) ω_{l+1}, l = 0..κ-2, the coefficients of g' for g(z) = Σ_l ω_l z^l.
    """

    powers: Float[Array, "lag state"]
    error: Float[Array, " lag"]
    omega: Float[Array, " lag"]
    gamma: Float[Array, " lag-1"]


def force(model: DiagonalSSM, data: LagGram) -> Force:
    """The force of the data on every lag.

    Written out here, on one table of powers, because a solver traces it dozens of times.
    """
    powers = _powers(model.a, data.response.shape[0])
    error = data.response - powers @ (model.b * model.c)
    omega = 2.0 * (data.gram @ error)
    return Force(powers, error, omega, _times_lag(omega))


def force_rounding(model: DiagonalSSM, data: LagGram) -> Force:
    """Size of the rounding error of `force`: 16 eps times the sum of its terms' absolute values.

    Sixteen covers the dozen roundings that a term passes through (powers, products, sums).
    """
    powers = _powers(jnp.abs(model.a), data.response.shape[0])
    size = jnp.abs(data.response) + powers @ jnp.abs(model.b * model.c)
    omega = 16.0 * _EPS * (jnp.abs(data.gram) @ size)
    return Force(powers, size, omega, _times_lag(omega))


def loss(model: DiagonalSSM, data: LagGram) -> Float[Array, ""]:
    """The training loss (h* - h)ᵀ G (h* - h)."""
    error = force(model, data).error
    return error @ (data.gram @ error)


def velocity(model: DiagonalSSM, at: Force, trainable: tuple[str, ...]) -> dict[str, Array]:
    """dθ/dt of the trained leaves (Proposition 1)."""
    b, c = model.b, model.c
    rates = {}
    if "a" in trainable:
        rates["a"] = b * c * (at.gamma @ at.powers[:-1])
    if "b" in trainable:
        rates["b"] = c * (at.omega @ at.powers)
    if "c" in trainable:
        rates["c"] = b * (at.omega @ at.powers)
    return rates


def curvature_scale(
    model: DiagonalSSM, at: Force, data: LagGram, trainable: tuple[str, ...]
) -> Float[Array, ""]:
    """A smooth bound of the size of the loss's Hessian: the rate of the solver's clock.

    Gauss-Newton part: the trace of 2 Jᵀ G J with J = ∂h/∂θ. Residual part: the root of the
    sum of squares of Σ_l ω_l ∂²h_l over the trained blocks. On the plateau near zero the second
    part is the rate of escape, however small; near a solution the first part dominates.
    """
    b, c = model.b, model.c
    blocks, curvature = [], [jnp.zeros_like(model.a)]
    if "a" in trainable:
        lags = jnp.arange(1.0, data.response.shape[0])[:, None]
        slope = jnp.concatenate([jnp.zeros_like(at.powers[:1]), lags * at.powers[:-1]])
        blocks.append((b * c)[None] * slope)
        curvature.append(b * c * (_times_lag(at.gamma) @ at.powers[:-2]))
    if "b" in trainable:
        blocks.append(c[None] * at.powers)
    if "c" in trainable:
        blocks.append(b[None] * at.powers)
    if "a" in trainable and len(trainable) > 1:
        g_slope = at.gamma @ at.powers[:-1]
        curvature += [c * g_slope] * ("b" in trainable) + [b * g_slope] * ("c" in trainable)
    if "b" in trainable and "c" in trainable:
        curvature.append(at.omega @ at.powers)
    jacobian = jnp.concatenate(blocks, axis=1)
    gauss_newton = 2.0 * jnp.sum(jacobian * (data.gram @ jacobian))
    squares = jnp.sum(jnp.stack(curvature) ** 2)
    safe = jnp.where(squares > 0, squares, 1.0)
    return gauss_newton + jnp.where(squares > 0, jnp.sqrt(safe), 0.0)


def _powers(a: Float[Array, " state"], num_lags: int) -> Float[Array, "lag state"]:
    rows = [jnp.ones_like(a)]
    for _ in range(num_lags - 1):
        rows.append(rows[-1] * a)
    return jnp.stack(rows)


def _times_lag(coeffs: Float[Array, " lag"]) -> Float[Array, " lag-1"]:
    """Coefficients of the derivative of a polynomial."""
    return coeffs[1:] * jnp.arange(1.0, coeffs.shape[0])


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


def gap_velocity(a: Float[Array, " state"], frame: GapFrame, at: Force) -> GapState:
    """Time derivative of the gap coordinates at the descending diagonal `a`.

    Quotients (x^l - y^l)/(x - y) = q_l of neighbours x > y follow q_{l+1} = x q_l + y^l, without
    cancellation. Exact ties stay exact, so their log-gap is not moved.
    """
    product = frame.b[0] * frame.c[0]
    x = a[:-1]
    quotients = [jnp.zeros_like(x)]
    for lag in range(at.gamma.shape[0] - 1):
        quotients.append(quotients[-1] * x + at.powers[lag, 1:])
    growth = product * (at.gamma @ jnp.stack(quotients))
    return GapState(
        anchor=product * (at.gamma @ at.powers[:-1, -1]),
        growth=jnp.where(jnp.isneginf(frame.log_gaps), 0.0, growth),
    )
