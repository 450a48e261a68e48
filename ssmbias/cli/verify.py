"""Check the claims about Theorem 1: `python scripts/verify.py setting=t7 num_seeds=64`."""

from __future__ import annotations

from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ssmbias.cli import launch  # pyright: ignore[reportMissingImports]
from ssmbias.evidence import Verdict
from ssmbias.verification import Verification, run_verification
from ssmbias.verification.job import DEFAULT_MAPPING, from_mapping


def parse(mapping: dict) -> Verification:
    launch.set_up_jax()
    return from_mapping(mapping)


def job(config: Verification, folder: Path) -> int:
    console = launch.console()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)
        evidence = run_verification(
            config,
            folder,
            lambda done, total, text: bar.update(
                task, completed=done, total=total, description=text
            ),
        )
        bar.update(task, description="figures and report")
        report = evidence.write_report(folder)
    console.print(evidence)
    console.print(f"Results, figures and report: {report}", soft_wrap=True, highlight=False)
    violated = any(row.verdict is Verdict.VIOLATED for row in evidence)
    return launch.VIOLATED if violated else launch.HOLDS


def main() -> None:
    launch.run(parse, job, "verify", (*sorted(DEFAULT_MAPPING), "profile"))


if __name__ == "__main__":
    main()
