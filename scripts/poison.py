"""Poison networks of practice: `python scripts/poison.py experiment=f1 'seeds=range(20)'`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from ssmbias.scripts import launch  # pyright: ignore[reportMissingImports]

from ssmbias.poison.job import (
    DEFAULT_MAPPING,
    ITSELF,
    PoisonJob,
    expectations_met,
    from_mapping,
    run_job,
)
from ssmbias.poison.summary import judge_all, write_report

KNOWN = (*ITSELF, *(name for name in DEFAULT_MAPPING if name not in ITSELF))
TEXTS = ("seeds", "windows")


def parse(mapping: dict) -> PoisonJob:
    config = from_mapping(mapping)
    launch.set_up_jax()
    launch.set_up_cores(None)
    return config


def job(config: PoisonJob, folder: Path) -> int:
    console = launch.console()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def tell(done: int, total: int, text: str) -> None:
            bar.update(task, completed=done, total=total, description=text)

        run = run_job(config, folder, tell)
        bar.update(task, description="figures and report")
        command = shlex.join(["python", "scripts/poison.py", *sys.argv[1:]])
        write_report(folder, run.results, run.scan, run.examples, command)
    verdicts = judge_all(run.results)
    console.print(Markdown((folder / "table.md").read_text()))
    for verdict in verdicts:
        console.print(f"{verdict.attack}: {verdict.verdict}. {verdict.sentence}", soft_wrap=True)
    console.print(f"Results, tables, figures and report.html: {folder}", soft_wrap=True)
    return launch.HOLDS if expectations_met(config, verdicts) else launch.VIOLATED


def main() -> None:
    launch.run(parse, job, "poison", KNOWN, texts=TEXTS)


if __name__ == "__main__":
    main()
