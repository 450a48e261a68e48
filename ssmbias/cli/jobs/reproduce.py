"""The work of `ssmbias-reproduce`: tables and figures of the paper, replays of its runs."""

from __future__ import annotations

from pathlib import Path

from ssmbias.cli import launch
from ssmbias.cli.jobs.console import make_console
from ssmbias.cli.jobs.machine import set_up_jax
from ssmbias.paper.reproduce import reproduce
from ssmbias.paper.reproduce_config import ReproduceConfig, from_mapping
from ssmbias.report.pages.experiments import tables_of
from ssmbias.report.progress import shown


def parse(mapping: dict) -> ReproduceConfig:
    config = from_mapping(mapping)
    set_up_jax()
    return config


def job(config: ReproduceConfig, folder: Path) -> int:
    console = make_console()
    with shown(console=console) as tell:
        summary = reproduce(config, folder, tell, set_up_jax)
    for name, rows in summary["tables"].items():
        for table in tables_of(rows, name):
            console.print(table)
    if summary["reduced"]:
        console.print(f"Reduced run, not comparable with the paper: {summary['reduced']}.")
    violated = False
    for replay in summary["replays"]:
        violated |= replay["verdict"] == "violated"
        console.print(_replay_line(replay), soft_wrap=True, highlight=False, markup=False)
    console.print(f"Tables, figures and summary.json: {folder}", soft_wrap=True, highlight=False)
    return launch.VIOLATED if violated else launch.HOLDS


def _replay_line(replay: dict) -> str:
    line = (
        f"replay {replay['name']}: steps to eps {replay['steps_to_eps']}, train loss "
        f"{replay['train_loss']:.4g}, test error {replay['test_error']:.4g} (float64: "
        f"{replay['double']['steps_to_eps']:.0f}, {replay['double']['train_loss']:.4g}, "
        f"{replay['double']['test_error']:.4g}): {replay['verdict']}"
    )
    return f"{line}: {replay['reason']}" if replay["reason"] else line
