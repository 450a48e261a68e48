"""Many jobs of one command (-m): which were planned, how each ended, and what differed.

The folder of the command holds `jobs.json`, the plan, and a folder for each job. A job's folder
holds Hydra's record of what was asked, `.hydra/overrides.yaml`, and `status.json`, how it ended.
Everything is read from there, so that it does not matter where, when and by whom a job was run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ssmbias.runs.files import read_json, write_json

MULTIRUN_SCHEMA = "ssmbias.multirun/1"
PLAN_FILE, STATUS_FILE = "jobs.json", "status.json"

ENDED, FAILED, UNFINISHED, MISSING = "ended", "failed", "unfinished", "missing"
"""How far a job came: to its end; to an error; not to its end; not to its beginning."""

_BAD = 2  # exit codes from here on are errors


@dataclass(frozen=True)
class Job:
    """One job of a multirun.

    Attributes:
      number: Hydra's, from 0 on.
      words: what was asked of it, such as ("seq_len=5", "seed=1").
      state: "ended", "failed", "unfinished" or "missing".
      message: why, unless it ended.
      folder: of its results; `None` while there is none, as of every job that is missing.
    """

    number: int
    words: tuple[str, ...]
    state: str
    message: str
    folder: Path | None

    @property
    def overrides(self) -> dict[str, Any]:
        """What was asked as key and value.

        Example:
          >>> Job(0, ("seq_len=5", "+strength=[0,1]", "claims='M1'"), ENDED, "", None).overrides
          {'seq_len': 5, 'strength': '[0,1]', 'claims': 'M1'}
        """
        pairs = [word.lstrip("+~").partition("=") for word in self.words]
        return {key: value_of(text) for key, _, text in pairs}

    @property
    def typed_in(self) -> Path:
        """The folder in which the command was typed, from which its relative paths are meant."""
        text = "" if self.folder is None else _text(self.folder / ".hydra" / "hydra.yaml")
        noted = re.search(r"^ +cwd: (.+)$", text, re.MULTILINE)
        return Path(str(yaml.safe_load(noted[1]))) if noted else Path()

    def __str__(self) -> str:
        """The job in one line: what was asked, how far it came, and why."""
        said = f"job {self.number} ({' '.join(self.words)}): {self.state}"
        return f"{said}: {self.message}" if self.message else said


@dataclass(frozen=True)
class Multirun:
    """The jobs of one command.

    Attributes:
      folder: of the command.
      program: "verify", "sweep", "reproduce", "poison" or "certify".
      command: as it was typed, or "" where that is not known.
      jobs: by number, missing ones included.
    """

    folder: Path
    program: str
    command: str
    jobs: tuple[Job, ...]

    @property
    def varied(self) -> tuple[str, ...]:
        """Keys whose values differ between jobs."""
        names = dict.fromkeys(name for job in self.jobs for name in job.overrides)
        unlike = object()
        return tuple(
            name
            for name in names
            if any(job.overrides.get(name, unlike) != self.jobs[0].overrides.get(name, unlike)
                   for job in self.jobs)
        )  # fmt: skip


def value_of(text: str) -> Any:
    """A value of the command line as Python's: number, truth value, `None`, or text.

    Example:
      >>> [value_of(text) for text in ("1e-3", "7", "true", "null", "'range(4)'", "[0,1]")]
      [0.001, 7, True, None, 'range(4)', '[0,1]']
    """
    named = {"true": True, "false": False, "null": None}
    if text.lower() in named:
        return named[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    quoted = re.fullmatch(r"(['\"])(.*)\1", text, re.DOTALL)
    return quoted[2] if quoted and quoted[1] not in quoted[2] else text


def write_plan(
    folder: Path, program: str, command: str, jobs: Sequence[Sequence[str]] | None
) -> None:
    """Note which jobs a command is going to run.

    Args:
      folder: of the command; made if it is not there.
      program: its name.
      command: as it was typed.
      jobs: the words of each job in order; `None` if they are not known beforehand.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plan = {"schema": MULTIRUN_SCHEMA, "program": program, "command": command, "jobs": jobs}
    write_json(folder / PLAN_FILE, plan)


def write_status(folder: Path, code: int | None, message: str = "") -> None:
    """Note that a job has begun (no code), or with which exit code and message it ended."""
    status = {"schema": MULTIRUN_SCHEMA, "code": code, "message": message}
    write_json(folder / STATUS_FILE, status)


def read_multirun(folder: str | Path) -> Multirun:
    """The jobs of a command that was run with -m, wherever they ran and however they ended.

    Args:
      folder: of the command, such as multirun/sweep/2026-01-31/12-00-00.

    Returns:
      What was asked of each job, and how it ended.

    Raises:
      ValueError: it is no such folder.
    """
    folder = Path(folder).absolute()
    if not folder.is_dir():
        raise ValueError(f"folder={str(folder)!r}: does not exist; give a folder written with -m")
    plan = _plan(folder)
    if plan is None and not (folder / "multirun.yaml").is_file():
        raise ValueError(
            f"folder={str(folder)!r}: is no multirun, which holds {PLAN_FILE} and a folder for "
            "each job; give the folder in hydra.sweep.dir, or multirun/<program>/<date>/<time>"
        )
    plan = plan or {}
    found = {number: path for path in _folders(folder) if (number := _number(path)) is not None}
    planned = plan.get("jobs") or {}
    if isinstance(planned, list):
        planned = {number: tuple(map(str, words)) for number, words in enumerate(planned)}
    numbers = sorted({*planned, *found})
    jobs = tuple(_job(number, planned, found.get(number)) for number in numbers)
    program = plan.get("program") or next(map(_program, found.values()), "")
    return Multirun(folder, str(program), str(plan.get("command") or ""), jobs)


def _plan(folder: Path) -> dict[str, Any] | None:
    path = folder / PLAN_FILE
    if not path.is_file():
        return None
    plan = read_json(path)
    schema = plan.get("schema") if isinstance(plan, dict) else None
    if schema != MULTIRUN_SCHEMA:
        raise ValueError(
            f"{path}: has the layout {schema!r}, this version reads {MULTIRUN_SCHEMA!r}; run the "
            "command again in another folder"
        )
    return plan


def _folders(folder: Path) -> list[Path]:
    """Folders of jobs, which may lie deeper than one level (hydra.sweep.subdir)."""
    found = []
    for place, inner, _ in os.walk(folder):
        if ".hydra" in inner and Path(place) != folder:
            found.append(Path(place))
            inner.clear()  # results, which may be many files
    return found


def _number(folder: Path) -> int | None:
    """The number of the job that a folder belongs to, as Hydra has noted it."""
    noted = re.search(r"^ +num: (\d+)$", _text(folder / ".hydra" / "hydra.yaml"), re.MULTILINE)
    return int(noted[1]) if noted else int(folder.name) if folder.name.isdigit() else None


def _program(folder: Path) -> str:
    noted = re.search(r"^ +config_name: (\w+)$", _text(folder / ".hydra/hydra.yaml"), re.MULTILINE)
    return noted[1] if noted else ""


def _job(number: int, planned: dict[int, tuple[str, ...]], folder: Path | None) -> Job:
    """What is known of a job; its folder may be that of another command in the same place."""
    if folder is None:
        return Job(number, planned[number], MISSING, "did not begin", None)
    if planned and number not in planned:
        # What it holds is not to be read, so that it has no folder.
        return Job(number, _asked(folder), MISSING, "is not of the last command here", None)
    words = planned.get(number, _asked(folder))
    if sorted(words) != sorted(_asked(folder)):
        message = f"did not begin; {folder.name} holds results of {' '.join(_asked(folder))}"
        return Job(number, words, MISSING, message, None)
    state, message = _status(folder)
    return Job(number, words, state, message, folder)


def _asked(folder: Path) -> tuple[str, ...]:
    """What Hydra has noted of a job that has begun."""
    return tuple(map(str, yaml.safe_load(_text(folder / ".hydra" / "overrides.yaml")) or ()))


def _status(folder: Path) -> tuple[str, str]:
    """How far a job came, and why not further."""
    if not (folder / STATUS_FILE).is_file():
        return ENDED, ""  # by another tool; its results will tell
    try:
        status = read_json(folder / STATUS_FILE)
        code, message = status.get("code"), status.get("message")
    except (ValueError, AttributeError) as error:
        return UNFINISHED, str(error)
    if not isinstance(code, int):
        return UNFINISHED, "was stopped, or still runs"
    return (FAILED if code >= _BAD else ENDED), str(message or "")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
