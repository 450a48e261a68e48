"""Clean-label poison for networks of practice, ours and yours: by hand, by search, and judged.

An `Experiment` is a task, a network, its training and its poisons; `run_arms` trains its arms, and
`judge` says what they show. Names are looked up when they are first used, because flax is slow to
import.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssmbias.poison.arms.arm import Arm
    from ssmbias.poison.arms.poisons import Poisons
    from ssmbias.poison.batch import Batch
    from ssmbias.poison.protocols import Network, Problem, Task
    from ssmbias.poison.runner import run_arms
    from ssmbias.poison.settings import Experiment
    from ssmbias.poison.tasks.arrays import ArraysTask
    from ssmbias.poison.tasks.split import SplitTask
    from ssmbias.poison.tasks.taught import TeacherTask
    from ssmbias.poison.training.settings import Minibatches, Training
    from ssmbias.poison.verdict import judge

__all__ = [
    "Arm",
    "ArraysTask",
    "Batch",
    "Experiment",
    "Minibatches",
    "Network",
    "Poisons",
    "Problem",
    "SplitTask",
    "Task",
    "TeacherTask",
    "Training",
    "judge",
    "run_arms",
]

_HOMES = {
    "Arm": "arms.arm",
    "ArraysTask": "tasks.arrays",
    "Batch": "batch",
    "Experiment": "settings",
    "Minibatches": "training.settings",
    "Network": "protocols",
    "Poisons": "arms.poisons",
    "Problem": "protocols",
    "SplitTask": "tasks.split",
    "Task": "protocols",
    "TeacherTask": "tasks.taught",
    "Training": "training.settings",
    "judge": "verdict",
    "run_arms": "runner",
}


def __getattr__(name: str) -> Any:
    """A public name, or a module of this room."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    if not name.startswith("_"):
        try:
            return importlib.import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as err:
            if err.name != f"{__name__}.{name}":
                raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names."""
    return [*__all__]
