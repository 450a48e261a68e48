"""The second checker of proof logs: its arithmetic, its inequalities, and what it rejects."""

import gzip
import math
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import certify_tampering as tampering
import folder_imports
import mpmath
import numpy as np
import pytest
from mpmath import mpf

from ssmbias.certify.second_check import average, bounds, interval, recheck, slabs
from ssmbias.certify.second_check.bounds import Box, Model
from ssmbias.certify.second_check.interval import Interval

HOSTILE = [0.0, 1.0, -1.0, 1 + 2**-52, 1 - 2**-53, 2**-1074, 3 * 2**-1074, -(2**-1022), 2**-1022]
HOSTILE += [1e-308, -1e-160, 1.1e-162, 1e150, -1e154, 0.1, -1 / 3, 4 / 3, 2**53 + 2.0, 1e16 + 2]


def intervals(rng: np.random.Generator, num: int) -> Interval:
    """Random intervals over many orders of magnitude, some of no width, and all hostile values."""
    ends = rng.standard_normal((2, num)) * 10.0 ** rng.uniform(-8, 8, (2, num))
    ends[1, ::3] = ends[0, ::3]
    ends[:, : len(HOSTILE)] = HOSTILE
    ends[1, len(HOSTILE) : 2 * len(HOSTILE)] = HOSTILE
    ends.sort(axis=0)
    return Interval(ends[0], ends[1])


def escapes(rng: np.random.Generator) -> int:
    """How many exact results of operations on exact points lie outside the computed intervals."""
    x, y = intervals(rng, 600), intervals(rng, 600)
    order = rng.permutation(600)
    y = Interval(y.lo[order], y.hi[order])
    with np.errstate(all="ignore"):
        results = [
            (x + y, lambda a, b: a + b),
            (x - y, lambda a, b: a - b),
            (x * y, lambda a, b: a * b),
            (x / y, lambda a, b: a / b if b > 0 else None),
            (x**3, lambda a, b: a**3),
            (x**6, lambda a, b: a**6),
            (2.0 / y, lambda a, b: 2 / b if b > 0 else None),
        ]
    outside = 0
    for found, exact in results:
        low, high = np.broadcast_to(found.lo, 600), np.broadcast_to(found.hi, 600)
        for k in range(600):
            if not (np.isfinite(low[k]) and np.isfinite(high[k])):
                continue  # an overflow, or a divisor that is not positive: no claim
            for a in (Fraction(x.lo[k]), Fraction(x.hi[k])):
                for b in (Fraction(y.lo[k]), Fraction(y.hi[k])):
                    value = exact(a, b)
                    if value is not None:
                        outside += not Fraction(low[k]) <= value <= Fraction(high[k])
    return outside


def test_intervals_hold_exact_results(monkeypatch):
    assert escapes(np.random.default_rng(0)) == 0
    # Rounding to nearest alone loses about half of the inexact results.
    monkeypatch.setattr(interval, "up", lambda x: x)
    monkeypatch.setattr(interval, "down", lambda x: x)
    assert escapes(np.random.default_rng(0)) > 1000


def test_steps_reach_the_neighbours():
    x = np.array([*HOSTILE, sys.float_info.max, -sys.float_info.max, math.pi, 2.0**-1030])
    with np.errstate(over="ignore"):
        above, below = interval.up(x), interval.down(x)
        assert np.all(above >= np.nextafter(x, np.inf))
        assert np.all(below <= np.nextafter(x, -np.inf))
        # And not further than two: nothing is given away.
        assert np.all(above <= np.nextafter(np.nextafter(x, np.inf), np.inf))


def test_sums_roots_and_exponential():
    rng = np.random.default_rng(1)
    terms = rng.standard_normal((5, 13)) * 10.0 ** rng.uniform(-5, 5, (5, 13))
    found = interval.total(terms)
    exact = [sum(map(Fraction, row)) for row in terms]
    for lo, value, hi in zip(found.lo, exact, found.hi, strict=True):
        assert Fraction(lo) <= value <= Fraction(hi)
    # A sum with one rounding each is not exact: the width shows that it was taken care of.
    assert np.all(found.hi > found.lo)

    x = rng.uniform(0, 1, 200)
    for degree in (2, 8, 96):
        above, below = interval.root_above(x, degree, 1.0), interval.root_below(x, degree)
        assert all(Fraction(r) ** degree >= Fraction(v) for r, v in zip(above, x, strict=True))
        assert all(Fraction(r) ** degree <= Fraction(v) for r, v in zip(below, x, strict=True))
        assert np.all(above - below < 1e-13)

    with mpmath.workdps(50):
        for x in (0.0, 1e-12, 6e-5, 2e-3, 0.7, 3.0, 3.99):
            excess = mpmath.mpf(float(interval.exp_above(x))) / mpmath.exp(x) - 1
            # Some 60 roundings, and the remainder's bound for y = x/4, four times over.
            remainder = 4 * (x / 4) ** 16 / math.factorial(16) / (1 - x / 4)
            assert 0 <= excess < 1e-13 + remainder
    assert np.isnan(interval.exp_above(4.5))
    with pytest.raises(ArithmeticError):  # a process that flushes subnormals would show
        _require_ieee_where_tiny_is_flushed()


def _require_ieee_where_tiny_is_flushed():
    full = np.full
    try:
        np.full = lambda shape, value: full(shape, 0.0)  # what flushing leaves of 2^-1022 / 2
        interval.require_ieee()
    finally:
        np.full = full


# --- the inequalities, against exact rational arithmetic -----------------------------------------


def exact_state(model: Model, point: tuple) -> dict[str, Any]:
    """Everything at (E, g, w, mu), to 60 digits."""
    scale, g, w, mu = point
    num, power = model.state_dim, model.seq_len - 2
    second = (1 + w) / num + scale * (1 - g / num)
    values = [second + g * scale, second, *(second - m * scale for m in mu)]

    def geometric(z: Any) -> Any:
        return sum(z**i for i in range(power))

    z = [a / second for a in values]
    mean = sum(m * geometric(v) for m, v in zip(mu, z[2:], strict=True)) / num
    sums = {m: sum(a**m for a in values) for m in (power, model.seq_len - 1)}
    q = (model.seq_len - 1) * (1 - sums[model.seq_len - 1])
    rates = {"g": g / scale * (geometric(z[0]) / mean - 1)}
    for j, m in enumerate(mu):
        rates[f"mu_{j + 3}"] = m / scale * (geometric(z[2 + j]) / mean - 1)
    if q > 0:
        pull = model.strength * num * w / q
        rates["w"] = (sums[power] - pull) / (second ** (power - 1) * mean * scale)
    return {"q": q, "S_p": sums[power], "S_even": sums[model.seq_len - 1], "rates": rates}


def random_slab(rng: np.random.Generator, model: Model, width: float) -> slabs.Slabs | None:
    """A slab around a random admissible state, its hints near where they matter."""
    num, free = model.state_dim, model.state_dim - 2
    scale, g, w = 10.0 ** rng.uniform(-4, 0), rng.uniform(0.01, 0.9 * num), rng.uniform(0, 0.05)
    mu = rng.uniform(0.3, 2.0, free)
    mu *= num / mu.sum()
    second = (1 + w) / num + scale * (1 - g / num)
    z = 1 - mu * scale / second
    a = second * np.array([1 + g * scale / second, 1, *z])
    if second <= 0 or z.min() < -1.15 or not (a ** (model.seq_len - 1)).sum() < 0.99:
        return None
    if (a ** (model.seq_len - 2)).sum() <= 0:
        return None
    centre = np.repeat([g, w, *mu], 2)
    sides = np.tile([-1.0, 1.0], centre.size // 2)
    start = centre * (1 + sides * width * rng.uniform(0.2, 1, centre.size))
    end = start * (1 + 0.2 * width * rng.uniform(-1, 1, centre.size))
    hints = np.clip(np.abs(rng.choice(z, 2)) + width * rng.uniform(-1, 1, 2), 0, 1)
    lists = [[scale], [scale * (1 + width)], [start], [end], [hints], [[1, 1]]]
    return slabs.Slabs(*map(np.array, lists))


def random_slabs(rng: np.random.Generator, count: int) -> list[tuple[Model, slabs.Slabs]]:
    """Slabs over sequence lengths, sizes, strengths and widths; a third has some z_j < -1/2."""
    found: list[tuple[Model, slabs.Slabs]] = []
    steep = 0
    while len(found) < count:
        model = Model(
            int(rng.choice([5, 7, 9])), int(rng.choice([3, 4, 6])), 10 ** rng.uniform(-1, 1)
        )
        made = random_slab(rng, model, float(rng.choice([1e-3, 1e-2, 5e-2])))
        if made is None:
            continue
        lowest = np.min(1 - made.start[0, 5::2].max() * _largest_e(model, made))
        if lowest < -0.5:
            steep += 1
        elif len(found) - steep > 2 * count / 3:
            continue
        if lowest > -1.2:
            found.append((model, made))
    return found


def _largest_e(model: Model, slab: slabs.Slabs) -> float:
    g, w, num = slab.start[0, 1], slab.start[0, 2], model.state_dim
    return 1 / ((1 + w) / (num * slab.to[0]) + 1 - g / num)


def points_on_face(
    rng: np.random.Generator, model: Model, slab: slabs.Slabs, name: str, upper: bool, count: int
) -> Iterator[tuple]:
    """Random points of a face, exactly: sum(mu) = d, half of the other coordinates at an end."""
    names = ["g", "w", *(f"mu_{j + 3}" for j in range(model.state_dim - 2))]
    low = np.minimum(slab.start, slab.end)[0, 0::2]
    high = np.maximum(slab.start, slab.end)[0, 1::2]
    at = names.index(name)
    from_, to = mpf(slab.from_[0]), mpf(slab.to[0])
    for _ in range(count):
        scale = from_ + (to - from_) * rng.choice([0.0, 1.0, rng.uniform()])
        ends = rng.uniform(size=low.size)
        picked = np.where(ends < 0.25, low, np.where(ends > 0.75, high, rng.uniform(low, high)))
        exact = [mpf(v) for v in picked]
        first, last = (mpf(box[0, 2 * at + upper]) for box in (slab.start, slab.end))
        exact[at] = first + (last - first) * (scale - from_) / (to - from_)
        for k in rng.permutation([k for k in range(2, low.size) if k != at]):
            # The first that can take up what the sum lacks.
            rest = model.state_dim - sum(v for i, v in enumerate(exact) if i >= 2 and i != k)
            if low[k] <= rest <= high[k]:
                exact[k] = rest
                break
        if abs(sum(exact[2:]) - model.state_dim) < mpf(10) ** -50:
            yield scale, exact[0], exact[1], exact[2:]


class Sample(NamedTuple):
    """A slab with numbers of pieces and, by (coordinate, upper), exact changes on its faces."""

    model: Model
    slab: slabs.Slabs
    pieces: tuple[int, int]
    changes: dict[tuple[str, bool], list[Any]]


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    rng = np.random.default_rng(3)
    found = []
    with mpmath.workdps(60):
        for model, slab in random_slabs(rng, 45):
            changes: dict[tuple[str, bool], list[Any]] = {}
            names = ["g", "w", *(f"mu_{j + 3}" for j in range(model.state_dim - 2))]
            for name in names[: 2 if model.state_dim == 3 else None]:
                for upper in (False, True):
                    states = [
                        exact_state(model, point)
                        for point in points_on_face(rng, model, slab, name, upper, 6)
                    ]
                    changes[name, upper] = [
                        state["rates"][name] * (mpf(slab.to[0]) - mpf(slab.from_[0]))
                        for state in states
                        if state["q"] > 0 and state["S_p"] > 0
                    ]
            pieces = int(rng.integers(1, 5)), int(rng.integers(1, 5))
            found.append(Sample(model, slab, pieces, changes))
    return found


def face_violations(samples: list[Sample], sign: float = 1.0) -> tuple[int, int]:
    """(exact changes beyond their bound, changes compared); `sign` flips the labels' pull."""
    beyond = compared = 0
    for model, slab, pieces, changes in samples:
        with np.errstate(all="ignore"):
            _, faces = slabs.tube_bounds(
                model._replace(strength=sign * model.strength), slab, *pieces
            )
        for face in faces:
            if np.isfinite(face.bound[0]):
                bound = mpf(face.bound[0])
                for change in changes[face.name, face.upper]:
                    compared += 1
                    beyond += change > bound if face.upper else change < bound
    return beyond, compared


def test_face_bounds_hold_at_exact_points(samples):
    beyond, compared = face_violations(samples)
    assert compared > 800
    assert beyond == 0
    # A checker with the sign of the pull wrong is exposed by the same points.
    assert face_violations(samples, sign=-1.0)[0] > 0


def _swapped(original):
    def mutant(*args):
        found = original(*args)
        return found._replace(low=found.high, high=found.low)

    return mutant


MUTANTS = {
    "bounds of A swapped": (slabs, "average", _swapped),
    "A taken to fall with e for every z": (
        average,
        "steepest",
        lambda original: lambda z, power: np.zeros_like(z),
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_exact_points_expose_mutants(monkeypatch, samples, name):
    where, attribute, change = MUTANTS[name]
    monkeypatch.setattr(where, attribute, change(getattr(where, attribute)))
    assert face_violations(samples)[0] > 0


def term_violations() -> int:
    """How often phi(mu) at exact points of an interval is beyond its bounds there."""
    rng = np.random.default_rng(4)
    beyond = 0
    for _ in range(60):
        power, e, zeta = int(rng.choice([3, 5, 7])), rng.uniform(0.2, 1.5), rng.uniform(0, 1)
        ends = np.sort(rng.uniform(0.01, 2.2 / e, 2))
        term = average.Multiplier(power, np.array(e), np.array(zeta))
        low, high = term.least(*ends), term.largest(*ends)
        e_, zeta_ = Fraction(e), Fraction(zeta)
        inner = [Fraction((1 - z) / e) for z in (zeta, -zeta)]
        for mu in (*map(Fraction, ends), *inner, *map(Fraction, rng.uniform(ends[0], ends[1], 3))):
            if ends[0] <= mu <= ends[1]:
                value = (1 - (1 - mu * e_) ** power) / e_ - power * zeta_ ** (power - 1) * mu
                beyond += not Fraction(float(low)) <= value <= Fraction(float(high))
    return beyond


def test_terms_are_bounded_with_their_inner_extremes(monkeypatch):
    assert term_violations() == 0
    original = average.Multiplier._at

    def without(self, z, mu_lo, mu_hi):
        value, outside = original(self, z, mu_lo, mu_hi)
        return value, np.ones_like(outside)

    monkeypatch.setattr(average.Multiplier, "_at", without)
    assert term_violations() > 20


@pytest.mark.parametrize("own", [0, 1])
def test_mu_faces_hold_their_own_term(own):
    """On the face of mu_j its own term of A is that of the face, not of the whole box.

    A mutant with the whole box would be sound but loose, so samples cannot expose it. Here mu_j
    is wide, all else thin: the bound must be the rate itself, to the width of the rest.
    """
    model, thin = Model(7, 4, 1.0), 1e-7
    face_at = (2.5, 1.0)[own]  # the upper and the lower end of mu_3 in [1, 2.5]
    box = np.array([[0.5, 0.5, 0.01, 0.01, 1.0, 2.5, 4 - face_at, 4 - face_at]])
    slab = slabs.Slabs(
        np.array([0.2]),
        np.array([0.2 * (1 + thin)]),
        box,
        box,
        np.array([[0.4, 0.4]]),
        np.ones((1, 2)),
    )
    with np.errstate(all="ignore"):
        _, faces = slabs.tube_bounds(model, slab, 1, 1)
    face = next(f for f in faces if f.name == "mu_3" and f.upper == (own == 0))
    point = (mpf(0.2), mpf(0.5), mpf(0.01), [mpf(face_at), mpf(4 - face_at)])
    exact = float(exact_state(model, point)["rates"]["mu_3"]) * float(slab.to[0] - slab.from_[0])
    assert abs(face.bound[0] - exact) < 1e-5 * abs(exact)
    # The mutant: A over the whole box instead.
    mean = average.average(
        model, np.array([[0.4]]), np.array([[0.4]]), 1, (box[:, 4::2], box[:, 5::2]), slab.zeta
    )
    assert mean.high[0, 0, 0] - mean.low[0, 0, 0] > 0.01 * mean.low[0, 0, 0]


def test_power_sums_and_limits_hold_exact_points(monkeypatch):
    rng = np.random.default_rng(5)
    model = Model(7, 5, 1.0)

    def limit_violations() -> int:
        beyond = 0
        for _ in range(12):
            slab, error = _slab_with_limit(np.random.default_rng(rng.integers(2**31)), model)
            kept, low, high = slabs.limits(model, slab)
            assert kept[0]
            # Slack for the point itself, which is found to the last digits of a double.
            beyond += not low - 1e-12 <= error <= high + 1e-12
        return beyond

    assert limit_violations() == 0
    original = slabs.limit_bounds
    monkeypatch.setattr(slabs, "limit_bounds", lambda m, a, b, *mu: original(m, b, a, *mu))
    assert limit_violations() > 0

    for other, slab in random_slabs(rng, 30):
        hull = slabs.hull(slab)
        even = other.seq_len - 1
        place = [
            (slab.from_, hull.ratio[0], hull.excess[0]),
            (slab.to, hull.ratio[1], hull.excess[1]),
        ]
        low, high = (bounds.power_sum(other, e, g, w, *hull.mu, even) for e, g, w in place)
        with mpmath.workdps(60):
            for point in points_on_face(rng, other, slab, "g", True, 8):
                state = exact_state(other, point)
                if state["S_p"] > 0:
                    assert mpf(low.lo[0]) <= state["S_even"] <= mpf(high.hi[0])


def _slab_with_limit(rng: np.random.Generator, model: Model) -> tuple[slabs.Slabs, float]:
    """A slab that holds a zero-loss point, and d*error there."""
    num = model.state_dim
    mu = rng.uniform(0.5, 1.5, num - 2)
    mu *= num / mu.sum()
    scale = rng.uniform(0.15, 0.3)

    def entries(g: float) -> np.ndarray:
        second = 1 / num + scale * (1 - g / num)
        return np.array([second + g * scale, second, *(second - mu * scale)])

    low, high = 0.0, 6.0
    for _ in range(200):
        g = 0.5 * (low + high)
        low, high = (g, high) if (entries(g) ** (model.seq_len - 1)).sum() < 1 else (low, g)
    a = entries(low)
    error = max(abs((a**lag).sum() - 1) for lag in range(1, 20))
    wide = 0.01 * rng.uniform(0.1, 1, (2, num))
    centre = np.array([low, 0.0, *mu])
    box = np.stack([centre * (1 - wide[0]), centre * (1 + wide[1])], -1).reshape(1, -1)
    side = 1e-3 * rng.uniform(0.1, 1, 2)
    from_, to = np.array([scale * (1 - side[0])]), np.array([scale * (1 + side[1])])
    return slabs.Slabs(from_, to, box, box, np.zeros((1, 2)), np.ones((1, 2))), error


def test_entry_box_and_clean_bound():
    rng = np.random.default_rng(6)
    model = Model(5, 4, 0.5)
    box = Box((0.02, 0.03), (1e-4, 2e-4), np.array([1e-3, 2e-3]), np.array([2e-3, 3e-3]))
    entry = bounds.entry_box(model, box)
    assert entry is not None

    ends = rng.uniform(size=(64, 4))
    ends[:16] = np.array(np.meshgrid(*[[0.0, 1.0]] * 4)).reshape(4, -1).T  # all corners
    low = np.array([box.a2[0], box.delta[0], *box.gaps_lo])
    start = low + ends * (np.array([box.a2[1], box.delta[1], *box.gaps_hi]) - low)
    scale, g, mu = _at_zero_excess(model, start)
    assert np.all((scale >= entry.scale[0]) & (scale <= entry.scale[1]))
    assert np.all((g >= entry.ratio[0]) & (g <= entry.ratio[1]))
    assert np.all((mu >= entry.mu_lo) & (mu <= entry.mu_hi))
    # Without the growth before w = 0 the box would be too small.
    assert scale.max() > box.gaps_hi.sum() / 4 * (1 + 1e-6)
    # Starts whose gaps cannot be bounded are refused, not guessed at.
    wide = Box((0.32, 0.33), (5e-3, 6e-3), *np.full((2, 1), 0.3))
    with np.errstate(all="ignore"):
        assert bounds.entry_box(Model(5, 3, 1e-9), wide) is None

    worst = bounds.clean_bound(model, box)
    for a2, delta, *gaps in start:
        assert _clean_error(model, a2, delta, np.array(gaps)) <= worst
    assert worst < 2 * _clean_error(model, box.a2[1], box.delta[0], box.gaps_lo)
    with mpmath.workdps(60):
        for kappa, delta in ((5, 1e-4), (7, 1e-9), (11, 1e-15)):
            tight = box._replace(delta=(delta, delta))
            first = mpmath.mpf(box.a2[1]) + mpmath.mpf(delta)
            sizes = [
                (1 + (box.a2[1] - mpmath.mpf(gap)) ** (3 - kappa) - first ** (3 - kappa))
                ** (mpmath.mpf(-1) / (kappa - 3))
                for gap in (0.0, *box.gaps_lo)
            ]
            power = mpmath.mpf(19) / (kappa - 1)
            exact = max(sum(sizes), 1 - (1 - sum(s ** (kappa - 1) for s in sizes)) ** power) / 4
            # Some 40 roundings.
            assert 0 <= bounds.clean_bound(Model(kappa, 4, 1.0), tight) / exact - 1 < 1e-13


def _at_zero_excess(model: Model, start: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """E, g and mu when w = 0, by Runge-Kutta steps; a start is (a_2, delta, D_3, ..)."""
    num, power = model.state_dim, model.seq_len - 2

    def entries(x: np.ndarray) -> np.ndarray:
        gaps = np.exp(x[:, 1:])
        second = (1 + x[:, 0] - gaps[:, 0] + gaps[:, 1:].sum(-1)) / num
        return np.column_stack([second + gaps[:, 0], second, second[:, None] - gaps[:, 1:]])

    def slope(x: np.ndarray) -> np.ndarray:
        a = entries(x)
        q = (model.seq_len - 1) * (1 - (a ** (model.seq_len - 1)).sum(-1))
        gaps, others = np.exp(x[:, 1:]), a[:, [0, *range(2, num)]]
        sign = np.array([1.0] + [-1.0] * (num - 2))
        growth = sign * (others**power - a[:, 1:2] ** power) / gaps
        pull = model.strength * num * x[:, 0]
        return q[:, None] * np.column_stack([(a**power).sum(-1) - pull / q, growth])

    first = num * start[:, 0] + start[:, 1] - start[:, 2:].sum(-1) - 1
    x = np.column_stack([first, np.log(start[:, 1:])])
    done, step = np.full_like(x, np.nan), 4e-3
    for _ in range(3000):
        k1 = slope(x)
        k2 = slope(x + 0.5 * step * k1)
        k3 = slope(x + 0.5 * step * k2)
        new = x + step * (k1 + 2 * k2 + 2 * k3 + slope(x + step * k3)) / 6
        crossed = (x[:, 0] < 0) & (new[:, 0] >= 0)
        share = (-x[:, :1] / (new[:, :1] - x[:, :1]))[crossed]
        done[crossed] = x[crossed] + share * (new - x)[crossed]
        x = new
        if np.all(x[:, 0] >= 0):
            break
    gaps = np.exp(done[:, 1:])
    scale = gaps[:, 1:].sum(-1) / num
    return scale, gaps[:, 0] / scale, gaps[:, 1:] / scale[:, None]


def _clean_error(model: Model, a2: float, delta: float, gaps: np.ndarray) -> float:
    degree = model.seq_len - 3
    shift = np.append([0.0, a2**-degree], (a2 - gaps) ** -degree)
    shift[1:] -= (a2 + delta) ** -degree
    low, high = 1.0, 10.0
    for _ in range(100):
        u = 0.5 * (low + high)
        a = (shift + u) ** (-1 / degree)
        low, high = (u, high) if (a ** (model.seq_len - 1)).sum() > 1 else (low, u)
    return max(abs((a**lag).sum() - 1) for lag in range(1, 20)) / model.state_dim


# --- whole logs ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    """A small log, made by the prover: d = 6, coarse steps."""
    pytest.importorskip("flint")
    from ssmbias.certify.box import default_box
    from ssmbias.certify.certificate import ProverOptions, certify

    options = ProverOptions(step=0.016, splits=0, forks=0)
    certificate = certify(default_box(6, rel=0.1), 7, options=options)
    assert certificate.certified, certificate.reason
    path = tmp_path_factory.mktemp("recheck") / "proof.gz"
    certificate.save(path)
    return path


def test_a_log_is_accepted_with_bounds_at_least_as_good(log):
    report = recheck(log)
    assert report.valid, report
    assert (report.reason, report.line) == ("", 0)
    claims = dict(line.split(" ", 1) for line in tampering.read_lines(log)[9:12])
    assert report.clean_error_upper <= float.fromhex(claims["clean_error_upper"])
    assert report.poisoned_error_lower >= float.fromhex(claims["poisoned_error_lower"])
    assert report.poisoned_error_upper <= float.fromhex(claims["poisoned_error_upper"])


def test_a_moved_knot_is_another_proof(log, tmp_path):
    """Each E is written once, so a knot moved by 1e-12 tears nothing: T4 has room for it."""
    lines = tampering.read_lines(log)
    some = tampering.slabs_of(lines)[100]
    for index, field, change in ((some.index, 1, 1e-12), (some.index, 1, -1e-12)):
        moved = tampering.edit(lines, index, field, lambda x, change=change: x * (1 + change))
        assert recheck(tampering.write_lines(tmp_path / "proof.gz", moved)).valid
    # The first one is not free: the tube must begin before the entry box.
    tube = next(k for k, line in enumerate(lines) if line.startswith("tube "))
    moved = tampering.edit(lines, tube, 1, lambda x: x * (1 + 1e-6))
    assert recheck(tampering.write_lines(tmp_path / "proof.gz", moved)).line == tube + 1


def test_every_tampering_is_rejected_at_its_line(log, tmp_path):
    lines = tampering.read_lines(log)
    wrong = []
    for name, text, first, last in tampering.tamperings(lines):
        report = recheck(tampering.write_lines(tmp_path / "proof.gz", text))
        if report.valid or not first <= report.line <= last or not report.reason:
            wrong.append((name, (first, last), report))
    assert not wrong


def test_claims_hold_to_the_last_bit(log, tmp_path):
    report, lines, path = recheck(log), tampering.read_lines(log), tmp_path / "proof.gz"
    signs = {"clean_error_upper": -1, "poisoned_error_lower": 1, "poisoned_error_upper": -1}
    exact = lines
    for name in signs:
        exact, _ = tampering.with_claim(exact, name, getattr(report, name))
    assert recheck(tampering.write_lines(path, exact)).valid
    for name, sign in signs.items():
        value = math.nextafter(getattr(report, name), sign * math.inf)
        better, line = tampering.with_claim(lines, name, value)
        found = recheck(tampering.write_lines(path, better))
        assert (found.valid, found.line) == (False, line)
        assert math.isnan(found.poisoned_error_lower)


def test_bad_files_are_reported(log, tmp_path):
    whole, path = log.read_bytes(), tmp_path / "bad.gz"
    text = gzip.decompress(whole)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0x10
    bomb = gzip.compress(b"0" * 20_000_000, 1)
    for content, word in (
        (b"", "empty"),
        (gzip.compress(b""), "empty"),
        (whole[: len(whole) // 2], "unpacked"),
        (whole[:-4], "unpacked"),
        (whole + b"more", "unpacked"),
        (bytes(flipped), ""),
        (text, "unpacked"),
        (bytes(range(256)) * 9, "unpacked"),
        (gzip.compress(bytes(range(256)) * 9), "no proof log"),
        (bomb, "too long"),
        (gzip.compress(text[:300] + b"0" * 20_000_000, 1), "too long"),
        (gzip.compress(text.replace(b"certificate 1", b"certificate 2", 1)), "version"),
        (gzip.compress(text.replace(b"\n", b"\r\n")), "version"),
        (gzip.compress(text[: len(text) // 2]), ""),
        (gzip.compress(text.replace(b"proof\n", b"\xff\n", 1)), "ASCII"),
        (gzip.compress(text.replace(b"state_dim 6", b"state_dim 1001", 1)), "whole number"),
        (gzip.compress(text.replace(b"0x1.", b"0x1.00000000000000000000", 1)), "hexadecimal"),
        (gzip.compress(text.replace(b"p-", b"p+9", 1)), ""),
    ):
        path.write_bytes(content)
        report = recheck(path)
        assert not report.valid
        assert word in report.reason, (word, report)
    assert "not a file" in recheck(tmp_path).reason
    assert "not a file" in recheck(tmp_path / "none.gz").reason


def test_it_imports_numpy_and_the_standard_library_only():
    folder = Path(average.__file__).parent
    seen = folder_imports.imported(folder)
    assert seen <= {"numpy"} | set(sys.stdlib_module_names)
