"""The work of `ssmbias-verify`: check claims, draw, report."""

from __future__ import annotations

from pathlib import Path

from ssmbias.cli import launch
from ssmbias.cli.jobs.machine import set_up_jax
from ssmbias.cli.jobs.steps import make_console, steps
from ssmbias.config import VerifyConfig, from_mapping
from ssmbias.evidence import Verdict
from ssmbias.report import load_results, save_figures, verdict_table, write_report
from ssmbias.verification import check_input, run_verification


def parse(mapping: dict) -> VerifyConfig:
    config = from_mapping(mapping)
    set_up_jax()
    check_input(config)
    return config


def job(config: VerifyConfig, folder: Path) -> int:
    console = make_console()
    with steps(console) as tell:
        evidence = run_verification(config, folder, tell)
        tell.now("figures and report")
        save_figures(folder)
        report = write_report(folder)
    results, _ = load_results(folder)
    console.print(verdict_table(results))
    console.print(f"Results, figures and report: {report}", soft_wrap=True, highlight=False)
    violated = any(row.verdict is Verdict.VIOLATED for row in evidence)
    return launch.VIOLATED if violated else launch.HOLDS
