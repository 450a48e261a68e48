"""Data that a function of yours splits, for each seed anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ssmbias.core.types import AnyArray, Array
from ssmbias.poison.batch import Batch
from ssmbias.poison.protocols import Problem
from ssmbias.poison.tasks.arrays import ArraysTask
from ssmbias.poison.tasks.checked import checked_batch


class SplitTask:
    """Data that a function of yours splits, for each seed anew.

    Args:
      split: `split(seed) -> (train_inputs, train_labels, test_inputs, test_labels)` of NumPy
        arrays, or six with target_inputs and target_labels at the end; shapes must not depend on
        the seed.
      teacher: from one sequence to its label; `None` where there is none.
      num_classes: labels are 0, 1, ... below it.
      num_targets: tests that are targets, where `split` gives none; 0 is a quarter of them.

    Raises:
      ValueError: what `split(0)` gives does not fit.

    Example:
      >>> def split(seed):
      ...     inputs = np.random.default_rng(seed).normal(size=(30, 8, 1))
      ...     labels = (inputs.sum(axis=(1, 2)) > 0).astype(int)
      ...     return inputs[:10], labels[:10], inputs[10:], labels[10:]
      >>> SplitTask(split).draw(3).train.inputs.shape
      (10, 8, 1)
    """

    traced = False

    def __init__(
        self,
        split: Callable[[int], tuple[AnyArray, ...]],
        *,
        teacher: Callable[[Array], Array] | None = None,
        num_classes: int = 2,
        num_targets: int = 0,
    ) -> None:
        if not callable(split):
            raise ValueError(f"split={split!r}: pass a function of the seed")
        self.split, self.teacher = split, teacher
        self.num_classes, self._wanted = num_classes, num_targets
        first = self._part(0)
        self.label, self.box = first.label, None
        self._shapes = [x.shape for x in jax.tree.leaves(self.draw(0))]
        self.seq_len, self.num_features = first.seq_len, first.num_features
        self.num_train, self.dtype = first.num_train, first.dtype
        self.num_targets = self.draw(0).targets.labels.shape[0]

    def _part(self, seed: int) -> ArraysTask:
        """What the function gives, checked; targets aside."""
        found = self.split(seed)
        if not isinstance(found, tuple | list) or len(found) not in (4, 6):
            raise ValueError(
                f"split({seed}): expected (train_inputs, train_labels, test_inputs, test_labels), "
                "or six arrays with target_inputs and target_labels at the end"
            )
        first, second, third, fourth = found[:4]
        return ArraysTask(
            first, second, third, fourth, self.teacher, self.num_classes, self._wanted
        )

    def draw(self, seed: Any) -> Problem:
        """The data of a seed."""
        seed = int(seed)
        part, found = self._part(seed), self.split(seed)
        problem = part.draw(seed)
        if len(found) == 6:
            train = problem.train
            targets = checked_batch("target", *found[4:], self.num_classes, like=train)
            tests = Batch(np.asarray(part.test_inputs), np.asarray(part.test_labels))  # pyright: ignore[reportArgumentType]
            problem = Problem(train, {"test": tests}, targets)
        shapes = [x.shape for x in jax.tree.leaves(problem)]
        if shapes != getattr(self, "_shapes", shapes):
            raise ValueError(
                f"split({seed}): arrays have other shapes than those of split(0); give equally "
                "many for every seed"
            )
        return problem
