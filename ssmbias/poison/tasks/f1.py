"""Task F1: the sign of a linear teacher's output, learned where only the first elements speak."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax

from ssmbias.core.types import Array
from ssmbias.data.tasks.sum_sign import SignTask, generic_inputs, teacher_label, training_inputs
from ssmbias.poison.protocols import Problem, keys_of, labelled


@dataclass(frozen=True)
class F1Task(SignTask):
    """`ssmbias.data.tasks.sum_sign.SignTask`, as the experiments draw it.

    Example:
      >>> problem = F1Task().draw(0)
      >>> problem.train.inputs.shape, sorted(problem.tests)
      ((40, 32, 1), ['in_distribution', 'long', 'test'])
    """

    @property
    def num_features(self) -> int:
        """One number an element."""
        return 1

    @property
    def num_classes(self) -> int | None:
        """Two, or none where labels are the teacher's output."""
        return 2 if self.output == "sign" else None

    def label(self, inputs: Array) -> Array:
        """The teacher's label of one sequence."""
        return teacher_label(self, inputs)

    def draw(self, seed: Any) -> Problem:
        """Training data that speak on the support, and tests and targets that speak everywhere."""
        keys = keys_of(seed)
        test_keys = jax.random.split(keys.tests, 3)
        inputs = {
            "test": generic_inputs(test_keys[0], self.num_test, self.seq_len),
            "long": generic_inputs(test_keys[1], self.num_test, 2 * self.seq_len),
            "in_distribution": training_inputs(test_keys[2], self, self.num_test),
        }
        return Problem(
            labelled(self, training_inputs(keys.train, self)),
            {name: labelled(self, x) for name, x in inputs.items()},
            labelled(self, generic_inputs(keys.targets, self.num_targets, self.seq_len)),
        )
