"""The console of the programs."""

from __future__ import annotations

import sys

from rich.console import Console


def make_console() -> Console:
    """A console that is as wide as a table needs where there is no terminal to ask."""
    return Console(width=None if sys.stdout.isatty() else 120)
