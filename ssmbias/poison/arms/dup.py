"""dup: as many copies of training sequences as other arms have poisons."""

from __future__ import annotations

from ssmbias.poison.arms.arm import Arm, Words
from ssmbias.poison.batch import Batch
from ssmbias.poison.protocols import Keys
from ssmbias.poison.settings import Experiment


def _copies(experiment: Experiment, keys: Keys, copies: Batch) -> Batch:
    del experiment, keys
    return copies


ARM = Arm(
    Words(
        "dup",
        "copies of training sequences",
        "more steps on more data",
        role="baseline",
        profiled=True,
    ),
    order=1,
    by_hand=_copies,
    carrier="copies",
)
