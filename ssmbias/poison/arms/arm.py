"""What an arm is: how it is made, what it controls for, and its words in tables and figures."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from ssmbias.core.checks import require_choice
from ssmbias.poison.batch import Batch
from ssmbias.poison.protocols import Keys
from ssmbias.poison.settings import Experiment

ROLES = ("baseline", "control", "attack", "alternative")
"""Nothing was done; a control of an attack; an attack; what an honest supplier would give."""

CARRIERS = ("copies", "hand", "found", "none")
"""What the size of an arm's sequences is measured from; see `Arm.carrier`."""


@dataclass(frozen=True)
class Words:
    """What reports and verdicts know of an arm; it is saved with the results.

    Attributes:
      name: as in tables and figures.
      title: which extra sequences these are, in a few words.
      controls_for: what the arm stands for when an attack is compared with it; "" for an attack.
      role: one of `ROLES`.
      controls: of an attack, the arms that a verdict needs, in the order of the argument.
      elsewhere: of an attack, those of its controls that have the same sequences in other places;
        without them no verdict speaks of the last elements.
      counterpart: of an attack, the arm that does the same early in the sequence.
      white_box: of an attack, whether it needs the network in hand.
      profiled: whether figures show where this arm's networks look.
      example: the name under which some of its training sequences are shown; "" shows none.
      verdict_if_unbeaten: of a control, the verdict on an attack that does not lie below it.
      remark_if_unbeaten: of a control, a sentence for the verdict then.
    """

    name: str
    title: str
    controls_for: str = ""
    role: str = "control"
    controls: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    counterpart: str = ""
    white_box: bool = False
    profiled: bool = False
    example: str = ""
    verdict_if_unbeaten: str = ""
    remark_if_unbeaten: str = ""

    def __post_init__(self) -> None:
        """Refuse an unknown role; lists, as they are read back from files, become tuples."""
        require_choice("role", self.role, ROLES)
        for name in ("controls", "elsewhere"):
            object.__setattr__(self, name, tuple(getattr(self, name)))


class Made(NamedTuple):
    """The extra sequences of an arm, seeds in front, and what else is kept of their making."""

    extra: Batch
    kept: dict[str, Any] = {}  # noqa: RUF012  (never changed)


class Workshop(Protocol):
    """What an arm may ask for that cannot be made of one seed's data alone; seeds in front."""

    @property
    def experiment(self) -> Experiment:
        """The experiment."""
        ...

    @property
    def copies(self) -> Batch:
        """The training examples that copies and perturbations are made of."""
        ...

    def search(self, weighting: str) -> Made:
        """Gradient matching, with a penalty of `ssmbias.poison.search.weighting`."""
        ...

    def random_like(self, arm: str) -> Made:
        """Random perturbations of the size of another arm's."""
        ...

    def at_window(self, start: int) -> Made:
        """The elements of the poisons by hand, from a position on."""
        ...


def _always(experiment: Experiment) -> str:
    del experiment
    return ""


@dataclass(frozen=True)
class Arm:
    """One arm.

    Attributes:
      words: its words.
      order: its place among all arms, and that in which arms run.
      by_hand: its sequences from one seed's keys and copies; pure, mapped over seeds.
      make: the same where a network, a search or another arm is needed; one of both is given.
      needs: arms whose perturbations it needs.
      adds: whether the sequences count; those of base do not, they keep shapes the same.
      carrier: what its size is measured from: "copies" of training data, the carrier of poisons by
        "hand" or of the "found" ones, or "none".
      weighting: of a searched arm, its penalty; `None` elsewhere.
      lacks: what an experiment lacks to have this arm, in words; "" where it can have it.
    """

    words: Words
    order: float
    by_hand: Callable[[Experiment, Keys, Batch], Batch] | None = None
    make: Callable[[Workshop], Made] | None = None
    needs: tuple[str, ...] = ()
    adds: bool = True
    carrier: str = "hand"
    weighting: str | None = None
    lacks: Callable[[Experiment], str] = field(default=_always)

    def __post_init__(self) -> None:
        """Refuse an arm that cannot be made, or can be made twice."""
        if (self.by_hand is None) == (self.make is None):
            raise ValueError(f"arm {self.name}: give one of by_hand and make")
        require_choice("carrier", self.carrier, CARRIERS)

    @property
    def name(self) -> str:
        """Its name."""
        return self.words.name


def needs_teacher(experiment: Experiment) -> str:
    """For `Arm.lacks`: new sequences need labels."""
    return "" if experiment.has_teacher else "needs a teacher that labels new sequences"


def needs_carrier(experiment: Experiment) -> str:
    """For `Arm.lacks`: zero sequences that a search starts from need labels."""
    if experiment.has_teacher or experiment.poisons.found_carrier == "copies":
        return ""
    return "needs found_carrier='copies', as no teacher labels a zero sequence"


def to_json(words: list[Words]) -> str:
    """Words of some arms as text, for the attributes of results."""
    return json.dumps({one.name: dataclasses.asdict(one) for one in words})


def from_json(text: str) -> dict[str, Words]:
    """The words that `to_json` wrote, by name.

    Example:
      >>> words = Words("dup", "copies", role="baseline")
      >>> from_json(to_json([words])) == {"dup": words}
      True
    """
    return {name: Words(**values) for name, values in json.loads(text).items()}


def perturbed_norm(arm: Arm, experiment: Experiment) -> str:
    """What to take away before a norm is taken: "copies", or "zero" for nothing."""
    poisons = experiment.poisons
    carrier = {"hand": poisons.carrier, "found": poisons.found_carrier}.get(arm.carrier)
    return carrier or ("copies" if arm.carrier == "copies" else "zero")
