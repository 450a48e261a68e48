"""What one seed of an experiment learns from, is judged by, and is attacked against.

Everything follows from the seed alone: all arms of a seed have the same training data, start,
tests and draws, and differ in their extra sequences only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax

from ssmbias.core.types import Array
from ssmbias.data.tasks.sum_sign import SignTask, generic_inputs, teacher_label, training_inputs
from ssmbias.poison.batch import Batch
from ssmbias.poison.settings import DigitsTask, Experiment


class Keys(NamedTuple):
    """Random keys of one seed, by what they draw."""

    start: Array
    train: Array
    tests: Array
    targets: Array
    poisons: Array
    search: Array
    random: Array


class Problem(NamedTuple):
    """The data of one seed.

    Attributes:
      train: training data without poison (the base part).
      tests: "test" (generic sequences), "in_distribution" (as the training data), and "long"
        (generic, twice the length) where a teacher can label them.
      targets: what poison is brewed against, in none of the tests.
    """

    train: Batch
    tests: Mapping[str, Batch]
    targets: Batch


def keys_of(seed: int | Array) -> Keys:
    """The keys of a seed, which may be traced."""
    return Keys(*jax.random.split(jax.random.key(seed), len(Keys._fields)))


def labelled(task: SignTask, inputs: Array) -> Batch:
    """Sequences with the teacher's labels."""
    return Batch(inputs, jax.vmap(lambda one: teacher_label(task, one))(inputs))


def problem_of(experiment: Experiment, keys: Keys) -> Problem:
    """The data of one seed; pure, so that seeds can be mapped over.

    Args:
      experiment: which.
      keys: of the seed.

    Returns:
      Training data, tests and targets.

    Raises:
      ImportError: digits without scikit-learn.

    Example:
      >>> from ssmbias.poison.catalogue import find_experiment
      >>> problem = problem_of(find_experiment("f1"), keys_of(0))
      >>> problem.train.inputs.shape, sorted(problem.tests)
      ((40, 32, 1), ['in_distribution', 'long', 'test'])
    """
    task = experiment.task
    if isinstance(task, DigitsTask):
        return _digits(task, keys)
    test_keys = jax.random.split(keys.tests, 3)
    inputs = {
        "test": generic_inputs(test_keys[0], task.num_test, task.seq_len),
        "long": generic_inputs(test_keys[1], task.num_test, 2 * task.seq_len),
        "in_distribution": training_inputs(test_keys[2], task, task.num_test),
    }
    return Problem(
        labelled(task, training_inputs(keys.train, task)),
        {name: labelled(task, x) for name, x in inputs.items()},
        labelled(task, generic_inputs(keys.targets, task.num_targets, task.seq_len)),
    )


def _digits(task: DigitsTask, keys: Keys) -> Problem:
    from ssmbias.data.tasks.digits import split_digits  # noqa: PLC0415  (an extra)

    split = split_digits(keys.train, task.classes, shots=task.shots, num_targets=task.num_targets)
    # Ordered by class as they come. Poisons are made of the first rows, and a group of a search has
    # neighbouring ones: class by class in turn, every part of them is balanced.
    train, targets = (_in_turn(Batch(part.inputs, part.labels), task) for part in split[:2])
    return Problem(train, {"test": Batch(split.test.inputs, split.test.labels)}, targets)


def _in_turn(batch: Batch, task: DigitsTask) -> Batch:
    """Examples that are ordered by class, equally many of each: one of each class after another."""
    num = len(task.classes)
    return Batch(*(x.reshape(num, -1, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape) for x in batch))
