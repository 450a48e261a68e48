"""The bar of a job that goes step by step, and the console that it is drawn on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class Steps:
    """Takes reports of a job: steps done, steps in all, what is under way."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("starting", total=None)

    def __call__(self, done: int, total: int, text: str) -> None:
        """Take a report."""
        self._bar.update(self._task, completed=done, total=total, description=text)

    def now(self, text: str) -> None:
        """Say what is under way, at the same step."""
        self._bar.update(self._task, description=text)


@contextmanager
def steps(console: Console) -> Iterator[Steps]:
    """Draw a bar while the job goes on; it is gone afterwards, and never seen in a pipe."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        yield Steps(bar)


def make_console() -> Console:
    """A console that is as wide as a table needs where there is no terminal to ask."""
    return Console(width=None if sys.stdout.isatty() else 120)
