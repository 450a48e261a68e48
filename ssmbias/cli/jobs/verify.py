"""The work of `ssmbias-verify`: check claims, draw, report."""

from __future__ import annotations

from pathlib import Path

from ssmbias.cli import launch
from ssmbias.cli.jobs.console import make_console
from ssmbias.cli.jobs.machine import set_up_jax
from ssmbias.core.verdict import Verdict
from ssmbias.report.progress import shown
from ssmbias.verification import Verification, run_verification
from ssmbias.verification.job import from_mapping


def parse(mapping: dict) -> Verification:
    set_up_jax()
    return from_mapping(mapping)


def job(config: Verification, folder: Path) -> int:
    console = make_console()
    with shown(console=console) as tell:
        evidence = run_verification(config, folder, tell)
        report = evidence.write_report(folder)
    console.print(evidence.table())
    console.print(f"Results, figures and report: {report}", soft_wrap=True, highlight=False)
    violated = any(row.verdict is Verdict.VIOLATED for row in evidence)
    return launch.VIOLATED if violated else launch.HOLDS
