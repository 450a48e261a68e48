"""Bounds of the second checker at both ends of a tube, against exact arithmetic."""

import mpmath
import numpy as np
from certify.second_check.exact_slabs import exact_state, points_on_face, random_slabs
from mpmath import mpf

from ssmbias.certify.second_check import bounds, slabs
from ssmbias.certify.second_check.bounds import Box, Model


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
