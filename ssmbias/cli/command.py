"""What the process of a command knows, and how the command goes on after an interruption."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode


class Command:
    """What the process of the command knows; those to which a launcher hands jobs know nothing.

    Attributes:
      codes: exit code of each job that has ended; `None` in the other processes.
      again: how to go on after an interruption, once that is known.
      announced: whether that has been said.
      kept: what of the job in flight an interruption leaves, once that is known.
      multirun: folder of the jobs of -m, once they are to begin.
    """

    codes: dict[int, int] | None = None
    again = ""
    announced = False
    kept = ""
    multirun: Path | None = None

    @classmethod
    def begin(cls) -> None:
        """Forget an earlier command of this process, and be the one to whom jobs report."""
        cls.codes, cls.again, cls.announced, cls.kept, cls.multirun = {}, "", False, "", None


def announce() -> None:
    """Say once, in the process of the command, how to go on after an interruption."""
    if Command.codes is not None and not Command.announced:
        Command.announced = True
        print(f"to go on after an interruption: {Command.again}", file=sys.stderr)


def note_kept(what: str) -> None:
    """Note what an interruption from now on leaves; nothing is known of it if `what` is empty."""
    Command.kept = what


def interrupted() -> str:
    """What to say after Ctrl-C."""
    again = f"; to go on: {Command.again}" if Command.again else ""
    kept = f"; {Command.kept} are kept" if Command.kept else ""
    return f"interrupted{kept}{again}"


def command_again(program: str, words: Sequence[str] | None = None) -> str:
    """The command for a report: that of these words, or the one that does this job again, alone."""
    return shlex.join(
        [f"ssmbias-{program}", *(HydraConfig.get().overrides.task if words is None else words)]
    )


def resume_command(config: Any, store: Any = None) -> str:
    """The command as it was typed, with the folder of its results; a `store` typed is enough."""
    if config.mode == RunMode.MULTIRUN:
        key, folder = "hydra.sweep.dir", Path(config.sweep.dir).absolute()
    else:
        key, folder = "hydra.run.dir", Path(config.runtime.output_dir or config.run.dir).absolute()
    typed = [word.partition("=")[0] for word in sys.orig_argv]
    given = {key: _quoted(folder)}
    if config.mode == RunMode.RUN and "store" in typed and isinstance(store, str):
        # Reports go into the other folder, so it stays if it was asked for.
        given = {"store": _quoted(Path(store).absolute())} | (given if key in typed else {})
    kept = [word for word, name in zip(sys.orig_argv, typed, strict=True) if name not in given]
    return shlex.join([*kept, *(f"{name}={value}" for name, value in given.items())])


def _quoted(path: Path) -> str:
    """A path as Hydra's grammar takes it."""
    plain = re.fullmatch(r"[\w./:+-]+", str(path))
    return str(path) if plain else "'" + str(path).replace("'", r"\'") + "'"
