r"""What the arms of a poison experiment show, and what they do not.

The verdict names what was shown. That accuracy falls is not enough: copies of the same number of
training sequences (dup), and a random perturbation of the same size (noise, random), may do the
same. That the *last* elements matter needs more: the same sequences placed early (early) or
anywhere (rpos) must harm less.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import xarray as xr

from ssmbias.core.checks import require_choice, require_number
from ssmbias.core.display import displayed, listed
from ssmbias.core.verdict import Verdict
from ssmbias.poison.arms.arm import Words
from ssmbias.poison.arms.registry import all_arms, attacks
from ssmbias.poison.comparisons import Difference, holm
from ssmbias.poison.results import (
    RESAMPLING,
    compare_arms,
    require_results,
    usable_values,
    words_of,
)
from ssmbias.poison.sentences import (
    HELPS,
    INCONCLUSIVE,
    LAST_ELEMENTS,
    NO_HARM,
    ORDINARY,
    baselines,
    first_baseline,
    notes_on,
    sentence,
)
from ssmbias.statistics.paired import LEAST_FRACTION, MIN_PAIRS, interval_of_mean

FITTED = 0.99
"""An arm with a smaller mean accuracy on the base part was not fitted: its test says little.

Results of tasks that are never fitted so well say another limit in their attribute `fitted`.
"""

SIZE = 0.25
"""Mean norms of poisons that differ by a larger part are not the same size."""

MIN_ABOVE_CHANCE = 0.05
"""A baseline whose interval reaches below chance plus this has nothing to lose."""

ATTACKS = attacks()
"""The arms that a verdict can be about."""

# What was shown: that the attack harms, that it does not as far as these runs tell, or nothing.
_VERDICTS = {
    LAST_ELEMENTS: Verdict.HOLDS,
    ORDINARY: Verdict.HOLDS,
    INCONCLUSIVE: Verdict.INCONCLUSIVE,
}


def controls_of(attack: str) -> tuple[str, ...]:
    """The controls that a verdict on an attack needs.

    Example:
      >>> controls_of("found")
      ('base', 'dup', 'random')
    """
    require_choice("attack", attack, ATTACKS)
    return {arm.name: arm.words.controls for arm in all_arms()}[attack]


@displayed()
class Judgement(NamedTuple):
    """What was shown about one attack.

    Attributes:
      attack: the arm.
      differences: attack - control in points, by control; p values corrected by Holm's method for
        the number of controls.
      verdict: holds (the attack was shown to harm), violated (it was not, in runs that could have
        shown it), or inconclusive.
      label: the same in words, one of `ssmbias.poison.sentences.LABELS`.
      sentence: the label with its numbers, or why there is none.
      notes: further remarks, whole sentences.
      unbeaten: controls below which the attack was not shown to be.
      generic: attack - gen, which is no control of size but the honest alternative; its p value
        stands alone. `None` without that arm.
      level: of the corrected p values.
      quantity: the accuracy that was judged.
    """

    attack: str
    differences: Mapping[str, Difference]
    verdict: Verdict
    label: str
    sentence: str
    notes: tuple[str, ...]
    unbeaten: tuple[str, ...]
    generic: Difference | None
    level: float
    quantity: str


def judge(
    results: xr.Dataset,
    attack: str = "late",
    level: float = 0.05,
    *,
    quantity: str = "test_accuracy",
) -> Judgement:
    """Judge one attack against its controls over the same seeds.

    "Lower" means that the mean difference is negative and its p value, two-sided and corrected by
    Holm's method for the number of controls, is below `level`. With the first rule that fits:

    - inconclusive: a control is missing, or none is a baseline (base or dup); fewer than
      `MIN_PAIRS` usable pairs with one of them, or more than half of the pairs unusable; an arm
      whose mean accuracy on the base part is below `FITTED`; a dup arm (without it, the first
      baseline) near chance, which has nothing to lose;
    - poison helps: higher than its baselines, dup and base;
    - no harm found: not lower than both of them;
    - effect of the last elements: lower than every control, those with the same sequences
      elsewhere included (early and rpos; a found attack has no such controls), if all poisons
      have one size (mean norms within a quarter, where the results tell them);
    - no harm beyond a random perturbation: of a found attack, not lower than random;
    - ordinary poisoning: what remains. The sentence names the controls that were not beaten.

    Args:
      results: of `run_arms`: dims arm and seed; variables `quantity`, train_accuracy and outcome;
        attribute chance, and tuning_seeds where seeds chose a setting.
      attack: "late", "found" or "found_late"; only "late" speaks of last elements.
      level: of the corrected p values; intervals have confidence 1 - level.
      quantity: the accuracy to judge.

    Returns:
      The verdict.

    Raises:
      ValueError: an unknown or absent attack, results without the parts above, or seeds that also
        chose a setting.

    References:
      Slutzky et al. (2025), arXiv:2410.10473, on real-world SSM networks; the arms and the rules
      of this verdict are ours.
    """
    if not 0.0 < require_number("level", level) < 1.0:
        raise ValueError(f"level={level}: must lie between 0 and 1, such as 0.05")
    if not (isinstance(results, xr.Dataset) and "arms" in results.attrs):
        require_choice("attack", attack, ATTACKS)
    require_results(results, quantity)
    words = words_of(results)
    require_choice("attack", attack, [*words])
    require_choice("attack", attack, [n for n, one in words.items() if one.role == "attack"])
    controls = [name for name in words[attack].controls if name in words]

    def against(control: str) -> Difference:
        return compare_arms(results, attack, control, quantity, confidence=1.0 - level)

    plain = {control: against(control) for control in controls}
    corrected = holm([found.p_value for found in plain.values()])
    differences = {
        name: found._replace(p_corrected=p)
        for (name, found), p in zip(plain.items(), corrected, strict=True)
    }
    honest = [name for name, one in words.items() if one.role == "alternative"]
    generic = against(honest[0]) if honest else None
    unbeaten = tuple(name for name, found in differences.items() if not found.is_lower(level))
    unequal = _unequal_sizes(results, words, attack, controls)
    reason = _inconclusive(results, words, attack, differences, quantity)
    if reason:
        label, said = INCONCLUSIVE, f"Inconclusive: {reason}."
    else:
        label = _decide(words, attack, differences, unbeaten, level, unequal)
        said = sentence(label, words, attack, differences, unbeaten, quantity, level)
    return Judgement(
        attack,
        differences,
        _VERDICTS.get(label, Verdict.VIOLATED),
        label,
        said,
        notes_on(attack, differences, generic, level) + unequal,
        unbeaten,
        generic,
        level,
        quantity,
    )


def _inconclusive(
    results: xr.Dataset,
    words: Mapping[str, Words],
    attack: str,
    differences: Mapping[str, Difference],
    quantity: str,
) -> str:
    """Why nothing can be said; "" where something can."""
    missing = [name for name in words[attack].controls if name not in differences]
    if missing:
        were = "control {} was" if len(missing) == 1 else "controls {} were"
        return f"the needed {were.format(listed(missing))} not run"
    ground = baselines(words, differences)
    if not ground:
        return (
            f"no baseline, such as base or dup, is among the controls of {attack}: nothing tells "
            "what it changes"
        )
    for control, found in differences.items():
        num = found.num_pairs + found.num_excluded
        if found.num_pairs < LEAST_FRACTION * num:
            return (
                f"{found.num_excluded} of {num} pairs of {attack} with {control} are not usable, "
                "more than half: what is left may have been selected"
            )
        if found.num_pairs < MIN_PAIRS:
            return (
                f"{found.num_pairs} usable pairs of {attack} with {control}; at least {MIN_PAIRS} "
                "are needed"
            )
    for arm in (attack, *differences):
        fitted = float(usable_values(results, arm, "train_accuracy").mean())
        least = float(results.attrs.get("fitted", FITTED))
        if not fitted >= least:
            return (
                f"training was not fitted in arm {arm}: its mean accuracy on the base part is "
                f"{fitted:.3f}, below {least:g}"
            )
    return _nothing_to_lose(results, first_baseline(ground), quantity)


def _nothing_to_lose(results: xr.Dataset, baseline: str, quantity: str) -> str:
    chance = float(results.attrs["chance"])
    plain = interval_of_mean(usable_values(results, baseline, quantity), seed=RESAMPLING)
    if plain.low < chance + MIN_ABOVE_CHANCE:
        return (
            f"the baseline {baseline} is near chance ({plain.mean:.3f} [{plain.low:.3f}, "
            f"{plain.high:.3f}], chance {chance:.3g}): there is nothing to lose"
        )
    return ""


def _unequal_sizes(
    results: xr.Dataset, words: Mapping[str, Words], attack: str, controls: list[str]
) -> tuple[str, ...]:
    """Which controls that should have the size of the attack have another one."""
    if "poison_norm" not in results:
        return ()
    sizes_of = {
        arm: usable_values(results, arm, "poison_norm")
        for arm in (attack, *controls)
        if words[arm].role != "baseline"
    }
    norm = {arm: float(values.mean()) for arm, values in sizes_of.items() if len(values)}
    if attack not in norm:
        return ()
    other = [arm for arm, size in norm.items() if abs(size - norm[attack]) > SIZE * norm[attack]]
    if not other:
        return ()
    sizes = ", ".join(f"{arm} {norm[arm]:.2g}" for arm in (attack, *other))
    return (
        f"Sizes differ (mean l2 norm of a poison: {sizes}): what {attack} does differently from "
        f"{listed(other)} may be a matter of size.",
    )


def _decide(
    words: Mapping[str, Words],
    attack: str,
    differences: Mapping[str, Difference],
    unbeaten: tuple[str, ...],
    level: float,
    unequal: tuple[str, ...],
) -> str:
    ground = baselines(words, differences)
    if all(differences[name].is_higher(level) for name in ground):
        return HELPS
    if any(name in unbeaten for name in ground):
        return NO_HARM
    if not unbeaten and not unequal and words[attack].elsewhere:
        return LAST_ELEMENTS
    special = [words[n].verdict_if_unbeaten for n in unbeaten if words[n].verdict_if_unbeaten]
    return special[0] if special else ORDINARY
