"""The published experiment on CIFAR-10: every choice in one frozen dataclass.

It is an `Experiment` like the others: images as the task, networks in mixed precision, training by
minibatches. What is published is the default, with the arms that it lacks. Differences, on purpose:
every arm has the same clean part, start and schedule; targets are in no test set; all seeds are
those given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ssmbias.core.checks import require_choice, require_int, require_number
from ssmbias.data.tasks.images import ORDERS
from ssmbias.models.networks.config import SequenceConfig, cifar_config
from ssmbias.models.networks.groups import cifar_optimizer
from ssmbias.poison.arms.poisons import Poisons
from ssmbias.poison.arms.registry import require_arms, with_needed
from ssmbias.poison.changes import require_seeds
from ssmbias.poison.networks.images import ImageNetwork
from ssmbias.poison.search.matching_config import MatchingConfig
from ssmbias.poison.settings import Experiment
from ssmbias.poison.tasks.images import ImagesTask
from ssmbias.poison.training.settings import EPOCH_SCHEDULES, Minibatches

MODELS = ("s4d", "lru", "mamba2")
DTYPES = ("bfloat16", "float32")

FULL_ARMS = ("base", "dup", "found", "found_late", "found_early", "random", "found_rows")
"""The arms that run unless others are asked for, in the order in which they run."""

PUBLISHED_STRENGTH = 1e-7 / 0.247**2
"""The published weight of the penalty by rows, for pixels in [0, 1]: theirs are divided by .247."""

NUM_CLASSES = 10
_LEAST = 3 * NUM_CLASSES


class Sizes(NamedTuple):
    """Images of each part, after `fraction`."""

    clean: int
    poisons: int
    targets: int


@dataclass(frozen=True)
class FullSettings:
    r"""Data, network, training and attack.

    Arms, with the same clean part everywhere:

    | arm | besides the clean part |
    |---|---|
    | base | the poison part, as it is |
    | dup | the poison part twice, as it is |
    | found | the poison part as it is, and perturbed by gradient matching against base |
    | random | the same, with random perturbations of the same norms within the same budget |
    | found_late, found_early | found, held to the end or to the beginning of the sequence |
    | found_rows | found, with the published penalty by rows of the image |

    Attributes:
      model: "s4d", "lru" or "mamba2".
      data: the path given to `ssmbias.data.tasks.cifar10.load_cifar10`.
      arms: which; those that others are made from run in any case.
      seeds: of the draw of images, the start, the training and the attack.
      fraction: of all images and of every number of them; .01 tries everything out. At least 30 of
        each part remain.
      num_clean: training images that are never perturbed.
      num_poisons: training images of which a perturbed copy is added.
      num_targets: test images that poison is brewed against. All others judge.
      order: how "s4d" and "lru" read an image, see `ssmbias.data.tasks.images.as_sequence`.
      epochs: passes over the training data.
      batch_size: of training.
      schedule: "same": cosine per epoch to a hundredth of the rate, in all arms. "paper": as
        published, where all arms but base have a cosine of three times the length, so that the
        rate is still at 75 % at the end, and go on for up to twice as many epochs, until the loss
        is that of base + .001. A trap: any difference to base may then be one of the schedule.
      dtype: between the layers in training, "bfloat16" or "float32". Parameters, optimiser, losses
        and the attack are in single precision always: slopes of which only the sign counts are
        not rounded to 8 bits.
      budget: of pixels in [0, 1].
      brew_steps: updates of a restart.
      restarts: of the attack.
      group_size: targets of a group.
      groups_at_once: groups of the attack in memory together.
      row_strength: weight of the penalty of found_rows, for pixels in [0, 1].
      position_strength: of that of found_late and found_early, relative: with 1 the mean penalty at
        the budget has the slope of the typical matching objective. One as weak as the published
        one decides nothing (`ssmbias.poison.search.weighting`).
      eval_batch: images evaluated together.
      least_fitted: a run with a smaller accuracy on the base part has outcome 1.
      channels, num_layers, state_dim: of the network, where not as published.

    Raises:
      ValueError: an impossible choice; names the field.

    Example:
      >>> settings = FullSettings("lru", fraction=0.01)
      >>> settings.sizes, settings.steps_per_epoch("dup")
      (Sizes(clean=100, poisons=100, targets=30), 5)

    References:
      Slutzky et al. (2025), arXiv:2410.10473, the experiments on CIFAR-10; base with the same
      schedule, dup, random, found_late, found_early and the split of the test set are ours.
    """

    model: str = "s4d"
    data: str = "cifar-10-batches-bin"
    arms: tuple[str, ...] = FULL_ARMS
    seeds: tuple[int, ...] = tuple(range(8))
    fraction: float = 1.0
    num_clean: int = 10_000
    num_poisons: int = 10_000
    num_targets: int = 3_000
    order: str = "published"
    epochs: int = 100
    batch_size: int = 64
    schedule: str = "same"
    dtype: str = "bfloat16"
    budget: float = 16 / 255
    brew_steps: int = 250
    restarts: int = 8
    group_size: int = 50
    groups_at_once: int = 1
    row_strength: float = PUBLISHED_STRENGTH
    position_strength: float = 1.0
    eval_batch: int = 250
    least_fitted: float = 0.2
    channels: int | None = None
    num_layers: int | None = None
    state_dim: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be run, before anything is read or compiled."""
        require_choice("model", self.model, MODELS)
        require_choice("order", self.order, ORDERS)
        require_choice("schedule", self.schedule, EPOCH_SCHEDULES)
        require_choice("dtype", self.dtype, DTYPES)
        if not 0 < require_number("fraction", self.fraction) <= 1:
            raise ValueError(f"fraction={self.fraction!r}: must be above 0 and at most 1")
        for name in (
            "num_clean", "num_poisons", "num_targets", "epochs", "batch_size", "eval_batch",
        ):  # fmt: skip
            require_int(name, getattr(self, name), minimum=1)
        if not 0 < require_number("budget", self.budget) <= 1:
            raise ValueError(
                f"budget={self.budget!r}: must be above 0 and at most 1, of pixels in [0, 1]; "
                f"the published one is 16/255"
            )
        if not 0 <= require_number("least_fitted", self.least_fitted) <= 1:
            raise ValueError(f"least_fitted={self.least_fitted!r}: must lie in [0, 1]")
        for name in ("row_strength", "position_strength"):
            if not require_number(name, getattr(self, name)) > 0:
                raise ValueError(f"{name}={getattr(self, name)!r}: must be greater than 0")
        require_int("group_size", self.group_size, minimum=1)
        object.__setattr__(self, "seeds", require_seeds(self.seeds))
        network_of(self)
        self._check_groups()
        arms = require_arms(self.experiment(), self.arms)
        object.__setattr__(self, "arms", tuple(arm.name for arm in arms))

    def _check_groups(self) -> None:
        """Every group of targets needs a poison; as in `ssmbias.poison.search.groups.allocate`."""
        _, poisons, targets = self.sizes
        high = round(targets / 3)
        cut = round(poisons / 2)
        parts = [(targets, poisons)]
        if 0 < high < targets:
            parts = [(high, cut), (targets - high, poisons - cut)]
        for num, given in parts:
            groups = max(1, round(num / self.group_size))
            if given < groups:
                raise ValueError(
                    f"num_poisons={poisons}: {groups} groups of targets share {given} poisons; "
                    "take more poisons, fewer targets or a larger group_size"
                )

    @property
    def sizes(self) -> Sizes:
        """Images of each part."""
        numbers = (self.num_clean, self.num_poisons, self.num_targets)
        if self.fraction == 1:
            return Sizes(*numbers)
        return Sizes(*(max(min(n, _LEAST), round(self.fraction * n)) for n in numbers))

    def steps_per_epoch(self, arm: str) -> int:
        """Updates of an epoch; the last batch may be smaller."""
        num = self.sizes.clean + (1 if arm == "base" else 2) * self.sizes.poisons
        return -(-num // self.batch_size)

    @property
    def layout(self) -> str:
        """The sequence that the network sees, see `ssmbias.poison.tasks.layouts.to_layout`."""
        return "tokens" if self.model == "mamba2" else self.order

    def arms_to_run(self) -> tuple[str, ...]:
        """The arms, with those that they are made from, in order.

        Example:
          >>> FullSettings(arms=("random",)).arms_to_run()
          ('base', 'found', 'random')
        """
        experiment = self.experiment()
        arms = require_arms(experiment, self.arms)
        return tuple(arm.name for arm in with_needed(experiment, arms))

    def experiment(self) -> Experiment:
        """The same as a task, a network, a training and poisons."""
        sizes, rates = self.sizes, cifar_optimizer(self.model)
        return Experiment(
            name="cifar10",
            title=self._title(),
            task=ImagesTask(*sizes, self.layout, self.fraction, self.data),
            network=ImageNetwork(network_of(self), self.layout),
            training=Minibatches(
                epochs=self.epochs,
                batch_size=self.batch_size,
                schedule=self.schedule,
                learning_rate=rates.learning_rate,
                weight_decay=rates.weight_decay,
                ssm_learning_rate=rates.ssm_learning_rate,
                eval_batch=self.eval_batch,
                least_fitted=self.least_fitted,
            ),
            poisons=Poisons(
                num_poisons=sizes.poisons,
                found_carrier="copies",
                matching=MatchingConfig(
                    budget=self.budget,
                    box=(0.0, 1.0),
                    steps=self.brew_steps,
                    restarts=self.restarts,
                    weighting_strength=self.row_strength,
                    relative_strength=self.position_strength,
                    group_size=self.group_size,
                    groups_at_once=self.groups_at_once,
                    num_classes=NUM_CLASSES,
                ),
            ),
        )

    def _title(self) -> str:
        title = f"CIFAR-10, {self.model}"
        if self.layout != "tokens":
            title += f", {self.order} order"
        if self.fraction != 1:
            title += f", {100 * self.fraction:g} % of the images"
        return title


def network_of(settings: FullSettings, dtype: str | None = None) -> SequenceConfig:
    """The network, in single precision with `dtype` (default: that of the settings) in between.

    Example:
      >>> network_of(FullSettings("mamba2", channels=8)).layer_options
      (('head_dim', 16),)
    """
    names = ("channels", "num_layers", "state_dim")
    changes = {n: getattr(settings, n) for n in names if getattr(settings, n) is not None}
    if settings.model == "mamba2" and settings.channels is not None:
        # The published heads of 64 share 256; fewer channels have one head.
        inner = 2 * require_int("channels", settings.channels, minimum=1)
        changes["layer_options"] = {"head_dim": 64 if inner % 64 == 0 else inner}
    return cifar_config(
        settings.model, param_dtype="float32", compute_dtype=dtype or settings.dtype, **changes
    )
