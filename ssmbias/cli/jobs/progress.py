"""How a sweep shows itself on the terminal: progress, Ctrl-C, and what was found at the end."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from ssmbias.cli.command import announce, note_kept
from ssmbias.sweeps.runner import SweepProgress

_GOOD = "converged"
_PAGE = "docs/how-to/sweep-from-python.md"


class Bar:
    """A line about the lanes, drawn only on a terminal that this job has for itself.

    Attributes:
      last: the latest report; `None` until the input has been accepted.
    """

    def __init__(self, console: Console) -> None:
        self.last: SweepProgress | None = None
        note_kept("")  # of this job, whatever an earlier one has kept
        self._stop = False
        alone = HydraConfig.get().launcher["_target_"].endswith(".BasicLauncher")
        shown = alone and console.is_terminal and sys.stderr.isatty()
        columns = TextColumn("lanes"), BarColumn(bar_width=20), TextColumn("{task.description}")
        self._progress = Progress(*columns, console=console, transient=True, disable=not shown)
        self._task = self._progress.add_task("preparing", total=None)

    @contextmanager
    def shown(self) -> Iterator[Bar]:
        """Draw, and take Ctrl-C as a wish to stop after the block in flight; twice is at once."""
        main = threading.current_thread() is threading.main_thread()  # others get no signals
        before = signal.signal(signal.SIGINT, self._asked_to_stop) if main else None
        try:
            with self._progress:
                yield self
        finally:
            if main:
                signal.signal(signal.SIGINT, before)

    def __call__(self, now: SweepProgress) -> None:
        """Take a report; raise `KeyboardInterrupt` if the user has asked to stop."""
        if self.last is None:  # the input is accepted
            if now.resumed:
                found = f"{now.resumed} of {now.total} points found in the store"
                print(f"resuming: {found}", file=sys.stderr)
            if now.done < now.total:
                announce()
        self.last = now
        note_kept(f"{now.done} of {now.total} points{_of_which_job()}")
        self._progress.update(
            self._task, completed=now.done, total=now.total, description=describe(now)
        )
        if self._stop and now.done < now.total:
            raise KeyboardInterrupt

    def _asked_to_stop(self, number: int, frame: FrameType | None) -> None:
        if self._stop or self.last is None:
            raise KeyboardInterrupt
        self._stop = True
        with suppress(RuntimeError):  # it may have come in the middle of another print
            print("stopping after the block in flight; Ctrl-C again: at once", file=sys.stderr)


def _of_which_job() -> str:
    config = HydraConfig.get()
    return f" of job {config.job.num}" if config.mode == RunMode.MULTIRUN else ""


def describe(now: SweepProgress) -> str:
    """Lanes done, lanes/s, time left, and the share that did not converge."""
    parts = [f"{now.done}/{now.total}"]
    computed = now.done - now.resumed
    if computed > 0 and now.seconds > 0:
        rate = computed / now.seconds
        left = round((now.total - now.done) / rate)
        clock = f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}"
        parts += [f"{rate:.3g} lanes/s", f"{clock} left"]
    elif now.done < now.total:
        parts.append("compiling")
    if now.done:
        parts.append(f"{1 - now.counts.get(_GOOD, 0) / now.done:.1%} not converged")
    return ", ".join(parts)


def summary(counts: Mapping[str, int], last: SweepProgress | None, store: Path) -> str:
    """What was found, where it is, and how to read it."""
    total = sum(counts.values())
    found = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in counts.items())
    lines = [f"{total} points: {found}"]
    if "no_start" in counts:
        lines.append(f"no start: the draw leaves no room for the gap ({_PAGE})")
    if last is not None:
        computed = last.done - last.resumed
        rate = ""
        if computed and last.seconds:
            rate = f" at {computed / last.seconds:.3g} lanes/s (compilation included)"
        use = f", {last.utilisation:.0%} of lane-steps useful" if last.utilisation > 0 else ""
        lines.append(f"{computed} computed in {last.seconds:.3g} s{rate}{use}")
        if last.resumed:
            lines[-1] = f"{last.resumed} found in the store, {lines[-1]}"
    lines.append(f"store: {store}")
    lines.append(f"read it: ssmbias.open_sweep({str(store)!r})")
    return "\n".join(lines)
