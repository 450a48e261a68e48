"""What all arms share: how many poisons there are, how large, and how they are found."""

from __future__ import annotations

from dataclasses import dataclass, field

from ssmbias.core.checks import require_choice, require_int, require_number
from ssmbias.poison.search.matching_config import MatchingConfig

CARRIERS = ("zero", "copies")
"""What a poison by hand or by search is added to: a zero sequence, or copies of training data."""

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
