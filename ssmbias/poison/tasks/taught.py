"""Random sequences that a teacher of yours labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssmbias.core.checks import require_int
from ssmbias.core.types import Array
from ssmbias.poison.batch import Batch
from ssmbias.poison.protocols import Problem, keys_of, labelled
from ssmbias.poison.tasks.checked import checked_teacher

_FIXED = {"setting": False}


@dataclasses.dataclass(frozen=True)
class TeacherTask:
    """Random sequences that a teacher of yours labels; training ones speak at the start only.

    Attributes:
      teacher: from one sequence to its label, 0 or 1, written with `jax.numpy`.
      seq_len: elements of a sequence.
      num_features: numbers in each.
      support: training sequences are N(0, 1) at so many first positions and 0 elsewhere; tests and
        targets are N(0, 1) everywhere. 0 is all of them.
      num_train, num_test, num_targets: how many there are.
      num_classes: labels are below it.

    Raises:
      ValueError: an impossible size, or a teacher that gives no labels.

    Example:
      >>> task = TeacherTask(lambda u: u[0, 0] > 0, seq_len=8, support=2)
      >>> task.draw(0).train.inputs.shape
      (40, 8, 1)
    """

    teacher: Callable[[Array], Array] = dataclasses.field(metadata=_FIXED)
    seq_len: int = 32
    num_features: int = 1
    support: int = 0
    num_train: int = 40
    num_test: int = 2000
    num_targets: int = 256
    num_classes: int = dataclasses.field(default=2, metadata=_FIXED)

    def __post_init__(self) -> None:
        """Refuse impossible sizes, and what is no teacher."""
        for name in ("seq_len", "num_features", "num_train", "num_test", "num_targets"):
            require_int(name, getattr(self, name), minimum=1)
        require_int("support", self.support, minimum=0, maximum=self.seq_len)
        require_int("num_classes", self.num_classes, minimum=2)
        one = Batch(np.zeros((1, self.seq_len, self.num_features)), np.zeros(1, np.int32))  # pyright: ignore[reportArgumentType]
        checked = checked_teacher(self.teacher, one, self.num_classes, agrees=False)
        if checked is None:
            raise ValueError("teacher=None: pass a function of one sequence")
        object.__setattr__(self, "teacher", checked)

    def label(self, inputs: Array) -> Array:
        """The teacher's label of one sequence."""
        return self.teacher(inputs)

    def draw(self, seed: Any) -> Problem:
        """Training data that speak on the support, and tests and targets that speak everywhere."""
        keys = keys_of(seed)

        def inputs(key: Array, num: int) -> Array:
            return jax.random.normal(key, (num, self.seq_len, self.num_features))

        speaks = jnp.arange(self.seq_len) < (self.support or self.seq_len)
        train = inputs(keys.train, self.num_train) * speaks[None, :, None]
        return Problem(
            labelled(self, train),
            {"test": labelled(self, inputs(keys.tests, self.num_test))},
            labelled(self, inputs(keys.targets, self.num_targets)),
        )
