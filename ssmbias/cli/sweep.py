"""Sweep a grid: `python scripts/sweep.py 'strength=logspace(-9,3,60)' 'seed=range(64)'`."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from ssmbias.cli import launch, progress  # pyright: ignore[reportMissingImports]
from ssmbias.sweeps.runner import run_sweep, summarise
from ssmbias.sweeps.settings import DEFAULT_MAPPING, SweepJob, from_mapping

KNOWN = (*DEFAULT_MAPPING, "experiment", "cluster")
TEXTS = ("seed", "strength", "gap", "relative_gap", "init_scale", "save_times")


def parse(mapping: dict) -> SweepJob:
    config = from_mapping(mapping)
    launch.set_up_jax()
    launch.set_up_cores(config.settings.devices)
    if config.report:
        _report(config).require_diagram(config.grid, config.settings.trainable)
    return config


def _report(config: SweepJob) -> ModuleType:
    """The module of the report, which brings plotting along and is loaded only if asked for."""
    return importlib.import_module(f"ssmbias.paper.{config.report}")


def job(config: SweepJob, folder: Path) -> int:
    console = launch.console()
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


def main() -> None:
    launch.run(parse, job, "sweep", KNOWN, announced=False, texts=TEXTS)


if __name__ == "__main__":
    main()
