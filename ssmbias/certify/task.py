"""One box to be certified, done once: what is finished in a folder is found there again."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssmbias.certify.box import Box
from ssmbias.certify.certificate import ProverOptions
from ssmbias.certify.record import CERTIFIED, CONTRADICTED, NOT_CERTIFIED, prove_and_check
from ssmbias.runs.fingerprint import fingerprint
from ssmbias.runs.units import Units

__all__ = ["CERTIFIED", "CONTRADICTED", "NOT_CERTIFIED", "Task", "finished", "run_task"]

RECORDS = "records"
"""The folder of a run that holds a record for each box."""

LAYOUT = "ssmbias.certify.records/2"
"""What that folder calls its layout."""


@dataclass(frozen=True)
class Task:
    """A box and what is to be done with it.

    Attributes:
      name: unique in a job.
      box: the starts.
      seq_len: κ.
      strength: ρ.
      options: of the prover.
      num_samples: trajectories to hold the certificate against.
      seed: of their starts.
    """

    name: str
    box: Box
    seq_len: int
    strength: float
    options: ProverOptions = field(default_factory=ProverOptions)
    num_samples: int = 5
    seed: int = 0

    @property
    def stem(self) -> str:
        """The name as a file's.

        Example:
          >>> from ssmbias.certify.box import default_box
          >>> Task("k7d3 rel 0.1", default_box(3), 7, 1.0).stem
          'k7d3_rel_0.1'
        """
        return re.sub(r"[^A-Za-z0-9.+-]+", "_", self.name)

    def key(self) -> str:
        """What the outcome depends on, as a digest: the task, the versions, and the code.

        Of the code, that is the prover, both checkers, and what follows the samples.
        """
        return fingerprint(self, "ssmbias.certify.record")


def finished(task: Task, folder: Path) -> dict[str, Any] | None:
    """The record of a task that was finished in this folder, or `None`.

    Args:
      task: the box.
      folder: of the run.

    Raises:
      ValueError: the folder holds records of another version.
    """
    found = Units(folder / RECORDS, LAYOUT).find(task.stem, task.key())
    return None if found is None else found.values


def run_task(task: Task, folder: Path) -> dict[str, Any]:
    """Prove a box, check the file twice, sample trajectories, and record all of it.

    Args:
      task: the box.
      folder: of the run, which exists.

    Returns:
      The record, as docs/results-schema.md describes it.
    """
    units, key = Units(folder / RECORDS, LAYOUT), task.key()
    record = prove_and_check(task, folder) | {"key": key}
    written = [folder / record[name] for name in ("log", "curves") if record[name]]
    return units.keep(task.stem, key, record, files=written).values
