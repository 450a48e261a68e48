"""Finished arms of a block of seeds, kept in files so that a killed run goes on where it was."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ssmbias.poison.arms.arm import Arm
from ssmbias.poison.arms.registry import all_arms, find_arm
from ssmbias.poison.settings import Experiment
from ssmbias.runs.fingerprint import fingerprint
from ssmbias.runs.units import Units

Arrays: TypeAlias = dict[str, np.ndarray]

LAYOUT = "ssmbias.poison.units/2"
"""What units hold; another number where the same names would mean something else."""


class UnitStore:
    """The units of one experiment in a folder.

    A unit is found again only if the experiment, its seeds, the versions of all numeric packages
    and the source of the modules that make it are those of today: the engine, the task, the
    network, and the file of its arm and of those that it needs. Another arm's file does not
    matter.

    Args:
      folder: of the run.
      experiment: whose units they are.
      arms: that run; an arm of your own that another one needs is found among them.

    Raises:
      ValueError: the folder holds units of another version.
    """

    def __init__(self, folder: Path, experiment: Experiment, arms: tuple[Arm, ...] = ()) -> None:
        self._units = Units(Path(folder) / "units", LAYOUT)
        self._folder, self._experiment = Path(folder), experiment
        self._arms = {arm.name: arm for arm in arms}
        mark = getattr(experiment.task, "mark", None)
        self._data = None if mark is None else mark()
        self._marks: dict[str, str] = {}

    def find(self, arm: Arm, seeds: tuple[int, ...]) -> Arrays | None:
        """A finished unit; `None` if there is none that can be read."""
        found = self._units.find(self.name(arm, seeds), self.mark(arm))
        return None if found is None else found.arrays

    def keep(self, arm: Arm, seeds: tuple[int, ...], arrays: Arrays) -> None:
        """Keep a unit, whole or not at all."""
        self._units.keep(self.name(arm, seeds), self.mark(arm), arrays=arrays)

    def name(self, arm: Arm, seeds: tuple[int, ...]) -> str:
        """The name of a unit, and of its file."""
        # A block with gaps is told from others with the same ends by all of its seeds.
        first, last = min(seeds), max(seeds)
        whole = len(seeds) > 1 and seeds == tuple(range(first, last + 1))
        some = f"{first}-{last}" if whole else ",".join(map(str, seeds))
        return f"{arm.name}-{some}"

    def mark(self, arm: Arm) -> str:
        """A fingerprint of all that the numbers of an arm depend on."""
        if arm.name not in self._marks:
            one = self._experiment
            # Names, titles and what is said about an arm do not matter to the numbers.
            parts: dict[str, Any] = {
                "task": _of_task(one.task),
                "network": getattr(one.network, "source", one.network),
                "training": one.training,
                "poisons": one.poisons,
                "data": self._data,
                "arm": _of_arm(arm),
            }
            # Arms of the package count by their source.
            own = [one for one in self._made_from(arm)[1:] if one not in all_arms()]
            if own:
                parts["needs"] = [_of_arm(one) for one in own]
            self._marks[arm.name] = fingerprint(parts, *self._sources(arm))
        return self._marks[arm.name]

    def states(self, arm: str, seeds: tuple[int, ...]) -> Path:
        """Where the unfinished training and search of an arm are kept, for one seed."""
        one = self._arms.get(arm) or find_arm(arm)
        assert one is not None
        return self._folder / "states" / self.mark(one)[:16] / f"seed{seeds[0]}"

    def _made_from(self, arm: Arm) -> list[Arm]:
        """The arm, and all that it needs, directly or not."""
        found = [arm]
        for one in found:
            others = [self._arms.get(name) or find_arm(name) for name in one.needs]
            found += [other for other in others if other is not None and other not in found]
        return found

    def _sources(self, arm: Arm) -> list[str | Path]:
        """The modules that compute an arm."""
        engine = "at_once" if self._experiment.training.at_once else "one_by_one"
        modules = {f"ssmbias.poison.training.{engine}"}
        for part in (self._experiment.task, self._experiment.network):
            modules.add(type(part).__module__)
        for one in self._made_from(arm):
            modules.add(getattr(one.by_hand or one.make, "__module__", ""))
        # A user's module counts by its text too: as a part of what describes its functions.
        return sorted(name for name in modules if name.startswith("ssmbias."))


def _of_arm(arm: Arm) -> list[Any]:
    """What counts of an arm."""
    return [arm.name, arm.adds, arm.carrier, arm.by_hand or arm.make]


def _of_task(task: Any) -> Any:
    """What counts of a task: fields that tell it from others, such as no path."""
    if not dataclasses.is_dataclass(task):
        return task
    fields = {one.name: getattr(task, one.name) for one in dataclasses.fields(task) if one.compare}
    return [type(task), fields]
