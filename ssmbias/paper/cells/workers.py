"""The units of a reproduction: found, or computed a few at a time."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path

from ssmbias.paper.cells.jobs import LAYOUT, Arrays, Job, run_job
from ssmbias.runs.units import Units
from ssmbias.runs.workers import in_processes

Progress = Callable[[int, int, str], None]
"""Called with units done, units in all, and what is under way."""


def run_jobs(
    jobs: list[Job],
    folder: Path | None,
    num_workers: int,
    progress: Progress | None = None,
    set_up: Callable[[], None] | None = None,
) -> dict[Job, Arrays]:
    """The arrays of all units, in the order given.

    Args:
      jobs: what to compute, each once.
      folder: where finished units are kept; `None` keeps nothing.
      num_workers: processes; with 1 everything happens in this one.
      progress: called with (units done, units in all, what is under way).
      set_up: called first in every process, to set JAX's configuration, which a new process does
        not inherit; a function that can be pickled. `None`: everything happens in this process.

    Returns:
      Arrays by unit.

    Raises:
      ValueError: the folder holds units of another version.
    """
    if folder is not None:
        Units(folder, LAYOUT)  # refuses another one before anything is started
    tell = progress or (lambda done, total, text: None)
    found: dict[Job, Arrays] = {}
    if set_up is None or num_workers == 1 or len(jobs) == 1:
        for job in jobs:
            tell(len(found), len(jobs), job.label)
            found[job] = run_job(job, folder)
    else:
        work = functools.partial(run_job, folder=folder)

        def under_way(running: list[Job]) -> None:
            tell(len(found), len(jobs), ", ".join(job.label for job in running))

        results = in_processes(work, jobs, num_workers, set_up=set_up, under_way=under_way)
        with contextlib.closing(results):
            for job, arrays in results:
                found[job] = arrays
    tell(len(jobs), len(jobs), "done")
    return {job: found[job] for job in jobs}
