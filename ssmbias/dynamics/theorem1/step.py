r"""One Rosenbrock step of the Theorem 1 family, for many lanes at once.

In the stretched time s with dt = (1+ρ)/2 ds the flow of the diagonal is

    da_j/ds = q a_j^p + ρ (1 - S_1),   q = (κ-1)(1 - S_{κ-1}),   p = κ-2,  S_m = Σ_i a_i^m.

Its Jacobian is diag(q p a_j^{p-1}) - (κ-1)² P Pᵀ - ρ 1 1ᵀ with P_j = a_j^p. The gap
Δ = a_1 - a_2 of the two largest entries is followed through g = log Δ - log Δ(0):

    dg/ds = q Q(a_1, a_2),   Q(x, y) = (x^p - y^p)/(x - y) = Σ_m x^m y^{p-1-m},

which does not depend on g, so its stage equation is solved after those of a. After each step
a_1 is rebuilt as a_2 + Δ(0) e^g: that is the only place where g acts on a.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Float

from ssmbias.core.types import Array
from ssmbias.dynamics.theorem1 import rodas5p


class Field(NamedTuple):
    """The right-hand side at a state and the pieces that a step uses again."""

    velocity: Float[Array, "state lane"]
    p: Float[Array, "state lane"]
    q: Float[Array, " lane"]
    s1: Float[Array, " lane"]
    s_last: Float[Array, " lane"]


class TrialStep(NamedTuple):
    """A trial step: new state and the error estimates of both parts."""

    a: Float[Array, "state lane"]
    growth: Float[Array, " lane"]
    a_error: Float[Array, "state lane"]
    growth_error: Float[Array, " lane"]


def integer_power(x: Array, exponent: int) -> Array:
    """x**exponent (exponent >= 1) by repeated squaring; right for negative and zero x."""
    result = None
    while True:
        if exponent & 1:
            result = x if result is None else result * x
        exponent >>= 1
        if exponent == 0:
            assert result is not None
            return result
        x = x * x


def power_quotient(x: Array, y: Array, p: int) -> Array:
    """(x^p - y^p)/(x - y) as the cancellation-free sum Σ_{m=0}^{p-1} x^m y^{p-1-m}."""
    total = jnp.ones_like(x)
    y_power = jnp.ones_like(y)
    for _ in range(p - 1):
        y_power = y_power * y
        total = total * x + y_power
    return total


def power_quotient_slope(x: Array, y: Array, p: int) -> Array:
    """Derivative of `power_quotient` in x: Σ_{m=1}^{p-1} m x^{m-1} y^{p-1-m} (p >= 2)."""
    total = jnp.full_like(x, float(p - 1))
    y_power = jnp.ones_like(y)
    for m in range(p - 2, 0, -1):
        y_power = y_power * y
        total = total * x + float(m) * y_power
    return total


def field(
    a: Float[Array, "state lane"],
    strength: Float[Array, " lane"],
    seq_len: int,
    s1: Float[Array, " lane"] | None = None,
) -> Field:
    """The velocity da/ds; `s1` may be passed where Σ_i a_i is known already."""
    p = integer_power(a, seq_len - 2)
    s_last = (p * a).sum(0)
    s1 = a.sum(0) if s1 is None else s1
    q = (seq_len - 1.0) * (1.0 - s_last)
    return Field(q[None] * p + (strength * (1.0 - s1))[None], p, q, s1, s_last)


def trial_step(
    a: Float[Array, "state lane"],
    growth: Float[Array, " lane"],
    start: Field,
    step_size: Float[Array, " lane"],
    strength: Float[Array, " lane"],
    seq_len: int,
) -> TrialStep:
    """Rodas5P from (a, growth) over `step_size`; `start` is the field at `a`."""
    p = seq_len - 2
    alpha = (seq_len - 1.0) ** 2
    inverse_h = 1.0 / step_size
    h_gamma = step_size * rodas5p.GAMMA
    diagonal = (1.0 / h_gamma)[None] - (start.q * float(p))[None] * integer_power(a, p - 1)
    w = rodas5p.factorise(diagonal, start.p, alpha, strength)

    # Row of the Jacobian that belongs to g: its derivatives by P-weighted a, a_1 and a_2.
    quotient = power_quotient(a[0], a[1], p)
    by_sum = -alpha * quotient
    by_a1 = start.q * power_quotient_slope(a[0], a[1], p)
    by_a2 = start.q * power_quotient_slope(a[1], a[0], p)

    a_increments: list[Array] = []
    growth_increments: list[Array] = []
    sum_increments: list[Array] = []
    u, u_sum = a, start.s1
    for stage in range(rodas5p.NUM_STAGES):
        if stage == 0:
            velocity, rate = start.velocity, start.q * quotient
        else:
            if stage < len(rodas5p.STAGE_WEIGHTS):
                weights = rodas5p.STAGE_WEIGHTS[stage]
                u = a + rodas5p.stage_sum(weights, a_increments)
                u_sum = start.s1 + rodas5p.stage_sum(weights, sum_increments)
            else:
                u = u + a_increments[-1]
                u_sum = u_sum + sum_increments[-1]
            at_u = field(u, strength, seq_len, u_sum)
            rate = at_u.q * power_quotient(u[0], u[1], p)
            coupling = rodas5p.COUPLINGS[stage]
            velocity = at_u.velocity + rodas5p.stage_sum(coupling, a_increments) * inverse_h[None]
            rate = rate + rodas5p.stage_sum(coupling, growth_increments) * inverse_h
        k, p_k, one_k = rodas5p.solve(w, velocity)
        a_increments.append(k)
        sum_increments.append(one_k)
        growth_increments.append((rate + by_sum * p_k + by_a1 * k[0] + by_a2 * k[1]) * h_gamma)
    weights = (*rodas5p.STAGE_WEIGHTS[-1], 1.0, 1.0, 1.0)
    return TrialStep(
        u + a_increments[-1],
        growth + rodas5p.stage_sum(weights, growth_increments),
        a_increments[-1],
        growth_increments[-1],
    )
