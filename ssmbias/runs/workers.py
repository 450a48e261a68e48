"""Units of work, a few at a time, in processes of their own that end with their parent.

Processes, because two compiled programs in threads of one process can wait for each other for ever
in XLA's thread pool; seen with two cores and JAX 0.10.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import wait
from typing import TypeVar

J = TypeVar("J")
R = TypeVar("R")


def in_processes(
    work: Callable[[J], R],
    jobs: Sequence[J],
    num_workers: int,
    *,
    set_up: Callable[[], None] | None = None,
    under_way: Callable[[list[J]], object] | None = None,
) -> Generator[tuple[J, R], None, None]:
    """Run jobs in parallel, and give each with its result as soon as it is done.

    The processes end with this generator, however it ends, and with this process, even if it is
    killed. Ctrl-C is left to this process. What a unit has written is kept.

    Args:
      work: called with a job; can be pickled, as can jobs and results.
      jobs: in the order in which they are begun.
      num_workers: number of processes.
      set_up: called first in every process, to set what a new process does not inherit.
      under_way: told which jobs are running, whenever that changes.

    Raises:
      Exception: what `work` raises; the other jobs are given up.
    """
    before = {*multiprocessing.active_children()}
    waiting = list(reversed(jobs))
    running: dict[concurrent.futures.Future[R], J] = {}
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(num_workers, context, _begin, (set_up,)) as pool:
        try:
            while waiting or running:
                # Only as many as there are workers: what is under way is known, and can be named.
                while waiting and len(running) < num_workers:
                    job = waiting.pop()
                    running[pool.submit(work, job)] = job
                if under_way is not None:
                    under_way([*running.values()])
                done, _ = concurrent.futures.wait(running, return_when="FIRST_COMPLETED")
                for future in done:
                    yield running.pop(future), future.result()
        except BaseException:
            # Ctrl-C, or a defect: nothing is worth waiting for, what is finished is on the disk.
            pool.shutdown(wait=False, cancel_futures=True)
            for child in {*multiprocessing.active_children()} - before:
                child.terminate()
            raise


def _begin(set_up: Callable[[], None] | None) -> None:
    """A worker's first act."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    if set_up is not None:
        set_up()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
