r"""Bounds that belong to a whole box: where it enters the tube, the clean flow, sums of powers.

Notation (docs/certificates.md, "Reduced coordinates"): kappa = seq_len, d = state_dim,
p = kappa - 2, D_j = a_2 - a_j (j = 3..d), E = sum(D_j)/d, mu_j = D_j/E (so sum(mu_j) = d),
g = (a_1 - a_2)/E, w = S_1 - 1, S_m = sum(a_i^m), q = (kappa - 1)(1 - S_{kappa-1}).
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .interval import Interval, exp_above, interval, root_above, root_below, total

LAST = 19
"""The longest lag of the error; version 1 of the log fixes it."""

_MESH = 4000
# Assumed growth of the largest gap before w = 0; the first that proves itself is taken.
_GROWTH = (1.02, 1.1, 1.5, 2.0, 4.0, 8.0, 20.0)


class Model(NamedTuple):
    """What the log's header says about the network: sequence length, entries, strength.

    An infinite strength means the limit of the flows: S_1 leaps to 1 and stays there.
    """

    seq_len: int
    state_dim: int
    strength: float


class Box(NamedTuple):
    """Initialisations: bounds of a_2, of a_1 - a_2 and of every a_2 - a_j."""

    a2: tuple[float, float]
    delta: tuple[float, float]
    gaps_lo: np.ndarray
    gaps_hi: np.ndarray


Corner: TypeAlias = tuple[Any, Any]
"""E and g of many places."""


class Entry(NamedTuple):
    """Where trajectories are when w = 0: bounds of E, g and mu; of one box, or one per slab."""

    scale: tuple[Any, Any]
    ratio: tuple[Any, Any]
    mu_lo: np.ndarray
    mu_hi: np.ndarray


def entry_box(model: Model, box: Box) -> Entry | None:
    """Bounds of (E, g, mu) at w = 0, or `None` where the gaps may grow too far before.

    On a piece of a mesh in |w| the entries are at most a = (1 + w)/d + X, so the time spent there,
    the growth of ln(gap) and the drift of ln(mu), ln(g) are bounded (docs/certificates.md,
    "Phase 0"). X bounds a_1 - min(a_j) and must not be reached.
    """
    if model.strength == np.inf:  # a leap to S_1 = 1 moves all entries alike
        return _entry_from(model, box, 1.0, 1.0)
    num, power = model.state_dim, model.seq_len - 2
    mesh = np.append(10.0 ** (-14.0 * np.arange(_MESH) / _MESH), 0.0)
    mesh[0] = 1.0
    before, after = mesh[:-1], mesh[1:]
    start = float((interval(box.delta[1]) + box.gaps_hi.max()).hi)
    for factor in _GROWTH:
        reach = factor * start
        top = Interval(((1.0 - interval(after)) / num + reach).hi)
        slowest = ((model.seq_len - 1) * (1.0 - num * top ** (model.seq_len - 1))).lo
        speed = interval(model.strength) * num * after
        speed += np.maximum(slowest, 0.0) * (num * ((1.0 - interval(before)) / num) ** power)
        time = (interval(before) - after) / speed * (model.seq_len - 1)
        growth = exp_above(total(Interval((time * power * top ** (power - 1)).hi)).hi)
        drift = time * power * (power - 1) * top ** (power - 2) * reach
        drift = exp_above(total(Interval(drift.hi)).hi)
        if (interval(start) * growth).hi < reach:
            return _entry_from(model, box, float(growth), float(drift))
    return None


def _entry_from(model: Model, box: Box, growth: float, drift: float) -> Entry:
    num, low, high = model.state_dim, interval(box.gaps_lo), interval(box.gaps_hi)
    sum_low, sum_high = total(low), total(high)
    shrink = 1.0 / interval(drift)
    ratio = (
        float((num * interval(box.delta[0]) / sum_high * shrink).lo),
        float((num * interval(box.delta[1]) / sum_low * drift).hi),
    )
    if num == 3:  # one gap: mu_3 = d exactly
        mu_lo = mu_hi = np.array([3.0])
    else:
        # The other gaps' sum: their rounded total less this one, which loses a last bit or so.
        mu_lo = (num * low / (low + (Interval(sum_high.hi) - high)) * shrink).lo
        mu_hi = (num * high / (high + (Interval(sum_low.lo) - low)) * drift).hi
    scale = (float((sum_low / num).lo), float((sum_high / num * growth).hi))
    return Entry(scale, ratio, mu_lo, mu_hi)


def clean_bound(model: Model, box: Box) -> float:
    """A bound of the clean flow's error/d, from above, for every start in the box.

    The limit has a_j <= b_j = (1 + c_j)^(-1/(p-1)), c_j = a_j(0)^(1-p) - a_1(0)^(1-p), which is
    largest at (a_2 high, delta low, gaps low). The difference c_j is formed without cancellation,
    from a_1 - a_j = delta + D_j.
    """
    degree = model.seq_len - 3
    gaps = interval(np.append(0.0, box.gaps_lo))
    first, entry = interval(box.a2[1]) + box.delta[0], box.a2[1] - gaps
    series, term = interval(1.0), interval(1.0)
    for _ in range(degree - 1):  # (x^m - y^m)/(x - y) by Horner's rule, m = p - 1
        term = term * first
        series = series * entry + term
    excess = (gaps + box.delta[0]) * series / (first**degree * entry**degree)
    bounds = Interval(np.zeros_like(excess.lo), root_above((1.0 / (excess + 1.0)).hi, degree, 1.0))
    worst = total(bounds).hi
    if model.seq_len - 1 < LAST:
        rest = 1.0 - total(bounds ** (model.seq_len - 1))
        first_limit = root_below(rest.lo, model.seq_len - 1)
        worst = np.maximum(worst, (1.0 - interval(first_limit) ** LAST).hi)
    return float((Interval(worst) / model.state_dim).hi)


def first_two(
    model: Model, scale: Interval, ratio: Interval, excess: Interval
) -> tuple[Interval, Interval]:
    """a_1 and a_2 where E, g and w lie in intervals; both are linear in each."""
    num = float(model.state_dim)
    mean = (1.0 + excess) / num
    return mean + scale * (1.0 + ratio * (num - 1.0) / num), mean + scale * (1.0 - ratio / num)


def others(
    model: Model, scale: Interval, ratio: Interval, excess: Interval, mu: Interval
) -> Interval:
    """All a_j on a last axis, where E, g, w and mu lie in intervals."""
    mean, slope = (1.0 + excess) / float(model.state_dim), 1.0 - ratio / float(model.state_dim)
    return spread(mean) + spread(scale) * (spread(slope) - mu)


def spread(value: Interval) -> Interval:
    """The same with an axis for j at the end."""
    return Interval(value.lo[..., None], value.hi[..., None])


def power_sum(
    model: Model, scale: Any, ratio: Any, excess: Any, mu_lo: Any, mu_hi: Any, power: int
) -> Interval:
    """S_m for even m at exact (E, g, w), from below and above over mu in a box with sum d.

    S_m = a_1^m + a_2^m + sum(a_j^m + c mu_j) - c d for any c. With c = m E y^(m-1), y the mean of
    the a_j, each term is convex in mu_j and least where a_j = y, i.e. mu_j = d/n.
    """
    num = float(model.state_dim)
    scale, mu_lo, mu_hi = interval(scale), interval(mu_lo), interval(mu_hi)
    first, second = first_two(model, scale, interval(ratio), interval(excess))
    middle = second - scale * num / (num - 2.0)
    slope = power * scale * middle ** (power - 1)
    ends = [
        (spread(second) - spread(scale) * mu) ** power + spread(slope) * mu for mu in (mu_lo, mu_hi)
    ]
    bottom = spread(middle**power + slope * num / (num - 2.0))
    at = interval(num) / (num - 2.0)
    outside = (at.hi < mu_lo.lo) | (at.lo > mu_hi.hi)
    low = np.where(outside, np.minimum(ends[0].lo, ends[1].lo), bottom.lo)
    high = np.maximum(ends[0].hi, ends[1].hi)
    return first**power + second**power + total(Interval(low, high)) - slope * num


def may_hold_limits(
    model: Model, left: Corner, right: Corner, mu_lo: Any, mu_hi: Any
) -> np.ndarray:
    """Whether S_(kappa-1) = 1 is possible at w = 0 between two corners (E, g) of a piece."""
    even, zero = model.seq_len - 1, np.zeros_like(left[1])
    above = power_sum(model, *right, zero, mu_lo, mu_hi, even)
    below = power_sum(model, *left, zero, mu_lo, mu_hi, even)
    return ~((above.hi < 1.0) | (below.lo > 1.0))


def limit_bounds(
    model: Model, left: Corner, right: Corner, mu_lo: Any, mu_hi: Any
) -> tuple[np.ndarray, np.ndarray]:
    """A lower and an upper bound of d*error at limits, where w = 0 and S_(kappa-1) = 1.

    The proof is in docs/certificates.md, "Limit points". `left` and `right` are the lower and the
    upper corner of pieces of slabs, of shape [piece]; mu has shape [piece, j].
    """
    even, zero = model.seq_len - 1, np.zeros_like(left[1])
    place = (model, Interval(left[0], right[0]), Interval(left[1], right[1]), interval(zero))
    first, second = first_two(*place)
    rest = others(*place, Interval(mu_lo, mu_hi))
    # S_{kappa-1} = 1 leaves to a_1 what the others do not take.
    taken = second**even + total(rest**even)
    first = Interval(
        np.maximum(np.maximum(first.lo, root_below((1.0 - taken).lo, even)), 0.0),
        np.minimum(first.hi, root_above((1.0 - taken).hi, even, 1.0)),
    )
    low = (power_sum(model, *left, zero, mu_lo, mu_hi, 2) - 1.0).lo
    low = np.maximum(low, (power_sum(model, *left, zero, mu_lo, mu_hi, 4) - 1.0).lo)
    high = (power_sum(model, *right, zero, mu_lo, mu_hi, 2) - 1.0).hi

    negative = Interval(np.maximum(-rest.lo, 0.0)), Interval(np.maximum(-second.lo, 0.0))

    def negatives(power: int) -> Interval:
        return total(negative[0] ** power) + negative[1] ** power

    # At odd lags 3 <= l < kappa - 1, which exist for every kappa >= 5.
    high = np.maximum(high, (2.0 * negatives(3)).hi)
    if even < LAST:
        last = first**LAST + second**LAST + total(rest**LAST)
        low = np.maximum(low, (1.0 - last).lo)
        deficit = 1.0 - interval(first.lo) ** LAST + negatives(model.seq_len)
        high = np.maximum(high, deficit.hi)
    return low, high


def geometric_cuts(low: np.ndarray, high: np.ndarray, pieces: int) -> np.ndarray:
    """Cuts of [low, high]: any numbers in order do, so these are rounded as they come."""
    ratio = (high / low)[:, None] ** (np.arange(pieces + 1) / pieces)
    return _ends(np.clip(low[:, None] * ratio, low[:, None], high[:, None]), low, high)


def equal_cuts(low: np.ndarray, high: np.ndarray, pieces: int) -> np.ndarray:
    """Cuts of [low, high] of one length, along a new last axis."""
    steps = np.arange(pieces + 1) / pieces
    cuts = low[..., None] + (high - low)[..., None] * steps
    return _ends(np.clip(cuts, low[..., None], high[..., None]), low, high)


def _ends(cuts: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    cuts[..., 0], cuts[..., -1] = low, high
    return np.maximum.accumulate(cuts, axis=-1)
