"""Verdicts in whole sentences, with the numbers that carry them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ssmbias.core.display import listed
from ssmbias.poison.arms.arm import Words
from ssmbias.poison.comparisons import Difference

LAST_ELEMENTS = "effect of the last elements"
ORDINARY = "ordinary poisoning"
NOT_BEYOND_RANDOM = "no harm beyond a random perturbation"
NO_HARM = "no harm found"
HELPS = "poison helps"
INCONCLUSIVE = "inconclusive"
LABELS = (LAST_ELEMENTS, ORDINARY, NOT_BEYOND_RANDOM, NO_HARM, HELPS, INCONCLUSIVE)
"""What a verdict can say of an attack, in words."""


def sentence(
    verdict: str,
    words: Mapping[str, Words],
    attack: str,
    differences: Mapping[str, Difference],
    unbeaten: tuple[str, ...],
    quantity: str,
    level: float,
) -> str:
    """The verdict with the numbers that carry it.

    Args:
      verdict: one of `LABELS`, but for "inconclusive".
      words: of the arms.
      attack: the arm that is judged.
      differences: to its controls.
      unbeaten: controls below which it was not shown to be.
      quantity: the accuracy that was judged.
      level: of the corrected p values.
    """
    what = quantity.replace("_", " ")
    ground = baselines(words, differences)
    name = first_baseline(ground)
    plain = differences[name]
    compared = (
        f"{attack} - {name} = {in_points(plain)}, lower in {plain.num_lower} of "
        f"{plain.num_pairs} seeds"
    )
    if verdict == LAST_ELEMENTS:
        largest = max(found.p_corrected for found in differences.values())
        return (
            f"Effect of the last elements: {attack} lowers {what} below every control, the same "
            f"poison elsewhere in the sequence included ({compared}; largest corrected p "
            f"{largest:.2g}, controls {listed(differences)})."
        )
    if verdict in (ORDINARY, NOT_BEYOND_RANDOM):
        start = f"{attack} lowers {what} ({compared}; corrected p {plain.p_corrected:.2g})"
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
        remarks = "".join(
            f" {words[name].remark_if_unbeaten}"
            for name in unbeaten
            if words[name].remark_if_unbeaten
        )
        return (
            f"Ordinary poisoning: {start}, but it was not shown to lie below {listed(unbeaten)} "
            f"({attack} minus {open_ones}).{remarks} An effect of "
            "the last elements was not shown."
        )
    if verdict == HELPS:
        return f"Poison helps: {attack} raises {what} ({compared}; p {plain.p_corrected:.2g})."
    return (
        f"No harm found: {attack} was not shown to lower {what} below "
        f"{listed([name for name in ground if name in unbeaten])} ({compared}; corrected p "
        f"{plain.p_corrected:.2g}). A loss of up to "
        f"{max(0.0, -min(differences[name].points.low for name in ground)):.2g} points is not "
        f"ruled out at level {level:g}."
    )


def baselines(words: Mapping[str, Words], controls: Iterable[str]) -> list[str]:
    """Those of some controls that are baselines, in their order."""
    return [name for name in controls if words[name].role == "baseline"]


def first_baseline(names: list[str]) -> str:
    """The baseline whose numbers are given: dup, or the first where it is none of them."""
    return "dup" if "dup" in names else names[0]


def notes_on(
    attack: str, differences: Mapping[str, Difference], generic: Difference | None, level: float
) -> tuple[str, ...]:
    """Further remarks: unusual p values, and generic sequences beside the attack."""
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
      >>> import numpy as np
      >>> from ssmbias.poison.comparisons import compare
      >>> x = np.full(8, 0.5)
      >>> in_points(compare(x - 0.125, x, np.ones(8, bool), seed=0))
      '-12.5 points [-12.5, -12.5]'
    """
    mean, low, high, *_ = found.points
    return f"{mean:+.1f} points [{low:+.1f}, {high:+.1f}]"
