r"""What the arms of a poison experiment show, and what they do not.

The verdict names what was shown. That accuracy falls is not enough: copies of the same number of
training sequences (dup), and a random perturbation of the same size (noise, random), may do the
same. That the *last* elements matter needs more: the same sequences placed early (early) or
anywhere (rpos) must harm less.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from ssmbias.core.checks import require_choice, require_number
from ssmbias.poison.comparisons import Difference, compare, holm
from ssmbias.statistics.paired import LEAST_FRACTION, MIN_PAIRS, interval_of_mean

LAST_ELEMENTS = "effect of the last elements"
ORDINARY = "ordinary poisoning"
NOT_BEYOND_RANDOM = "no harm beyond a random perturbation"
NO_HARM = "no harm found"
HELPS = "poison helps"
INCONCLUSIVE = "inconclusive"
VERDICTS = (LAST_ELEMENTS, ORDINARY, NOT_BEYOND_RANDOM, NO_HARM, HELPS, INCONCLUSIVE)

FITTED = 0.99
"""An arm with a smaller mean accuracy on the base part was not fitted: its test says little.

Results of tasks that are never fitted so well say another limit in their attribute `fitted`.
"""

SIZE = 0.25
"""Mean norms of poisons that differ by a larger part are not the same size."""

MIN_ABOVE_CHANCE = 0.05
"""A baseline whose interval reaches below chance plus this has nothing to lose."""

# The controls of each attack, all of them needed: without one a verdict would be easier. Those of
# the second table must harm less if the last elements are what matters.
_NEEDED = {
    "late": ("base", "dup", "noise", "early", "rpos"),
    "found": ("base", "dup", "random"),
    "found_late": ("base", "dup", "random", "found_early"),
}
# A found attack has no counterpart at random positions: it never speaks of the last elements.
_ELSEWHERE = {"late": ("early", "rpos"), "found": (), "found_late": ()}
ATTACKS = tuple(_NEEDED)


def controls_of(attack: str) -> tuple[str, ...]:
    """The controls that a verdict on an attack needs.

    Example:
      >>> controls_of("found")
      ('base', 'dup', 'random')
    """
    return _NEEDED[require_choice("attack", attack, ATTACKS)]


# Resampling is fixed: the same results give the same report.
_SEED = 0


class Verdict(NamedTuple):
    """What was shown about one attack.

    Attributes:
      attack: the arm.
      differences: attack - control in points, by control; p values corrected by Holm's method for
        the number of controls.
      verdict: one of `VERDICTS`.
      sentence: the verdict with its numbers, or why there is none.
      notes: further remarks, whole sentences.
      unbeaten: controls below which the attack was not shown to be.
      generic: attack - gen, which is no control of size but the honest alternative; its p value
        stands alone. `None` without that arm.
      level: of the corrected p values.
      quantity: the accuracy that was judged.
    """

    attack: str
    differences: Mapping[str, Difference]
    verdict: str
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
) -> Verdict:
    """Judge one attack against its controls over the same seeds.

    "Lower" means that the mean difference is negative and its p value, two-sided and corrected by
    Holm's method for the number of controls, is below `level`. With the first rule that fits:

    - inconclusive: a control is missing; fewer than `MIN_PAIRS` usable pairs with one of
      them, or more than half of the pairs unusable; an arm whose mean accuracy on the base part
      is below `FITTED`; a dup arm near chance, which has nothing to lose;
    - poison helps: higher than dup and base;
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
    require_choice("attack", attack, ATTACKS)
    if not 0.0 < require_number("level", level) < 1.0:
        raise ValueError(f"level={level}: must lie between 0 and 1, such as 0.05")
    require_results(results, quantity)
    arms = [str(arm) for arm in results["arm"].values]
    require_choice("attack", attack, arms)
    needed = _NEEDED[attack]
    # In the order of an argument: nothing added, copies, perturbed copies, elsewhere.
    controls = [
        arm
        for arm in ("base", "dup", "noise", "random", "early", "rpos", "found_early")
        if arm in arms and arm in needed
    ]

    def against(control: str) -> Difference:
        return compare_arms(results, attack, control, quantity, confidence=1.0 - level)

    plain = {control: against(control) for control in controls}
    corrected = holm([found.p_value for found in plain.values()])
    differences = {
        name: found._replace(p_corrected=p)
        for (name, found), p in zip(plain.items(), corrected, strict=True)
    }
    generic = against("gen") if "gen" in arms else None
    unbeaten = tuple(name for name, found in differences.items() if not found.is_lower(level))
    unequal = _unequal_sizes(results, attack, controls)
    reason = _inconclusive(results, attack, differences, quantity)
    if reason:
        verdict, sentence = INCONCLUSIVE, f"Inconclusive: {reason}."
    else:
        verdict = _decide(attack, differences, unbeaten, level, unequal)
        sentence = _sentence(verdict, attack, differences, unbeaten, quantity, level)
    return Verdict(
        attack,
        differences,
        verdict,
        sentence,
        _notes(attack, differences, generic, level) + unequal,
        unbeaten,
        generic,
        level,
        quantity,
    )


def compare_arms(
    results: xr.Dataset, treated: str, control: str, quantity: str, *, confidence: float = 0.95
) -> Difference:
    """`compare` two arms of the results by name; outcome 0 is usable."""
    one, other = results.sel(arm=treated), results.sel(arm=control)
    return compare(
        one[quantity].values,
        other[quantity].values,
        (one["outcome"].values == 0) & (other["outcome"].values == 0),
        seed=_SEED,
        confidence=confidence,
    )


def require_results(results: Any, quantity: str = "test_accuracy") -> None:
    """Refuse what is not the result of `run_arms`, or was judged by seeds that chose a setting.

    Args:
      results: to be looked at.
      quantity: an accuracy that is needed.

    Raises:
      ValueError: says what is missing, or names the seeds.
    """
    if not isinstance(results, xr.Dataset):
        raise ValueError(f"results={type(results).__name__}: pass the Dataset of run_arms")
    needed = (quantity, "train_accuracy", "outcome")
    missing = [name for name in needed if name not in results]
    missing += [f"coordinate {name}" for name in ("arm", "seed") if name not in results.coords]
    missing += ["attribute chance"] * ("chance" not in results.attrs)
    if missing:
        raise ValueError(f"results: {', '.join(missing)} missing; pass the Dataset of run_arms")
    for name in needed:
        if set(results[name].dims) != {"arm", "seed"}:
            raise ValueError(f"results[{name!r}] has dims {results[name].dims}: expected arm, seed")
    for name in ("arm", "seed"):
        values = results[name].values
        if len(np.unique(values)) < len(values):
            raise ValueError(f"results: some {name} occurs twice; each must be there once")
    # An attribute of one entry may have been read back as a number.
    tuning = np.atleast_1d(np.asarray(results.attrs.get("tuning_seeds", []))).astype(np.int64)
    both = sorted({int(s) for s in tuning} & {int(s) for s in results["seed"].values})
    if both:
        raise ValueError(
            f"seeds {both} chose a setting (tuning_seeds) and cannot judge it: leave them out, as "
            "in results.sel(seed=[...]), or run other seeds"
        )


def _inconclusive(
    results: xr.Dataset, attack: str, differences: Mapping[str, Difference], quantity: str
) -> str:
    """Why nothing can be said; "" where something can."""
    missing = [name for name in _NEEDED[attack] if name not in differences]
    if missing:
        were = "control {} was" if len(missing) == 1 else "controls {} were"
        return f"the needed {were.format(listed(missing))} not run"
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
    chance = float(results.attrs["chance"])
    dup = interval_of_mean(usable_values(results, "dup", quantity), seed=_SEED)
    if dup.low < chance + MIN_ABOVE_CHANCE:
        return (
            f"the baseline dup is near chance ({dup.mean:.3f} [{dup.low:.3f}, {dup.high:.3f}], "
            f"chance {chance:.3g}): there is nothing to lose"
        )
    return ""


def usable_values(results: xr.Dataset, arm: str, name: str) -> np.ndarray:
    """The values of one arm over its seeds with outcome 0, in double precision."""
    chosen = results.sel(arm=arm)
    usable = chosen["outcome"].values == 0
    # Seeds come first whatever further dims there are.
    values = chosen[name].transpose("seed", ...).values
    return np.asarray(values, dtype=np.float64)[usable]


def _unequal_sizes(results: xr.Dataset, attack: str, controls: list[str]) -> tuple[str, ...]:
    """Which controls that should have the size of the attack have another one."""
    if "poison_norm" not in results:
        return ()
    sizes_of = {
        arm: usable_values(results, arm, "poison_norm")
        for arm in (attack, *controls)
        if arm not in ("base", "dup")
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
    attack: str,
    differences: Mapping[str, Difference],
    unbeaten: tuple[str, ...],
    level: float,
    unequal: tuple[str, ...],
) -> str:
    ground = [name for name in ("base", "dup") if name in differences]
    if all(differences[name].is_higher(level) for name in ground):
        return HELPS
    if any(name in unbeaten for name in ground):
        return NO_HARM
    if not unbeaten and not unequal and _ELSEWHERE[attack]:
        return LAST_ELEMENTS
    if "random" in unbeaten:
        return NOT_BEYOND_RANDOM
    return ORDINARY


def _sentence(
    verdict: str,
    attack: str,
    differences: Mapping[str, Difference],
    unbeaten: tuple[str, ...],
    quantity: str,
    level: float,
) -> str:
    """The verdict with the numbers that carry it."""
    what = quantity.replace("_", " ")
    dup = differences["dup"]
    compared = (
        f"{attack} - dup = {in_points(dup)}, lower in {dup.num_lower} of {dup.num_pairs} seeds"
    )
    if verdict == LAST_ELEMENTS:
        largest = max(found.p_corrected for found in differences.values())
        return (
            f"Effect of the last elements: {attack} lowers {what} below every control, the same "
            f"poison elsewhere in the sequence included ({compared}; largest corrected p "
            f"{largest:.2g}, controls {listed(differences)})."
        )
    if verdict in (ORDINARY, NOT_BEYOND_RANDOM):
        start = f"{attack} lowers {what} ({compared}; corrected p {dup.p_corrected:.2g})"
        open_ones = "; ".join(f"{name}: {in_points(differences[name])}" for name in unbeaten)
        if verdict == NOT_BEYOND_RANDOM:
            return (
                f"No harm beyond a random perturbation: {start}, but not below {listed(unbeaten)} "
                f"({attack} minus {open_ones}). That the perturbation was searched for is not "
                "shown to matter."
            )
        if not unbeaten:
            return (
                f"Ordinary poisoning: {start}, and more than {listed(differences)}. An effect of "
                "the last elements was not shown: these arms do not tell where it acts."
            )
        off_support = (
            " Random positions harm as much, as far as was shown: an off-support effect, not one "
            "of the last elements."
            if "rpos" in unbeaten
            else ""
        )
        return (
            f"Ordinary poisoning: {start}, but it was not shown to lie below {listed(unbeaten)} "
            f"({attack} minus {open_ones}).{off_support} An effect of "
            "the last elements was not shown."
        )
    if verdict == HELPS:
        return f"Poison helps: {attack} raises {what} ({compared}; p {dup.p_corrected:.2g})."
    ground = [name for name in ("base", "dup") if name in differences]
    return (
        f"No harm found: {attack} was not shown to lower {what} below "
        f"{listed([name for name in ground if name in unbeaten])} ({compared}; corrected p "
        f"{dup.p_corrected:.2g}). A loss of up to "
        f"{max(0.0, -min(differences[name].points.low for name in ground)):.2g} points is not "
        f"ruled out at level {level:g}."
    )


def _notes(
    attack: str, differences: Mapping[str, Difference], generic: Difference | None, level: float
) -> tuple[str, ...]:
    notes = [
        f"{attack} - {name}: {found.note}." for name, found in differences.items() if found.note
    ]
    if generic is not None:
        how = (
            "lower than"
            if generic.is_lower(level)
            else ("higher than" if generic.is_higher(level) else "not told apart from")
        )
        notes.append(
            f"{attack} is {how} gen, as many generic sequences, the honest alternative: "
            f"{in_points(generic)}, p {generic.p_value:.2g} (no control, not corrected)."
        )
    return tuple(notes)


def in_points(found: Difference) -> str:
    """A difference with its interval, in words.

    Example:
      >>> from ssmbias.poison.comparisons import compare
      >>> x = np.full(8, 0.5)
      >>> in_points(compare(x - 0.125, x, np.ones(8, bool), seed=0))
      '-12.5 points [-12.5, -12.5]'
    """
    mean, low, high, *_ = found.points
    return f"{mean:+.1f} points [{low:+.1f}, {high:+.1f}]"


def listed(names: Iterable[str]) -> str:
    """Names as in a sentence.

    Example:
      >>> listed(["base", "dup", "rpos"])
      'base, dup and rpos'
    """
    *most, last = list(names)
    return f"{', '.join(most)} and {last}" if most else str(last)
