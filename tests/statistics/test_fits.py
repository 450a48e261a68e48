"""Fits of power laws: exponents, their intervals, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from ssmbias.statistics.fits import fit_asymptotic_exponent


class TestFit:
    x = np.geomspace(10.0, 1e3, 5)

    def test_recovers_an_exponent_behind_two_corrections(self):
        y = np.stack([c * self.x**-1.0 * (1 + 0.9 / self.x + 2 / self.x**2) for c in (1.0, 3.0)])
        fit = fit_asymptotic_exponent(self.x, y, -1.0)
        assert fit.low <= -1.0 <= fit.high
        # The interval is useful: it would tell -1 from -1.01.
        assert fit.high - fit.low < 0.01

    @pytest.mark.parametrize("wrong", [-2.0, -0.5, -1.1])
    def test_rejects_another_exponent(self, wrong):
        fit = fit_asymptotic_exponent(self.x, np.stack([self.x**wrong * (1 + 0.5 / self.x)]), -1.0)
        assert not fit.low <= -1.0 <= fit.high

    def test_interval_covers_noise(self):
        """95 % intervals over 20 noisy series contain the truth in nearly all of 40 trials."""
        rng = np.random.default_rng(0)
        hits = 0
        for _ in range(40):
            noise = rng.normal(0.0, 1e-3, (20, 5))
            fit = fit_asymptotic_exponent(self.x, self.x**-1.0 * np.exp(noise), -1.0)
            hits += fit.low <= -1.0 <= fit.high
        # Binomial(40, 0.95) is below 34 with probability 2e-3; the systematic term only widens.
        assert hits >= 34

    def test_refuses_too_few_points_and_zeros(self):
        with pytest.raises(ValueError, match="five or more"):
            fit_asymptotic_exponent(self.x[:4], np.ones((2, 4)), -1.0)
        with pytest.raises(ValueError, match="positive"):
            fit_asymptotic_exponent(self.x, np.zeros((2, 5)), -1.0)
