r"""The slow motion of the Theorem 1 flow, from power sums alone.

In the clock τ with dτ = q dt, q = (κ-1)(1 - S_{κ-1}), every entry follows

    da_j/dτ = a_j^p + φ,   φ = ρ (1 - S_1) / q,   p = κ-2,

so all that is stiff is one scalar, φ. Differentiating its definition gives

    q dφ/dτ = -G(φ),   G(φ) = ρ S_p + (ρ d - (κ-1)² S_{2p}) φ - (κ-1)² S_p φ²,

and its slow solution is found by putting the derivative of one approximation into the equation
for the next: G(φ_0) = 0, G(φ_{n+1}) = -q dφ_n/dτ. Power sums close under differentiation,
dS_m/dτ = m (S_{m+p-1} + φ S_{m-1}), so φ_2 needs eleven of them and no more. The corrections
shrink geometrically, like the ratio of slow to fast rates; one Shanks step sums the tail, which
reduces the remaining error about sevenfold (measured along T7 and T9).

The formulas hold for weak poison, where φ ≈ -S_{2p}/S_p keeps S_{κ-1} = 1, for strong poison,
where φ ≈ -S_p/d keeps S_1 = 1, between them, and where q passes through zero: there is no other
singularity at the end of the flow. Derivation: docs/theory.md, "The slow manifold".
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from ssmbias.core.types import Array
from ssmbias.dynamics.theorem1.step import integer_power

_LARGEST_RATIO = 0.5
"""Of one correction to the one before; beyond it the series says nothing."""


class Powers(NamedTuple):
    """a^{p-2}, a^{p-1} and a^p."""

    below_two: Float[Array, "state lane"]
    below: Float[Array, "state lane"]
    p: Float[Array, "state lane"]


class PowerSums(NamedTuple):
    """S_m = Σ_j a_j^m; `s_2p_1` is S_{2p-1}, `s_k` is S_{κ-1} = S_{p+1}."""

    s_1: Float[Array, " lane"]
    s_p_2: Float[Array, " lane"]
    s_p_1: Float[Array, " lane"]
    s_p: Float[Array, " lane"]
    s_k: Float[Array, " lane"]
    s_2p_2: Float[Array, " lane"]
    s_2p_1: Float[Array, " lane"]
    s_2p: Float[Array, " lane"]
    s_3p_2: Float[Array, " lane"]
    s_3p_1: Float[Array, " lane"]
    s_4p_2: Float[Array, " lane"]


class Slow(NamedTuple):
    """The slow solution at a state.

    Attributes:
      phi: φ on the slow manifold.
      neglected: estimate of what its series leaves out.
      attracts: whether states near the manifold approach it and the series makes sense.
    """

    phi: Float[Array, " lane"]
    neglected: Float[Array, " lane"]
    attracts: Bool[Array, " lane"]


def powers_of(a: Float[Array, "state lane"], seq_len: int) -> Powers:
    """The three neighbouring powers that all sums are made of."""
    below_two = integer_power(a, seq_len - 4)
    below = below_two * a
    return Powers(below_two, below, below * a)


def power_sums(a: Float[Array, "state lane"], powers: Powers) -> PowerSums:
    """All power sums of one state, in one pass over it (three times as fast as eleven)."""
    low, mid, top = powers
    square, cross = top * top, mid * top
    terms = PowerSums(
        s_1=a,
        s_p_2=low,
        s_p_1=mid,
        s_p=top,
        s_k=top * a,
        s_2p_2=low * top,
        s_2p_1=cross,
        s_2p=square,
        s_3p_2=low * square,
        s_3p_1=mid * square,
        s_4p_2=cross * cross,
    )
    zero = jnp.zeros((), a.dtype)
    return PowerSums(
        *jax.lax.reduce(
            tuple(terms),
            (zero,) * len(terms),
            lambda x, y: tuple(u + v for u, v in zip(x, y, strict=True)),
            (0,),
        )
    )


def slow_solution(
    s: PowerSums,
    q: Float[Array, " lane"],
    strength: Float[Array, " lane"],
    state_dim: int,
    seq_len: int,
) -> Slow:
    """φ on the slow manifold to second order in the ratio of rates, with the tail summed."""
    p, k2 = float(seq_len - 2), float((seq_len - 1) ** 2)
    linear = strength * state_dim - k2 * s.s_2p
    quadratic = -k2 * s.s_p

    def root(constant: Array) -> Array:
        """The root of `constant` + linear φ + quadratic φ² that attracts (slope > 0)."""
        slope = jnp.sqrt(jnp.maximum(linear * linear - 4.0 * quadratic * constant, 0.0))
        return jnp.where(
            linear > 0,
            -2.0 * constant / (linear + slope),
            (slope - linear) / (2.0 * quadratic),
        )

    def first_derivatives(phi: Array) -> tuple[Array, Array]:
        """dS_p/dτ and dS_{2p}/dτ."""
        return (
            p * (s.s_2p_1 + phi * s.s_p_1),
            2.0 * p * (s.s_3p_1 + phi * s.s_2p_1),
        )

    def forced(at: Array, dp: Array, d2p: Array) -> Array:
        """(∂G/∂S)·(dS/dτ) at φ = `at`."""
        return strength * dp - k2 * at * (d2p + at * dp)

    constant = strength * s.s_p
    phi_0 = root(constant)
    slope_0 = linear - 2.0 * k2 * phi_0 * s.s_p
    phi_1 = root(constant - q * forced(phi_0, *first_derivatives(phi_0)) / slope_0)
    # Derivatives are along the flow, that is with the best φ at hand.
    rate_0 = -forced(phi_0, *first_derivatives(phi_1)) / slope_0
    phi_1 = root(constant + q * rate_0)

    dp, d2p = first_derivatives(phi_1)
    dq = -k2 * (s.s_2p + phi_1 * s.s_p)
    ddp = p * (
        (2.0 * p - 1.0) * (s.s_3p_2 + phi_1 * s.s_2p_2)
        + rate_0 * s.s_p_1
        + phi_1 * (p - 1.0) * (s.s_2p_2 + phi_1 * s.s_p_2)
    )
    dd2p = (2.0 * p) * (
        (3.0 * p - 1.0) * (s.s_4p_2 + phi_1 * s.s_3p_2)
        + rate_0 * s.s_2p_1
        + phi_1 * (2.0 * p - 1.0) * (s.s_3p_2 + phi_1 * s.s_2p_2)
    )
    curved = forced(phi_0, ddp, dd2p) - 2.0 * k2 * rate_0 * (
        d2p + 2.0 * phi_0 * dp + rate_0 * s.s_p
    )
    rate_rate_0 = -curved / slope_0
    slope_1 = linear - 2.0 * k2 * phi_1 * s.s_p
    rate_1 = -(forced(phi_1, dp, d2p) + dq * rate_0 + q * rate_rate_0) / slope_1
    phi_2 = root(constant + q * rate_1)

    first, second = phi_1 - phi_0, phi_2 - phi_1
    ratio = jnp.where(first == 0, 0.0, second / jnp.where(first == 0, 1.0, first))
    geometric = jnp.abs(ratio) < _LARGEST_RATIO
    phi = phi_2 + jnp.where(geometric, second * ratio / (1.0 - ratio), 0.0)
    neglected = jnp.where(
        geometric, jnp.abs(second) * ratio * ratio, jnp.abs(first) + jnp.abs(second)
    )
    # Clean data have no second force: the slow solution is exact, and zero.
    poisoned = strength > 0
    return Slow(
        phi=jnp.where(poisoned, phi, 0.0),
        neglected=jnp.where(poisoned, neglected, 0.0),
        attracts=~poisoned | ((slope_1 > 0) & jnp.isfinite(phi) & ((linear > 0) | (s.s_p > 0))),
    )
