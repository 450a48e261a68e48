"""`python -m ssmbias`: what programs there are. Loads neither JAX nor Hydra."""

from __future__ import annotations

import importlib

from ssmbias import __version__

PROGRAMS = ("verify", "sweep", "reproduce", "poison", "certify")


def overview() -> str:
    """The programs, with a line about each."""
    programs = [importlib.import_module(f"ssmbias.cli.{name}").PROGRAM for name in PROGRAMS]
    wide = max(len(program.command) for program in programs)
    return "\n".join(
        [
            f"ssmbias {__version__}: theory about implicit bias of state space models, checked.",
            "",
            *(f"  {program.command:<{wide}}  {program.does}" for program in programs),
            "",
            "Each lists its keys with --help. From Python: import ssmbias; help(ssmbias).",
            "Checking a proof needs no more than: python -m ssmbias.certify.check FILE",
        ]
    )


if __name__ == "__main__":
    print(overview())
