"""A command-line program as one object: what it is called, what it takes, and how it starts.

Nothing here, and nothing in the modules that declare the programs, loads JAX or Hydra, so that
`--help` and `python -m ssmbias` answer at once. The work stands in `ssmbias.cli.jobs`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from ssmbias.cli.help import Key, help_text, read_keys

_HELP = frozenset({"--help", "-h"})


@dataclass(frozen=True)
class Program:
    """What the programs differ in.

    Attributes:
      name: of its configuration (conf/<name>.yaml), of its module in `ssmbias.cli.jobs`, and, with
        `ssmbias-` before it, of the command.
      does: what it does, in one line.
      examples: what to type after the name of the command, with what it does.
      violated: what exit code 1 means; "" if it does not occur.
      texts: keys whose values may be lists and texts, such as range(20) or the path of a file.
      paths: keys whose values are paths, or, if they end in .py, may be; they are relative to the
        folder in which the command was typed.
      announced: whether a job says how to go on as soon as it begins; else it calls `announce`.
      rewrite: changes what was typed before it is read.
    """

    name: str
    does: str
    examples: tuple[tuple[str, str], ...]
    violated: str = ""
    texts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    announced: bool = True
    rewrite: Callable[[list[str]], list[str]] = list

    @property
    def command(self) -> str:
        """The name of the installed command."""
        return f"ssmbias-{self.name}"

    @cached_property
    def keys(self) -> list[Key]:
        """The keys that can be given, as conf/<name>.yaml explains them."""
        return read_keys(self.name)

    @property
    def known(self) -> tuple[str, ...]:
        """The names of the keys that can be given."""
        return tuple(key.name for key in self.keys)

    def main(self) -> None:
        """Run the program on the words of the command line; exits with its code."""
        if _HELP & {*sys.argv[1:]}:
            print(help_text(self))
            return
        # Here and not above, because they load Hydra and JAX.
        launch = importlib.import_module("ssmbias.cli.launch")
        work = importlib.import_module(f"ssmbias.cli.jobs.{self.name}")
        launch.run(self, work.parse, work.job)
