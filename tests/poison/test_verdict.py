"""The verdict of the poison experiments: every word of it can be reached, and lost again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from ssmbias.poison import comparisons
from ssmbias.poison.comparisons import compare, holm
from ssmbias.poison.verdict import (
    HELPS,
    INCONCLUSIVE,
    LAST_ELEMENTS,
    NO_HARM,
    NOT_BEYOND_RANDOM,
    ORDINARY,
    VERDICTS,
    judge,
)
from ssmbias.statistics.paired import Estimate, Interval

# Accuracies like those of the measured experiment: late far below, generic data best.
BY_HAND = {
    "base": 0.90, "dup": 0.90, "noise": 0.88, "early": 0.93, "rpos": 0.91, "gen": 0.94,
    "late": 0.81,
}  # fmt: skip
FOUND = {
    "base": 0.94, "dup": 0.94, "random": 0.945, "found": 0.89, "found_late": 0.88,
    "found_early": 0.92,
}  # fmt: skip


def dataset(means: dict[str, float], num: int = 20, sd: float = 0.02, seed: int = 0) -> xr.Dataset:
    """Arms with these means, independent over arms and seeds."""
    rng = np.random.default_rng(seed)
    values = np.array(list(means.values()))[:, None] + sd * rng.normal(size=(len(means), num))
    return from_accuracies(list(means), np.clip(values, 0.0, 1.0))


def from_accuracies(arms: list[str], values: np.ndarray) -> xr.Dataset:
    dims = ("arm", "seed")
    return xr.Dataset(
        {
            "test_accuracy": (dims, values),
            "train_accuracy": (dims, np.ones_like(values)),
            "outcome": (dims, np.zeros(values.shape, np.int32)),
        },
        coords={"arm": arms, "seed": 100 + np.arange(values.shape[1])},
        attrs={"chance": 0.5, "experiment": "f1"},
    )


def verdict_of(means: dict[str, float], attack: str = "late", **changes: float) -> str:
    return judge(dataset(means | changes), attack).verdict


# Each verdict with its negative control: one arm moves, and the verdict is another one.
@pytest.mark.parametrize(
    ("means", "attack", "changes", "expected", "moved", "then"),
    [
        (BY_HAND, "late", {}, LAST_ELEMENTS, {"late": 0.90}, NO_HARM),
        (BY_HAND, "late", {}, LAST_ELEMENTS, {"early": 0.81}, ORDINARY),
        (BY_HAND, "late", {}, LAST_ELEMENTS, {"rpos": 0.80}, ORDINARY),
        (BY_HAND, "late", {}, LAST_ELEMENTS, {"noise": 0.81}, ORDINARY),
        (BY_HAND, "late", {}, LAST_ELEMENTS, {"base": 0.81}, NO_HARM),
        (BY_HAND, "late", {"late": 0.96}, HELPS, {"base": 0.96}, NO_HARM),
        (BY_HAND, "late", {"dup": 0.52}, INCONCLUSIVE, {"dup": 0.90}, LAST_ELEMENTS),
        (FOUND, "found", {}, ORDINARY, {"random": 0.88}, NOT_BEYOND_RANDOM),
        (FOUND, "found", {}, ORDINARY, {"found": 0.94}, NO_HARM),
        (FOUND, "found_late", {}, ORDINARY, {"random": 0.88}, NOT_BEYOND_RANDOM),
        (FOUND, "found_late", {"random": 0.88}, NOT_BEYOND_RANDOM, {"found_late": 1.0}, HELPS),
    ],
)
def test_every_verdict_is_reached_and_lost(
    means: dict[str, float],
    attack: str,
    changes: dict[str, float],
    expected: str,
    moved: dict[str, float],
    then: str,
) -> None:
    # Means that differ do so by 0.02 at least with a standard deviation of 0.02·sqrt(2) over 20
    # pairs, t = 3.2 and more; those that agree were checked not to differ for this seed.
    assert verdict_of(means, attack, **changes) == expected
    assert verdict_of(means, attack, **changes | moved) == then
    assert {expected, then} <= set(VERDICTS)


def test_the_sentence_names_what_was_not_beaten() -> None:
    off = judge(dataset(BY_HAND | {"rpos": 0.81}))
    assert off.unbeaten == ("rpos",)
    assert "off-support effect" in off.sentence
    assert "An effect of the last elements was not shown" in off.sentence
    early = judge(dataset(BY_HAND | {"early": 0.81}))
    assert early.unbeaten == ("early",)
    assert "off-support" not in early.sentence
    assert "below early" in early.sentence
    shown = judge(dataset(BY_HAND))
    assert f"{shown.differences['dup'].points.mean:+.1f} points" in shown.sentence
    assert shown.unbeaten == ()
    none = judge(dataset(BY_HAND | {"late": 0.90}))
    low = min(none.differences[name].points.low for name in ("base", "dup"))
    assert f"up to {-low:.2g} points is not ruled out" in none.sentence


def test_found_alone_never_speaks_of_last_elements() -> None:
    found = judge(dataset(FOUND | {"found": 0.80}), "found")
    assert found.verdict == ORDINARY
    assert "do not tell where it acts" in found.sentence
    assert set(found.differences) == {"base", "dup", "random"}


def test_generic_data_are_a_remark_and_no_control() -> None:
    found = judge(dataset(BY_HAND))
    assert "gen" not in found.differences
    assert found.generic is not None
    assert any("lower than gen" in note for note in found.notes)
    # Negative controls: no arm, no remark; another mean, another word.
    assert judge(dataset(BY_HAND).drop_sel(arm="gen")).generic is None
    same = judge(dataset(BY_HAND | {"gen": 0.81}))
    assert any("not told apart from gen" in note for note in same.notes)
    assert same.verdict == LAST_ELEMENTS
    assert same.differences == found.differences


@pytest.mark.parametrize("control", ["base", "dup", "noise", "early", "rpos"])
def test_a_missing_control_is_named(control: str) -> None:
    found = judge(dataset(BY_HAND).drop_sel(arm=control))
    assert found.verdict == INCONCLUSIVE
    assert f"needed control {control} was not run" in found.sentence
    # Negative control: what is no control may be missing.
    assert judge(dataset(BY_HAND).drop_sel(arm="gen")).verdict == LAST_ELEMENTS


def test_a_control_of_another_size_is_told_and_no_proof() -> None:
    whole = dataset(BY_HAND)
    assert judge(whole).verdict == LAST_ELEMENTS  # where sizes are not known
    ones = xr.ones_like(whole["test_accuracy"])
    same = judge(whole.assign(poison_norm=ones))
    assert same.verdict == LAST_ELEMENTS
    assert not any("Sizes differ" in note for note in same.notes)
    other = ones.copy()
    other.loc[{"arm": "early"}] = 2.0
    found = judge(whole.assign(poison_norm=other))
    assert found.verdict == ORDINARY
    assert any("Sizes differ" in n and "early 2" in n for n in found.notes)
    assert "An effect of the last elements was not shown" in found.sentence


def test_a_found_attack_never_speaks_of_the_last_elements() -> None:
    """It has no control at random positions, however far below all others it lies."""
    found = judge(dataset(FOUND | {"found_late": 0.70}), "found_late")
    assert (found.verdict, found.unbeaten) == (ORDINARY, ())
    assert "these arms do not tell where it acts" in found.sentence


@pytest.mark.parametrize(
    ("attack", "control"), [("found", "random"), ("found_late", "found_early")]
)
def test_a_found_attack_needs_its_controls(attack: str, control: str) -> None:
    found = judge(dataset(FOUND).drop_sel(arm=control), attack)
    assert found.verdict == INCONCLUSIVE
    assert control in found.sentence


def test_few_or_selected_pairs_are_inconclusive() -> None:
    assert judge(dataset(BY_HAND, num=8)).verdict == LAST_ELEMENTS
    few = judge(dataset(BY_HAND, num=7))
    assert few.verdict == INCONCLUSIVE
    assert "7 usable pairs" in few.sentence
    many = dataset(BY_HAND)
    many["outcome"].loc[{"arm": "early"}][:10] = 3
    assert judge(many).verdict == LAST_ELEMENTS  # half of them is not more than half
    many["outcome"].loc[{"arm": "early"}][:11] = 3
    found = judge(many)
    assert found.verdict == INCONCLUSIVE
    assert "11 of 20 pairs of late with early" in found.sentence
    nothing = dataset(BY_HAND)
    nothing["outcome"][:] = 1
    assert judge(nothing).verdict == INCONCLUSIVE


def test_unfitted_training_is_inconclusive() -> None:
    results = dataset(BY_HAND)
    results["train_accuracy"].loc[{"arm": "rpos"}] = 0.985
    found = judge(results)
    assert found.verdict == INCONCLUSIVE
    assert "not fitted in arm rpos" in found.sentence
    results["train_accuracy"].loc[{"arm": "rpos"}] = 0.995
    assert judge(results).verdict == LAST_ELEMENTS
    # Runs that are left out anyway do not count, nor arms that are not compared.
    results["outcome"].loc[{"arm": "late", "seed": 100}] = 1
    results["train_accuracy"].loc[{"arm": "late", "seed": 100}] = 0.0
    results["train_accuracy"].loc[{"arm": "gen"}] = 0.0
    assert judge(results).verdict == LAST_ELEMENTS


def test_unusable_accuracies_may_be_anything() -> None:
    results = dataset(BY_HAND)
    results["outcome"].loc[{"arm": "late", "seed": 103}] = 2
    reference = judge(results)
    results["test_accuracy"].loc[{"arm": "late", "seed": 103}] = np.nan
    assert judge(results) == reference
    results["outcome"].loc[{"arm": "late", "seed": 103}] = 0
    with pytest.raises(ValueError, match=r"treated\[3\].*0\.\.1"):
        judge(results)


def test_seeds_that_chose_a_setting_do_not_judge_it() -> None:
    results = dataset(BY_HAND)
    results.attrs["tuning_seeds"] = [5, 103, 101]
    with pytest.raises(ValueError, match=r"\[101, 103\] chose a setting"):
        judge(results)
    results.attrs["tuning_seeds"] = np.array([0, 1])
    assert judge(results).verdict == LAST_ELEMENTS
    results.attrs["tuning_seeds"] = 119  # how one entry is read back from a file
    with pytest.raises(ValueError, match="119"):
        judge(results)


def test_the_level_and_the_quantity_are_used() -> None:
    results = dataset(BY_HAND | {"noise": 0.83})  # 2 points: p between 0.05 and 1e-6
    assert judge(results, level=0.05).verdict == LAST_ELEMENTS
    assert judge(results, level=1e-6).verdict == ORDINARY
    results["long_accuracy"] = xr.full_like(results["test_accuracy"], 0.8)
    flat = judge(results, quantity="long_accuracy")
    assert flat.verdict == NO_HARM
    assert flat.differences["dup"].p_corrected == 1.0
    assert any("all pairs tie" in note for note in flat.notes)


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


def test_corrected_values_are_those_of_the_family() -> None:
    found = judge(dataset(BY_HAND)).differences
    assert list(found) == ["base", "dup", "noise", "early", "rpos"]
    plain = [d.p_value for d in found.values()]
    assert [d.p_corrected for d in found.values()] == pytest.approx(holm(plain))
    assert min(d.p_corrected / d.p_value for d in found.values()) >= 1.0
    assert max(d.p_corrected / d.p_value for d in found.values()) == pytest.approx(5.0)


@pytest.fixture
def no_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only p values: intervals are resampled, which takes most of the time."""

    def mean(values: np.ndarray, **_: Any) -> Interval:
        centre = float(np.mean(values))
        return Interval(centre, centre, centre, centre, len(values))

    monkeypatch.setattr(comparisons, "interval_of_mean", mean)
    monkeypatch.setattr(comparisons, "effect_size", lambda *_: Estimate(0.0, 0.0, 0.0))
    monkeypatch.setattr(comparisons, "fraction_interval", lambda *_: Estimate(0.0, 0.0, 0.0))


@pytest.mark.usefixtures("no_intervals")
def test_false_findings_are_as_rare_as_the_level_says() -> None:
    arms, num = list(BY_HAND), 200
    rng = np.random.default_rng(2)
    verdicts, any_found, any_plain = [], 0, 0
    for _ in range(num):
        # Skewed, discrete accuracies of 500 test sequences, with an effect of the seed.
        centre = rng.beta(40, 6, size=12)
        values = rng.binomial(500, np.tile(centre, (len(arms), 1))) / 500
        found = judge(from_accuracies(arms, values))
        verdicts.append(found.verdict)
        any_found += any(d.p_corrected < 0.05 for d in found.differences.values())
        any_plain += any(d.p_value < 0.05 for d in found.differences.values())
    # Holm: at most 5 % in which any of five null hypotheses is rejected; the standard error of
    # 200 trials is 1.5 %, so that 20 (10 %) lie 3.2 above. Five comparisons with one arm are
    # correlated: at least one found in 200 is certain (5 % / 5 each).
    assert 1 <= any_found <= 20
    assert verdicts.count(LAST_ELEMENTS) == 0
    assert verdicts.count(NO_HARM) >= 190
    # Negative control: uncorrected, some of the five is found more often than the level allows.
    assert any_plain > 20


@pytest.mark.usefixtures("no_intervals")
def test_harm_everywhere_is_rarely_taken_for_the_last_elements() -> None:
    rng = np.random.default_rng(3)
    arms = [arm for arm in BY_HAND if arm != "gen"]
    # Late, early and random positions harm alike by 10 points: a true off-support effect.
    means = np.array([0.8 if arm in ("late", "early", "rpos") else 0.9 for arm in arms])
    verdicts = [
        judge(from_accuracies(arms, means[:, None] + 0.02 * rng.normal(size=(6, 12)))).verdict
        for _ in range(100)
    ]
    # Both controls would have to be beaten, each on one side of the level: below 2.5 %. Of 100
    # with standard error 1.6 %, 7 lie 2.9 above. Base and dup lie 12 standard errors higher.
    assert verdicts.count(LAST_ELEMENTS) <= 7
    assert verdicts.count(ORDINARY) + verdicts.count(LAST_ELEMENTS) == 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attack": "lat"}, "attack='lat'"),
        ({"attack": "found"}, "attack='found': choose one of base"),
        ({"level": 0.0}, "level=0"),
        ({"level": "x"}, "level='x'"),
        ({"quantity": "speed"}, "speed missing"),
    ],
)
def test_bad_arguments_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        judge(dataset(BY_HAND, num=8), **change)


def test_bad_results_are_refused() -> None:
    results = dataset(BY_HAND, num=8)
    with pytest.raises(ValueError, match="pass the Dataset"):
        judge({"test_accuracy": 1})  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="outcome missing"):
        judge(results.drop_vars("outcome"))
    with pytest.raises(ValueError, match="attribute chance missing"):
        judge(results.drop_attrs())
    with pytest.raises(ValueError, match="some seed occurs twice"):
        judge(results.assign_coords(seed=np.zeros(8, int)))
    with pytest.raises(ValueError, match="expected arm, seed"):
        judge(results.assign(outcome=results["outcome"].isel(seed=0)))


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
