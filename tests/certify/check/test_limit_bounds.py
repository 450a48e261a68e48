"""The checker's bounds of limits, of the clean error and of the entry, at exact points."""

import math
import random

import mpmath
import pytest
from certify.check.bounds_cases import entries
from flint import arb, ctx

from ssmbias.certify.check import bounds, limits
from ssmbias.certify.check.proof_log import Failure, Problem


@pytest.fixture(autouse=True)
def _precision():
    before, mpmath_before = ctx.prec, mpmath.mp.dps
    ctx.prec, mpmath.mp.dps = 96, 50
    yield
    ctx.prec, mpmath.mp.dps = before, mpmath_before


def bisect(f, low, high):
    """The zero of a function that changes sign once, to about 55 digits."""
    below = f(low) < 0
    for _ in range(190):
        mid = (low + high) / 2
        low, high = (mid, high) if (f(mid) < 0) == below else (low, mid)
    return low


def limit_point(pb, e, mus):
    """g with S_{kappa-1} = S_1 = 1, by bisection (S rises with g), or None."""
    m = pb.seq_len - 1

    def excess(g):
        return mpmath.fsum(x**m for x in entries(pb, e, g, mpmath.mpf(0), mus)) - 1

    low, high = mpmath.mpf("1e-6"), mpmath.mpf(2 * pb.state_dim)
    if excess(low) > 0 or excess(high) < 0:
        return None
    return bisect(excess, low, high)


def test_limit_points_are_enclosed():
    """Errors of exact zero-loss points lie between the bounds of their slab, at every kappa."""
    rng, seen = random.Random(5), 0
    for shape in [(5, 3, 1.0), (5, 10, 1.0), (7, 4, 1.0), (9, 10, 1.0), (21, 5, 1.0)] * 6:
        pb = Problem(*shape)
        d, shape_mu = pb.state_dim, [rng.uniform(0.3, 1.7) for _ in range(pb.state_dim - 2)]
        mus = [mpmath.mpf(d * x) / mpmath.fsum(shape_mu) for x in shape_mu]
        e = mpmath.mpf(10 ** rng.uniform(-2.5, -0.3))
        g = limit_point(pb, e, mus)
        if g is None:
            continue
        a = entries(pb, e, g, mpmath.mpf(0), mus)
        error = max(abs(mpmath.fsum(x**lag for x in a) - 1) for lag in range(1, 20)) / d
        hull = [float(g) * 0.999, float(g) * 1.001, 0.0, 0.0]
        for mu in mus:
            hull += [float(mu) * 0.999, float(mu) * 1.001] if d > 3 else [3.0, 3.0]
        slab = bounds.Slab(float(e) * 0.999, float(e) * 1.001, hull, hull, 0.0, 0.0, 1, 1)
        assert limits.check_limits(pb, slab, 0.0, 10.0)
        with pytest.raises(Failure, match="claimed"):
            limits.check_limits(pb, slab, float(error) * (1 + 1e-9), 10.0)
        with pytest.raises(Failure, match="claimed"):
            limits.check_limits(pb, slab, 0.0, float(error) * (1 - 1e-9))
        seen += 1
        # Far from any limit point the slab holds none, and nothing is claimed of it.
        far = slab._replace(s=[1e-9, 1e-9, *hull[2:]], t=[1e-9, 1e-9, *hull[2:]])
        assert not limits.check_limits(pb, far, 1.0, 0.0)
    assert seen >= 10


def test_the_clean_bound_holds_and_is_not_idle():
    """Against the closed form a_j = (c_j + u)^(-1/(p-1)) at random points of the box."""
    rng, ratios = random.Random(2), []
    for k, d in [(5, 3), (7, 10), (9, 5), (21, 4)] * 3:
        pb, gaps = Problem(k, d, 1.0), [1e-4 * j / d for j in range(1, d - 1)]
        box = ((9e-4, 1.1e-3), (1e-8, 2e-8), *((x, 1.2 * x) for x in gaps))
        bound = limits.clean_bound(pb, box)
        second = mpmath.mpf(rng.choice([box[0][1], rng.uniform(*box[0])]))
        spread = [mpmath.mpf(rng.choice([x, 1.2 * x])) for x in gaps]
        start = [second + rng.choice(box[1]), second] + [second - x for x in spread]
        c = [x ** (3 - k) - start[0] ** (3 - k) for x in start]

        def at(u, c=c, k=k):
            return [(x + u) ** (mpmath.mpf(-1) / (k - 3)) for x in c]

        power = lambda u, at=at, k=k: mpmath.fsum(x ** (k - 1) for x in at(u)) - 1  # noqa: E731
        root = bisect(power, mpmath.mpf(1), mpmath.mpf(d * d))
        error = max(abs(mpmath.fsum(x**lag for x in at(root)) - 1) for lag in range(1, 20))
        assert not arb(mpmath.nstr(error, 40)) > bound
        ratios.append(float(bound) / float(error))
    assert min(ratios) < 1.1  # at the worst corner the bound is nearly attained


def test_the_entry_box_holds_simulated_entries():
    """Phase 0: an Euler run, whose steps err far less than the box's margins, ends inside."""
    k, d = 7, 4
    pb, box = Problem(k, d, 1.0), ((1e-2, 1e-2), (1e-4, 1e-4), (1e-3, 1e-3), (2e-3, 2e-3))
    limits.require_box(pb, box)
    e_lo, e_hi, state = limits.entry_box(pb, box)
    a, step = [0.0101, 0.01, 0.009, 0.008], 1e-4
    while sum(a) < 1:
        q = (k - 1) * (1 - sum(x ** (k - 1) for x in a))
        pull = 1 - sum(a)
        a = [x + step * (q * x ** (k - 2) + pull) for x in a]
        if pull < 1e-3:
            step = 1e-2
    e = sum(a[1] - x for x in a[2:]) / d
    numbers = [(a[0] - a[1]) / e, 0.0] + [(a[1] - x) / e for x in a[2:]]
    assert e_lo < e < e_hi
    assert float(e_hi / e_lo) < 1.2
    for low, x, high in zip(state[::2], numbers, state[1::2], strict=True):
        assert low <= x <= high
    assert math.isclose(float(state[0]), float(state[1]), rel_tol=0.02)
    assert not state[0] > numbers[0] * 0.999  # the box is not wide open either
    with pytest.raises(Failure, match="phase 0"):
        limits.entry_box(pb, ((0.2, 0.2), (0.1, 0.1), (0.18, 0.18), (0.19, 0.19)))


@pytest.mark.parametrize(
    ("box", "words"),
    [
        (((1e-3, 2e-3), (0.0, 1e-8), (1e-4, 2e-4)), "tie"),
        (((1e-3, 2e-3), (1e-9, 1e-8), (0.0, 2e-4)), "tie"),
        (((1e-3, 2e-3), (1e-9, 1e-8), (1e-4, 1e-3)), "positive"),
        (((2e-3, 1e-3), (1e-9, 1e-8), (1e-4, 2e-4)), "lo > hi"),
        (((1e-3, 1 / 3), (1e-9, 1e-8), (1e-4, 2e-4)), "S_1"),
    ],
)
def test_boxes_outside_the_theorem_are_refused(box, words):
    with pytest.raises(Failure, match=words):
        limits.require_box(Problem(7, 3, 1.0), box)
