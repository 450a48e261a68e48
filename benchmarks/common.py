"""What the benchmarks share. Import it before JAX: it pins the process to one core."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

if hasattr(os, "sched_setaffinity"):  # one core for everyone, before any thread starts
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import jax

jax.config.update("jax_enable_x64", True)


def seconds(job: Callable[[], object], repeats: int) -> list[float]:
    """Wall time of each repeat."""
    out = []
    for _ in range(repeats):
        begin = time.perf_counter()
        jax.block_until_ready(job())
        out.append(time.perf_counter() - begin)
    return out


def spread(values: list[float]) -> dict[str, float]:
    """Median and extremes."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratio(theirs: dict[str, float], ours: dict[str, float]) -> dict[str, float]:
    """Their time over ours: of the medians, and the range over the extremes of both."""
    return {
        "median": theirs["median"] / ours["median"],
        "min": theirs["min"] / ours["max"],
        "max": theirs["max"] / ours["min"],
    }


def use_all_cores() -> int:
    """Take the pin off, before the first computation; how many cores there are."""
    cores = range(os.cpu_count() or 1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    return len(cores)


def machine(*packages: str, cores: int = 1) -> dict[str, object]:
    """What the figures were measured with."""
    return {
        "processor": _processor(),
        "cores used": cores,
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def publish(report: dict, name: str, quick: bool, device: str = "cpu") -> None:
    """Print the report and, unless it is of a smoke run, write it to results/."""
    text = json.dumps(report, indent=1, ensure_ascii=False)
    print(text)
    if not quick:
        folder = Path(__file__).parent / "results"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}_{device}.json").write_text(text + "\n")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(x.split(":", 1)[1].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
