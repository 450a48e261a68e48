"""Bounds that the prover's slabs rest on: own terms, sums of powers, rounding."""

import numpy as np
import pytest

from ssmbias.certify.prover.rates import best_hints, face_bounds, power_bound
from ssmbias.certify.prover.system import Cuts, System, geometric_sum, power, round_out


def test_own_term_of_a_pinned_gap_sharpens_its_face():
    """The bound of A on the face of μ_j uses μ_j's face, not its whole range."""
    system = System(5, 7, 1.0)
    s = np.array([[0.01, 0.0, 0.6, 1.6, 2.3], [0.011, 0.01, 0.8, 1.9, 2.6]])
    hints = best_hints(system, (0.2, 0.2), (s[0, 2:], s[1, 2:]))
    faces = face_bounds(system, (0.05, 0.0501), s, s, Cuts(*hints, 3, 1))
    # All φ at their worst, also on the face: the rate that the sharper bound must beat.
    wide = s.copy()
    wide[:, 2:] = [[0.6, 1.6, 2.3], [0.8, 1.9, 2.6]]
    e = 1 / ((1 + 0.0) / (5 * 0.0501) + 1 - 0.011 / 5)
    mu = s[:, 2:]
    c = 5 * hints[0] ** 4
    phi = mu * geometric_sum(1 - mu * e, 5) - c * mu
    loose = c + phi.min(0).sum() / 5
    own = loose + (phi[1] - phi.min(0)) / 5
    top = geometric_sum(1 - mu[1] * e, 5)
    for j in range(3):
        assert faces.rate[1, 2 + j] >= (top / own - 1)[j] * mu[1, j] / 0.0501 * 0.999 - 1e-9
    # μ_5's φ is least at its upper end or not: at least one face gains.
    assert np.any(own > loose * (1 + 1e-6))


def test_power_bound_encloses_and_is_attained_at_a_point():
    rng = np.random.default_rng(2)
    low, high = np.array([0.5, 1.2, 1.9]), np.array([0.9, 1.8, 2.4])
    for m in (2, 4, 6):
        lower, upper = (power_bound(5, m, 0.3, 0.4, 0.1, (low, high), k) for k in (False, True))
        for _ in range(200):
            mu = rng.uniform(low, high)
            mu[2] = 5 - mu[0] - mu[1]
            if not low[2] <= mu[2] <= high[2]:
                continue
            a2 = 1.1 / 5 + 0.3 * (1 - 0.4 / 5)
            a = np.concatenate(([a2 + 0.12, a2], a2 - 0.3 * mu))
            assert lower <= power(a, m).sum() * (1 + 1e-14)
            assert upper >= power(a, m).sum() * (1 - 1e-14)
        point = np.array([0.7, 1.6, 2.7])
        both = [float(power_bound(5, m, 0.3, 0.4, 0.1, (point, point), k)) for k in (False, True)]
        assert both[0] == pytest.approx(both[1], rel=1e-13)


def test_round_out_goes_outward_and_keeps_few_digits():
    rng = np.random.default_rng(3)
    box = rng.normal(size=(2, 50)) * 10.0 ** rng.integers(-9, 3, size=(2, 50))
    out = round_out(box, 20)
    assert np.all(out[0] <= box[0])
    assert np.all(out[1] >= box[1])
    np.testing.assert_allclose(out, box, rtol=2.0**-19)
    assert np.any(out != box)
    np.testing.assert_array_equal(round_out(out, 20), out)
