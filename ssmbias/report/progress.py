"""A progress bar on the terminal, for functions that take long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def shown(
    wanted: bool = True, console: Console | None = None
) -> Iterator[Callable[[int, int, str], None] | None]:
    """Draw a bar while the block runs; the function that it gives moves it.

    Args:
      wanted: `False` draws nothing, and gives `None`.
      console: where to draw; `None` is standard output.

    Yields:
      A function of (done, in all, what comes next).

    Example:
      >>> with shown(False) as tell:
      ...     print(tell)
      None
    """
    if not wanted:
        yield None
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    bar = Progress(*columns, TimeElapsedColumn(), console=console, transient=True)
    with bar:
        task = bar.add_task("starting", total=None)
        yield lambda done, total, text: bar.update(
            task, completed=done, total=total, description=text
        )
