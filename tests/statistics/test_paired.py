"""Clean against poisoned runs in pairs, against known distributions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ssmbias.report.pages.experiments import PairRow
from ssmbias.statistics.paired import (
    MIN_PAIRS,
    VERDICTS,
    compare_arms,
    interval_of_mean,
)


def pairs(shift: float, num: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-normal errors whose log10 ratios have this mean and standard deviation 0.3."""
    rng = np.random.default_rng(seed)
    clean = 10.0 ** rng.normal(-2.0, 1.0, num)
    return clean, clean * 10.0 ** rng.normal(shift, 0.3, num), np.ones(num, bool)


@pytest.mark.parametrize(
    ("shift", "verdict"), [(1.0, "poison hurts"), (-1.0, "poison helps"), (0.0, VERDICTS[2])]
)
def test_verdict_follows_the_interval(shift: float, verdict: str) -> None:
    found = compare_arms(*pairs(shift), seed=0)
    assert found.verdict == verdict
    assert found.num_pairs == 16
    # The sample's own mean is within four standard errors of the shift.
    assert found.log_ratio.mean == pytest.approx(shift, abs=4 * 0.3 / 4)


def test_arms_exchanged_change_sign() -> None:
    clean, poisoned, usable = pairs(0.4)
    one = compare_arms(clean, poisoned, usable, seed=0)
    other = compare_arms(poisoned, clean, usable, seed=0)
    assert (one.verdict, other.verdict) == ("poison hurts", "poison helps")
    # Logarithms of r and 1/r differ by a rounding or two.
    assert other.log_ratio.mean == pytest.approx(-one.log_ratio.mean, rel=1e-13)
    assert other.effect_size.low == pytest.approx(-one.effect_size.high, rel=1e-9)
    assert other.effect_size.high == pytest.approx(-one.effect_size.low, rel=1e-9)
    assert other.fraction_hurt.value == pytest.approx(1.0 - one.fraction_hurt.value)


def test_shuffled_arms_show_no_difference() -> None:
    # Negative control: with each pair's arms exchanged at random nothing is left to find, although
    # the errors are the same numbers. 2.5 % a side are expected, about 4 % with 16 pairs.
    clean, poisoned, usable = pairs(0.4)
    rng = np.random.default_rng(2)
    verdicts = []
    for k in range(40):
        swap = rng.random(len(clean)) < 0.5
        verdicts.append(
            compare_arms(
                np.where(swap, poisoned, clean), np.where(swap, clean, poisoned), usable, seed=k
            ).verdict
        )
    assert verdicts.count("no difference found") >= 32


def test_shuffled_pairs_widen_the_interval() -> None:
    # Errors of different seeds differ a thousandfold: pairing is what makes the shift visible.
    clean, poisoned, usable = pairs(0.3)
    matched = compare_arms(clean, poisoned, usable, seed=0)
    shuffled = compare_arms(clean, np.roll(poisoned, 5), usable, seed=0)
    assert matched.verdict == "poison hurts"
    assert shuffled.verdict == "no difference found"
    assert shuffled.log_ratio.mean == pytest.approx(matched.log_ratio.mean)


@pytest.mark.parametrize("num", [5, 16, 60])
@pytest.mark.parametrize("shift", [0.0, 0.2, -0.5, 30.0])
def test_effect_size_has_the_noncentral_t_interval(num: int, shift: float) -> None:
    found = compare_arms(*pairs(shift, num), seed=0)
    log_ratio = np.log10(pairs(shift, num)[1] / pairs(shift, num)[0])
    size = log_ratio.mean() / log_ratio.std(ddof=1)
    assert found.effect_size.value == pytest.approx(size, rel=1e-12)
    assert (found.effect_size.low > 0) == (stats.ttest_1samp(log_ratio, 0).statistic > 0) & (
        stats.ttest_1samp(log_ratio, 0).pvalue < 0.05
    )
    # The limits are quantiles of t·sqrt(χ²/ν) + N(0, 1), from which 400000 draws are made: their
    # standard error is sqrt(0.025·0.975/4e5) / density, 0.0042 standard deviations of a normal
    # distribution; χ has lighter tails at 0 and normal ones above. Four, doubled for 5 pairs.
    rng = np.random.default_rng(0)
    scale = np.sqrt(rng.chisquare(num - 1, 400_000) / (num - 1))
    draws = size * scale + rng.normal(size=scale.shape) / np.sqrt(num)
    assert (found.effect_size.low, found.effect_size.high) == pytest.approx(
        np.quantile(draws, [0.025, 0.975]), abs=2 * 4 * 0.0042 * draws.std()
    )


def test_fraction_hurt_has_the_exact_interval() -> None:
    clean = np.ones(10)
    poisoned = np.array([2.0] * 7 + [0.5] * 2 + [1.0])  # a tie does not hurt
    found = compare_arms(clean, poisoned, np.ones(10, bool), seed=0)
    low, high = stats.beta.ppf(0.025, 7, 4), stats.beta.ppf(0.975, 8, 3)
    # binomtest finds the ends by bisection to 2e-12.
    assert found.fraction_hurt == pytest.approx((0.7, low, high), abs=1e-10)


def test_unusable_pairs_are_left_out_and_counted() -> None:
    clean, poisoned, usable = pairs(0.4)
    spoiled, ended = clean.copy(), usable.copy()
    spoiled[[2, 9, 11]], ended[[2, 9, 11]] = (np.nan, 0.0, 1e9), False
    found = compare_arms(spoiled, poisoned, ended, seed=0)
    assert (found.num_pairs, found.num_excluded) == (13, 3)
    kept = compare_arms(clean[ended], poisoned[ended], usable[ended], seed=0)
    assert found._replace(num_excluded=0) == kept
    # Negative control: counted as usable, the wild error changes the result.
    ended[11] = True
    assert compare_arms(spoiled, poisoned, ended, seed=0).log_ratio.mean < found.log_ratio.mean


@pytest.mark.parametrize("num", range(MIN_PAIRS + 1))
def test_few_pairs_are_inconclusive(num: int) -> None:
    clean, poisoned, usable = pairs(2.0)
    usable[num:] = False
    found = compare_arms(clean, poisoned, usable, seed=0)
    assert (found.verdict == "inconclusive") is (num < MIN_PAIRS)
    assert (found.num_pairs, found.num_excluded) == (num, 16 - num)
    assert np.isnan(found.effect_size.value) == (num < 2)
    assert np.isnan(found.fraction_hurt.value) == (num == 0)


def test_equal_ratios_have_no_effect_size() -> None:
    clean = np.geomspace(1e-9, 3.0, 8)
    for factor, verdict in ((3.0, "poison hurts"), (1.0, "no difference found")):
        found = compare_arms(clean, factor * clean, np.ones(8, bool), seed=0)
        assert found.verdict == verdict
        assert np.isnan(found.effect_size).all()
        # Ratios are rounded once, so ends differ from the logarithm by a rounding at most.
        assert found.log_ratio.low == pytest.approx(np.log10(factor), abs=1e-15)


def test_a_huge_effect_has_an_interval() -> None:
    clean = np.ones(1000)
    poisoned = 10.0 ** (1.0 + 1e-5 * np.random.default_rng(0).normal(size=1000))
    size = compare_arms(clean, poisoned, np.ones(1000, bool), seed=0).effect_size
    # A standard deviation of 1000 values is known to 1.96 / sqrt(2000) = 4.4 %.
    assert size.low / size.value == pytest.approx(1 - 0.044, abs=0.003)
    assert size.high / size.value == pytest.approx(1 + 0.044, abs=0.003)


def test_flat_has_the_names_of_a_row() -> None:
    found = compare_arms(*pairs(0.4), seed=0)
    row = PairRow("poison_ssm_len6", "convergence", **found.flat())
    assert row.log_ratio_high == found.log_ratio.high
    assert row.effect_size == found.effect_size.value
    assert row.fraction_hurt_low == found.fraction_hurt.low


ONES = np.ones(6)
YES = np.ones(6, bool)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: interval_of_mean([1.0, np.nan], seed=0), "values=.*nan.*finite; leave out"),
        (lambda: interval_of_mean([[1.0]], seed=0), r"values has shape \(1, 1\)"),
        (lambda: interval_of_mean("many", seed=0), "values='many': expected real numbers"),
        (lambda: interval_of_mean([1.0, 2.0], seed=-1), "seed=-1: must be >= 0"),
        (lambda: interval_of_mean([1.0, 2.0], seed=0, confidence=95), "confidence=95.0: must lie"),
        (lambda: compare_arms(ONES, ONES[1:], YES, seed=0), "shapes .* one entry a seed"),
        (lambda: compare_arms(ONES, ONES, ONES, seed=0), "usable has dtype float64: pass booleans"),
        (lambda: compare_arms(ONES, 0 * ONES, YES, seed=0), r"poisoned\[0\]=.*0\.0.*positive"),
        (lambda: compare_arms(np.nan * ONES, ONES, YES, seed=0), r"clean\[0\]=.*nan"),
        (lambda: compare_arms(ONES, ONES, YES, seed=0.5), "seed=0.5: expected an integer"),
    ],
)
def test_bad_input_is_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
