"""What an experiment with poison consists of, as frozen dataclasses, and how it is changed.

An `Experiment` has four parts: the task, the network, its training, and the poisons. The names of
all their fields differ, so that an override such as `scale=0.02` says where it belongs.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ssmbias.core.checks import require_choice, require_int, require_number
from ssmbias.data.tasks.sum_sign import SignTask
from ssmbias.models.networks.config import SequenceConfig
from ssmbias.poison.matching_config import MatchingConfig

CARRIERS = ("zero", "copies")
"""What a poison by hand or by search is added to: a zero sequence, or copies of training data."""

_DIGITS_OF_A_CLASS = 174  # of scikit-learn's digits, the rarest (8)

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "constant")


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
    def seq_len(self) -> int:
        """Pixels of an image."""
        return 64


@dataclass(frozen=True)
class PaperNetwork:
    """The SSM of the paper's theory inside a ReLU network without biases, for one feature.

    Attributes:
      state_dim: states of the diagonal SSM.
      hidden: widths of the hidden layers.
      sd_a, sd_bc, sd_head: standard deviations of the initial values of a, of b and c, and of the
        matrices, as in `ssmbias.models.networks.paper.SSMNetwork`.
    """

    state_dim: int = 10
    hidden: tuple[int, ...] = (15, 15)
    sd_a: float = 0.3
    sd_bc: float = 0.3
    sd_head: float = 0.3

    def __post_init__(self) -> None:
        """Refuse impossible shapes and scales."""
        require_int("state_dim", self.state_dim, minimum=1)
        for name in ("sd_a", "sd_bc", "sd_head"):
            if not require_number(name, getattr(self, name)) > 0:
                raise ValueError(f"{name}={getattr(self, name)!r}: must be greater than 0")
        if not isinstance(self.hidden, tuple | list):
            raise ValueError(f"hidden={self.hidden!r}: pass widths, such as [15,15]")
        for width in self.hidden:
            require_int("hidden", width, minimum=1)
        object.__setattr__(self, "hidden", tuple(self.hidden))


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


FREE_SEARCH = MatchingConfig(0.05, restarts=1, keep="best", weighting_strength=0.03)
"""A search for whole sequences. The penalty of late or early elements is of the size of slopes:
the objective changes by about 1 over 640 entries of up to .05, hence by .03 an entry and unit.
"""


@dataclass(frozen=True)
class Poisons:
    r"""Poisons by hand, and those found by gradient matching.

    Attributes:
      num_poisons: extra sequences of an arm.
      scale: standard deviation of the elements of sequences by hand.
      width: how many elements of a sequence by hand differ from its carrier.
      carrier: "zero" places them in zero sequences, "copies" adds them to training sequences.
      opposing: the elements get the sign against the label of their carrier ("copies" only).
      found_carrier: what found poisons are perturbations of.
      victim_steps: updates after which the clean network is taken that poison is brewed for;
        `None`, or more than there are, is the end of its training. It starts as the arms do.
      matching: budget and search of the found ones.

    Raises:
      ValueError: an impossible choice; names the field.
    """

    num_poisons: int = 20
    scale: float = 0.05
    width: int = 2
    carrier: str = "zero"
    opposing: bool = False
    found_carrier: str = "zero"
    victim_steps: int | None = None
    matching: MatchingConfig = field(default_factory=lambda: FREE_SEARCH)

    def __post_init__(self) -> None:
        """Refuse impossible choices."""
        require_int("num_poisons", self.num_poisons, minimum=1)
        require_int("width", self.width, minimum=1)
        if require_number("scale", self.scale) <= 0:
            raise ValueError(f"scale={self.scale!r}: must be greater than 0")
        for name in ("carrier", "found_carrier"):
            require_choice(name, getattr(self, name), CARRIERS)
        if self.victim_steps is not None:
            require_int("victim_steps", self.victim_steps, minimum=0)
        if not isinstance(self.opposing, bool):
            raise ValueError(f"opposing={self.opposing!r}: must be true or false")
        if self.opposing and self.carrier != "copies":
            raise ValueError(
                "opposing=true: only elements of carrier=copies have a label to oppose"
            )


@dataclass(frozen=True)
class Experiment:
    """One experiment: everything but the seeds and the arms.

    Attributes:
      name: in the registry.
      title: what it shows, in a line.
      task, network, training, poisons: its parts.
      tuning_seeds: seeds that chose a setting, which must never judge it.
      expected: pairs of attack and the verdict that is documented for it (docs/findings.md).

    Raises:
      ValueError: parts that do not fit together.
    """

    name: str
    title: str
    task: SignTask | DigitsTask
    network: SequenceConfig | PaperNetwork
    training: Training = Training()
    poisons: Poisons = Poisons()
    tuning_seeds: tuple[int, ...] = ()
    expected: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Refuse parts that contradict each other, before anything is compiled."""
        poisons, task = self.poisons, self.task
        if poisons.width > task.seq_len:
            raise ValueError(
                f"width={poisons.width}: sequences have {task.seq_len} elements; give at most that"
            )
        available = self.num_base
        if poisons.num_poisons > available:
            raise ValueError(
                f"num_poisons={poisons.num_poisons}: the arm dup copies training sequences, of "
                f"which there are {available}; give at most that"
            )
        self._check_search()
        if isinstance(self.network, SequenceConfig):
            outputs = self.num_outputs
            if self.network.num_outputs != outputs or self.network.features != 1:
                raise ValueError(
                    f"num_outputs={self.network.num_outputs}, features={self.network.features}: "
                    f"this task needs {outputs} and 1"
                )
        elif self.num_outputs != 1:
            raise ValueError("network: that of the paper has one output; take two classes")
        elif isinstance(task, SignTask) and task.output != "sign":
            raise ValueError(f"output={task.output!r}: the paper's network is for output=sign here")

    def _check_search(self) -> None:
        """Refuse a search that could not begin."""
        search, num = self.poisons.matching, self.poisons.num_poisons
        for what, most in (("num_poisons", num), ("num_targets", self.task.num_targets)):
            if search.num_groups > most:
                raise ValueError(
                    f"brew_num_groups={search.num_groups}: {what} is {most}; give at most that"
                )
        if search.box is not None and self.has_teacher:
            raise ValueError(
                f"brew_box={search.box}: sequences of this task have no bounds; leave it out"
            )
        if search.box is not None and not (search.box[0] <= 0 and search.box[1] >= 1):
            raise ValueError(
                f"brew_box={search.box}: grey levels lie in [0, 1], which the box must contain"
            )

    @property
    def num_base(self) -> int:
        """Training sequences without poison."""
        task = self.task
        if isinstance(task, SignTask):
            return task.num_train
        return task.shots * len(task.classes)

    @property
    def num_outputs(self) -> int:
        """Outputs of the network: one for two classes or a value, else one a class."""
        task = self.task
        return len(task.classes) if isinstance(task, DigitsTask) and len(task.classes) > 2 else 1

    @property
    def has_teacher(self) -> bool:
        """Whether every sequence has a label, because a teacher gives it."""
        return isinstance(self.task, SignTask)

    @property
    def chance(self) -> float:
        """Accuracy of guessing."""
        return 0.5 if isinstance(self.task, SignTask) else 1.0 / len(self.task.classes)


_PARTS = ("task", "network", "training", "poisons")
# What follows from the task, or from the arm, or makes no difference to results.
_FIXED = {"matching", "num_outputs", "features", "param_dtype", "encoder"}
# Runs here are not random: nothing is dropped.
_FIXED |= {"dropout", "inner_dropout", "tied_dropout"}
_SEARCH_FIXED = {"weighting", "image", "num_classes", "groups_at_once"}


def changed(experiment: Experiment, overrides: Mapping[str, Any]) -> Experiment:
    """The experiment with some settings replaced.

    Args:
      experiment: where to begin.
      overrides: values by the name of a field of the task, network, training or poisons; of the
        search for poisons `budget`, and others with `brew_` in front, such as `brew_steps`.

    Returns:
      A new experiment; it keeps its name, and its title says what was changed.

    Raises:
      ValueError: an unknown name, or an impossible value.

    Example:
      >>> from ssmbias.poison.catalogue import find_experiment
      >>> changed(find_experiment("f1"), {"scale": 0.02, "budget": 0.1}).poisons.matching.budget
      0.1
    """
    if not overrides:
        return experiment
    known = known_fields(experiment)
    for name, value in overrides.items():
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            listed = ", ".join(sorted(known))
            raise ValueError(f"{name}={value!r}: unknown setting; {hint}known are {listed}")
    parts: dict[str, Any] = {}
    for name, value in overrides.items():
        part, field_name = known[name]
        old = parts.get(part, {})
        parts[part] = old | {field_name: tuple(value) if isinstance(value, list) else value}
    if "layer" in overrides and "layer_options" not in overrides:
        parts["network"]["layer_options"] = ()  # those of another layer mean nothing to it
    search = parts.pop("matching", None)
    if search:
        matching = _replaced(experiment.poisons.matching, search)
        parts["poisons"] = parts.get("poisons", {}) | {"matching": matching}
    made = {part: _replaced(getattr(experiment, part), new) for part, new in parts.items()}
    task, network = made.get("task"), made.get("network", experiment.network)
    if isinstance(task, DigitsTask) and isinstance(network, SequenceConfig):
        outputs = len(task.classes) if len(task.classes) > 2 else 1
        made["network"] = dataclasses.replace(network, num_outputs=outputs)
    said = ", ".join(f"{name}={value}" for name, value in sorted(overrides.items()))
    return dataclasses.replace(experiment, title=f"{experiment.title} ({said})", **made)


def known_fields(experiment: Experiment) -> dict[str, tuple[str, str]]:
    """The part and the field of every name that `changed` takes for this experiment."""
    found = {}
    for part in _PARTS:
        for one in dataclasses.fields(getattr(experiment, part)):
            if one.name not in _FIXED:
                found[one.name] = (part, one.name)
    for one in dataclasses.fields(experiment.poisons.matching):
        if one.name not in _SEARCH_FIXED:
            name = one.name if one.name == "budget" else f"brew_{one.name}"
            found[name] = ("matching", one.name)
    return found


def _replaced(part: Any, fields: Mapping[str, Any]) -> Any:
    """A part with some fields set otherwise."""
    try:
        return dataclasses.replace(part, **fields)
    except TypeError as err:  # a number where a list is expected, say
        given = ", ".join(f"{name}={value!r}" for name, value in fields.items())
        raise ValueError(f"{given}: {err}") from err


def require_seeds(seeds: Iterable[int]) -> tuple[int, ...]:
    """Return the seeds, or raise `ValueError`: none, one twice, or no number from 0 to 2^31 - 1."""
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        raise ValueError(f"seeds={seeds!r}: pass a list or a range of integers, such as range(20)")
    found = tuple(require_int("seeds", seed, minimum=0, maximum=2**31 - 1) for seed in seeds)
    if not found:
        raise ValueError("seeds=[]: give at least one")
    for seed in found:
        if found.count(seed) > 1:
            raise ValueError(f"seeds={seed}: is given twice")
    return found
