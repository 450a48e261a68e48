"""Intervals of means, against an independent bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ssmbias.statistics.paired import (
    Interval,
    interval_of_mean,
)


def bca_by_hand(values: np.ndarray, confidence: float, seed: int) -> tuple[float, float]:
    """Efron's interval from its definition, with NumPy resampling."""
    rng = np.random.default_rng(seed)
    means = values[rng.integers(len(values), size=(20_000, len(values)))].mean(axis=1)
    bias = stats.norm.ppf(np.mean(means < values.mean()))
    left_out = (values.sum() - values) / (len(values) - 1)
    gaps = left_out.mean() - left_out
    bend = np.sum(gaps**3) / (6.0 * np.sum(gaps**2) ** 1.5)
    z = bias + stats.norm.ppf([0.5 - confidence / 2, 0.5 + confidence / 2])
    low, high = np.quantile(means, stats.norm.cdf(bias + z / (1.0 - bend * z)))
    return float(low), float(high)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize("skewed", [False, True])
def test_interval_of_a_mean_is_efrons(skewed: bool, confidence: float) -> None:
    values = np.random.default_rng(1).normal(size=30)
    values = np.exp(values) if skewed else values
    found = interval_of_mean(values, seed=3, confidence=confidence)
    assert found[0] == np.mean(values)
    assert found[3:] == (np.median(values), 30)
    # A quantile at level q of N resamples has standard error sqrt(q (1-q) / N) / density; at the
    # 2.5 % end of a normal distribution that is 0.027 standard deviations for N = 9999, more in
    # a heavier tail. Five of them, doubled for the tail, and both bootstraps have one.
    error = 2 * 5 * np.sqrt(2) * 0.027 * values.std() / np.sqrt(30)
    assert (found.low, found.high) == pytest.approx(
        bca_by_hand(values, confidence, seed=11), abs=error
    )
    if skewed:
        # Negative control: an interval made of mean and standard error is symmetric.
        assert found.high - found.mean > 1.1 * (found.mean - found.low)


def test_interval_covers_the_mean_of_a_normal_distribution() -> None:
    rng = np.random.default_rng(5)
    found = [interval_of_mean(rng.normal(size=40), seed=k, confidence=0.8) for k in range(150)]
    covered = np.mean([row.low <= 0.0 <= row.high for row in found])
    # Student's interval covers 80 %, the bootstrap's is about 2 % narrower here; four standard
    # errors of a fraction of 150, sqrt(0.8 · 0.2 / 150) = 0.033. The 95 % interval would fail.
    assert 0.78 - 4 * 0.033 < covered < 0.80 + 4 * 0.033


def test_interval_moves_with_scale() -> None:
    # Losses may be tiny: the cubes of these are below the smallest double. A power of two, so that
    # nothing is rounded.
    values = np.random.default_rng(0).lognormal(size=12)
    whole = interval_of_mean(values, seed=1)
    tiny = interval_of_mean(2.0**-600 * values, seed=1)
    assert (2.0**600 * np.array(tiny[:4])).tolist() == list(whole[:4])


def test_interval_depends_on_the_seed_alone() -> None:
    values = np.random.default_rng(0).normal(size=12)
    assert interval_of_mean(values, seed=1) == interval_of_mean(values, seed=1)
    assert interval_of_mean(values, seed=1) != interval_of_mean(values, seed=2)


def test_interval_where_there_is_little_to_say() -> None:
    assert interval_of_mean([0.1] * 7, seed=0) == Interval(0.1, 0.1, 0.1, 0.1, 7)
    single = interval_of_mean([0.1], seed=0)
    assert (single.mean, single.median, single.num) == (0.1, 0.1, 1)
    assert np.isnan([single.low, single.high]).all()
    none = interval_of_mean([], seed=0)
    assert none.num == 0
    assert np.isnan(none[:4]).all()
    two = interval_of_mean([1.0, 2.0], seed=0)
    assert (two.low, two.high) == (1.0, 2.0)
    tied = interval_of_mean([0.0, 0.0, 0.0, 0.0, 1.0], seed=0)
    assert tied.low == 0.0 < tied.mean < tied.high
