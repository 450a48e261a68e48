"""Reproduce the paper: `scripts/reproduce.py table=1`, `figure=2`, `replay=<name>`, `all`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from rich.markdown import Markdown
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ssmbias.cli import launch  # pyright: ignore[reportMissingImports]
from ssmbias.paper.reproduce import reproduce
from ssmbias.paper.reproduce_config import (
    DEFAULT_MAPPING,
    FIGURES,
    TABLES,
    ReproduceConfig,
    from_mapping,
)

ALL = [f"table=[{','.join(map(str, TABLES))}]", f"figure=[{','.join(map(str, FIGURES))}]"]
KNOWN = (*sorted({*DEFAULT_MAPPING} - {"targets"}), "table", "figure", "all")


def parse(mapping: dict) -> ReproduceConfig:
    config = from_mapping(mapping)
    launch.set_up_jax()
    return config


def job(config: ReproduceConfig, folder: Path) -> int:
    console = launch.console()
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)
        summary = reproduce(
            config,
            folder,
            lambda done, total, text: bar.update(
                task, completed=done, total=total, description=text
            ),
            launch.set_up_jax,
        )
    for name in summary["files"]:
        if name.endswith(".md"):
            console.print(Markdown(f"**{name}**\n\n{(folder / name).read_text()}"))
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


def main() -> None:
    words = [word for arg in sys.argv[1:] for word in (ALL if arg == "all" else [arg])]
    sys.argv[1:] = [_with_names(word) for word in words]
    launch.run(parse, job, "reproduce", KNOWN)


def _with_names(word: str) -> str:
    """`table='1'` for `table=1`: Hydra takes no number for the name of a file."""
    if not re.match(r"(table|figure)=", word):
        return word
    return re.sub(r"(?<!['\d])\d+(?!['\d])", r"'\g<0>'", word)


if __name__ == "__main__":
    main()
