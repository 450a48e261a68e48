"""Bounds of the reduced flow over a slab (docs/certificates.md, "Bounds on the faces").

State (g, mu_3..mu_d, w) on the clock E, with a_2 = (1+w)/d + E(1-g/d), a_1 = a_2 + gE,
a_j = a_2 - mu_j E, sum mu_j = d, e = E/a_2, P(z) = 1 + z + .. + z^(p-1), p = kappa - 2. A box of
states is the list g.lo g.hi w.lo w.hi mu_3.lo mu_3.hi ... of doubles. Every ball encloses a real
number that is itself the bound, so `x < y` holds for the reals when Arb says so; an undecided
comparison is False, which here always leads to the weaker bound or to rejection.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from typing import NamedTuple

from flint import arb

from .proof_log import Failure, Problem


class Slab(NamedTuple):
    """From E0 to E1 > E0: boxes s at E0 and t at E1, faces linear in between; then hints."""

    e0: float
    e1: float
    s: list[float]
    t: list[float]
    zeta_lo: float  # multipliers of B4
    zeta_hi: float
    ne: int  # pieces of e (B6) and of g (B9)
    ngw: int


class Node(NamedTuple):
    """B4 at one e: V = (1-z^p)/e = mu P(z) at the ends of the faces, and the terms of A."""

    e: arb
    values: list[list[arb]]  # per mu_j: V at the four ends of its two faces
    lower: list[arb]  # least phi over all of mu_j, and over its upper face
    lower_face: list[arb]
    upper: list[arb]  # greatest phi over all of mu_j, and over its lower face
    upper_face: list[arb]


def least(values) -> arb:
    """The least of some reals."""
    return reduce(arb.min, values)


def most(values) -> arb:
    """The greatest of some reals."""
    return reduce(arb.max, values)


def total(values) -> arb:
    """The sum of some reals."""
    return sum(values, arb(0))


def geometric(z: arb, p: int) -> arb:
    """P(z), without cancellation at z = 1."""
    out = arb(1)
    for _ in range(p - 1):
        out = out * z + 1
    return out


def even_sum(pb: Problem, m: int, e, g, w, mu_lo, mu_hi, upper: bool) -> arb:
    """B8: bound of S_m (m even) at (E, g, w) over the box of mu with sum mu = d.

    S_m = a_1^m + a_2^m + sum psi(mu_j) - cd, psi(mu) = (a_2 - mu E)^m + c mu, for any c. psi is
    convex; c = mE abar^(m-1) puts its least value at the mean abar of the a_j, j >= 3.
    """
    d = pb.state_dim
    second = (1 + w) / d + e * (1 - g / d)
    mean = second - e * d / (d - 2)
    c = m * e * mean ** (m - 1)
    terms, bottom = [(second + g * e) ** m, second**m, -c * d], mean**m + c * d / (d - 2)
    for low, high in zip(mu_lo, mu_hi, strict=True):
        a, b = second - low * e, second - high * e
        if not upper and not (mean < b or mean > a):
            terms.append(bottom)
        else:
            terms.append((most if upper else least)([a**m + c * low, b**m + c * high]))
    return total(terms)


def extremes(pb: Problem, e0, e1, g0, g1, w, mus, upper: bool) -> list[arb]:
    """Bounds of a_1..a_d over E in [e0, e1], g in [g0, g1] at w; mus: mu.lo for upper, else mu.hi.

    a_1 rises with E and g; the others fall with g and mu and are linear in E.
    """
    d, base = pb.state_dim, (1 + w) / pb.state_dim
    e, g, far, pick = (e1, g1, g0, arb.max) if upper else (e0, g0, g1, arb.min)
    slopes = [1 - far / d - mu for mu in (arb(0), *mus)]
    return [base + e * (1 + g - g / d)] + [base + pick(e0 * x, e1 * x) for x in slopes]


def average(pb: Problem, c: arb, terms: Sequence[arb]) -> arb:
    """B4: A = c + (1/d) sum phi(mu_k), as sum mu_k = d exactly."""
    return c + total(terms) / pb.state_dim


def face_average(pb: Problem, whole: arb, own: arb, face: arb) -> arb:
    """B4 on a face of mu_j: its own term is taken over that face alone."""
    return whole + (face - own) / pb.state_dim


def bracket(pb: Problem, s_p: arb, w: arb, q: arb) -> arb:
    """B9: S_p - rho d w / q."""
    return s_p - pb.state_dim * arb(pb.strength) * w / q


def node(pb: Problem, e: arb, mus, zeta_lo: arb, zeta_hi: arb) -> Node:
    """B4: phi(mu) = V(mu) - c mu, c = p zeta^(p-1); phi' < 0 exactly where |z| < zeta.

    So on an interval phi is least at an end or at z = -zeta, greatest at an end or at z = +zeta;
    such a candidate is dropped only where it is certainly outside.
    """
    p = pb.seq_len - 2
    c_lo, c_hi = p * zeta_lo ** (p - 1), p * zeta_hi ** (p - 1)
    at_lo, at_hi = (1 + zeta_lo) / e, (1 - zeta_hi) / e  # mu at z = -zeta and at z = +zeta
    dip, crest = (1 + zeta_lo**p) / e - c_lo * at_lo, (1 - zeta_hi**p) / e - c_hi * at_hi

    def lowest(a, b, v_a, v_b):
        value = (v_a - c_lo * a).min(v_b - c_lo * b)
        return value if b < at_lo or a > at_lo else value.min(dip)

    def highest(a, b, v_a, v_b):
        value = (v_a - c_hi * a).max(v_b - c_hi * b)
        return value if b < at_hi or a > at_hi else value.max(crest)

    out = Node(e, [], [], [], [], [])
    for m in mus:
        v = [(1 - (1 - x * e) ** p) / e for x in m]
        out.values.append(v)
        out.lower.append(lowest(m[0], m[3], v[0], v[3]))
        out.lower_face.append(lowest(m[2], m[3], v[2], v[3]))
        out.upper.append(highest(m[0], m[3], v[0], v[3]))
        out.upper_face.append(highest(m[0], m[1], v[0], v[1]))
    return out


def averages(pb: Problem, nodes: list[Node], c_lo, c_hi, dips) -> tuple[list[arb], list[arb]]:
    """B3: bounds of A on each piece of e; A falls with e, up to what the dips allow."""
    pieces = list(zip(pairwise(nodes), dips, strict=True))
    lower = [average(pb, c_lo, b.lower) - dip for (_, b), dip in pieces]
    return lower, [average(pb, c_hi, a.upper) + dip for (a, _), dip in pieces]


def face_rates(pb: Problem, slab: Slab) -> list[arb | None]:
    """T5, then for every entry of the box a bound of d(coordinate)/dE on that face.

    Even entries (lower faces): a number that is below the rate; odd ones: above it. None where
    nothing is to be checked: an unreachable face, w.lo identically 0 (I-b), mu when d = 3.
    """
    d, p, e0, e1 = pb.state_dim, pb.seq_len - 2, arb(slab.e0), arb(slab.e1)
    # Face i runs over [low[i], high[i]]; a coordinate over [low[2c], high[2c+1]] (hull of s, t).
    low = [arb(min(pair)) for pair in zip(slab.s, slab.t, strict=True)]
    high = [arb(max(pair)) for pair in zip(slab.s, slab.t, strict=True)]
    g0, g1, w0, w1 = low[0], high[1], low[2], high[3]
    mus = list(zip(low[4::2], high[4::2], low[5::2], high[5::2], strict=True))
    if not extremes(pb, e0, e1, g0, g1, w0, [], False)[1] > 0:
        raise Failure("T5: a_2 > 0 is not certain")
    left = 1 / ((1 + w1) / (d * e0) + 1 - g0 / d)  # B1: e- and e+
    right = 1 / ((1 + w0) / (d * e1) + 1 - g1 / d)
    farthest = most(m[3] for m in mus) * right  # 1 - z
    if not farthest <= 2.25:
        raise Failure("T5: z_j >= -5/4 is not certain")
    z = arb(-1 if farthest <= 2 else -1.25)
    steepest = (p * z ** (p - 1) - geometric(z, p)) / (1 - z)  # B2: -P'(z)

    zeta_lo, zeta_hi = arb(slab.zeta_lo), arb(slab.zeta_hi)
    cuts = [left + (right - left) * i / slab.ne for i in range(slab.ne + 1)]
    nodes = [node(pb, e, mus, zeta_lo, zeta_hi) for e in cuts]
    pieces = list(pairwise(nodes))
    dips = [  # B3: z_k < -1/2 possible
        (b.e - a.e) * steepest / d * total(m[3] ** 2 for m in mus if not m[3] * b.e <= 1.5)
        for a, b in pieces
    ]
    c_lo, c_hi = p * zeta_lo ** (p - 1), p * zeta_hi ** (p - 1)
    a_lo, a_hi = averages(pb, nodes, c_lo, c_hi, dips)
    if not least(a_lo) > 0:
        raise Failure("T5: A > 0 is not certain")

    rates: list[arb | None] = [None] * len(low)

    def finish(i, ratio):  # B7: (ratio - 1) coordinate/E, whichever its sign
        ends = [(ratio - 1) * low[i] / e1, (ratio - 1) * high[i] / e0]
        rates[i] = most(ends) if i % 2 else least(ends)

    # B5: P and 1/A rise with e; by pieces, as the dips may spoil that.
    finish(0, least(geometric(1 + g0 * a.e, p) / x for (a, _), x in zip(pieces, a_hi, strict=True)))
    finish(1, most(geometric(1 + g1 * b.e, p) / x for (_, b), x in zip(pieces, a_lo, strict=True)))
    for j, m in enumerate(mus if d > 3 else []):  # B6
        lows, highs = [], []
        for i, (a, b) in enumerate(pieces):
            value = b.values[j][1] / m[1]  # P at the least z of the lower face
            if not m[1] * b.e <= 1.5:  # B2: P may fall there, but stays positive
                value = (value - steepest * (m[1] * b.e - m[0] * a.e)).max(arb(0))
            lows.append(value / face_average(pb, a_hi[i], a.upper[j], a.upper_face[j]))
            value = a.values[j][2] / m[2]  # P at the greatest z of the upper face
            if not m[3] * b.e <= 1.5:
                value = value.max(b.values[j][3] / m[3])  # P is convex
            highs.append(value / face_average(pb, a_lo[i], b.lower[j], b.lower_face[j]))
        finish(4 + 2 * j, least(lows))
        finish(5 + 2 * j, most(highs))
    rates[2:4] = _w_rates(pb, slab, low, high, least(a_lo), most(a_hi))
    return rates


def _w_rates(pb: Problem, slab: Slab, low, high, a_lo, a_hi) -> list[arb | None]:
    """B9, by pieces of g; S_p > 0 (T5) comes first, as B8 needs it to be monotone in w."""
    d, k, p, e0, e1 = pb.state_dim, pb.seq_len, pb.seq_len - 2, arb(slab.e0), arb(slab.e1)
    mu_lo, mu_hi, size = low[4::2], high[5::2], high[1] - low[0]
    cuts = [low[0] + size * i / slab.ngw for i in range(slab.ngw + 1)]
    spans = [(*g, extremes(pb, e0, e1, *g, low[2], mu_hi, False)) for g in pairwise(cuts)]
    if not all(total(x**p for x in bottom) > 0 for _, _, bottom in spans):
        raise Failure("T5: S_p > 0 is not certain")
    if pb.strength == math.inf:
        return [None, None]  # w = 0 throughout
    lows, highs = [], []
    for g0, g1, bottom in spans:
        top = extremes(pb, e0, e1, g0, g1, high[3], mu_lo, True)

        def over_clock(x, i):  # the two ends of x / (a_2^(p-1) A E) on face i, as in B7
            second = bottom[1] + (low[i] - low[2]) / d, top[1] + (high[i] - high[3]) / d  # noqa: B023
            return [x / (second[0] ** (p - 1) * a_lo * e0), x / (second[1] ** (p - 1) * a_hi * e1)]

        if not slab.s[2] == slab.t[2] == 0:  # I-b
            q = (k - 1) * (1 - even_sum(pb, k - 1, e1, g1, high[2], mu_lo, mu_hi, True))
            if not q > 0:
                raise Failure("T4 lower face of w: q > 0 is not certain, so w.lo must be 0")
            lows += over_clock(bracket(pb, total(x**p for x in bottom), high[2], q), 2)
        q = (k - 1) * (1 - even_sum(pb, k - 1, e0, g0, low[3], mu_lo, mu_hi, False))
        if not (q > 0 or q <= 0):
            raise Failure("T4 upper face of w: the sign of q is undecided")
        if q > 0:  # else no trajectory is there (I-a)
            highs += over_clock(bracket(pb, total(x**p for x in top), low[3], q), 3)
    return [least(lows) if lows else None, most(highs) if highs else None]
