"""The work of `ssmbias-poison`: train all arms, judge, report."""

from __future__ import annotations

from pathlib import Path

import xarray as xr
from rich.console import Console

from ssmbias.cli import launch
from ssmbias.cli.command import command_again
from ssmbias.cli.jobs.console import make_console
from ssmbias.cli.jobs.machine import set_up_cores, set_up_jax
from ssmbias.poison.cifar.settings import FullSettings
from ssmbias.poison.job import (
    PoisonJob,
    expectations_met,
    from_mapping,
    run_job,
    write_netcdf,
)
from ssmbias.poison.summary import arm_table, judge_all, write_report
from ssmbias.poison.training.teller import Progress
from ssmbias.report.progress import shown


def parse(mapping: dict) -> PoisonJob | FullSettings:
    config = from_mapping(mapping)
    set_up_jax()
    set_up_cores(None)
    return config


def job(config: PoisonJob | FullSettings, folder: Path) -> int:
    console = make_console()
    command = command_again("poison")
    with shown(console=console) as tell:
        if isinstance(config, PoisonJob):
            run = run_job(config, folder, tell)
            results = run.results
            write_report(folder, results, run.scan, run.examples, command)
        else:
            results = _full(config, folder, tell, console)
            write_report(folder, results, command=command)
    verdicts = judge_all(results)
    console.print(arm_table(results))
    for verdict in verdicts:
        console.print(f"{verdict.attack}: {verdict.sentence}", soft_wrap=True, highlight=False)
    console.print(f"Results, tables, figures and report.html: {folder}", soft_wrap=True)
    met = not isinstance(config, PoisonJob) or expectations_met(config, verdicts)
    return launch.HOLDS if met else launch.VIOLATED


def _full(
    config: FullSettings, folder: Path, tell: Progress | None, console: Console
) -> xr.Dataset:
    """The experiment at full scale; says first what it takes."""
    from ssmbias.poison.cifar.run import run_full  # noqa: PLC0415  (of the extra `full`)

    begun = []

    def report(done: int, total: int, text: str) -> None:
        if not begun:
            console.print(text, soft_wrap=True, highlight=False)
        begun.append(text)
        if tell:
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
