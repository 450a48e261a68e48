"""Bounds of the error at the limits that a tube leaves possible (docs/certificates.md).

A limit has S_1 = S_(κ-1) = 1, so w = 0: only slabs that reach w = 0 hold any. The hull of g on
such a slab is cut into pieces; a piece stays unless S_(κ-1) is on one side of 1 on all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ssmbias.certify.prover.rates import power_bound
from ssmbias.certify.prover.system import Array, Slab, System, power

_PIECES = 64
_MARGIN = 1e-9
_LAST = 19  # The largest lag of the horizon.
_BATCH = 64


class LimitBounds(NamedTuple):
    """Bounds of error / d over all limits; how many pieces were kept; E and g of the least one."""

    lower: float
    upper: float
    kept: int
    worst: tuple[float, float]


def limit_bounds(system: System, slabs: Sequence[Slab]) -> LimitBounds:
    """Bounds of error / d at every limit that the slabs leave possible.

    Args:
      system: the flow.
      slabs: those of all branches of one tube.

    Returns:
      The bounds; with no piece kept (which a checker refuses) they are inf and -inf.
    """
    clock, low, high = _hulls(slabs)
    out = LimitBounds(np.inf, -np.inf, 0, (np.nan, np.nan))
    if not len(clock):
        return out
    # First the whole hull of g as one piece: few slabs are left.
    keep, *_ = _kept(system, clock, low, high, low[:, 0, None], high[:, 0, None])
    clock, low, high = (x[keep[:, 0]] for x in (clock, low, high))
    steps = np.arange(_PIECES + 1) / _PIECES
    for i in range(0, len(clock), _BATCH):
        part = slice(i, i + _BATCH)
        span, lo, hi = clock[part], low[part], high[part]
        g0, g1 = lo[:, :1], hi[:, :1]
        # The checker chooses its own cuts: the bounds are to hold for both natural choices.
        for g in (g0 * (g1 / g0) ** steps, g0 + (g1 - g0) * steps):
            out = _merge(out, _piece_bounds(system, span, lo, hi, g[:, :-1], g[:, 1:]))
    return out._replace(lower=out.lower * (1 - 1e-7), upper=out.upper * (1 + 1e-7))


def _merge(a: LimitBounds, b: LimitBounds) -> LimitBounds:
    worst = a.worst if a.lower <= b.lower else b.worst
    return LimitBounds(min(a.lower, b.lower), max(a.upper, b.upper), a.kept + b.kept, worst)


def _hulls(slabs: Sequence[Slab]) -> tuple[Array, Array, Array]:
    """E, lower and upper ends of (g, w, μ) of the slabs that reach w = 0."""
    slabs = [x for x in slabs if min(x.start[0, 1], x.end[0, 1]) <= 0]
    if not slabs:
        return np.empty((0, 2)), np.empty((0, 0)), np.empty((0, 0))
    start, end = np.stack([x.start for x in slabs]), np.stack([x.end for x in slabs])
    low, high = np.minimum(start[:, 0], end[:, 0]), np.maximum(start[:, 1], end[:, 1])
    return np.array([x.span for x in slabs]), low, high


def _kept(system: System, clock: Array, low: Array, high: Array, g0: Array, g1: Array) -> Any:
    """Which pieces may hold a limit; and the corners (E, μ) they are judged at."""
    m = system.seq_len - 1
    mu = low[:, None, 2:], high[:, None, 2:]
    first, last = clock[:, :1], clock[:, 1:]
    largest = power_bound(system.dim, m, last, g1, 0.0, mu, upper=True)
    smallest = power_bound(system.dim, m, first, g0, 0.0, mu, upper=False)
    return (largest >= 1 - _MARGIN) & (smallest <= 1 + _MARGIN), first, last, mu


def _piece_bounds(
    system: System, clock: Array, low: Array, high: Array, g0: Array, g1: Array
) -> LimitBounds:
    """Bounds over the pieces [g0, g1], each of shape (slab, piece)."""
    dim, kappa, _ = system
    keep, first, last, mu = _kept(system, clock, low, high, g0, g1)
    if not keep.any():
        return LimitBounds(np.inf, -np.inf, 0, (np.nan, np.nan))
    a1 = 1 / dim + first * (1 + g0 * (1 - 1 / dim)), 1 / dim + last * (1 + g1 * (1 - 1 / dim))
    x_lo, x_hi = 1 - g1 / dim, 1 - g0 / dim
    a2 = (
        1 / dim + np.minimum(first * x_lo, last * x_lo),
        1 / dim + np.maximum(first * x_hi, last * x_hi),
    )
    x_lo, x_hi = x_lo[..., None] - mu[1], x_hi[..., None] - mu[0]
    first3, last3 = first[..., None], last[..., None]
    rest = (
        1 / dim + np.minimum(first3 * x_lo, last3 * x_lo),
        1 / dim + np.maximum(first3 * x_hi, last3 * x_hi),
    )
    lower = power_bound(dim, 2, first, g0, 0.0, mu, upper=False) - 1
    upper = power_bound(dim, 2, last, g1, 0.0, mu, upper=True) - 1
    lower = np.maximum(lower, power_bound(dim, 4, first, g0, 0.0, mu, upper=False) - 1)
    negative = np.maximum(0.0, -rest[0])
    negative_a2 = np.maximum(0.0, -a2[0])
    upper = np.maximum(upper, 2 * (power(negative, 3).sum(-1) + power(negative_a2, 3)))
    if kappa - 1 < _LAST:
        # a_1^(κ-1) = 1 - the others' powers.
        least = np.where(rest[0] > 0, rest[0], np.where(rest[1] < 0, rest[1], 0.0))
        others = power(least, kappa - 1).sum(-1) + power(np.maximum(a2[0], 0.0), kappa - 1)
        cap = np.maximum(1 - others, 0.0) ** (1 / (kappa - 1)) * (1 + _MARGIN)
        late = power(np.minimum(cap, a1[1]), _LAST) + power(a2[1], _LAST)
        lower = np.maximum(lower, 1 - late - power(rest[1], _LAST).sum(-1))
        drop = power(negative, kappa).sum(-1) + power(negative_a2, kappa)
        upper = np.maximum(upper, 1 - power(np.clip(a1[0], 0.0, 1.0), _LAST) + drop)
    lower = np.where(keep, lower, np.inf) / dim
    upper = np.where(keep, upper, -np.inf) / dim
    i, k = np.unravel_index(int(lower.argmin()), lower.shape)
    worst = float(clock[i, 0]), float(g0[i, k])
    return LimitBounds(float(lower.min()), float(upper.max()), int(keep.sum()), worst)
