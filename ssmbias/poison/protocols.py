"""What an experiment asks of a task and of a network: two protocols, kept by ours and by yours.

Everything that one seed draws follows from that seed alone: all arms of a seed have the same
training data, start, tests and draws, and differ in their extra sequences only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax

from ssmbias.core.types import Array
from ssmbias.poison.batch import Batch, Params


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
      tests: what judges, by name; "test" must be there. F1 adds "in_distribution" (as the training
        data) and "long" (twice the length).
      targets: what poison is brewed against, in none of the tests.
    """

    train: Batch
    tests: Mapping[str, Batch]
    targets: Batch


def keys_of(seed: int | Array) -> Keys:
    """The keys of a seed, which may be traced."""
    return Keys(*jax.random.split(jax.random.key(seed), len(Keys._fields)))


@runtime_checkable
class Task(Protocol):
    """What a network learns, is attacked against and is judged by.

    Further attributes are used where a task has them: `traced` (False: `draw` wants a Python
    integer, as NumPy does, and is called once a seed), `dtype` of the inputs (JAX's default),
    `box` (bounds that every input keeps, such as (0, 1)), `image` (height and width of the picture
    that a sequence is), `response(length)` (the impulse response of a linear teacher), `chance`
    (accuracy of guessing; else 1 / num_classes), `copied(train, num)` (which training examples are
    copied and perturbed; else the first ones).
    """

    @property
    def seq_len(self) -> int:
        """Elements of a sequence."""
        ...

    @property
    def num_features(self) -> int:
        """Numbers in each element."""
        ...

    @property
    def num_train(self) -> int:
        """Training sequences without poison."""
        ...

    @property
    def num_targets(self) -> int:
        """Sequences that poison is brewed against."""
        ...

    @property
    def num_classes(self) -> int | None:
        """Labels are 0, 1, ... below this; `None`: labels are values, and their sign counts."""
        ...

    @property
    def label(self) -> Callable[[Array], Array] | None:
        """The teacher, from one sequence to its label; `None` where new ones have no label."""
        ...

    def draw(self, seed: Any) -> Problem:
        """The data of a seed; a pure function that JAX can trace, unless `traced` is False."""
        ...


@runtime_checkable
class Network(Protocol):
    """A network as a pair of pure functions of one example.

    Where a network also has `groups(params)`, a tree like the parameters with "ssm" or "general"
    in every place, those named "ssm" are trained with `ssm_learning_rate` and without decay.
    """

    def init(self, key: Array, example: Array) -> Params:
        """Random parameters for inputs like the example, (length, features)."""
        ...

    def apply(self, params: Params, inputs: Array) -> Array:
        """The outputs for one input: one for two classes or a value, or one a class."""
        ...


def chance_of(task: Task) -> float:
    """Accuracy of guessing.

    Example:
      >>> from ssmbias.poison.tasks.digits import DigitsTask
      >>> chance_of(DigitsTask((3, 8, 5, 1)))
      0.25
    """
    given = getattr(task, "chance", None)
    return 1.0 / (task.num_classes or 2) if given is None else float(given)


def outputs_for(task: Task) -> int:
    """One output for two classes or a value, else one a class."""
    classes = task.num_classes
    return 1 if classes is None or classes == 2 else classes


def labelled(task: Task, inputs: Array) -> Batch:
    """Sequences with the teacher's labels."""
    assert task.label is not None
    return Batch(inputs, jax.vmap(task.label)(inputs))


def copied(task: Task, train: Batch, num: int) -> Batch:
    """The training examples that copies and perturbations are made of."""
    choose = getattr(task, "copied", None)
    return Batch(*(x[:num] for x in train)) if choose is None else choose(train, num)
