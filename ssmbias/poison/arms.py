r"""The arms of an experiment: which extra sequences join the training data.

| arm | extra sequences |
|---|---|
| base | none |
| dup | copies of training sequences |
| late | special sequences: a few small elements at the very end of a zero sequence |
| early, rpos | the same elements at the first positions, or at random ones |
| noise | copies with a random perturbation of the same norm |
| gen | generic sequences |
| found, found_late, found_early | by gradient matching: free, or pushed towards the end or start |
| random | random perturbations of the size of the found ones, on the same carriers |
| window0, window1, ... | the elements of late, from that position on (counted from 0) |

Where there is a teacher it labels every sequence; elsewhere a copy keeps its label.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import jax
import jax.numpy as jnp
from jaxtyping import Int

from ssmbias.core.types import Array
from ssmbias.poison.batch import Batch
from ssmbias.poison.problems import Keys, labelled
from ssmbias.poison.settings import Experiment, SignTask

BY_HAND = ("base", "dup", "early", "rpos", "noise", "gen", "late")
SEARCHED = ("found", "found_late", "found_early", "random")
ARMS = (*BY_HAND, *SEARCHED)

_WITHOUT_TEACHER = ("base", "dup", *SEARCHED)
_WINDOW = re.compile(r"window(0|[1-9][0-9]{0,8})")


def require_arms(experiment: Experiment, arms: Iterable[str]) -> tuple[str, ...]:
    """Return the names of arms, or say which of them this experiment does not have.

    Args:
      experiment: which.
      arms: names.

    Returns:
      The names.

    Raises:
      ValueError: no arm, an unknown one, one twice, one that only a teacher could label, or a
        window outside of the sequence.

    Example:
      >>> from ssmbias.poison.catalogue import find_experiment
      >>> require_arms(find_experiment("f1"), ["base", "later"])
      Traceback (most recent call last):
      ValueError: arms='later': choose from base, dup, early, rpos, noise, gen, late, found, ...
    """
    if isinstance(arms, str) or not isinstance(arms, Iterable):
        raise ValueError(f"arms={arms!r}: pass a list, such as ['base', 'late']")
    names = tuple(arms)
    if not names:
        raise ValueError(f"arms=[]: choose from {', '.join(arms_of(experiment))}")
    known = arms_of(experiment)
    for name in names:
        start = window_of(name)
        if name not in known and (start is None or not experiment.has_teacher):
            labelled_only = name in ARMS or start is not None
            reason = "needs a teacher that labels new sequences; " if labelled_only else ""
            windows = ", window<position>" if experiment.has_teacher else ""
            raise ValueError(f"arms={name!r}: {reason}choose from {', '.join(known)}{windows}")
        if start is not None and start > last_window(experiment):
            raise ValueError(
                f"arms={name!r}: {experiment.poisons.width} elements of a sequence of "
                f"{experiment.task.seq_len} begin at window{last_window(experiment)} at the latest"
            )
        if names.count(name) > 1:
            raise ValueError(f"arms={name!r}: is given twice")
    return names


def window_of(arm: str) -> int | None:
    """The position that a window's arm begins at; `None` for any other arm.

    Example:
      >>> window_of("window24"), window_of("late")
      (24, None)
    """
    found = _WINDOW.fullmatch(str(arm))
    return None if found is None else int(found[1])


def last_window(experiment: Experiment) -> int:
    """Where the elements of the poisons by hand stand in the arm late."""
    return experiment.task.seq_len - experiment.poisons.width


def arms_of(experiment: Experiment) -> tuple[str, ...]:
    """The arms that an experiment can have."""
    return ARMS if experiment.has_teacher else _WITHOUT_TEACHER


def window_positions(experiment: Experiment, start: int | Array) -> Int[Array, "num width"]:
    """A window of elements, from position `start` (counted from 0) on, in every sequence."""
    poisons = experiment.poisons
    return jnp.tile(start + jnp.arange(poisons.width), (poisons.num_poisons, 1))


def poisons_by_hand(experiment: Experiment, keys: Keys, train: Batch) -> dict[str, Batch]:
    """The extra sequences of all arms that need no search, for one seed.

    Base has none; it gets the copies, and `arm_weights` gives them no weight.

    Args:
      experiment: which.
      keys: of the seed.
      train: its training data.

    Returns:
      Equally many sequences by arm.

    Example:
      >>> from ssmbias.poison.catalogue import find_experiment
      >>> from ssmbias.poison.problems import keys_of, problem_of
      >>> experiment = find_experiment("f1")
      >>> problem = problem_of(experiment, keys_of(0))
      >>> late = poisons_by_hand(experiment, keys_of(0), problem.train)["late"]
      >>> late.inputs.shape, jnp.flatnonzero(late.inputs[0, :, 0]).tolist()
      ((20, 32, 1), [30, 31])
    """
    poisons, task = experiment.poisons, experiment.task
    copies = Batch(*(x[: poisons.num_poisons] for x in train))
    if not isinstance(task, SignTask):
        return {"base": copies, "dup": copies}
    _, places, noise, generic = jax.random.split(keys.poisons, 4)
    length, num = task.seq_len, poisons.num_poisons
    anywhere = jax.vmap(
        lambda key: jax.random.choice(key, length, (poisons.width,), replace=False)
    )(jax.random.split(places, num))
    size = jnp.linalg.norm(_elements(experiment, keys, copies), axis=1)
    draw = jax.random.normal(noise, (num, length))
    perturbation = draw * (size / jnp.linalg.norm(draw, axis=1))[:, None]
    return {
        "base": copies,
        "dup": copies,
        "early": placed(experiment, keys, copies, window_positions(experiment, 0)),
        "rpos": placed(experiment, keys, copies, anywhere),
        "noise": labelled(task, copies.inputs + perturbation[:, :, None]),
        "gen": labelled(task, jax.random.normal(generic, (num, length, 1))),
        "late": placed(
            experiment, keys, copies, window_positions(experiment, last_window(experiment))
        ),
    }


def placed(
    experiment: Experiment, keys: Keys, copies: Batch, positions: Int[Array, "num width"]
) -> Batch:
    """Poisons by hand with their elements at some positions, labelled by the teacher.

    The elements are the same wherever they are placed, so that arms differ in position only.
    """
    task = experiment.task
    assert isinstance(task, SignTask)
    elements = _elements(experiment, keys, copies)
    zero = experiment.poisons.carrier == "zero"
    carrier = jnp.zeros_like(copies.inputs) if zero else copies.inputs
    rows = jnp.arange(experiment.poisons.num_poisons)[:, None]
    return labelled(task, carrier.at[rows, positions, 0].add(elements))


def _elements(experiment: Experiment, keys: Keys, copies: Batch) -> Array:
    """The elements of the poisons by hand."""
    poisons = experiment.poisons
    key = jax.random.split(keys.poisons, 4)[0]
    draw = poisons.scale * jax.random.normal(key, (poisons.num_poisons, poisons.width))
    if poisons.opposing:
        return jnp.abs(draw) * jnp.where(copies.labels > 0, -1.0, 1.0)[:, None]
    return draw


def arm_weights(experiment: Experiment, arm: str) -> Array:
    """Weights of training data and extra sequences in the loss."""
    extra = 0.0 if arm == "base" else 1.0
    return jnp.concatenate(
        [jnp.ones(experiment.num_base), jnp.full(experiment.poisons.num_poisons, extra)]
    )
