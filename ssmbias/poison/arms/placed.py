"""late, early, rpos and windows: the same small elements at the end, the start, or elsewhere."""

from __future__ import annotations

import re

import jax

from ssmbias.poison.arms.arm import Arm, Words, needs_teacher
from ssmbias.poison.arms.elements import hand_keys, last_window, placed, window_positions
from ssmbias.poison.batch import Batch
from ssmbias.poison.protocols import Keys
from ssmbias.poison.settings import Experiment

_WINDOW = re.compile(r"window(0|[1-9][0-9]{0,8})")


def _early(experiment: Experiment, keys: Keys, copies: Batch) -> Batch:
    return placed(experiment, keys, copies, window_positions(experiment, 0))


def _late(experiment: Experiment, keys: Keys, copies: Batch) -> Batch:
    last = window_positions(experiment, last_window(experiment))
    return placed(experiment, keys, copies, last)


def _anywhere(experiment: Experiment, keys: Keys, copies: Batch) -> Batch:
    length, poisons = experiment.task.seq_len, experiment.poisons
    positions = jax.vmap(
        lambda key: jax.random.choice(key, length, (poisons.width,), replace=False)
    )(jax.random.split(hand_keys(keys).places, poisons.num_poisons))
    return placed(experiment, keys, copies, positions)


ARMS = (
    Arm(
        Words("early", "the elements of late at the first positions", "small sequences as such"),
        order=2,
        by_hand=_early,
        lacks=needs_teacher,
    ),
    Arm(
        Words(
            "rpos",
            "the elements of late at random positions",
            "small sequences as such",
            remark_if_unbeaten=(
                "Random positions harm as much, as far as was shown: an off-support effect, not "
                "one of the last elements."
            ),
        ),
        order=3,
        by_hand=_anywhere,
        lacks=needs_teacher,
    ),
    Arm(
        Words(
            "late",
            "special sequences: zero but for a few small elements at the very end",
            role="attack",
            controls=("base", "dup", "noise", "early", "rpos"),
            elsewhere=("early", "rpos"),
            counterpart="early",
            profiled=True,
            example="late",
        ),
        order=6,
        by_hand=_late,
        lacks=needs_teacher,
    ),
)


def window_of(arm: str) -> int | None:
    """The position that a window's arm begins at; `None` for any other arm.

    Example:
      >>> window_of("window24"), window_of("late")
      (24, None)
    """
    found = _WINDOW.fullmatch(str(arm))
    return None if found is None else int(found[1])


def family(name: str) -> Arm | None:
    """The arm of a window, such as "window24"; `None` for any other name."""
    start = window_of(name)
    if start is None:
        return None

    def lacks(experiment: Experiment) -> str:
        if not experiment.has_teacher:
            return needs_teacher(experiment)
        if start > last_window(experiment):
            return (
                f"{experiment.poisons.width} elements of a sequence of {experiment.task.seq_len} "
                f"begin at window{last_window(experiment)} at the latest"
            )
        return ""

    words = Words(name, f"the elements of late from position {start} on", "another place")
    return Arm(words, order=100 + start, make=lambda bench: bench.at_window(start), lacks=lacks)


FAMILY = "window<position>"
"""How names of the family are written."""
