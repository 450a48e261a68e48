"""From the results of a poison experiment to its verdicts, and what they show in words."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from ssmbias.core.display import listed
from ssmbias.poison import sentences as words
from ssmbias.poison.arms.registry import attacks, in_order
from ssmbias.poison.comparisons import Difference
from ssmbias.poison.results import compare_arms, require_results, words_of
from ssmbias.poison.sentences import in_points
from ssmbias.poison.verdict import Judgement, judge
from ssmbias.report.pages import poison as pages
from ssmbias.report.table import Table, table_of

_HARM = (words.LAST_ELEMENTS, words.ORDINARY)


def write_report(
    folder: str | os.PathLike[str],
    results: xr.Dataset,
    scan: xr.Dataset | None = None,
    examples: Mapping[str, np.ndarray] | None = None,
    command: str = "",
) -> list[Path]:
    """Judge every attack that was run, and write tables, figures and `report.html`.

    Args:
      folder: made if it is not there. Files: table (arms) and controls (paired differences) as
        .md, .tex and .csv, figures/*.png and .pdf, report.html.
      results: dims arm and seed; see `judge`. Used where present: long_accuracy,
        in_distribution_accuracy, input_share (arm, seed, position), teacher_cosine. Attributes:
        chance; title, experiment, teacher, tuning_seeds and further ones, which are listed;
        num_last, how many last elements the share is reported of (2).
      scan: test_accuracy over window (first element) and seed; outcome, and the attribute width,
        where known.
      examples: sequences or images by name; see `examples_figure`.
      command: the command line that repeats the run.

    Returns:
      All files.

    Raises:
      ValueError: results without an attack or without what `judge` needs, with seeds that chose
        a setting; a scan or examples of another form.
    """
    verdicts = judge_all(results)
    said = pages.Said(
        headline=headline(verdicts),
        tone=_tone(verdicts),
        verdicts=[*about_digits(results, verdicts), *(v.sentence for v in verdicts)],
        limits=limits(results, verdicts),
        notes=list(dict.fromkeys(note for v in verdicts for note in v.notes)),
    )
    differences = _to_dup(results)
    return pages.write_report(
        folder, results, verdicts, said, differences, scan=scan, examples=examples, command=command
    )


def arm_table(results: xr.Dataset) -> Table:
    """Accuracies of all arms, and their paired differences to dup; printed by rich.

    Args:
      results: as for `write_report`.
    """
    return table_of(pages.arm_rows(results, _to_dup(results)))


def _to_dup(results: xr.Dataset) -> dict[str, Difference]:
    """Every other arm against dup, where dup was run."""
    arms = [str(arm) for arm in results["arm"].values]
    others = [arm for arm in arms if arm != "dup"] if "dup" in arms else []
    return {arm: compare_arms(results, arm, "dup", "test_accuracy") for arm in others}


def judge_all(results: xr.Dataset) -> list[Judgement]:
    """`judge` for every attack among the arms, by hand before found.

    Raises:
      ValueError: no arm is an attack; otherwise as `judge`.
    """
    require_results(results)
    arms = words_of(results)
    present = [name for name in in_order(arms) if arms[name].role == "attack"]
    if not present:
        raise ValueError(
            f"arms {sorted(arms)}: none is an attack; run one of {', '.join(attacks())} as well"
        )
    return [judge(results, attack) for attack in present]


def headline(verdicts: list[Judgement]) -> str:
    """The first verdict in a few words; the others are in the sentences."""
    first = verdicts[0]
    return f"{first.attack}: {first.label}"


def limits(results: xr.Dataset, verdicts: list[Judgement]) -> list[str]:
    """What the results do not show, in whole sentences."""
    arms = words_of(results)
    found = [v.attack for v in verdicts if arms[v.attack].white_box]
    sentences = []
    if not _last_elements_shown(verdicts):
        sentences.append("An effect of the last elements of a sequence was not shown.")
    if any(v.label == words.LAST_ELEMENTS for v in verdicts):
        sentences.append(
            "Why the last elements matter is not shown by accuracies; the sensitivity profile is "
            "a hint at it and no proof."
        )
    if any(v.label == words.NO_HARM for v in verdicts):
        sentences.append(
            "That no harm was found does not mean that there is none: see the intervals."
        )
    sentences.append(
        "It is about one task, one network, one schedule and one number of poisons. Other choices "
        "may behave otherwise; seeds vary the initialisation and the data only."
    )
    if found:
        sentences.append(
            f"{listed(found)}: poison made with the network, its initialisation and its data in "
            "hand (white box). It says nothing about an attacker who has less."
        )
    if not bool(results.attrs.get("teacher", False)):
        sentences.append(
            "No teacher labels these data: labels were kept, which is clean in the sense of the "
            "attack, but nothing proves that a changed example still deserves its label."
        )
    if len(verdicts) > 1:
        sentences.append(
            f"{len(verdicts)} attacks were judged. P values are corrected for the controls of "
            "each, not for the number of attacks."
        )
    if not any(one.role == "alternative" for one in arms.values()):
        sentences.append(
            "How as many generic sequences would have done was not run (arm gen): what an honest "
            "supplier of data would have given is unknown."
        )
    return sentences


def _last_elements_shown(verdicts: list[Judgement]) -> bool:
    return any(v.label == words.LAST_ELEMENTS for v in verdicts)


def about_digits(results: xr.Dataset, verdicts: list[Judgement]) -> list[str]:
    """On digits harm is easily taken for an effect of the last elements; it is said first."""
    if not str(results.attrs.get("experiment", "")).startswith("digits"):
        return []
    if _last_elements_shown(verdicts):
        return []
    arms = words_of(results)
    pairs = [(name, one.counterpart) for name, one in arms.items() if one.counterpart in arms]
    # A search that fits the digits says more than sequences by hand.
    pair = min(pairs, key=lambda pair: not arms[pair[0]].white_box, default=None)
    if all(v.label == words.INCONCLUSIVE for v in verdicts):
        return ["These runs cannot tell whether the last elements matter on these digits."]
    if pair is None:
        return [
            "On these digits the last elements were not shown to matter: late poison was not "
            "compared with early poison."
        ]
    difference = compare_arms(results, *pair, "test_accuracy")
    compared = f"({pair[0]} - {pair[1]} = {in_points(difference)})"
    if difference.is_lower(verdicts[0].level):
        return [
            "On these digits an effect of the last elements was not shown: late poison harms more "
            f"than early poison {compared}, but no control stands at random positions."
        ]
    return [
        "On these digits the last elements are not what matters: late poison does not harm more "
        f"than early poison, as far as these runs can tell {compared}."
    ]


def _tone(verdicts: list[Judgement]) -> str:
    first = verdicts[0].label
    return "harm" if first in _HARM else "open" if first == words.INCONCLUSIVE else "none"
