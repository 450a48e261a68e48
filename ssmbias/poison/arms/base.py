"""base: the training data alone."""

from __future__ import annotations

from ssmbias.poison.arms.arm import Arm, Words
from ssmbias.poison.batch import Batch
from ssmbias.poison.protocols import Keys
from ssmbias.poison.settings import Experiment


def _copies(experiment: Experiment, keys: Keys, copies: Batch) -> Batch:
    """Sequences without weight, so that all arms have one shape."""
    del experiment, keys
    return copies


ARM = Arm(
    Words("base", "no extra sequences", "nothing added", role="baseline", example="clean"),
    order=0,
    by_hand=_copies,
    adds=False,
    carrier="copies",
)
