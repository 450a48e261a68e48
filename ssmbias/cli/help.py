"""`--help` of the programs, from the comments of conf/*.yaml.

A key's comment stands above it, or behind its value, or both. `##` begins a group of keys. What is
under `hydra:` is for Hydra.
"""

from __future__ import annotations

import re
import shutil
import textwrap
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ssmbias.cli.program import Program

_CONF = "ssmbias.conf"
_KEY = re.compile(r"(?P<dash>  - |)(?P<name>\w+): *(?P<value>.*?)(?:  +# *(?P<said>.*))?")
_WIDEST, _NAMES = 100, 26
_LONG = 24


class Key(NamedTuple):
    """A key that can be given on the command line.

    Attributes:
      name: of the key.
      value: its default, as it is written in conf.
      said: what the key is for.
      group: heading under which it stands, or "".
      choices: names of the files of a configuration group; empty for an ordinary key.
    """

    name: str
    value: str
    said: str
    group: str
    choices: tuple[str, ...] = ()


def read_keys(program: str) -> list[Key]:
    """The keys of a program in the order of its configuration, those of groups last."""
    text = files(_CONF).joinpath(f"{program}.yaml").read_text(encoding="utf-8")
    keys, groups, heading, said = [], [], "", []
    for line in text.splitlines():
        if line.startswith("hydra:"):
            break
        found = _KEY.fullmatch(line)
        if line.strip().startswith("## "):
            heading, said = line.strip().removeprefix("## "), []
        elif line.strip().startswith("#"):
            said.append(line.strip().removeprefix("#").strip())
        elif found and found["name"] != "defaults":
            words = " ".join([*said, *([found["said"]] if found["said"] else [])])
            value = found["value"].replace(", ", ",")
            one = Key(found["name"], value, words.rstrip("."), "" if found["dash"] else heading)
            (groups if found["dash"] else keys).append(one)
            said = []
        else:
            said = []
    # What the files of groups fill is not for people.
    keys = [key for key in keys if key.value != "{}"]
    taken = {key.name for key in keys}
    return keys + [key._replace(choices=_choices(key, taken)) for key in groups]


def _choices(group: Key, taken: set[str]) -> tuple[str, ...]:
    """The files of a group that set nothing but what the program takes.

    A group that has to be chosen from may also set the key of its own name.
    """
    taken = taken | ({group.name} if group.value not in ("null", "[]") else set())
    names = []
    for file in sorted(files(_CONF).joinpath(group.name).iterdir(), key=lambda file: file.name):
        if file.name.endswith(".yaml"):
            text = file.read_text(encoding="utf-8")
            packaged = re.search(r"^# @package (?!_global_)", text)
            if packaged or {*re.findall(r"^(\w+):", text, re.MULTILINE)} <= taken | _FOR_HYDRA:
                names.append(file.name.removesuffix(".yaml"))
    return tuple(names)


_FOR_HYDRA = {"defaults", "hydra"}


def help_text(program: Program) -> str:
    """What `--help` prints: keys in groups, with their defaults, examples, exit codes."""
    parts = [
        f"{program.command}: {program.does}",
        f"usage: {program.command} [key=value ...]\n"
        f"       {program.command} -m key=value,value ...",
        _wrapped(
            "A list in square brackets is one job. With -m, commas outside of brackets make "
            "several jobs, with one table, summary.csv and report.html over all of them at the "
            "end. Quote what the shell would take for itself."
        ),
    ]
    ordinary = [key for key in program.keys if not key.choices]
    for heading in dict.fromkeys(key.group for key in ordinary):
        lines = [_line(key) for key in ordinary if key.group == heading]
        parts.append("\n".join([f"{heading or 'Keys'}:", *lines]))
    groups = [_line(key) for key in program.keys if key.choices]
    if groups:
        parts.append("\n".join(["Named choices (files of conf/):", *groups]))
    parts += [
        "\n".join(["Where results go, and other words for Hydra:", *_HYDRA_LINES]).format(
            name=program.name
        ),
        "\n".join(
            ["Examples:"]
            + [
                f"  {program.command} {typed}\n      {meaning}"
                for typed, meaning in program.examples
            ]
        ),
        "\n".join(["Exit codes:", *_codes(program)]),
    ]
    return "\n\n".join(parts)


_HYDRA_LINES = (
    "  hydra.run.dir=FOLDER      folder of the results; default outputs/{name}/<date>/<time>. With "
    "the\n                            folder of a run that was stopped, the run goes on",
    "  hydra.sweep.dir=FOLDER    the same with -m; default multirun/{name}/<date>/<time>",
    "  --cfg job                 show the configuration and stop",
    "  --hydra-help              the options of Hydra",
)


def _codes(program: Program) -> list[str]:
    codes = {
        0: "done, and nothing is violated" if program.violated else "done",
        1: program.violated,
        2: "bad input; one line says what is wrong",
        3: "a defect of the program, or the death of a worker",
        130: "stopped by Ctrl-C; a line says how to go on",
    }
    lines = [f"  {code:<3}  {meaning}" for code, meaning in codes.items() if meaning]
    return [*lines, "  Of several jobs, the largest."]


def _line(key: Key) -> str:
    """A key with its default, what it is for, and what there is to choose from."""
    said = key.said
    if key.choices:
        said = f"{said}. One of: {', '.join(key.choices)}"
    value = key.value
    if len(value) > _LONG:  # a list: its beginning says enough
        value = f"{value[: _LONG - 4].rpartition(',')[0] or value[: _LONG - 4]},...]"
    begin = f"  {key.name}={value}"
    indent = " " * (_NAMES + 2)
    first = begin.ljust(len(indent)) if len(begin) < len(indent) else f"{begin}\n{indent}"
    head, _, rest = first.rpartition("\n")
    filled = _wrapped(said, indent=indent).removeprefix(indent)
    return f"{head}\n{rest}{filled}" if head else f"{first}{filled}"


def _wrapped(text: str, indent: str = "") -> str:
    width = min(_WIDEST, shutil.get_terminal_size((_WIDEST, 24)).columns)
    return textwrap.fill(
        text,
        width=max(width, len(indent) + 30),
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )
