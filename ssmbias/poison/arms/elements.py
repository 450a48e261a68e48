"""The few elements that poisons by hand consist of; they are the same wherever they stand."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Int

from ssmbias.core.types import Array
from ssmbias.poison.batch import Batch
from ssmbias.poison.protocols import Keys, labelled
from ssmbias.poison.settings import Experiment


class HandKeys(NamedTuple):
    """Random keys of the poisons by hand of one seed."""

    elements: Array
    places: Array
    noise: Array
    generic: Array


def hand_keys(keys: Keys) -> HandKeys:
    """The keys of poisons by hand."""
    return HandKeys(*jax.random.split(keys.poisons, 4))


def elements(experiment: Experiment, keys: Keys, copies: Batch) -> Array:
    """The elements of the poisons by hand: (sequence, element, feature)."""
    poisons = experiment.poisons
    shape = (poisons.num_poisons, poisons.width, copies.inputs.shape[2])
    draw = poisons.scale * jax.random.normal(hand_keys(keys).elements, shape, copies.inputs.dtype)
    if poisons.opposing:
        return jnp.abs(draw) * jnp.where(copies.labels > 0, -1.0, 1.0)[:, None, None]
    return draw


def placed(
    experiment: Experiment, keys: Keys, copies: Batch, positions: Int[Array, "num width"]
) -> Batch:
    """Poisons by hand with their elements at some positions, labelled by the teacher.

    The elements are the same wherever they are placed, so that arms differ in position only.
    """
    zero = experiment.poisons.carrier == "zero"
    carrier = jnp.zeros_like(copies.inputs) if zero else copies.inputs
    rows = jnp.arange(experiment.poisons.num_poisons)[:, None]
    added = elements(experiment, keys, copies)
    return labelled(experiment.task, carrier.at[rows, positions].add(added))


def window_positions(experiment: Experiment, start: int | Array) -> Int[Array, "num width"]:
    """A window of elements, from position `start` (counted from 0) on, in every sequence."""
    poisons = experiment.poisons
    return jnp.tile(start + jnp.arange(poisons.width), (poisons.num_poisons, 1))


def last_window(experiment: Experiment) -> int:
    """Where the elements of the poisons by hand stand in the arm late."""
    return experiment.task.seq_len - experiment.poisons.width
