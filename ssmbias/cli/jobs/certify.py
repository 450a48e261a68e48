"""The work of `ssmbias-certify`: prove boxes, have the proofs checked, report."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ssmbias.certify.job import CertifyJob, from_mapping, run_job
from ssmbias.certify.task import CERTIFIED
from ssmbias.cli import launch
from ssmbias.cli.command import command_again, note_kept
from ssmbias.cli.jobs.console import make_console
from ssmbias.cli.jobs.machine import usable_cores
from ssmbias.report.pages.certificates import certificate_table, write_report
from ssmbias.report.progress import shown


def parse(mapping: dict) -> CertifyJob:
    job = from_mapping(mapping)
    return dataclasses.replace(job, workers=job.workers or usable_cores())


def job(config: CertifyJob, folder: Path) -> int:
    console = make_console()
    note_kept("finished boxes")
    with shown(console=console) as tell:
        records = run_job(config, folder, tell)
        write_report(folder, command_again("certify"))
    console.print(dataclasses.replace(certificate_table(records), title=""))
    for record in records:
        if record["status"] != CERTIFIED:
            said = f"{record['status'].upper()}: {record['name']}: {record['reason']}"
            console.print(said, soft_wrap=True, highlight=False, markup=False)
    console.print(f"Proofs, results, table, figures and report.html: {folder}", soft_wrap=True)
    met = all(record["status"] == CERTIFIED for record in records)
    return launch.HOLDS if met else launch.VIOLATED
