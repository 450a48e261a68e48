"""How to repeat a run, and how to cite it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

_PLAIN_WORD = re.compile(r"[A-Za-z0-9_.,=+/-]+")
_LIST_WORD = re.compile(r"[A-Za-z0-9_.,=+/\[\]-]+")

CITATION = """\
@inproceedings{slutzky2025implicit,
  title     = {The Implicit Bias of Structured State Space Models Can Be Poisoned
               With Clean Labels},
  author    = {Slutzky, Yonatan and Alexander, Yotam and Razin, Noam and Cohen, Nadav},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2025},
  note      = {arXiv:2410.10473}
}

@software{ssmbias,
  title     = {ssmbias: checks theory about the implicit bias of structured state space models},
  author    = {{The ssmbias developers}},
  year      = {2026}
}
"""


def reproduce_command(words: Sequence[str] | None) -> str:
    r"""The command line that repeats a run of the main job.

    Args:
      words: what `make verify` is to be given, such as "num_seeds=64"; `None` where claims or
        subjects are objects that no word names.

    Returns:
      A command for a shell, or a comment where there is none.

    Example:
      >>> reproduce_command(["setting=t7", "claims=[M1,B1]"])
      'make verify ARGS="setting=t7 \'claims=[M1,B1]\'"'
    """
    if words is None:
        return "# claims or subjects were made in Python: pass them to ssmbias.verify"
    if not words:
        return "make verify"
    # A shell would take brackets for a pattern.
    args = " ".join(word if _PLAIN_WORD.fullmatch(word) else shlex.quote(word) for word in words)
    simple = all(_LIST_WORD.fullmatch(word) for word in words)
    return f'make verify ARGS="{args}"' if simple else f"make verify ARGS={shlex.quote(args)}"
