r"""Prediction M1 in time: the clean flow's path, and when it escapes from its start.

The path is known as a curve (`clean_limit`); what is left is the clock, one integral. With
$\delta$ the distance of a conserved quantity $a_j^{1-p}$ from its final value $A_j^{1-p}$,
$$a_j = A_j\,(1 + \delta A_j^{p-1})^{-1/(p-1)}, \qquad
  1 - S_m = -\sum_j A_j^m \bigl[(1 + \delta A_j^{p-1})^{-m/(p-1)} - 1\bigr], \qquad
  \mathrm dt = -\frac{\mathrm d\delta}{2m(p-1)(1 - S_m)},$$
none of which cancels as $\delta \to 0$. The integral is taken over $\log\delta$, where the
integrand is smooth on a scale of 1 from the start to the last digit of the limit.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ssmbias.core.checks import (
    as_float64,
    is_concrete,
    require_nonnegative,
    require_seq_len,
)
from ssmbias.core.types import AnyArray, Array, ScalarLike
from ssmbias.theory.clean import clean_limit, clean_start

_PANELS = 128
"""Panels in log δ. They span at most 80 + log d, so that one is about 0.7 wide."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
"""Gauss-Legendre rule on a panel. The integrand is analytic for |Im log δ| < 2.5 or more, so
8 nodes leave a relative error of about (0.35/2.5/2)^16 = 1e-18."""

_LOG_FAR = 40.0
"""S_m < e^-40 counts as 0 and δ < e^-40 as the linear regime: both are below rounding."""

_NEWTON_STEPS = 16
"""Enough to invert the smooth clock within a panel, and to solve for a level (at most 7)."""

_START_SLACK = 1e-12
"""How far S_m may exceed 1 by rounding in a start that is meant to be on the limit."""


class _Clock(NamedTuple):
    """Time as a function of log δ.

    Attributes:
      limit: where the flow ends.
      delta0: δ at time 0.
      log_edges: log δ at panel boundaries, descending; above the first one S_m is negligible.
      times: physical time at each of them.
    """

    limit: Float[Array, " state"]
    delta0: Float[Array, ""]
    log_edges: Float[Array, " edge"]
    times: Float[Array, " edge"]


def clean_path(
    a0: Float[AnyArray, " state"],
    seq_len: int,
    times: Float[AnyArray, " time"],
    *,
    log_gap: ScalarLike | None = None,
) -> Float[Array, "time state"]:
    r"""Where gradient flow is at given times on the clean training set $\{e_1\}$.

    The solution of $\dot a_j = 2(\kappa-1)(1 - S_{\kappa-1})\,a_j^{\kappa-2}$, the gradient flow
    of the loss $(1 - S_{\kappa-1})^2$, without integrating it: the curve is known in closed
    form and time is an integral along it.

    Times enter to their last digit, and no further: before the escape $a_1^{3-\kappa}$ falls
    linearly in time, so that a rounding of $t$ moves $a_1$ by $\epsilon\,t\,|\dot a_1|$, much
    during an escape from a small start. Compare there by `escape_time` at a level.

    Args:
      a0: initial diagonal of $A$, positive or zero, with $S_{\kappa-1} \le 1$.
      seq_len: sequence length $\kappa \ge 4$.
      times: physical times $t \ge 0$, in any order.
      log_gap: as for `clean_limit`.

    Returns:
      One row a time, entries in the order of `a0`. `nan` where arguments that cannot be
      inspected are not supported.

    Raises:
      ValueError: a time is negative, the start is beyond $S_{\kappa-1} = 1$, or as for
        `clean_limit`.

    Example:
      >>> a0 = jnp.array([0.2, 0.1])
      >>> path = clean_path(a0, 7, jnp.array([0.0, 1e6]))
      >>> bool(jnp.allclose(path[0], a0)), bool(jnp.allclose(path[1], clean_limit(a0, 7)))
      (True, True)

    References:
      Slutzky et al. (2025), arXiv:2410.10473, Section 3; derivation in docs/theory.md (M1).
    """
    clock, power = _clock(a0, seq_len, log_gap)
    times = as_float64("times", times, ndim=1)
    require_nonnegative("times", times)
    delta = _delta_at(power, clock, jnp.where(times >= 0, times, jnp.nan))
    limit = clock.limit[None, :]
    exponent = -1.0 / (power - 1)
    return limit * (1.0 + delta[:, None] * limit ** (power - 1)) ** exponent


def escape_time(
    a0: Float[AnyArray, " state"],
    seq_len: int,
    level: ScalarLike = 0.5,
    *,
    log_gap: ScalarLike | None = None,
) -> Float[Array, ""]:
    r"""The physical time at which clean gradient flow first reaches $S_{\kappa-1} =$ `level`.

    Args:
      a0: initial diagonal of $A$, positive or zero, with $S_{\kappa-1} \le 1$.
      seq_len: sequence length $\kappa \ge 4$.
      level: a number between 0 and 1, exclusive; may be traced.
      log_gap: as for `clean_limit`.

    Returns:
      The time; 0 if the start is at the level or above it.

    Raises:
      ValueError: `level` is out of range, or as for `clean_path`.

    Example:
      >>> a0 = jnp.array([0.01, 0.005])
      >>> round(float(escape_time(a0, 7) / escape_time_leading(a0, 7)), 6)
      1.0

    References:
      Derivation in docs/theory.md (M1).
    """
    clock, power = _clock(a0, seq_len, log_gap)
    level = as_float64("level", level, ndim=0)
    if is_concrete(level) and not 0 < float(level) < 1:
        raise ValueError(f"level={float(level):g}: must lie between 0 and 1, exclusive")
    level = jnp.where((level > 0) & (level < 1), level, jnp.nan)
    return _time_at(power, clock, level)


def escape_time_leading(a0: Float[AnyArray, " state"], seq_len: int) -> Float[Array, ""]:
    r"""The escape time of a small start to leading order, $a_1^{3-\kappa}/(2(\kappa-1)(\kappa-3))$.

    The time at which $\dot a = 2(\kappa-1)a^{\kappa-2}$ from the largest entry would diverge.

    Args:
      a0: initial diagonal of $A$, positive or zero, not all zero.
      seq_len: sequence length $\kappa \ge 4$.

    Returns:
      The time, `nan` for traced entries that are not supported.

    Raises:
      ValueError: as for `clean_limit`.

    Example:
      >>> f"{escape_time_leading(jnp.array([0.01, 0.005]), 7):.6e}"
      '2.083333e+06'

    References:
      Derivation in docs/theory.md (M1, M5).
    """
    a0, power = _inputs(a0, seq_len)
    (a, _), valid = clean_start(a0, power + 1, None)
    time = jnp.max(a) ** (1 - power) / (2.0 * (power + 1) * (power - 1))
    return jnp.where(valid, time, jnp.nan)


def _inputs(a0, seq_len) -> tuple[Array, int]:
    """The checked entries, and the power p = κ-2."""
    a0 = as_float64("a0", a0, ndim=1)
    if a0.shape[0] == 0:
        raise ValueError("a0=[]: a start needs at least one entry")
    return a0, require_seq_len(seq_len, minimum=4, odd=False) - 2


def _clock(a0, seq_len, log_gap) -> tuple[_Clock, int]:
    a0, power = _inputs(a0, seq_len)
    (a, _), valid = clean_start(a0, power + 1, log_gap)
    power_sum = jnp.sum(a ** (power + 1))
    inside = power_sum <= 1.0 + _START_SLACK
    if is_concrete(inside) and is_concrete(valid) and not bool(inside):
        raise ValueError(
            f"a0: S_{power + 1} = {float(power_sum):g} exceeds 1, the start is beyond the limit "
            "and its flow goes inwards; scale a0 down"
        )
    limit = clean_limit(jnp.where(valid, a0, 1.0), power + 2, log_gap=log_gap)
    limit = jnp.where(valid & inside, limit, jnp.nan)
    # Both powers are of the largest entry, for which they differ most.
    delta0 = jnp.max(a) ** (1 - power) - jnp.max(limit) ** (1 - power)
    return _wind(power, limit, jnp.maximum(delta0, 0.0)), power


@functools.partial(jax.jit, static_argnums=0)
def _wind(power: int, limit: Array, delta0: Array) -> _Clock:
    """Integrate the clock over all panels."""
    # S_m <= d δ^(-m/(p-1)), which is below e^-40 from here on.
    log_top = (_LOG_FAR + math.log(limit.shape[0])) * (power - 1) / (power + 1)
    top = jnp.minimum(jnp.log(delta0), log_top)
    top = jnp.maximum(top, -_LOG_FAR)  # a start in the linear regime: panels of no width
    log_edges = jnp.linspace(top, -_LOG_FAR, _PANELS + 1)
    widths = log_edges[:-1] - log_edges[1:]
    panels = jax.vmap(lambda high, width: _panel_time(power, limit, high, width))(
        log_edges[:-1], widths
    )
    first = jnp.maximum(delta0 - jnp.exp(top), 0.0) / _rate(power)
    times = first + jnp.concatenate([jnp.zeros(1), jnp.cumsum(panels)])
    return _Clock(limit, delta0, log_edges, times)


def _rate(power: int) -> float:
    """-dδ/dt where S_m is negligible, 2m(p-1)."""
    return 2.0 * (power + 1) * (power - 1)


def _missing(power: int, limit: Array, delta: Array) -> Array:
    """What S_m is short of 1, without cancellation for small δ."""
    growth = jnp.log1p(delta * limit ** (power - 1))
    return -jnp.sum(limit ** (power + 1) * jnp.expm1(-(power + 1) / (power - 1) * growth))


def _time_per_log(power: int, limit: Array, log_delta: Array) -> Array:
    """-dt/d(log δ) = δ / (2m(p-1)(1 - S_m)); tends to a constant as δ falls to 0."""
    delta = jnp.exp(log_delta)
    return delta / (_rate(power) * _missing(power, limit, delta))


def _panel_time(power: int, limit: Array, log_high: Array, width: Array) -> Array:
    """Time from `log_high` down by `width`."""
    nodes = log_high - 0.5 * width * jnp.asarray(1.0 + _NODES)
    values = jax.vmap(lambda node: _time_per_log(power, limit, node))(nodes)
    return 0.5 * width * (jnp.asarray(_WEIGHTS) @ values)


@functools.partial(jax.jit, static_argnums=0)
def _delta_at(power: int, clock: _Clock, times: Array) -> Array:
    """δ at each time."""

    def one(time):
        index = jnp.searchsorted(clock.times, time, side="right") - 1
        index = jnp.clip(index, 0, _PANELS - 1)
        high = clock.log_edges[index]
        width = high - clock.log_edges[index + 1]
        elapsed = time - clock.times[index]

        def newton_step(_, fallen):
            error = _panel_time(power, clock.limit, high, fallen) - elapsed
            slope = _time_per_log(power, clock.limit, high - fallen)
            return jnp.clip(fallen - error / slope, 0.0, width)

        fallen = jax.lax.fori_loop(0, _NEWTON_STEPS, newton_step, 0.5 * width)
        # Before the first panel δ falls linearly, after the last one exponentially, in time.
        late = time - clock.times[-1]
        tail = clock.log_edges[-1] - late / _time_per_log(power, clock.limit, clock.log_edges[-1])
        log_delta = jnp.where(late > 0, tail, high - fallen)
        early = time < clock.times[0]
        return jnp.where(early, clock.delta0 - _rate(power) * time, jnp.exp(log_delta))

    return jnp.where(clock.delta0 > 0, jax.vmap(one)(times), jnp.where(times >= 0, 0.0, jnp.nan))


@functools.partial(jax.jit, static_argnums=0)
def _time_at(power: int, clock: _Clock, level: Array) -> Array:
    """The time at which S_m = level, 0 if it starts there or above."""
    ratio = (power + 1) / (power - 1)
    target = jnp.expm1(-jnp.log(level) / ratio)

    def newton_step(_, delta):
        # As for the limit: S^(-1/ratio) is concave and increasing, Newton from 0 is monotone.
        # Two ways to log S, so that neither levels near 1 nor levels near 0 cancel.
        spread = 1.0 + delta * clock.limit ** (power - 1)
        power_sum = jnp.sum(clock.limit ** (power + 1) * spread**-ratio)
        missing = _missing(power, clock.limit, delta)
        log_sum = jnp.where(
            missing < 0.5, jnp.log1p(-jnp.minimum(missing, 0.5)), jnp.log(power_sum)
        )
        slope = power_sum ** (-1.0 / ratio - 1.0) * jnp.sum(
            clock.limit ** (2 * power) * spread ** (-ratio - 1.0)
        )
        return jnp.maximum(delta + (target - jnp.expm1(-log_sum / ratio)) / slope, 0.0)

    delta = jax.lax.fori_loop(0, _NEWTON_STEPS, newton_step, jnp.zeros_like(level))
    delta = jnp.minimum(delta, clock.delta0)
    log_delta = jnp.clip(jnp.log(delta), clock.log_edges[-1], clock.log_edges[0])
    index = jnp.searchsorted(-clock.log_edges, -log_delta, side="right") - 1
    index = jnp.clip(index, 0, _PANELS - 1)
    high = clock.log_edges[index]
    time = clock.times[index] + _panel_time(power, clock.limit, high, high - log_delta)
    early = (clock.delta0 - delta) / _rate(power)
    return jnp.where(delta >= jnp.exp(clock.log_edges[0]), early, time)
