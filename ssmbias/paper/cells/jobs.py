"""Units of work of a reproduction: each is computed once, stored whole, and found again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ssmbias.paper.cells.replays import replay_arrays
from ssmbias.paper.cells.theorem1 import THEOREM1, theorem1_arrays
from ssmbias.paper.protocol import experiment_arrays
from ssmbias.paper.settings import ARMS
from ssmbias.runs.fingerprint import fingerprint
from ssmbias.runs.units import Units

LAYOUT = "ssmbias.reproduce.units/2"
"""What a folder of these units calls its layout."""

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class CellJob:
    """One arm of one experiment over many seeds by the library's protocol.

    Attributes:
      experiment: a name in `EXPERIMENTS`, or "theorem1_t7", "theorem1_t9".
      arm: 0 clean, 1 poisoned.
      num_seeds: how many seeds.
      converge: whether to go on to convergence.
      most_extra_steps: bound on the second phase, for reduced runs; `None` for the paper's.
    """

    experiment: str
    arm: int
    num_seeds: int
    converge: bool = True
    most_extra_steps: int | None = None

    @property
    def label(self) -> str:
        """Name of the unit, and of its file."""
        return f"{self.experiment}-{ARMS[self.arm]}"

    @property
    def source(self) -> str:
        """The module that computes it."""
        return f"ssmbias.paper.{'cells.theorem1' if self.experiment in THEOREM1 else 'protocol'}"

    @property
    def mark(self) -> str:
        """What its numbers depend on."""
        return fingerprint(self, self.source)


@dataclass(frozen=True)
class ReplayJob:
    """One replay of an exported run; `content` tells files of one name apart."""

    path: str
    content: str
    source: ClassVar[str] = "ssmbias.paper.cells.replays"

    @property
    def label(self) -> str:
        """Name of the unit, and of its file."""
        return f"replay-{Path(self.path).stem}-{self.content[:8]}"

    @property
    def mark(self) -> str:
        """What its numbers depend on: the file's content, wherever it lies."""
        return fingerprint(self.content, self.source)


def replay_job(path: str) -> ReplayJob:
    """The unit of an exported run, by what is in the file."""
    return ReplayJob(path, hashlib.sha256(Path(path).read_bytes()).hexdigest())


Job = CellJob | ReplayJob


def run_job(job: Job, folder: Path | None) -> Arrays:
    """The arrays of a unit: from the folder if it is there, whole and current, else afresh.

    Args:
      job: what to compute.
      folder: where finished units are kept; `None` keeps nothing.

    Returns:
      Arrays by name; those of a replay include `summary`, plain values as JSON.

    Raises:
      ValueError: the folder holds units of another version.
    """
    if folder is None:
        return _arrays(job)
    units, mark = Units(folder, LAYOUT), job.mark
    stored = units.find(job.label, mark) or units.keep(job.label, mark, arrays=_arrays(job))
    return stored.arrays


def _arrays(job: Job) -> Arrays:
    return replay_arrays(job.path) if isinstance(job, ReplayJob) else _cell_arrays(job)


def _cell_arrays(job: CellJob) -> Arrays:
    if job.experiment in THEOREM1:
        return theorem1_arrays(job.experiment, job.arm, job.num_seeds)
    return experiment_arrays(
        job.experiment,
        job.arm,
        job.num_seeds,
        converge=job.converge,
        most_extra_steps=job.most_extra_steps,
    )
