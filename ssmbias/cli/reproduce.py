"""`ssmbias-reproduce`: tables and figures of the paper, and replays of its runs."""

from __future__ import annotations

import re

from ssmbias.cli.help import read_keys
from ssmbias.cli.program import Program


def rewritten(typed: list[str]) -> list[str]:
    """What was typed, with `all` spelt out and the numbers of tables and figures as names.

    Hydra takes no number for the name of a file.

    Example:
      >>> rewritten(["table=1", "num_seeds=4"]), rewritten(["all"])[0]
      (["table='1'", 'num_seeds=4'], "table=['1','3']")
    """
    everything = [
        f"{key.name}=[{','.join(key.choices)}]"
        for key in read_keys("reproduce")
        if key.name in ("table", "figure")
    ]
    words = [word for one in typed for word in (everything if one == "all" else [one])]
    named = re.compile(r"(?<!['\d])\d+(?!['\d])")
    return [
        named.sub(r"'\g<0>'", word) if re.match(r"(table|figure)=", word) else word
        for word in words
    ]


PROGRAM = Program(
    name="reproduce",
    does="tables and figures of arXiv:2410.10473, and replays of its runs",
    examples=(
        ("table=1", "reported, replayed, and our own over 64 seeds, side by side"),
        ("figure=2", "the dynamics of two runs"),
        ("table=[1,3] figure=[2,7]", "several"),
        ("replay=poison_ssm_len6_d10_seed201_special", "one run of the paper, with a verdict"),
        ("all", "every table and figure"),
    ),
    violated="a replay is not what the paper's run was",
    texts=("table", "figure", "replay"),
    paths=("replay_dir",),
    rewrite=rewritten,
)
main = PROGRAM.main

if __name__ == "__main__":
    main()
