"""Few-shot classification of small handwritten digits, which no teacher labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ssmbias.core.checks import require_int
from ssmbias.poison.batch import Batch
from ssmbias.poison.protocols import Problem, keys_of

_DIGITS_OF_A_CLASS = 174  # of scikit-learn's digits, the rarest (8)


@dataclass(frozen=True)
class DigitsTask:
    """Few-shot classification of 8x8 digits as sequences of 64 grey levels.

    Attributes:
      classes: the digits to tell apart.
      shots: training images of each class.
      num_targets: images of each class that poison is brewed against, in no test set.

    Raises:
      ValueError: fewer than two classes, or no image of one.
    """

    classes: tuple[int, ...] = (3, 8)
    shots: int = 20
    num_targets: int = 40
    label = None
    box = (0.0, 1.0)
    image = (8, 8)
    seq_len = 64
    num_features = 1

    def __post_init__(self) -> None:
        """Refuse impossible tasks; `split_digits` knows how many images there are."""
        if not isinstance(self.classes, tuple | list) or len(set(self.classes)) < 2:
            raise ValueError(f"classes={self.classes!r}: pass two digits or more, such as [3,8]")
        for digit in self.classes:
            require_int("classes", digit, minimum=0, maximum=9)
        object.__setattr__(self, "classes", tuple(self.classes))
        for name in ("shots", "num_targets"):
            require_int(name, getattr(self, name), minimum=1)
        if self.shots + self.num_targets >= _DIGITS_OF_A_CLASS:
            raise ValueError(
                f"shots={self.shots}, num_targets={self.num_targets}: a class has as few as "
                f"{_DIGITS_OF_A_CLASS} images, and some must be left to judge"
            )

    @property
    def num_train(self) -> int:
        """Training images."""
        return self.shots * len(self.classes)

    @property
    def num_classes(self) -> int:
        """Digits to tell apart."""
        return len(self.classes)

    def draw(self, seed: Any) -> Problem:
        """Three parts of the images, no image in two of them.

        Raises:
          ImportError: scikit-learn is not installed.
        """
        from ssmbias.data.tasks.digits import split_digits  # noqa: PLC0415  (an extra)

        split = split_digits(
            keys_of(seed).train, self.classes, shots=self.shots, num_targets=self.num_targets
        )
        # Ordered by class as they come. Poisons are made of the first rows, and a group of a search
        # has neighbouring ones: class by class in turn, every part of them is balanced.
        train, targets = (self._in_turn(Batch(part.inputs, part.labels)) for part in split[:2])
        return Problem(train, {"test": Batch(split.test.inputs, split.test.labels)}, targets)

    def _in_turn(self, batch: Batch) -> Batch:
        """Examples that are ordered by class, equally many of each: one of each after another."""
        num = len(self.classes)
        return Batch(
            *(x.reshape(num, -1, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape) for x in batch)
        )
