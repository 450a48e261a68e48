"""Paired comparisons of two arms: p values, ties, and Holm's correction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from ssmbias.poison.comparisons import compare, holm


def test_p_values_are_scipys() -> None:
    rng = np.random.default_rng(1)
    treated, control = 0.5 + 0.05 * rng.normal(size=(2, 15))
    found = compare(treated, control, np.ones(15, bool), seed=0)
    # Differences are rounded to 1e-10 points of about 5: 2e-11 in them, less than 1e-9 in log p.
    assert found.p_value == pytest.approx(stats.ttest_rel(treated, control).pvalue, rel=1e-9)
    ranks: Any = stats.wilcoxon(treated, control)
    assert found.p_wilcoxon == pytest.approx(ranks.pvalue, rel=1e-12)
    assert found.points.mean == pytest.approx(100 * (treated - control).mean(), abs=1e-10)
    lower = int((treated < control).sum())
    assert (found.num_lower, found.num_tied) == (lower, 0)
    low, high = (
        stats.beta.ppf(0.025, lower, 16 - lower),
        stats.beta.ppf(0.975, lower + 1, 15 - lower),
    )
    assert found.fraction_lower == pytest.approx((lower / 15, low, high), abs=1e-10)
    # The other way round the sign changes, and nothing else.
    turned = compare(control, treated, np.ones(15, bool), seed=0)
    assert turned.p_value == pytest.approx(found.p_value, rel=1e-12)
    assert turned.effect_size.value == pytest.approx(-found.effect_size.value, rel=1e-12)


@pytest.mark.parametrize("num", [5, 10])
def test_signed_ranks_are_exact_with_ties(num: int) -> None:
    rng = np.random.default_rng(4)
    for step in (0.01, 1e-6):  # with many ties, and with none
        points = step * rng.integers(-4, 5, num) if step > 1e-3 else 0.1 * rng.normal(size=num)
        found = compare(0.5 + points, np.full(num, 0.5), np.ones(num, bool), seed=0)
        moved = np.round(points[points != 0], 12)
        # SciPy's own exact test, which is slow with ties; counts of 2^num patterns are exact.
        exact: Any = stats.PermutationMethod(n_resamples=2**num)
        ranks: Any = stats.wilcoxon(moved, method=exact)
        assert found.p_wilcoxon == pytest.approx(ranks.pvalue, rel=1e-12)


def test_pairing_is_what_is_tested() -> None:
    # Seeds differ by 10 points, arms by 1: paired it is seen, shuffled it is not.
    control = np.linspace(0.7, 0.9, 12)
    treated = control - 0.01 + 0.002 * np.cos(np.arange(12))
    assert compare(treated, control, np.ones(12, bool), seed=0).p_value < 1e-6
    assert compare(treated, control[::-1], np.ones(12, bool), seed=0).p_value > 0.5


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_ties_are_counted_and_give_numbers(kind: Any) -> None:
    # 0.9 - 0.8 and 0.8 - 0.7 differ by rounding only, in either precision.
    treated = np.array([0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1], kind)
    control = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2], kind)
    same = compare(treated, control, np.ones(8, bool), seed=0)
    assert same.p_value == 2.0**-7
    assert "sign test" in same.note
    assert np.isnan(same.effect_size).all()
    assert same.points.low == same.points.high == pytest.approx(-10.0, abs=1e-3)
    none = compare(treated, treated, np.ones(8, bool), seed=0)
    assert (none.p_value, none.p_wilcoxon, none.num_tied, none.num_lower) == (1.0, 1.0, 8, 0)
    assert none.note == "all pairs tie: p is 1"
    # Negative control: one pair moved, and it is an ordinary t test with seven ties.
    treated[0] = 0.85
    some = compare(treated, np.where(np.arange(8) == 0, control, treated), np.ones(8, bool), seed=0)
    assert (some.num_tied, some.num_lower, some.note) == (7, 1, "")
    assert 0.3 < some.p_value < 0.4  # t = 1 exactly, with 7 degrees of freedom: p = 0.3506


def test_one_pair_and_none() -> None:
    one = compare(np.array([0.5]), np.array([0.6]), np.array([True]), seed=0)
    assert (one.p_value, one.num_pairs) == (1.0, 1)
    assert "one pair" in one.note
    none = compare(np.array([0.5]), np.array([0.6]), np.array([False]), seed=0)
    assert np.isnan(none.p_value)
    assert "nothing was tested" in none.note
    assert (none.num_pairs, none.num_excluded) == (0, 1)


def test_holm_by_hand() -> None:
    # Ascending .01 .02 .03 .04: times 4, 3, 2, 1 is .04 .06 .06 .04, then never decreasing.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.2]) == [0.2]
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []
    # A planned test that could not be made counts: 2 · .01, not .01.
    assert holm([0.01, np.nan])[0] == pytest.approx(0.02)
    with pytest.raises(ValueError, match=r"0\.\.1"):
        holm([0.1, 1.5])


@pytest.mark.parametrize(
    ("treated", "usable", "message"),
    [
        ([0.5, 1.5], [True, True], r"treated\[1\]=.*0\.\.1"),
        ([0.5, np.nan], [True, True], r"treated\[1\]=.*nan"),
        ([0.5], [True, True], "shapes"),
        ([0.5, 0.6], [1, 1], "booleans"),
        ([[0.5, 0.6]], [True, True], "one number a seed"),
        (["a", "b"], [True, True], "expected accuracies"),
    ],
)
def test_bad_pairs_are_refused(treated: Any, usable: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare(treated, np.array([0.5, 0.6]), np.array(usable), seed=0)
    with pytest.raises(ValueError, match="seed"):
        compare(np.array([0.5]), np.array([0.5]), np.array([True]), seed=-1)
