"""One box of starts: its hypotheses, the clean flow, the entry box; and a slab's limit points.

docs/certificates.md, "Clean flow", "Phase 0" and "Limit points".
"""

from __future__ import annotations

import math

from flint import arb

from .bounds import Slab, even_sum, extremes, total
from .proof_log import HORIZON, Box, Failure, Problem

LAST = HORIZON - 1
MESH = [10 ** (-14 * i / 999) for i in range(1000)] + [0.0]  # of |w|, from 1 to 0
DEPTH = 12  # a limit piece is at least 2^-12 of its slab's range of ln g


def require_box(pb: Problem, box: Box) -> None:
    """The hypotheses: ordered intervals, a_1 > a_2 > a_j > 0 everywhere, S_1(0) < 1."""
    if not all(low <= high for low, high in box):
        raise Failure("the box has a side with lo > hi")
    if not all(low > 0 for low, _ in box[1:]):
        raise Failure("delta.lo and every gap must be positive: no ties")
    if not box[0][0] > max(high for _, high in box[2:]):
        raise Failure("a2.lo must be above every gap, so that all entries are positive")
    if not pb.state_dim * arb(box[0][1]) + arb(box[1][1]) < 1:
        raise Failure("S_1(0) < 1 is not certain: d a2.hi + delta.hi must be below 1")


def clean_bound(pb: Problem, box: Box) -> arb:
    """Bound of d * error of the clean limit: a_j <= b_j = (c_j + 1)^(-1/m), m = kappa-3, j >= 2.

    c_j = a_j^-m - a_1^-m rises with delta and D_j and falls with a_2: one corner is the worst.
    """
    m, k = pb.seq_len - 3, pb.seq_len - 1
    second, delta, bs = arb(box[0][1]), arb(box[1][0]), []
    first = second + delta
    for gap in (0.0, *(low for low, _ in box[2:])):
        x = second - gap  # first^m - x^m = (first - x) (sum of products): no cancellation
        products = total(first ** (m - 1 - i) * x**i for i in range(m))
        bs.append(1 / (1 + (delta + gap) * products / (x * first) ** m).root(m))
    power = total(b**k for b in bs)
    if k >= LAST:
        return total(bs)
    return total(bs).max(1 - (1 - power).root(k) ** LAST if power < 1 else arb(1))


def entry_box(pb: Problem, box: Box) -> tuple[arb, arb, list[arb]]:
    """Where w = 0 is reached: E.lo, E.hi, and a box of states as in bounds.py, all as balls."""
    d, k, p = pb.state_dim, pb.seq_len - 1, pb.seq_len - 2
    lows, highs = [arb(low) for low, _ in box[2:]], [arb(high) for _, high in box[2:]]
    sum_lo, sum_hi = total(lows), total(highs)
    start = arb(box[1][1]) + max(high for _, high in box[2:])  # of max a - min a
    mesh = MESH if pb.strength < math.inf else []  # a jump takes no time
    for factor in (1.02, 1.1, 1.5, 2.0, 4.0, 8.0, 20.0):
        spread, grow, drift = start * factor, arb(0), arb(0)  # assumed bound; Gamma_0, Gamma_1
        for v, v_next in zip(map(arb, mesh), map(arb, mesh[1:]), strict=False):
            top = (1 - v_next) / d + spread
            q = k * (1 - d * top**k)
            if not q > 0:
                raise Failure("phase 0: q > 0 is not certain until w = 0; the gaps are too large")
            speed = arb(pb.strength) * d * v_next + q * d * ((1 - v) / d) ** p
            rate = k * p * top ** (p - 1) * (v - v_next) / speed
            grow, drift = grow + rate, drift + rate * (p - 1) * spread / top
        if start * grow.exp() < spread:
            break
    else:
        raise Failure("phase 0: no bound of the growth of the gaps was found")
    up, down = drift.exp(), (-drift).exp()
    state = [down * d * box[1][0] / sum_hi, up * d * box[1][1] / sum_lo, arb(0), arb(0)]
    for low, high in zip(lows, highs, strict=True):
        state += [down * d * low / (low + sum_hi - high), up * d * high / (high + sum_lo - low)]
    return sum_lo / d, grow.exp() * sum_hi / d, state if d > 3 else [*state[:4], arb(3), arb(3)]


def _piece(pb: Problem, e0, e1, g0, g1, mu_lo, mu_hi) -> tuple[arb, arb] | None:
    """Bounds of d * error at limits (w = 0) with E and g in these ranges; None: there is none."""
    k, zero = pb.seq_len, arb(0)

    def corner(m, upper):  # B8
        e, g = (e1, g1) if upper else (e0, g0)
        return even_sum(pb, m, e, g, zero, mu_lo, mu_hi, upper)

    if corner(k - 1, True) < 1 or corner(k - 1, False) > 1:
        return None
    first_lo, *bottom = extremes(pb, e0, e1, g0, g1, zero, mu_hi, False)
    first_hi, *top = extremes(pb, e0, e1, g0, g1, zero, mu_lo, True)
    # a_1^(kappa-1) = 1 - the others': bounds of a_1 by their least and greatest sizes.
    sides = list(zip(bottom, top, strict=True))
    cap = 1 - total((a if a > 0 else b) ** (k - 1) for a, b in sides if a > 0 or b < 0)
    floor = 1 - total((a ** (k - 1)).max(b ** (k - 1)) for a, b in sides)
    first_hi = first_hi.min(cap.root(k - 1)) if cap > 0 else first_hi
    first_lo = first_lo.max(floor.root(k - 1)) if floor > 0 else first_lo
    tail = first_hi**LAST + total(b**LAST for b in top)
    lower = (corner(2, False) - 1).max(corner(4, False) - 1).max(1 - tail)
    # All |a_i| <= 1, so excess <= S_2 - 1. Deficits: odd lags below kappa-1, then later lags.
    negative = [(-a).max(zero) for a in bottom if not a >= 0]
    upper = (corner(2, True) - 1).max(2 * total(x**3 for x in negative))
    if k - 1 < LAST:
        upper = upper.max(1 - first_lo**LAST + total(x**k for x in negative))
    return lower, upper


def check_limits(pb: Problem, slab: Slab, lower: float, upper: float) -> bool:
    """Whether limits may lie in this slab; all of them have lower <= error/d <= upper.

    The range of g is halved where the bounds are too weak; both halves share the cut exactly.
    """
    if min(slab.s[2], slab.t[2]) > 0:
        return False  # w > 0 throughout
    pairs = enumerate(zip(slab.s, slab.t, strict=True))
    hull = [max(pair) if i % 2 else min(pair) for i, pair in pairs]
    mu_lo, mu_hi = [arb(x) for x in hull[4::2]], [arb(x) for x in hull[5::2]]
    d, todo, found = pb.state_dim, [(hull[0], hull[1], 0)], False
    e0, e1 = arb(slab.e0), arb(slab.e1)
    while todo:
        g0, g1, depth = todo.pop()
        bounds = _piece(pb, e0, e1, arb(g0), arb(g1), mu_lo, mu_hi)
        if bounds is None:
            continue
        if bounds[0] >= arb(lower) * d and bounds[1] <= arb(upper) * d:
            found = True
            continue
        cut = math.sqrt(g0) * math.sqrt(g1)
        if depth == DEPTH or not g0 < cut < g1:
            proved = " to ".join(f"{float(x / d):.6g}" for x in bounds)
            claimed = f"claimed {lower:.6g} to {upper:.6g}"
            raise Failure(f"limits, g from {g0:.6g} to {g1:.6g}: error/d is {proved}; {claimed}")
        todo += [(g0, cut, depth + 1), (cut, g1, depth + 1)]
    return found
