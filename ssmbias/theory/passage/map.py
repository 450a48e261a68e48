r"""Prediction M3: where weakly poisoned gradient flow ends.

While all entries are small, poison is a constant drive that they share, and each follows the
scalar equation $\dot a = v(a) = \rho + (\kappa-1)\,a^p$, $p = \kappa-2$. The time that an entry
still needs to run away,
$$T(a) = \int_a^\infty \frac{\mathrm dx}{v(x)}
  = \frac{a}{(p-1)\,v(a)}\;{}_2F_1\!\left(1, 1; 2 - \tfrac1p; \tfrac{\rho}{v(a)}\right),$$
falls by the same amount for all of them: differences $R_j = T(a_j) - T(a_1)$ are conserved, as
those of $a^{1-p}$ are on clean data. Passage ends on $S_{\kappa-1} = 1$. From there poison moves
the entries along that surface, slowly, until $S_1 = 1$ as well.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Float

from ssmbias.core.types import AnyArray, Array, ScalarLike
from ssmbias.theory.leading_gap import SeparatedStart
from ssmbias.theory.passage.start import passage_start
from ssmbias.theory.passage.time import (
    crossover,
    early,
    entries_at,
    speed,
    time_lead,
    time_to_go,
)

_NEWTON_STEPS = 16
"""As for the clean limit, of which this is the continuation."""

_DRIFT_STEPS = 256
"""Of the classical Runge-Kutta method. They err by 1e-15 where the second entry leaves passage
below 0.2, by 2e-12 below 0.6, and by 4e-9 at most where entries leave nearly tied."""

_LEAST_SPREAD = 1e-10
"""By how much of S_1 a point must differ from that of d equal entries for the drift to be told."""


def passage_limit(
    a0: Float[AnyArray, " state"],
    seq_len: int,
    strength: ScalarLike,
    *,
    log_gap: ScalarLike | None = None,
) -> Float[Array, " state"]:
    r"""Where the poisoned flow of Theorem 1 ends for weak poison.

    *Passage:* $\dot a_j = \rho + (\kappa-1)a_j^{\kappa-2}$ for every entry, until
    $S_{\kappa-1} = 1$. *Drift*, for $\rho > 0$: on that surface
    $\mathrm da_j \propto -(1 - a_j^p S_p/S_{2p})$, $p = \kappa-2$, until $S_1 = 1$. While
    $a_2 \ll a_1$ this is a common shift of the entries below the largest one.

    What is left out is that $S_1$ weakens the drive during passage. The relative error of $a_j$
    is $D/(\kappa-3)$ to first order in the `passage_defect` $D$. There is no other premise: gaps
    of any size and exact ties are followed.

    The limit is not continuous at $\rho = 0$. There it is that of the clean flow, which has no
    drift; any $\rho > 0$, however small, has the time for it.

    Args:
      a0: initial diagonal of $A$, at least 2 entries, positive or zero, with $S_{\kappa-1} < 1$.
      seq_len: sequence length $\kappa \ge 5$, odd.
      strength: poison strength $\rho \ge 0$; may be traced.
      log_gap: $\log(a_1 - a_2)$ of the two largest entries, for gaps that doubles cannot
        resolve: the largest entry is then $a_2 + e^{\text{log\_gap}}$ whatever `a0` holds.

    Returns:
      The limit, in the order of `a0`; `nan` for arguments that cannot be inspected and are not
      supported, and where all entries leave so nearly tied that the drift cannot be resolved.

    Raises:
      ValueError: an entry is negative, the start is beyond $S_{\kappa-1} = 1$, all entries are
        equal at $\rho > 0$ (the loss never reaches 0), or another argument is out of range.

    Example:
      >>> a0 = jnp.array([0.01, 0.009, 0.005])
      >>> limit = passage_limit(a0, seq_len=5, strength=1e-6)
      >>> [f"{x:.6f}" for x in limit]
      ['1.000000', '0.008124', '-0.008124']

    References:
      Derivation in docs/theory.md (M3).
    """
    start, valid, power, rho = passage_start(a0, seq_len, strength, log_gap)
    return jnp.where(valid, _limit(power, start, rho), jnp.nan)


def passage_end(
    a0: Float[AnyArray, " state"],
    seq_len: int,
    strength: ScalarLike,
    *,
    log_gap: ScalarLike | None = None,
) -> Float[Array, " state"]:
    r"""Where the passage of the weakly poisoned flow ends: on $S_{\kappa-1} = 1$, before the drift.

    Args:
      a0: as for `passage_limit`, also all equal.
      seq_len: sequence length $\kappa \ge 5$, odd.
      strength: poison strength $\rho \ge 0$; may be traced. 0 gives the clean limit.
      log_gap: as for `passage_limit`.

    Returns:
      The entries, in the order of `a0`; `nan` for traced arguments that are not supported.

    Raises:
      ValueError: as for `passage_limit`.

    Example:
      >>> a0 = jnp.array([0.01, 0.009, 0.005])
      >>> [f"{x:.6f}" for x in passage_end(a0, seq_len=5, strength=1e-6)]
      ['1.000000', '0.023400', '0.007153']

    References:
      Derivation in docs/theory.md (M3).
    """
    start, valid, power, rho = passage_start(a0, seq_len, strength, log_gap, may_tie=True)
    return jnp.where(valid, _end_of_passage(power, start, rho), jnp.nan)


def passage_time(
    a0: Float[AnyArray, " state"],
    seq_len: int,
    strength: ScalarLike,
    *,
    log_gap: ScalarLike | None = None,
) -> Float[Array, ""]:
    r"""The physical time of the passage, $\tfrac12(1+\rho)\,T(a_1)$.

    At that time the largest entry of the scalar equation diverges. In the flow it has reached
    its end, up to a delay of the order of $D$ times the whole.

    Args:
      a0: as for `passage_limit`, also all equal.
      seq_len: sequence length $\kappa \ge 5$, odd.
      strength: poison strength $\rho \ge 0$; may be traced.
      log_gap: as for `passage_limit`.

    Returns:
      The time; `nan` for traced arguments that are not supported.

    Raises:
      ValueError: as for `passage_limit`.

    Example:
      >>> a0 = jnp.array([0.01, 0.009, 0.005])
      >>> [f"{passage_time(a0, 5, strength):.0f}" for strength in (0.0, 1e-6, 1e-4)]
      ['625', '571', '127']

    References:
      Derivation in docs/theory.md (M3).
    """
    start, valid, power, rho = passage_start(a0, seq_len, strength, log_gap, may_tie=True)
    time = 0.5 * (1.0 + rho) * time_to_go(power, rho, jnp.max(start.a))
    return jnp.where(valid, time, jnp.nan)


def passage_defect(
    a0: Float[AnyArray, " state"],
    seq_len: int,
    strength: ScalarLike,
    *,
    log_gap: ScalarLike | None = None,
) -> Float[Array, ""]:
    r"""How much of the poison's drive `passage_limit` leaves out: the measure of its validity.

    $$D = \rho\left(\frac{S_1(0)}{v(a_1)} + d\,T(a_1)\right),
      \qquad v(a) = \rho + (\kappa-1)a^p, \quad T(a) = \int_a^\infty \frac{\mathrm dx}{v(x)}$$
    at the largest entry $a_1$ of the start. To first order the remaining times $R_j$ of nearly
    tied entries are larger by the factor $1 + D$ than predicted, entries of the limit are smaller
    by the factor $1 - D/(\kappa-3)$, and the error by $1 - 2D/(\kappa-3)$. From small starts
    $D \to d\,(\rho/(\kappa-1))^{1/p}\,(\pi/p)/\sin(\pi/p)$.

    Args:
      a0: as for `passage_limit`, also beyond it and all equal.
      seq_len: sequence length $\kappa \ge 5$, odd.
      strength: poison strength $\rho \ge 0$; may be traced.
      log_gap: as for `passage_limit`.

    Returns:
      $D$, 0 at $\rho = 0$; `nan` for traced arguments that are not supported.

    Raises:
      ValueError: as for `passage_limit`.

    Example:
      >>> a0 = jnp.array([0.01, 0.009, 0.005])
      >>> [f"{passage_defect(a0, 5, strength):.4f}" for strength in (1e-6, 1e-4)]
      ['0.0082', '0.0994']

    References:
      Derivation in docs/theory.md (M3).
    """
    start, valid, power, rho = passage_start(a0, seq_len, strength, log_gap, may_tie=True)
    top = jnp.max(start.a)
    drive = rho / speed(power, rho, top)
    defect = drive * jnp.sum(start.a) + start.a.shape[0] * rho * time_to_go(power, rho, top)
    return jnp.where(valid, jnp.where(rho > 0, defect, 0.0), jnp.nan)


@functools.partial(jax.jit, static_argnums=0)
def _limit(power: int, start: SeparatedStart, rho: Array) -> Array:
    end = _end_of_passage(power, start, rho)
    return jnp.where(rho > 0, _drift(power, end), end)


@functools.partial(jax.jit, static_argnums=0)
def _end_of_passage(power: int, start: SeparatedStart, rho: Array) -> Array:
    """Entries where S_{κ-1} = 1."""
    leads, cross = time_lead(power, rho, start), crossover(power, rho)
    whole = time_to_go(power, rho, jnp.max(start.a))
    done = early(power, rho, jnp.minimum(start.a, cross))[0]

    def entries(log_top):
        left = time_to_go(power, rho, jnp.exp(log_top))
        to_go, spent = left + leads, done + (whole - left)
        a = entries_at(power, rho, to_go, spent)
        # Entries whose power underflows without poison do not move at all.
        return jnp.where(jnp.isfinite(to_go), a, start.a)

    def newton_step(_, log_top):
        a = entries(log_top)
        power_sum = jnp.sum(a ** (power + 1))
        top = jnp.exp(log_top)
        gain = a**power * speed(power, rho, a) * (top / speed(power, rho, top))
        return jnp.clip(
            log_top - jnp.log(power_sum) * power_sum / ((power + 1) * jnp.sum(gain)), lowest, 0.0
        )

    # S = 1 lies between one entry alone, and all of them equal.
    lowest = -math.log(start.a.shape[0]) / (power + 1)
    return entries(jax.lax.fori_loop(0, _NEWTON_STEPS, newton_step, jnp.zeros_like(rho)))


def _drift(power: int, a: Array) -> Array:
    """Along S_{κ-1} = 1 from S_1 >= 1 down to S_1 = 1.

    S_1 is largest, d^{p/(κ-1)}, where all entries are equal. By how much it is below that serves
    as the variable, logarithmically: nearly tied entries separate exponentially in it.
    """
    dim = a.shape[0]
    most = dim ** (power / (power + 1))

    def slope(a, log_below):
        powers = a**power
        # The part of a common shift that is tangent to the surface.
        tangent = 1.0 - powers * jnp.sum(powers) / jnp.sum(powers**2)
        return -jnp.exp(log_below) * tangent / jnp.sum(tangent**2)

    below = most - jnp.sum(a)
    resolved = below > _LEAST_SPREAD * most
    log_start = jnp.log(jnp.where(resolved, below, most - 1.0))
    step = (math.log(most - 1.0) - log_start) / _DRIFT_STEPS

    def advance(i, a):
        now = log_start + i * step
        k1 = slope(a, now)
        k2 = slope(a + 0.5 * step * k1, now + 0.5 * step)
        k3 = slope(a + 0.5 * step * k2, now + 0.5 * step)
        k4 = slope(a + step * k3, now + step)
        return a + step / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)

    def project(_, a):
        """Newton's method for S_1 = S_{κ-1} = 1, in the directions of both gradients."""
        powers = a**power
        cross, square = jnp.sum(powers), jnp.sum(powers**2)
        first, last = 1.0 - jnp.sum(a), (1.0 - jnp.sum(powers * a)) / (power + 1)
        determinant = dim * square - cross**2
        shift = (square * first - cross * last) / determinant
        return a + shift + (dim * last - cross * first) / determinant * powers

    a = jax.lax.fori_loop(0, _DRIFT_STEPS, advance, a)
    a = jax.lax.fori_loop(0, 2, project, a)
    return jnp.where(resolved, a, jnp.nan)
