"""The work of `ssmbias-sweep`: compute what a store lacks, sum up, report."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from ssmbias.cli import launch
from ssmbias.cli.jobs import progress
from ssmbias.cli.jobs.console import make_console
from ssmbias.cli.jobs.machine import set_up_cores, set_up_jax
from ssmbias.sweeps.runner import run_sweep, summarise
from ssmbias.sweeps.settings import SweepJob, from_mapping

_REPORTS = {"phase_diagram": "ssmbias.sweeps.phase.diagram"}


def parse(mapping: dict) -> SweepJob:
    config = from_mapping(mapping)
    set_up_jax()
    set_up_cores(config.settings.devices)
    if config.report:
        _report(config).require_diagram(config.grid, config.settings.trainable)
    return config


def _report(config: SweepJob) -> ModuleType:
    """The module of the report, which brings plotting along and is loaded only if asked for."""
    return importlib.import_module(_REPORTS[str(config.report)])


def job(config: SweepJob, folder: Path) -> int:
    console = make_console()
    store = Path(config.store or folder / "sweep.zarr").absolute()
    with progress.Bar(console).shown() as bar:
        try:
            found = run_sweep(config.grid, config.settings, store, bar)
        except (ValueError, OSError) as error:
            # Input is refused before the first report of progress; a disk may fill up at any time.
            if bar.last is None or isinstance(error, OSError):
                raise launch.Refused from error
            raise
    console.print(
        progress.summary(summarise(found), bar.last, store),
        soft_wrap=True, highlight=False, markup=False,
    )  # fmt: skip
    if config.report:
        page = _report(config).write_report(store, folder)
        console.print(f"report: {page}", soft_wrap=True)
    return launch.HOLDS
