"""found, found_late, found_early: perturbations found by gradient matching, free or held back."""

from __future__ import annotations

from ssmbias.poison.arms.arm import Arm, Made, Words, Workshop, needs_carrier


def _searched(words: Words, order: float, weighting: str) -> Arm:
    def make(bench: Workshop) -> Made:
        return bench.search(weighting)

    return Arm(words, order, make=make, carrier="found", weighting=weighting, lacks=needs_carrier)


ARMS = (
    _searched(
        Words(
            "found",
            "by gradient matching against the network",
            role="attack",
            controls=("base", "dup", "random"),
            white_box=True,
            profiled=True,
            example="found",
        ),
        order=7,
        weighting="none",
    ),
    _searched(
        Words(
            "found_late",
            "found, with a penalty on all but the late elements",
            role="attack",
            controls=("base", "dup", "random", "found_early"),
            counterpart="found_early",
            white_box=True,
            profiled=True,
        ),
        order=8,
        weighting="late",
    ),
    _searched(
        Words(
            "found_early",
            "found, with a penalty on all but the early elements",
            "a search that is held back as much, elsewhere",
        ),
        order=9,
        weighting="early",
    ),
)
