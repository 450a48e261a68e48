"""What an experiment with poison consists of: task, network, training and poisons.

The names of all their fields differ, so that an override such as `scale=0.02` says where it
belongs (`ssmbias.poison.changes`). Task and network may be yours: see `ssmbias.poison.protocols`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ssmbias.core.checks import require_int
from ssmbias.core.types import AnyArray
from ssmbias.poison.arms.poisons import Poisons
from ssmbias.poison.networks.adapt import adapted, check_network
from ssmbias.poison.protocols import Task, chance_of, outputs_for
from ssmbias.poison.training.settings import Minibatches, Training


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment: everything but the seeds and the arms.

    Attributes:
      name: in the registry, or in your own reports.
      title: what it shows, in a line.
      task: a `Task`: one of `ssmbias.poison.tasks`, or yours.
      network: a `Network`, or what `ssmbias.poison.networks.adapt.adapted` makes one of: a
        `SequenceConfig`, a module of flax or equinox, or a function that makes such a module.
      training, poisons: the other parts.
      tuning_seeds: seeds that chose a setting, which must never judge it.
      expected: pairs of attack and the verdict that is documented for it (docs/findings.md).

    Raises:
      ValueError: parts that do not fit together.
    """

    name: str = "own"
    title: str = ""
    task: Task
    network: Any
    training: Training | Minibatches = field(default_factory=Training)
    poisons: Poisons = field(default_factory=Poisons)
    tuning_seeds: tuple[int, ...] = ()
    expected: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Refuse parts that contradict each other, before anything is compiled."""
        _check_task(self.task)
        object.__setattr__(self, "network", adapted(self.network))
        object.__setattr__(self, "title", self.title or self.name)
        poisons, task = self.poisons, self.task
        if poisons.width > task.seq_len:
            raise ValueError(
                f"width={poisons.width}: sequences have {task.seq_len} elements; give at most that"
            )
        available = task.num_train
        if poisons.num_poisons > available:
            raise ValueError(
                f"num_poisons={poisons.num_poisons}: the arm dup copies training sequences, of "
                f"which there are {available}; give at most that"
            )
        if poisons.found_carrier == "zero" and not self.has_teacher:
            raise ValueError(
                "found_carrier='zero': no teacher labels a zero sequence of this task; take "
                "found_carrier='copies'"
            )
        self._check_search()
        self._check_network()

    def _check_search(self) -> None:
        """Refuse a search that could not begin."""
        search, num = self.poisons.matching, self.poisons.num_poisons
        for what, most in (("num_poisons", num), ("num_targets", self.task.num_targets)):
            if search.num_groups > most:
                raise ValueError(
                    f"brew_num_groups={search.num_groups}: {what} is {most}; give at most that"
                )
        if search.box is None:
            return
        box = getattr(self.task, "box", None)
        if box is None:
            raise ValueError(
                f"brew_box={search.box}: sequences of this task have no bounds; leave it out"
            )
        if not (search.box[0] <= box[0] and search.box[1] >= box[1]):
            what = "grey levels" if getattr(self.task, "image", None) else "inputs"
            raise ValueError(
                f"brew_box={search.box}: {what} lie in [{box[0]:g}, {box[1]:g}], which the box "
                "must contain"
            )

    def _check_network(self) -> None:
        """Refuse a network whose inputs or outputs are not those of the task."""
        fits = getattr(self.network, "check_task", None)
        if fits is not None:
            fits(self.task)
        declared = tuple(getattr(self.network, n, None) for n in ("num_outputs", "features"))
        if None in declared:
            check_network(self.network, self.task)
        elif declared != (self.num_outputs, self.task.num_features):
            raise ValueError(
                f"num_outputs={declared[0]}, features={declared[1]}: "
                f"this task needs {self.num_outputs} and {self.task.num_features}"
            )

    @classmethod
    def from_arrays(
        cls,
        train_inputs: AnyArray,
        train_labels: AnyArray,
        test_inputs: AnyArray,
        test_labels: AnyArray,
        *,
        init: Any = None,
        apply: Any = None,
        teacher: Any = None,
        network: Any = None,
        name: str = "own",
        **fields: Any,
    ) -> Experiment:
        """Your own data and network as an experiment, for `run_arms` and `judge`.

        Args:
          train_inputs: (n, length, channels), floating point.
          train_labels: (n,), classes 0, 1, ... .
          test_inputs: likewise; part of them, drawn by the seed, is what poison is brewed against
            and judges nothing.
          test_labels: theirs.
          init: `(key, one_input) -> params`.
          apply: `(params, one_input) -> (outputs,)`: one output for two classes, or one a class.
          teacher: from one sequence to its label, written with `jax.numpy`; it labels poisons that
            are made by hand. `None`: only copies and perturbed copies are possible, which keep
            their labels.
          network: instead of `init` and `apply`: see `Experiment`.
          name: of the experiment.
          **fields: other fields of `Experiment`, or settings by name as in `run_arms`, such as
            `steps=300` or `scale=0.1`; `num_targets` is how many tests are targets.

        Returns:
          The experiment. Seeds differ in the start of the network, the poisons and the choice of
          the targets; the training data are the same in all of them.

        Raises:
          ValueError: shapes, types or values that do not fit; names the argument.

        Example:
          >>> import jax, numpy as np
          >>> inputs = np.random.default_rng(0).normal(size=(30, 8, 2))
          >>> labels = (inputs.sum(axis=(1, 2)) > 0).astype(int)
          >>> mine = Experiment.from_arrays(
          ...     inputs[:10],
          ...     labels[:10],
          ...     inputs[10:],
          ...     labels[10:],
          ...     init=lambda key, u: 0.1 * jax.random.normal(key, (u.size,)),
          ...     apply=lambda params, u: params @ u.ravel()[:, None],
          ... )
          >>> mine.poisons.num_poisons, mine.has_teacher
          (5, False)
        """
        from ssmbias.poison.tasks import own  # noqa: PLC0415  (slow, needed here only)

        arrays = (train_inputs, train_labels, test_inputs, test_labels)
        network = own.network_of(init, apply, network)
        return own.experiment_of_arrays(cls, arrays, network, teacher, name, fields)

    @property
    def num_base(self) -> int:
        """Training sequences without poison."""
        return self.task.num_train

    @property
    def num_outputs(self) -> int:
        """Outputs of our networks: one for two classes or a value, else one a class."""
        return outputs_for(self.task)

    @property
    def has_teacher(self) -> bool:
        """Whether every sequence has a label, because a teacher gives it."""
        return self.task.label is not None

    @property
    def chance(self) -> float:
        """Accuracy of guessing."""
        return chance_of(self.task)


def _check_task(task: Any) -> None:
    """Refuse what is no task, or none that JAX can tell from others."""
    missing = [
        name
        for name in ("seq_len", "num_features", "num_train", "num_targets", "num_classes", "draw")
        if not hasattr(task, name)
    ]
    missing += ["label"] * (not hasattr(task, "label"))
    if missing:
        raise ValueError(
            f"task={type(task).__name__}: has no {', '.join(missing)}; a task keeps "
            "ssmbias.poison.Task"
        )
    try:
        hash(task)
    except TypeError as err:
        raise ValueError(
            f"task={type(task).__name__}: cannot be hashed; make it a frozen dataclass, or a "
            "class without __eq__"
        ) from err
    for name in ("seq_len", "num_features", "num_train", "num_targets"):
        require_int(f"task.{name}", getattr(task, name), minimum=1)
    if task.num_classes is not None:
        require_int("task.num_classes", task.num_classes, minimum=2)
