"""Sweep a grid: `python scripts/sweep.py 'strength=logspace(-9,3,60)' 'seed=range(64)'`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from ssmbias.scripts import launch, progress  # pyright: ignore[reportMissingImports]

from ssmbias.sweeps.runner import run_sweep, summarise
from ssmbias.sweeps.settings import DEFAULT_MAPPING, SweepJob, from_mapping

KNOWN = (*DEFAULT_MAPPING, "experiment", "cluster")
TEXTS = ("seed", "strength", "gap", "relative_gap", "init_scale", "save_times")


def parse(mapping: dict) -> SweepJob:
    config = from_mapping(mapping)
    launch.set_up_jax()
    launch.set_up_cores(config.settings.devices)
    return config


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
        module = importlib.import_module(f"ssmbias.experiments.{config.report}")
        console.print(f"report: {module.write_report(store, folder)}", soft_wrap=True)
    return launch.HOLDS


def main() -> None:
    sys.argv[1:] = [launch.with_quotes(word, TEXTS) for word in sys.argv[1:]]
    launch.run(parse, job, "sweep", KNOWN, announced=False)


if __name__ == "__main__":
    main()
