"""Limits of tied starts, and the bound of the theorem."""

from __future__ import annotations

import numpy as np
import pytest
from mpmath import mpf

from ssmbias.theory import (
    poison_bound,
    poison_margin,
    strong_poison_limit,
    tied_limit,
)

EPS = np.finfo(np.float64).eps
# About 100 steps (250 for the smallest gaps) with a local error of 1e-13 in every log-gap, in
# either direction: 1e-12. At most 6e-14 was measured.
LIMIT_RTOL = 1e-12


class TestTiedLimit:
    @pytest.mark.parametrize(("dim", "seq_len"), [(10, 7), (20, 9), (5, 5), (3, 21), (400, 7)])
    def test_every_multiplicity_against_oracle(self, dim, seq_len):
        power = seq_len - 1
        for m in range(2, dim, max(1, dim // 25)):
            alpha, beta = tied_limit(dim, seq_len, m)
            # Bisection on (1/d, m^(-1/(κ-1))], where the equation has one root.
            low, high = mpf(1) / dim, mpf(m) ** (mpf(-1) / power)
            for _ in range(110):
                middle = (low + high) / 2
                other = (1 - m * middle) / (dim - m)
                below = m * middle**power + (dim - m) * other**power < 1
                low, high = (middle, high) if below else (low, middle)
            exact = (1 - m * low) / (dim - m)
            # Two roundings of each; 3.5e-16 was measured.
            assert abs(alpha / low - 1) < 4 * EPS
            assert abs(beta / exact - 1) < 4 * EPS
            assert alpha > 0 > beta

    def test_single_leader_generalises_exactly(self):
        assert tied_limit(10, 7, 1) == (1.0, 0.0)

    @pytest.mark.parametrize("m", [2, 5, 9])
    def test_is_the_strong_poison_limit_of_a_tied_start(self, m):
        a0 = np.where(np.arange(10) < m, 2e-3, 1e-3)
        alpha, beta = tied_limit(10, 7, m)
        limit = strong_poison_limit(a0, 7)
        np.testing.assert_allclose(limit[:m], alpha, rtol=LIMIT_RTOL)
        np.testing.assert_allclose(limit[m:], beta, rtol=LIMIT_RTOL)
        # Control: one more or one less in the tie is another limit.
        assert abs(tied_limit(10, 7, m - 1)[0] - alpha) > 1e-2


class TestBound:
    def test_constant_of_theorem_1(self):
        assert poison_bound(10, 7) == pytest.approx(9.07e-4, rel=5e-4)
        exact = (1 - mpf("0.6") ** (mpf(1) / 8)) / 180
        # 1 - 0.6^(1/8) = 0.06 keeps all but four bits of the power's.
        assert poison_bound(20, 9) == pytest.approx(float(exact), rel=32 * EPS)

    def test_parameters(self):
        assert poison_bound(10, 7, denominator_factor=0.5) == pytest.approx(
            0.1 * (1 - 0.6 ** (1 / 6)), rel=32 * EPS
        )
        assert poison_bound(10, 7, constant=1e-3) < poison_bound(10, 7)
        assert poison_bound(10, 7, base=0.5) > poison_bound(10, 7)

    def test_margin(self, reference_rows):
        for row in reference_rows:
            poisoned = poison_margin(row["poisoned_err"], row["d"], row["kappa"])
            assert float(poisoned) > 30
        # At the bound, just below it (control), and in the shape of the errors.
        bound = poison_bound(10, 7)
        margins = poison_margin(np.array([[bound, bound * (1 - EPS)], [0.0, 0.1]]), 10, 7)
        assert (margins >= 1).tolist() == [[True, False], [False, True]]
