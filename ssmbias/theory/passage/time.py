"""The remaining time of an entry under weak poison, to full relative precision.

T(a) = ∫ dx / v(x) from a on, v(x) = ρ + (κ-1) x^p, is a hypergeometric function on either side of
the crossover (κ-1) x^p = ρ, with an argument of at most 1/2. Here `power` is p and `rho` is ρ >= 0.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from ssmbias.core.types import Array
from ssmbias.theory.leading_gap import SeparatedStart

_SERIES_NODES = 11
"""Gauss-Jacobi nodes for 1/(1 - zt), z <= 1/2: its pole at t >= 2 leaves 5.8^-22 = 2e-17."""

_NEAR = 0.25
"""Up to this relative distance from the largest entry, R_j is integrated over the distance."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
"""The poles of 1/v are further than 0.75 a_1 sin(π/p) away, so that for p <= 13 the relative error
is below 3.1^-32 = 2e-16. It grows with p: the bound is 6e-9 for p = 30."""


_INVERSION_STEPS = 6
"""Newton's method in log-log, where T is nearly straight; 4 were needed for p = 3 and 13."""


def speed(power: int, rho: Array, a: Array) -> Array:
    """v(a); 1 where it is 0, which callers mask."""
    value = rho + (power + 1) * a**power
    return jnp.where(value > 0, value, 1.0)


@functools.cache
def _jacobi(c: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights for the weight (c-1)(1-t)^(c-2) on [0, 1]."""
    from scipy.special import roots_jacobi  # noqa: PLC0415  (not needed before a prediction is)

    nodes, weights = roots_jacobi(_SERIES_NODES, c - 2.0, 0.0)
    return 0.5 + 0.5 * nodes, weights / weights.sum()


def _series(c: float, z: Array) -> Array:
    """2F1(1, 1; c; z) = (c-1) ∫ (1-t)^(c-2) / (1 - zt) dt over [0, 1], for 0 <= z <= 1/2."""
    nodes, weights = _jacobi(c)
    return jnp.reciprocal(1.0 - jnp.multiply.outer(z, jnp.asarray(nodes))) @ jnp.asarray(weights)


def late(power: int, rho: Array, a: Array) -> tuple[Array, Array]:
    """T(a) for (κ-1) a^p >= ρ, and the series in it, -(p-1) dlog(a)/dlog(T)."""
    v = speed(power, rho, a)
    series = _series(2.0 - 1.0 / power, jnp.minimum(rho / v, 0.5))
    time = a / ((power - 1) * v) * series
    return jnp.where((power + 1) * a**power > 0, time, jnp.inf), series


def early(power: int, rho: Array, a: Array) -> tuple[Array, Array]:
    """T(0) - T(a) for (κ-1) a^p <= ρ, and the series in it, dlog(a)/dlog(T(0) - T)."""
    v = speed(power, rho, a)
    series = _series(1.0 + 1.0 / power, jnp.minimum((power + 1) * a**power / v, 0.5))
    return a / v * series, series


def crossover(power: int, rho: Array) -> Array:
    """The entry at which poison and baseline drive alike; 0 at ρ = 0."""
    return (rho / (power + 1)) ** (1.0 / power)


def time_to_go(power: int, rho: Array, a: Array) -> Array:
    """T(a)."""
    cross = crossover(power, rho)
    above = late(power, rho, jnp.maximum(a, cross))[0]
    middle = early(power, rho, cross)[0] - early(power, rho, jnp.minimum(a, cross))[0]
    return above + jnp.where(a < cross, middle, 0.0)


def entries_at(power: int, rho: Array, to_go: Array, spent: Array) -> Array:
    """The entries with T(a) = to_go > 0, of which spent = T(0) - T(a) is known as well."""
    cross = crossover(power, rho)
    log_cross = jnp.log(cross)
    is_late = to_go <= late(power, rho, cross)[0]  # always at ρ = 0
    log_to_go = jnp.log(jnp.where(is_late, to_go, 1.0))
    log_spent = jnp.log(jnp.where(is_late, 1.0, spent))

    def invert(_, logs):
        log_late, log_early = logs
        time, series = late(power, rho, jnp.exp(log_late))
        log_late = log_late + (jnp.log(time) - log_to_go) * series / (power - 1)
        time, series = early(power, rho, jnp.exp(log_early))
        log_early = log_early - (jnp.log(time) - log_spent) * series
        return jnp.maximum(log_late, log_cross), jnp.minimum(log_early, log_cross)

    guess = -(log_to_go + math.log((power + 1) * (power - 1))) / (power - 1)
    logs = (
        jnp.maximum(guess, log_cross),
        jnp.minimum(jnp.log(jnp.where(rho > 0, rho, 1.0)) + log_spent, log_cross),
    )
    log_late, log_early = jax.lax.fori_loop(0, _INVERSION_STEPS, invert, logs)
    return jnp.exp(jnp.where(is_late, log_late, log_early))


def time_lead(power: int, rho: Array, start: SeparatedStart) -> Array:
    """R_j = T(a_j) - T(a_1), to full relative precision at any distance of a_j from a_1."""
    top, cross = jnp.max(start.a), crossover(power, rho)
    nodes = jnp.asarray(0.5 + 0.5 * _NODES)[:, None]
    inverse = 1.0 / speed(power, rho, top - nodes * start.excess[None])
    near = 0.5 * start.excess * jnp.sum(jnp.asarray(_WEIGHTS)[:, None] * inverse, axis=0)
    # Further away, on each side of the crossover, the smaller of two complementary integrals. A
    # side on which nothing lies is left out: equal numbers may differ if compiled differently.
    above, top_above = (late(power, rho, jnp.maximum(x, cross))[0] for x in (start.a, top))
    below, top_below = (early(power, rho, jnp.minimum(x, cross))[0] for x in (start.a, top))
    far = jnp.where(top > cross, above - top_above, 0.0)
    far = far + jnp.where(start.a < cross, top_below - below, 0.0)
    return jnp.where(start.excess <= _NEAR * top, near, far)
