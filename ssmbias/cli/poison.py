"""Poison networks of practice: `python scripts/poison.py experiment=f1 'seeds=range(20)'`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import xarray as xr
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ssmbias.cli import launch  # pyright: ignore[reportMissingImports]
from ssmbias.poison.full_settings import FullSettings
from ssmbias.poison.job import (
    DEFAULT_MAPPING,
    ITSELF,
    PoisonJob,
    expectations_met,
    from_mapping,
    run_job,
    write_netcdf,
)
from ssmbias.poison.runner import Progress as Tell
from ssmbias.poison.summary import judge_all, write_report

KNOWN = (*ITSELF, *(name for name in DEFAULT_MAPPING if name not in ITSELF))
TEXTS = ("seeds", "windows")


def parse(mapping: dict) -> PoisonJob | FullSettings:
    config = from_mapping(mapping)
    launch.set_up_jax()
    launch.set_up_cores(None)
    return config


def job(config: PoisonJob | FullSettings, folder: Path) -> int:
    console = launch.console()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def tell(done: int, total: int, text: str) -> None:
            bar.update(task, completed=done, total=total, description=text)

        command = shlex.join(["python", "scripts/poison.py", *sys.argv[1:]])
        if isinstance(config, PoisonJob):
            run = run_job(config, folder, tell)
            bar.update(task, description="figures and report")
            results = run.results
            write_report(folder, results, run.scan, run.examples, command)
        else:
            results = _full(config, folder, tell, console)
            write_report(folder, results, command=command)
    verdicts = judge_all(results)
    console.print(Markdown((folder / "table.md").read_text()))
    for verdict in verdicts:
        console.print(f"{verdict.attack}: {verdict.sentence}", soft_wrap=True, highlight=False)
    console.print(f"Results, tables, figures and report.html: {folder}", soft_wrap=True)
    met = not isinstance(config, PoisonJob) or expectations_met(config, verdicts)
    return launch.HOLDS if met else launch.VIOLATED


def _full(config: FullSettings, folder: Path, tell: Tell, console: Console) -> xr.Dataset:
    """The experiment at full scale; says first what it takes."""
    from ssmbias.poison.full_run import run_full  # noqa: PLC0415  (of the extra `full`)

    begun = []

    def report(done: int, total: int, text: str) -> None:
        if not begun:
            console.print(text, soft_wrap=True, highlight=False)
        begun.append(text)
        tell(done, total, text)

    try:
        results = run_full(config, folder, report)
    except (ImportError, ValueError) as error:
        # Input is refused before the first report.
        if begun:
            raise
        raise launch.Refused from error
    write_netcdf(folder / "results.nc", results)
    return results


def main() -> None:
    launch.run(parse, job, "poison", KNOWN, texts=TEXTS)


if __name__ == "__main__":
    main()
