"""Your own arrays as a task: the same training data for every seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssmbias.core.checks import require_int
from ssmbias.core.types import AnyArray, Array
from ssmbias.poison.batch import Batch
from ssmbias.poison.protocols import Problem
from ssmbias.poison.tasks.checked import checked_batch, checked_teacher

_MOST_TARGETS = 256
_FIXED = {"setting": False}


@dataclasses.dataclass(frozen=True, eq=False)
class ArraysTask:
    """Given training and test data; seeds differ in which tests are targets.

    Attributes:
      train_inputs, test_inputs: (n, length, features), in single or double precision.
      train_labels, test_labels: (n,), classes 0, 1, ... .
      teacher: from one sequence to its label, for poisons by hand; `None` where there is none.
      num_classes: how many there are.
      num_targets: tests that poison is brewed against and that judge nothing; `None` takes a
        quarter, 256 at most.

    Raises:
      ValueError: shapes, types, values or labels that do not fit.

    Example:
      >>> inputs, labels = np.zeros((8, 5, 1)), np.arange(8) % 2
      >>> task = ArraysTask(inputs, labels, inputs, labels)
      >>> {name: part.labels.shape[0] for name, part in task.draw(0).tests.items()}
      {'test': 6}
    """

    train_inputs: AnyArray = dataclasses.field(metadata=_FIXED)
    train_labels: AnyArray = dataclasses.field(metadata=_FIXED)
    test_inputs: AnyArray = dataclasses.field(metadata=_FIXED, repr=False)
    test_labels: AnyArray = dataclasses.field(metadata=_FIXED, repr=False)
    teacher: Callable[[Array], Array] | None = dataclasses.field(default=None, metadata=_FIXED)
    num_classes: int = dataclasses.field(default=2, metadata=_FIXED)
    num_targets: int = 0
    traced = False
    data_are_given = True

    def __post_init__(self) -> None:
        """Check everything at the door, and keep arrays of one type."""
        classes = require_int("num_classes", self.num_classes, minimum=2)
        train = checked_batch("train", self.train_inputs, self.train_labels, classes)
        test = checked_batch("test", self.test_inputs, self.test_labels, classes, like=train)
        if len(set(train.labels.tolist())) < 2:
            raise ValueError(
                f"train_labels: all are {train.labels[0]}; two classes are needed to learn anything"
            )
        dtype = np.result_type(train.inputs.dtype, test.inputs.dtype)
        num = test.labels.shape[0]
        targets = self.num_targets or min(_MOST_TARGETS, max(1, num // 4))
        require_int("num_targets", targets, minimum=1)
        if targets >= num:
            raise ValueError(
                f"num_targets={targets}: there are {num} test sequences, and some must be left to "
                "judge"
            )
        for name, value in {
            "train_inputs": np.asarray(train.inputs, dtype),
            "train_labels": train.labels,
            "test_inputs": np.asarray(test.inputs, dtype),
            "test_labels": test.labels,
            "teacher": checked_teacher(self.teacher, train, classes),
            "num_targets": targets,
        }.items():
            object.__setattr__(self, name, value)

    @property
    def seq_len(self) -> int:
        """Elements of a sequence."""
        return self.train_inputs.shape[1]

    @property
    def num_features(self) -> int:
        """Numbers in each element."""
        return self.train_inputs.shape[2]

    @property
    def num_train(self) -> int:
        """Training sequences."""
        return self.train_inputs.shape[0]

    @property
    def dtype(self) -> Any:
        """Of the inputs."""
        return self.train_inputs.dtype

    @property
    def box(self) -> tuple[float, float]:
        """Where all numbers lie."""
        parts = (self.train_inputs, self.test_inputs)
        return float(min(x.min() for x in parts)), float(max(x.max() for x in parts))

    @property
    def label(self) -> Callable[[Array], Array] | None:
        """The teacher."""
        return self.teacher

    def generic(self, key: Array, num: int) -> Array:
        """New sequences with the mean and deviation of every entry of the training data."""
        inputs = jnp.asarray(self.train_inputs)
        draw = jax.random.normal(key, (num, *inputs.shape[1:]), inputs.dtype)
        return jnp.mean(inputs, axis=0)[None] + jnp.std(inputs, axis=0)[None] * draw

    def draw(self, seed: Any) -> Problem:
        """The data, with some of the tests as targets."""
        test = Batch(np.asarray(self.test_inputs), np.asarray(self.test_labels))  # pyright: ignore[reportArgumentType]
        targets, rest = _two_parts(test, self.num_targets, int(seed))
        train = Batch(np.asarray(self.train_inputs), np.asarray(self.train_labels))  # pyright: ignore[reportArgumentType]
        return Problem(train, {"test": rest}, targets)


def _two_parts(batch: Batch, num: int, seed: int) -> tuple[Batch, Batch]:
    """Some examples, drawn by the seed, and the others."""
    order = np.random.default_rng(seed).permutation(batch.labels.shape[0])
    first, rest = np.sort(order[:num]), np.sort(order[num:])
    return Batch(*(x[first] for x in batch)), Batch(*(x[rest] for x in batch))
