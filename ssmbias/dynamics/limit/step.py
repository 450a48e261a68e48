r"""One explicit step of the limit engine, in the clock that suits where a lane is.

The limit of a flow does not depend on how fast it is travelled, so each lane is free to choose
its clock s. In all of them the diagonal moves as

    da_j/ds = (a_j^p + φ) / c,    d log(a_1 - a_2)/ds = (a_1^p - a_2^p) / ((a_1 - a_2) c),

with two numbers φ and c = ds/dτ for each lane (dτ = q dt, q = (κ-1)(1 - S_{κ-1})):

| phase    | clock                | c                                      | ends at         |
|----------|----------------------|----------------------------------------|-----------------|
| RISE     | dS_1/ds = 1          | S_p + d φ                              | S_1 near 1      |
| SETTLE   | relaxation times     | (ρ d + (κ-1)² S_{2p})/q + p a_1^{p-1}  | slow manifold   |
| SLOW     | growth of a_1        | p a_1^{p-1}                            | S_{κ-1} = 0.1   |
| LAND     | dq/ds = -1           | (κ-1)² (S_{2p} + φ S_p)                | q = 0, limit    |
| LAND_SUM | dS_1/ds = -1         | -(S_p + d φ)                           | S_1 = 1, limit  |

RISE and SETTLE follow the flow as it is, φ = ρ (1 - S_1)/q. In the other three φ is that of
`slow_manifold`: the stiff direction has been replaced by its slow solution, and an explicit
method may take steps as long as the accuracy of the slow motion allows.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from ssmbias.core.types import Array
from ssmbias.dynamics.limit import dop853
from ssmbias.dynamics.limit.slow_manifold import (
    Powers,
    PowerSums,
    Slow,
    power_sums,
    powers_of,
    slow_solution,
)
from ssmbias.dynamics.theorem1.step import power_quotient

# A gap below a_2 counts with ten times its size, and with at least this part of the largest
# entry: smaller ones drown in rounding, whatever the step.
_GAP_FACTOR, _GAP_FLOOR = 10.0, 1e-4
_TINY = 1e-290


class Phase(enum.IntEnum):
    """Which clock and which field a lane follows."""

    RISE = 0
    SETTLE = 1
    SLOW = 2
    LAND = 3
    LAND_SUM = 4


class Survey(NamedTuple):
    """What is known at a state.

    Attributes:
      a: the diagonal, largest entry rebuilt from the log-gap.
      q: (κ-1)(1 - S_{κ-1}).
      force: F = ρ (1 - S_1).
      excess: S_1 - 1.
      slow: φ on the slow manifold.
      offset: common shift of all entries that takes the state onto the slow manifold.
      uncertainty: how far that manifold may be off, in the same units.
      descent: -dq/dτ on the slow manifold.
      sums, powers: what all this was computed from.
    """

    a: Float[Array, "state lane"]
    q: Float[Array, " lane"]
    force: Float[Array, " lane"]
    excess: Float[Array, " lane"]
    slow: Slow
    offset: Float[Array, " lane"]
    uncertainty: Float[Array, " lane"]
    descent: Float[Array, " lane"]
    sums: PowerSums
    powers: Powers


class Position(NamedTuple):
    """The integrated state: a_2..a_d and the growth of log(a_1 - a_2)."""

    tail: Float[Array, "state-1 lane"]
    growth: Float[Array, " lane"]


def entries(position: Position, log_gap: Float[Array, " lane"]) -> Float[Array, "state lane"]:
    """The whole diagonal, a_1 = a_2 + exp(log-gap)."""
    first = position.tail[0] + jnp.exp(log_gap + position.growth)
    return jnp.concatenate([first[None], position.tail])


def survey(
    position: Position,
    log_gap: Float[Array, " lane"],
    strength: Float[Array, " lane"],
    seq_len: int,
) -> Survey:
    """Everything that clocks and fields need at a state."""
    a = entries(position, log_gap)
    state_dim, k = a.shape[0], seq_len - 1.0
    powers = powers_of(a, seq_len)
    s = power_sums(a, powers)
    q = k * (1.0 - s.s_k)
    slow = slow_solution(s, q, strength, state_dim, seq_len)
    excess = s.s_1 - 1.0
    # The manifold is ρ (S_1 - 1) + φ q = 0; `stiffness` is the slope of that in a common shift.
    stiffness = strength * state_dim - slow.phi * k * k * s.s_p
    poisoned = strength > 0
    stiffness = jnp.where(poisoned, stiffness, 1.0)
    off = jnp.where(poisoned, strength * excess + slow.phi * q, 0.0)
    return Survey(
        a=a,
        q=q,
        force=-strength * excess,
        excess=excess,
        slow=slow,
        offset=-off / stiffness,
        uncertainty=slow.neglected * jnp.abs(q / stiffness),
        descent=k * k * (s.s_2p + slow.phi * s.s_p),
        sums=s,
        powers=powers,
    )


def _motion(
    at: Survey,
    phase: Int[Array, " lane"],
    strength: Float[Array, " lane"],
    seq_len: int,
) -> Position:
    """d(position)/ds in each lane's phase."""
    p, state_dim, k2 = float(seq_len - 2), at.a.shape[0], float((seq_len - 1) ** 2)
    s = at.sums
    on_manifold = phase >= Phase.SLOW
    q = jnp.where(at.q == 0, _TINY, at.q)
    phi = jnp.where(on_manifold, at.slow.phi, at.force / q)
    leading = p * at.powers.below[0]
    growth_of_sum = s.s_p + state_dim * phi
    clock = jnp.where(phase == Phase.RISE, growth_of_sum, leading)
    settling = (strength * state_dim + k2 * s.s_2p) / q + leading
    clock = jnp.where(phase == Phase.SETTLE, settling, clock)
    clock = jnp.where(phase == Phase.LAND, at.descent, clock)
    clock = jnp.where(phase == Phase.LAND_SUM, -growth_of_sum, clock)
    # On the manifold the powers are taken where the state belongs, a short way (`offset`) off.
    offset = jnp.where(on_manifold, at.offset, 0.0)
    top = at.powers.p[1:] + (p * offset)[None] * at.powers.below[1:]
    quotient = power_quotient(at.a[0] + offset, at.a[1] + offset, seq_len - 2)
    return Position((top + phi[None]) / clock[None], quotient / clock)


def _stored(make: Callable[[], Position], like: Position, phase: Int[Array, " lane"]) -> Position:
    """`make()`, computed once and kept in memory.

    XLA's CPU backend would otherwise fuse a slope into each of the later stages that use it, and
    compute it anew in every one: a third of the speed. What comes out of a loop is stored; that
    this loop has one trip must not be known when it is compiled, or it is dissolved: so it is read
    off the lanes, whose phases are never negative. Other backends keep slopes by themselves, and
    would wait for the host at every loop.
    """
    if jax.default_backend() != "cpu":
        return make()
    trips = (phase[0] >= 0).astype(jnp.int32)
    empty = (jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, like))
    _, made = jax.lax.while_loop(lambda c: c[0] < trips, lambda c: (c[0] + 1, make()), empty)
    return made


class Trial(NamedTuple):
    """The end of a step and its error in units of the tolerance."""

    position: Position
    error: Float[Array, " lane"]
    a: Float[Array, "state lane"]


def trial_step(
    start: Survey,
    position: Position,
    phase: Int[Array, " lane"],
    size: Float[Array, " lane"],
    log_gap: Float[Array, " lane"],
    strength: Float[Array, " lane"],
    seq_len: int,
    rtol: Float[Array, ""],
) -> Trial:
    """DOP853 over `size` from `position`, which was surveyed as `start`.

    The error of a_2 is taken relative to the largest entry; those of a_3, a_4, ... as errors of
    a_2 - a_j, relative to that gap where it is small; that of the log-gap absolutely.
    """
    tails: list[Array] = []
    growths: list[Array] = []
    for row in dop853.STAGES:

        def slope_there(row: dop853.Row = row) -> Position:
            at = start
            if row:
                there = Position(
                    position.tail + size[None] * dop853.combine(row, tails),
                    position.growth + size * dop853.combine(row, growths),
                )
                at = survey(there, log_gap, strength, seq_len)
            return _motion(at, phase, strength, seq_len)

        slope = _stored(slope_there, position, phase)
        tails.append(slope.tail)
        growths.append(slope.growth)
    end = Position(
        position.tail + size[None] * dop853.combine(dop853.SOLUTION, tails),
        position.growth + size * dop853.combine(dop853.SOLUTION, growths),
    )
    a = entries(end, log_gap)
    largest = jnp.maximum(jnp.abs(a).max(0), 1e-290)
    gap_scale = jnp.clip(_GAP_FACTOR * (a[1:2] - a[2:]) / largest[None], _GAP_FLOOR, 1.0)

    def norm(row: dop853.Row) -> Array:
        tail, growth = dop853.combine(row, tails), dop853.combine(row, growths)
        worst = jnp.maximum(jnp.abs(tail[0]) / largest, jnp.abs(growth))
        if a.shape[0] > 2:
            gaps = jnp.abs(tail[1:] - tail[:1]) / (gap_scale * largest[None])
            worst = jnp.maximum(worst, gaps.max(0))
        return worst / rtol

    five, three = norm(dop853.ERROR_FIVE), norm(dop853.ERROR_THREE)
    weight = jnp.sqrt(five * five + 0.01 * three * three)
    error = jnp.abs(size) * five * five / jnp.where(weight == 0, 1.0, weight)
    return Trial(end, error, a)
