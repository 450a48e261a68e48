"""Jobs timed in turns, so that whatever else slows the machine down slows all of them down."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping


def in_turns(jobs: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Seconds of every job: each says its own time, round after round."""
    out: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            out[name].append(job())
    return out


def stopwatch(job: Callable[[], object]) -> Callable[[], float]:
    """The job with its wall time as its answer; it must wait for its own results."""

    def timed() -> float:
        begin = time.perf_counter()
        job()
        return time.perf_counter() - begin

    return timed


def quartiles(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    if len(values) == 1:
        values = values * 2
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": middle, "lower quartile": low, "upper quartile": high}


def ratios(theirs: list[float], ours: list[float]) -> dict[str, float]:
    """Their time over ours, round by round."""
    return quartiles([a / b for a, b in zip(theirs, ours, strict=True)])


def by_cores(script: str, arguments: list[str]) -> dict[str, dict[str, object]]:
    """What the script prints as a child on one core, and then on two if there are two.

    The size of a thread pool is settled when a library starts, so every number of cores gets its
    own process.
    """
    report = {}
    for cores in (1, 2):
        if cores <= (os.cpu_count() or 1):
            command = [sys.executable, script, f"--cores={cores}", *arguments]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            report[f"cores: {cores}"] = json.loads(done.stdout)
    return report


def load() -> dict[str, float]:
    """Processes that want a core, so that a busy machine shows in the results."""
    return {"load average before": os.getloadavg()[0]} if hasattr(os, "getloadavg") else {}


def use_cores(cores: int) -> None:
    """Spread this process over so many cores, before the first computation; it is on one."""
    if cores > 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(cores))
