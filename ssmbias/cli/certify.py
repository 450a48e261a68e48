"""Certify boxes: `python scripts/certify.py seq_len=7 state_dim=10 rel=0.2 'delta=[1e-9,1e-8]'`."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ssmbias.certify.job import DEFAULT_MAPPING, CertifyJob, from_mapping, run_job
from ssmbias.certify.task import CERTIFIED
from ssmbias.cli import launch  # pyright: ignore[reportMissingImports]
from ssmbias.report.pages.certificates import certificate_table, write_report

KNOWN = (*DEFAULT_MAPPING, "cluster")
TEXTS = ("boxes", "delta", "rel")


def parse(mapping: dict) -> CertifyJob:
    job = from_mapping(mapping)
    return dataclasses.replace(job, workers=job.workers or launch.usable_cores())


def job(config: CertifyJob, folder: Path) -> int:
    console = launch.console()
    launch.note_kept("finished boxes")
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def tell(done: int, total: int, text: str) -> None:
            bar.update(task, completed=done, total=total, description=text)

        records = run_job(config, folder, tell)
        bar.update(task, description="figures and report")
        command = shlex.join(["python", "scripts/certify.py", *sys.argv[1:]])
        write_report(folder, command)
    console.print(dataclasses.replace(certificate_table(records), title=""))
    for record in records:
        if record["status"] != CERTIFIED:
            said = f"{record['status'].upper()}: {record['name']}: {record['reason']}"
            console.print(said, soft_wrap=True, highlight=False, markup=False)
    console.print(f"Proofs, results, table, figures and report.html: {folder}", soft_wrap=True)
    met = all(record["status"] == CERTIFIED for record in records)
    return launch.HOLDS if met else launch.VIOLATED


def main() -> None:
    launch.run(parse, job, "certify", KNOWN, texts=TEXTS)


if __name__ == "__main__":
    main()
