"""The checker's bounds against 50-digit arithmetic, and mutants that this comparison exposes.

Exact rates come from the flow of the entries itself, a_i' = q a_i^p - rho w with
q = (kappa-1)(1 - S_{kappa-1}) and p = kappa - 2, by the chain rule. So the reduced coordinates are
tested along with the bounds. No tolerance: a violation is one that ball arithmetic is certain of.
"""

import random

import mpmath
import pytest
from certify.check.bounds_cases import entries
from flint import arb, ctx

from ssmbias.certify.check import bounds
from ssmbias.certify.check.proof_log import Failure, Problem

# kappa, d, rho; the small d reach z_j < -1/2, where P may fall and A may rise.
PROBLEMS = [(7, 10, 1.0), (5, 3, 0.5), (7, 3, 1.0), (9, 4, 2.5), (5, 4, 1.0), (5, 6, 10.0)]


@pytest.fixture(autouse=True)
def _precision():
    before, mpmath_before = ctx.prec, mpmath.mp.dps
    ctx.prec, mpmath.mp.dps = 96, 50
    yield
    ctx.prec, mpmath.mp.dps = before, mpmath_before


def exact_rates(pb, e, g, w, mus):
    """Rates by the clock E in the order g, w, mu_3.., or None where q <= 0."""
    d, k, p = pb.state_dim, pb.seq_len, pb.seq_len - 2
    a = entries(pb, e, g, w, mus)
    q = (k - 1) * (1 - mpmath.fsum(x ** (k - 1) for x in a))
    if q <= 0:
        return None
    flow = [q * x**p - pb.strength * w for x in a]
    clock = mpmath.fsum(flow[1] - x for x in flow[2:]) / d
    ratios = [(flow[0] - flow[1] - g * clock) / (e * clock)]
    ratios.append(mpmath.fsum(flow) / clock)
    return ratios + [(flow[1] - x - m * clock) / (e * clock) for x, m in zip(flow[2:], mus)]  # noqa: B905


def random_slab(pb, rng):
    """A slab of a possible tube: wide or narrow, early or late, q large or small, z_j down to -5/4.

    Coordinates that hardly vary make the bounds of the others sharp, so that mistakes show.
    """
    d, k, n = pb.state_dim, pb.seq_len, pb.state_dim - 2
    shape = [rng.uniform(0.3, 1.7) for _ in range(n)]
    centre = [d * x / sum(shape) for x in shape]
    w = rng.choice([0.0, 10 ** rng.uniform(-6, -2), 0.3])
    g = min(10 ** rng.uniform(-3, 1), 0.9 * d)
    e0 = 10 ** rng.uniform(-3.5, -0.3) * 3 / d
    if rng.random() < 0.7:  # late: the least z_j is here
        e = (1 - rng.uniform(-1.2, 0.3)) / max(centre)
        e0 = e * (1 + w) / d / max(1 - e * (1 - g / d), 0.1)
    if rng.random() < 0.5:  # q is small: S_{kappa-1} near 1
        target, low, high = 1 - 10 ** rng.uniform(-2.5, -0.3), 1e-6, 2.0 * d
        for _ in range(40):
            g = (low + high) / 2
            above = sum(x ** (k - 1) for x in entries(pb, e0, g, w, centre)) > target
            low, high = (low, g) if above else (g, high)

    def width():
        return rng.choice([1e-9, 1e-3, 0.03, 0.15])

    boxes, widths = [], [width() for _ in range(2 + n)]
    for _ in range(2):
        box = []
        for x, wide in zip([g, w or 1e-4, *centre], widths, strict=True):
            box += [x * (1 - wide * rng.random()), x * (1 + wide * rng.random())]
        if rng.random() < 0.5 or not w:
            box[2] = 0.0
        boxes.append(box if d > 3 else [*box[:4], 3.0, 3.0])
    e1 = e0 * (1 + rng.choice([1e-6, 0.001, 0.01, 0.05]))
    z = abs(1 - e0 / ((1 + w) / d + e0 * (1 - g / d)) * rng.uniform(0.3, 1.7) * d / n)
    zetas = [min(1.0, max(0.0, z + rng.uniform(-0.05, 0.05))) for _ in range(2)]
    ne, ngw = rng.randint(1, 4), rng.randint(1, 4)
    return bounds.Slab(e0, e1, boxes[0], boxes[1], zetas[0], zetas[1], ne, ngw)


def random_point(pb, slab, face, rng):
    """A state on this face with sum mu = d, everything else in the hull; None if none was found."""
    low = [min(pair) for pair in zip(slab.s, slab.t, strict=True)]
    high = [max(pair) for pair in zip(slab.s, slab.t, strict=True)]
    pick = lambda a, b: rng.choice([a, b, rng.uniform(a, b)])  # noqa: E731
    count = len(low) // 2
    spans = [(low[2 * c], high[2 * c + 1]) for c in range(count)]
    spans[face // 2] = (low[face], high[face])
    state = [mpmath.mpf(pick(*span)) for span in spans]
    if pb.state_dim > 3:  # move the other mu_k towards one end until the sum is d
        free = [c for c in range(2, count) if c != face // 2]
        gap = pb.state_dim - mpmath.fsum(state[2:])
        ends = {c: mpmath.mpf(spans[c][1 if gap > 0 else 0]) for c in free}
        room = mpmath.fsum(ends[c] - state[c] for c in free)
        if room == 0 or not 0 <= gap / room <= 1:
            return None
        for c in free:
            state[c] += (ends[c] - state[c]) * gap / room
    return mpmath.mpf(pick(slab.e0, slab.e1)), state


def count_violations(slabs_each, points_each, seed=7):
    """Numbers of points compared, of points outside, and of slabs by problem."""
    rng, compared, outside, done = random.Random(seed), 0, {"g": 0, "w": 0, "mu": 0}, {}
    for shape in PROBLEMS:
        pb, tries = Problem(*shape), 0
        while done.get(shape, 0) < slabs_each and tries < 20 * slabs_each:
            tries += 1
            slab = random_slab(pb, rng)
            try:
                rates = bounds.face_rates(pb, slab)
            except Failure:
                continue
            done[shape] = done.get(shape, 0) + 1
            for face, bound in enumerate(rates):
                if bound is None and face != 3:
                    continue
                for _ in range(points_each):
                    point = random_point(pb, slab, face, rng)
                    exact = point and exact_rates(pb, point[0], *point[1][:2], point[1][2:])
                    if exact:
                        compared += 1
                        rate = arb(mpmath.nstr(exact[face // 2], 45))
                        wrong = bound is None or (rate > bound if face % 2 else rate < bound)
                        outside[("g", "w", "mu")[min(face // 2, 2)]] += bool(wrong)
    return compared, outside, done


def check_faces(slabs_each, points_each, at_least, seed=7):
    compared, outside, done = count_violations(slabs_each, points_each, seed)
    assert sum(outside.values()) == 0
    assert compared > at_least
    assert len(done) == len(PROBLEMS)
    assert min(done.values()) > slabs_each // 2


def test_no_point_of_a_face_beats_its_bound():
    check_faces(14, 3, 1300)


@pytest.mark.slow
def test_no_point_of_a_face_beats_its_bound_many():
    check_faces(150, 6, 30_000, seed=8)


def forgetful(pb, whole, own, face):
    """A on a face of mu_j without the term of mu_j itself."""
    return whole - own / pb.state_dim


def sum_is_n(pb, c, terms):
    """As if sum mu = n = d - 2."""
    return (c * (pb.state_dim - 2) + sum(terms, arb(0))) / pb.state_dim


def swapped(pb, nodes, c_lo, c_hi, dips):
    """A's bounds exchanged."""
    return AVERAGES(pb, nodes, c_lo, c_hi, dips)[::-1]


def flipped(pb, s_p, w, q):
    """The poison's pull with the wrong sign."""
    return s_p + pb.state_dim * arb(pb.strength) * w / q


def without_d(pb, s_p, w, q):
    return s_p - arb(pb.strength) * w / q


AVERAGES = bounds.averages
MUTANTS = [
    ("averages", swapped, "g"),
    ("averages", swapped, "mu"),
    ("face_average", forgetful, "mu"),
    ("average", sum_is_n, "g"),
    ("bracket", flipped, "w"),
    ("bracket", without_d, "w"),
]


@pytest.mark.parametrize(("name", "mutant", "where"), MUTANTS)
def test_a_wrong_bound_is_found(name, mutant, where, monkeypatch):
    monkeypatch.setattr(bounds, name, mutant)
    _, outside, _ = count_violations(6, 3)
    assert outside[where] > 0


def test_the_dips_are_needed():
    """B3: near z = -1, A rises with e; without its correction a bound on a piece of e is wrong."""
    pb, cuts = Problem(7, 3, 1.0), [arb(0.62), arb(0.66)]  # z = 1 - 3e from -0.86 to -0.98
    nodes = [bounds.node(pb, e, [[arb(3)] * 4], arb(0), arb(0)) for e in cuts]
    exact = [bounds.geometric(1 - 3 * e, 5) for e in cuts]
    assert exact[0] < exact[1]
    bare, _ = bounds.averages(pb, nodes, arb(0), arb(0), [arb(0)])
    assert bare[0] > exact[0]  # wrong
    dip = (cuts[1] - cuts[0]) * 2 / 3 * 9  # -P'(-1) = (p-1)/2 = 2
    low, high = bounds.averages(pb, nodes, arb(0), arb(0), [dip])
    assert low[0] < exact[0]
    assert high[0] > exact[1]


def test_the_multiplier_terms_are_extreme_inside_too():
    """B4: phi over an interval lies between its bounds, and the ends alone would not do."""
    rng, pb, inside = random.Random(4), Problem(7, 10, 1.0), {"low": 0, "high": 0}
    for _ in range(60):
        e, zetas = arb(rng.uniform(0.2, 1.2)), [arb(rng.random()) for _ in range(2)]
        a, b = sorted(rng.uniform(0.01, 2.2 / float(e)) for _ in range(2))
        out = bounds.node(pb, e, [[arb(a), arb(b), arb(a), arb(b)]], *zetas)
        for zeta, bound, side in [
            (zetas[0], out.lower[0], "low"),
            (zetas[1], out.upper[0], "high"),
        ]:
            sign, c = (1 if side == "low" else -1), 5 * zeta**4
            phi = [
                sign * ((1 - (1 - mu * e) ** 5) / e - c * mu)
                for mu in (arb(a), arb(b), *(a + (arb(b) - a) * i / 40 for i in range(1, 40)))
            ]
            assert not any(x < sign * bound for x in phi)
            assert (
                bounds.least(phi) - sign * bound < 0.05
            )  # the bound is attained, but for the grid
            inside[side] += any(x < phi[0] and x < phi[1] for x in phi[2:])
    assert min(inside.values()) > 5


def test_even_sums_are_bounded_at_the_corners():
    """B8 at random points, the mean inside and outside; exchanged bounds are seen to be wrong."""
    rng, swapped_seen = random.Random(3), 0
    for shape in PROBLEMS * 8:
        pb = Problem(*shape)
        slab = random_slab(pb, rng)
        point = random_point(pb, slab, 0, rng)
        if point is None:
            continue
        mu_lo = [arb(min(a, b)) for a, b in zip(slab.s[4::2], slab.t[4::2], strict=True)]
        mu_hi = [arb(max(a, b)) for a, b in zip(slab.s[5::2], slab.t[5::2], strict=True)]
        e, (g, w, *mus) = point
        for m in (2, 4, pb.seq_len - 1):
            exact = arb(mpmath.nstr(mpmath.fsum(x**m for x in entries(pb, e, g, w, mus)), 45))
            corner = [arb(mpmath.nstr(x, 45)) for x in (e, g, w)]
            low = bounds.even_sum(pb, m, *corner, mu_lo, mu_hi, False)
            high = bounds.even_sum(pb, m, *corner, mu_lo, mu_hi, True)
            assert not exact < low
            assert not exact > high
            swapped_seen += exact < high
            early = bounds.even_sum(pb, m, arb(slab.e0), *corner[1:], mu_lo, mu_hi, False)
            assert not early > exact  # S_m rises with E
    assert swapped_seen > 50
