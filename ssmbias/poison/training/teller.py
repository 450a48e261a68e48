"""Telling how far a run is, in the units that its training counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[int, int, str], None]
"""Called with units done, units in all, and what is under way."""


class Teller:
    """Progress of a whole run.

    Args:
      total: units of all arms and seeds.
      progress: told of them; `None` is told nothing.

    Attributes:
      done: units done so far, counted by whoever does them.
    """

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.total, self.done = total, 0
        self._tell = progress or (lambda done, total, text: None)

    def say(self, text: str) -> None:
        """What is under way."""
        self._tell(self.done, self.total, text)
