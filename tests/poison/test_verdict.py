"""The verdict of the poison experiments: every word of it can be reached, and lost again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from poison_results import BY_HAND, FOUND, dataset, from_accuracies

from ssmbias.poison import comparisons
from ssmbias.poison.comparisons import holm
from ssmbias.poison.sentences import (
    HELPS,
    INCONCLUSIVE,
    LABELS,
    LAST_ELEMENTS,
    NO_HARM,
    NOT_BEYOND_RANDOM,
    ORDINARY,
)
from ssmbias.poison.verdict import judge
from ssmbias.statistics.paired import Estimate, Interval


def verdict_of(means: dict[str, float], attack: str = "late", **changes: float) -> str:
    return judge(dataset(means | changes), attack).label


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
    assert {expected, then} <= set(LABELS)


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
    assert found.label == ORDINARY
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
    assert same.label == LAST_ELEMENTS
    assert same.differences == found.differences


@pytest.mark.parametrize("control", ["base", "dup", "noise", "early", "rpos"])
def test_a_missing_control_is_named(control: str) -> None:
    found = judge(dataset(BY_HAND).drop_sel(arm=control))
    assert found.label == INCONCLUSIVE
    assert f"needed control {control} was not run" in found.sentence
    # Negative control: what is no control may be missing.
    assert judge(dataset(BY_HAND).drop_sel(arm="gen")).label == LAST_ELEMENTS


def test_a_control_of_another_size_is_told_and_no_proof() -> None:
    whole = dataset(BY_HAND)
    assert judge(whole).label == LAST_ELEMENTS  # where sizes are not known
    ones = xr.ones_like(whole["test_accuracy"])
    same = judge(whole.assign(poison_norm=ones))
    assert same.label == LAST_ELEMENTS
    assert not any("Sizes differ" in note for note in same.notes)
    other = ones.copy()
    other.loc[{"arm": "early"}] = 2.0
    found = judge(whole.assign(poison_norm=other))
    assert found.label == ORDINARY
    assert any("Sizes differ" in n and "early 2" in n for n in found.notes)
    assert "An effect of the last elements was not shown" in found.sentence


def test_a_found_attack_never_speaks_of_the_last_elements() -> None:
    """It has no control at random positions, however far below all others it lies."""
    found = judge(dataset(FOUND | {"found_late": 0.70}), "found_late")
    assert (found.label, found.unbeaten) == (ORDINARY, ())
    assert "these arms do not tell where it acts" in found.sentence


@pytest.mark.parametrize(
    ("attack", "control"), [("found", "random"), ("found_late", "found_early")]
)
def test_a_found_attack_needs_its_controls(attack: str, control: str) -> None:
    found = judge(dataset(FOUND).drop_sel(arm=control), attack)
    assert found.label == INCONCLUSIVE
    assert control in found.sentence


def test_few_or_selected_pairs_are_inconclusive() -> None:
    assert judge(dataset(BY_HAND, num=8)).label == LAST_ELEMENTS
    few = judge(dataset(BY_HAND, num=7))
    assert few.label == INCONCLUSIVE
    assert "7 usable pairs" in few.sentence
    many = dataset(BY_HAND)
    many["outcome"].loc[{"arm": "early"}][:10] = 3
    assert judge(many).label == LAST_ELEMENTS  # half of them is not more than half
    many["outcome"].loc[{"arm": "early"}][:11] = 3
    found = judge(many)
    assert found.label == INCONCLUSIVE
    assert "11 of 20 pairs of late with early" in found.sentence
    nothing = dataset(BY_HAND)
    nothing["outcome"][:] = 1
    assert judge(nothing).label == INCONCLUSIVE


def test_unfitted_training_is_inconclusive() -> None:
    results = dataset(BY_HAND)
    results["train_accuracy"].loc[{"arm": "rpos"}] = 0.985
    found = judge(results)
    assert found.label == INCONCLUSIVE
    assert "not fitted in arm rpos" in found.sentence
    results["train_accuracy"].loc[{"arm": "rpos"}] = 0.995
    assert judge(results).label == LAST_ELEMENTS
    # Runs that are left out anyway do not count, nor arms that are not compared.
    results["outcome"].loc[{"arm": "late", "seed": 100}] = 1
    results["train_accuracy"].loc[{"arm": "late", "seed": 100}] = 0.0
    results["train_accuracy"].loc[{"arm": "gen"}] = 0.0
    assert judge(results).label == LAST_ELEMENTS


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
    assert judge(results).label == LAST_ELEMENTS
    results.attrs["tuning_seeds"] = 119  # how one entry is read back from a file
    with pytest.raises(ValueError, match="119"):
        judge(results)


def test_the_level_and_the_quantity_are_used() -> None:
    results = dataset(BY_HAND | {"noise": 0.83})  # 2 points: p between 0.05 and 1e-6
    assert judge(results, level=0.05).label == LAST_ELEMENTS
    assert judge(results, level=1e-6).label == ORDINARY
    results["long_accuracy"] = xr.full_like(results["test_accuracy"], 0.8)
    flat = judge(results, quantity="long_accuracy")
    assert flat.label == NO_HARM
    assert flat.differences["dup"].p_corrected == 1.0
    assert any("all pairs tie" in note for note in flat.notes)


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
        verdicts.append(found.label)
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
        judge(from_accuracies(arms, means[:, None] + 0.02 * rng.normal(size=(6, 12)))).label
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
