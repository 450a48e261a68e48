"""How networks are trained: on all examples at every step, or by minibatches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ssmbias.core.checks import require_choice, require_int, require_number

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "constant")
EPOCH_SCHEDULES = ("same", "paper")

PAPER_MORE, PAPER_MARGIN = 2, 0.001
"""The published poisoned runs go on for up to so many times the epochs of the clean ones, until
the loss is that of base and this more."""


@dataclass(frozen=True)
class Training:
    """Full-batch training, the same in every arm.

    Attributes:
      steps: updates.
      learning_rate: at the start.
      weight_decay: decoupled, of "adamw".
      ssm_learning_rate: of the dynamics of S4D layers, without decay; `None`: as all others.
      optimizer: "adamw" or "sgd".
      schedule: "cosine" to 0 at the last step, or "constant".

    Raises:
      ValueError: an impossible choice; names the field.
    """

    steps: int = 500
    learning_rate: float = 0.005
    weight_decay: float = 0.01
    ssm_learning_rate: float | None = None
    optimizer: str = "adamw"
    schedule: str = "cosine"
    at_once: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse impossible choices."""
        require_int("steps", self.steps, minimum=1)
        for name in ("learning_rate", "ssm_learning_rate"):
            value = getattr(self, name)
            if (name, value) != ("ssm_learning_rate", None) and require_number(name, value) <= 0:
                raise ValueError(f"{name}={value!r}: must be greater than 0")
        if require_number("weight_decay", self.weight_decay) < 0:
            raise ValueError(f"weight_decay={self.weight_decay!r}: must be 0 or greater")
        require_choice("optimizer", self.optimizer, OPTIMIZERS)
        require_choice("schedule", self.schedule, SCHEDULES)


@dataclass(frozen=True)
class Minibatches:
    """Training by minibatches, augmented where the task can do so; the same in every arm.

    Attributes:
      epochs: passes over the training data.
      batch_size: examples of an update; the last batch of an epoch may be smaller.
      schedule: "same": cosine per epoch to a hundredth of the rate, in all arms. "paper": as
        published, where all arms but base have a cosine of three times the length, so that the
        rate is still at 75 % at the end, and go on for up to twice as many epochs, until the loss
        is that of base + .001. A trap: any difference to base may then be one of the schedule.
      learning_rate, weight_decay: of AdamW, at the start.
      ssm_learning_rate: of the dynamics of S4D layers, without decay; `None`: as all others.
      eval_batch: examples evaluated together.
      least_fitted: a run with a smaller accuracy on the base part has outcome 1.

    Raises:
      ValueError: an impossible choice; names the field.
    """

    epochs: int = 100
    batch_size: int = 64
    schedule: str = "same"
    learning_rate: float = 0.001
    weight_decay: float = 0.01
    ssm_learning_rate: float | None = 0.001
    eval_batch: int = 250
    least_fitted: float = 0.9
    at_once: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse impossible choices."""
        require_choice("schedule", self.schedule, EPOCH_SCHEDULES)
        for name in ("epochs", "batch_size", "eval_batch"):
            require_int(name, getattr(self, name), minimum=1)
        for name in ("learning_rate", "ssm_learning_rate"):
            value = getattr(self, name)
            if (name, value) != ("ssm_learning_rate", None) and require_number(name, value) <= 0:
                raise ValueError(f"{name}={value!r}: must be greater than 0")
        if require_number("weight_decay", self.weight_decay) < 0:
            raise ValueError(f"weight_decay={self.weight_decay!r}: must be 0 or greater")
        if not 0 <= require_number("least_fitted", self.least_fitted) <= 1:
            raise ValueError(f"least_fitted={self.least_fitted!r}: must lie in [0, 1]")

    def steps_per_epoch(self, num: int) -> int:
        """Updates of an epoch with so many examples."""
        return -(-num // self.batch_size)

    def epochs_of(self, *, adds: bool) -> tuple[int, int]:
        """The least and the largest number of epochs of an arm; `adds`: whether it adds examples.

        Example:
          >>> Minibatches().epochs_of(adds=True), Minibatches(schedule="paper").epochs_of(adds=True)
          ((100, 100), (100, 300))
        """
        longer = self.schedule == "paper" and adds
        return self.epochs, self.epochs * (1 + PAPER_MORE * longer)

    def is_done(self, epoch: int, loss: float, base_loss: float, *, adds: bool) -> bool:
        """Whether an arm ends after so many epochs.

        Args:
          epoch: epochs done.
          loss: of the last one.
          base_loss: of the last epoch of base; read by the published schedule only.
          adds: whether the arm adds examples, so is another one than base.

        Returns:
          Whether it does. A loss that is not a number ends at the largest number of epochs.
        """
        least, most = self.epochs_of(adds=adds)
        fitted = math.isfinite(loss) and loss <= base_loss + PAPER_MARGIN
        return epoch >= most or (least < most and epoch >= least and fitted)


def as_minibatches(training: Training | Minibatches) -> Minibatches:
    """The training of an experiment whose seeds are trained one by one."""
    if not isinstance(training, Minibatches):
        raise ValueError(f"training={training!r}: trains all seeds at once; pass Minibatches(...)")
    return training


def as_full_batch(training: Training | Minibatches) -> Training:
    """The training of an experiment whose seeds are trained at once."""
    if not isinstance(training, Training):
        raise ValueError(f"training={training!r}: trains seeds one by one; pass Training(...)")
    return training
