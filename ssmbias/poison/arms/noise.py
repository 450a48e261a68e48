"""noise: copies with a random perturbation of the norm of the poisons by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ssmbias.poison.arms.arm import Arm, Words, needs_teacher
from ssmbias.poison.arms.elements import elements, hand_keys
from ssmbias.poison.batch import Batch
from ssmbias.poison.protocols import Keys, labelled
from ssmbias.poison.settings import Experiment


def _noise(experiment: Experiment, keys: Keys, copies: Batch) -> Batch:
    num = experiment.poisons.num_poisons
    size = jnp.linalg.norm(elements(experiment, keys, copies).reshape(num, -1), axis=1)
    shape = (num, copies.inputs[0].size)
    draw = jax.random.normal(hand_keys(keys).noise, shape, copies.inputs.dtype)
    perturbation = draw * (size / jnp.linalg.norm(draw, axis=1))[:, None]
    return labelled(experiment.task, copies.inputs + perturbation.reshape(copies.inputs.shape))


ARM = Arm(
    Words("noise", "copies with a random perturbation of the same norm", "perturbation as such"),
    order=4,
    by_hand=_noise,
    carrier="copies",
    lacks=needs_teacher,
)
