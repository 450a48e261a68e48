"""Units of work, a few at a time, in processes of their own.

Processes, because two compiled programs in threads of one process can wait for each other for ever
in XLA's thread pool; seen with two cores and JAX 0.10.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import signal
from collections.abc import Callable
from pathlib import Path

from ssmbias.paper.cells.jobs import LAYOUT, Arrays, Job, run_job
from ssmbias.runs.units import Units

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
        _in_processes(jobs, folder, num_workers, tell, found, set_up)
    tell(len(jobs), len(jobs), "done")
    return {job: found[job] for job in jobs}


def _in_processes(
    jobs: list[Job],
    folder: Path | None,
    num_workers: int,
    tell: Progress,
    found: dict[Job, Arrays],
    set_up: Callable[[], None],
) -> None:
    waiting = list(reversed(jobs))
    running: dict[concurrent.futures.Future, Job] = {}
    pool = concurrent.futures.ProcessPoolExecutor(
        num_workers,
        multiprocessing.get_context("spawn"),
        _start,
        (set_up,),
    )
    try:
        while waiting or running:
            # Only as many as there are workers: what is under way is known, and can be named.
            while waiting and len(running) < num_workers:
                job = waiting.pop()
                running[pool.submit(run_job, job, folder)] = job
            tell(len(found), len(jobs), ", ".join(job.label for job in running.values()))
            done, _ = concurrent.futures.wait(running, return_when="FIRST_COMPLETED")
            for future in done:
                found[running.pop(future)] = future.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _start(set_up: Callable[[], None]) -> None:
    """A worker's first act. Ctrl-C, which reaches the whole group, ends a worker without noise."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    set_up()
