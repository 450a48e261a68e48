"""gen: generic sequences, what an honest supplier of data would give."""

from __future__ import annotations

import jax

from ssmbias.poison.arms.arm import Arm, Words, needs_teacher
from ssmbias.poison.arms.elements import hand_keys
from ssmbias.poison.batch import Batch
from ssmbias.poison.protocols import Keys, labelled
from ssmbias.poison.settings import Experiment


def _generic(experiment: Experiment, keys: Keys, copies: Batch) -> Batch:
    """N(0, 1) everywhere, or what a task calls generic."""
    key, task = hand_keys(keys).generic, experiment.task
    own = getattr(task, "generic", None)
    if own is not None:
        return labelled(task, own(key, experiment.poisons.num_poisons))
    return labelled(task, jax.random.normal(key, copies.inputs.shape, copies.inputs.dtype))


ARM = Arm(
    Words("gen", "generic sequences", "honest further data", role="alternative"),
    order=5,
    by_hand=_generic,
    carrier="none",
    lacks=needs_teacher,
)
