"""How a program runs under Hydra: one job or many, one-line errors, exit codes."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssmbias.cli import words
from ssmbias.cli.command import Command, announce, command_again, interrupted, resume_command
from ssmbias.cli.program import Program
from ssmbias.runs.multirun import write_plan, write_status
from ssmbias.runs.units import OtherLayout

HOLDS, VIOLATED, BAD_INPUT, DEFECT, INTERRUPTED = 0, 1, 2, 3, 130


class Refused(Exception):
    """Raised by a job from an error that its input or its surroundings are to blame for."""


class _Work(NamedTuple):
    """What a program does, and whether it shows tracebacks."""

    program: Program
    parse: Callable[[dict], Any]
    job: Callable[[Any, Path], int]
    debug: bool


class Ended(int):
    """A job's exit code with a message; announces itself in the process that it is sent to.

    Launchers may run a job in another process and hand back what it returns. Hydra drops that, but
    whoever sends an object has to rebuild it, and here rebuilding writes down the code.
    """

    content: tuple[int, int, str]

    def __new__(cls, code: int, number: int, message: str) -> Ended:
        """Exit code, number of the job, and what to print, if anything."""
        ended = super().__new__(cls, code)
        ended.content = (code, number, message)
        if Command.codes is not None and number not in Command.codes:
            Command.codes[number] = code
            if message:
                print(message, file=sys.stderr)
        return ended

    def __reduce__(self) -> tuple[Any, ...]:
        return Ended, self.content


def run(program: Program, parse: Callable[[dict], Any], job: Callable[[Any, Path], int]) -> None:
    """Run `job(parse(configuration), output folder)` under Hydra, once or (-m) many times.

    Exits with the largest code of all jobs, wherever they ran. Bad input, which is a `ValueError`
    of `parse`, a `Refused` of `job` or an error of Hydra, is one line and code 2; another error of
    `job` is a defect: a traceback and code 3. Ctrl-C is code 130 and a line that says how to go on.
    Jobs of -m end with a table over all of them (`ssmbias.cli.multirun`), whatever they came to.
    """
    Command.begin()
    debug = os.environ.get("HYDRA_FULL_ERROR", "0") != "0"
    codes = [HOLDS]

    @hydra.main(version_base="1.3", config_path="pkg://ssmbias.conf", config_name=program.name)
    def main(cfg: DictConfig) -> Ended:
        return _run_job(cfg, _Work(program, parse, job, debug))

    # Hydra would print a traceback and exit with 1: take the exception instead.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        typed = program.rewrite(sys.argv[1:])
        sys.argv[1:] = words.prepared(typed, program.known, program.texts)
        main()
    except (HydraException, OmegaConfBaseException, OSError, ValueError) as error:
        codes.append(BAD_INPUT)
        _say(error, debug, program)
    except KeyboardInterrupt:
        print(interrupted(), file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:  # of a launcher, such as the death of a process that it started
        codes.append(DEFECT)
        _say(error, debug, program, f"defect: {type(error).__name__}: ")
    if Command.multirun is not None:
        codes.append(_sum_up(Command.multirun, program, debug))
    sys.exit(max(codes + list((Command.codes or {}).values())))


def _run_job(cfg: DictConfig, work: _Work) -> Ended:
    """One job, in whichever process: nothing is raised but Ctrl-C."""
    config = HydraConfig.get()
    one_of_many = config.mode == RunMode.MULTIRUN
    folder = Path(config.runtime.output_dir).absolute()
    mapping = _mapping(cfg, work.program, Path(config.runtime.cwd))
    Command.again = Command.again or resume_command(config, mapping.get("store"))
    if one_of_many:
        write_status(folder, None)
    ended, reason = _ended(work, config, mapping, folder)
    if one_of_many:
        write_status(folder, int(ended), reason)
    return ended


def _mapping(cfg: DictConfig, program: Program, typed_in: Path) -> dict[str, Any]:
    """The configuration as plain values, with paths that are true wherever the job runs."""
    container = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(container, dict)
    mapping = {str(key): value for key, value in container.items()}
    for key in program.paths:
        listed = key in program.texts  # what may be a path among other things
        mapping[key] = words.absolute(mapping.get(key), typed_in, python_only=listed)
    return mapping


def _ended(work: _Work, config: Any, mapping: dict[str, Any], folder: Path) -> tuple[Ended, str]:
    """What came of one job, and why if it did not come to its end."""
    # Hydra takes an exception as a reason to drop the jobs still to come: none gets that far.
    program = work.program
    number = int(config.job.num) if config.mode == RunMode.MULTIRUN else 0
    which = f"job {number}: " if Command.codes is None else ""

    def line(error: BaseException) -> str:
        return words.one_line(error, program.known, program.texts)

    def refused(error: BaseException) -> tuple[Ended, str]:
        if work.debug:
            traceback.print_exception(error)
        return Ended(BAD_INPUT, number, f"error: {which}{line(error)}"), line(error)

    try:
        if config.mode != RunMode.MULTIRUN:
            _require_no_launcher(config)
        parsed = work.parse(mapping)
    except ValueError as error:
        return refused(error)
    if program.announced:
        announce()
    try:
        return Ended(work.job(parsed, folder), number, ""), ""
    except Refused as error:
        return refused(error.__cause__ or error)
    except OtherLayout as error:
        return refused(error)
    except Exception as error:
        traceback.print_exc()
        reason = f"{type(error).__name__}: {line(error)}"
        said = f"{which}{reason}; " if which else ""
        ended = Ended(DEFECT, number, f"defect; {said}finished work is kept in {folder}")
        return ended, reason


def _sum_up(folder: Path, program: Program, debug: bool) -> int:
    """Show and write what came of all jobs; the exit code that this adds."""
    from ssmbias.cli.multirun import sum_up  # noqa: PLC0415  (jobs that run alone need none of it)

    try:
        sum_up(folder)
    except (OSError, ValueError) as error:
        _say(error, debug, program)
        return BAD_INPUT
    except Exception as error:
        _say(error, debug, program, f"defect: {type(error).__name__}: ")
        return DEFECT
    return HOLDS


def _say(error: BaseException, debug: bool, program: Program, kind: str = "error: ") -> None:
    """Say in one line what is wrong; HYDRA_FULL_ERROR=1 adds the traceback."""
    if debug:
        traceback.print_exception(error)
    print(f"{kind}{words.one_line(error, program.known, program.texts)}", file=sys.stderr)


class NotesMultirun(Callback):
    """Hydra's callback of all programs: where the jobs of -m will be, and which there will be."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Write the plan, and say how to go on if other processes will know of the input."""
        Command.again = resume_command(config.hydra)
        folder = Path(config.hydra.sweep.dir).absolute()
        with contextlib.suppress(OSError, HydraException):  # Hydra will stumble over it as well
            name = config.hydra.job.config_name
            write_plan(folder, name, command_again(name, sys.argv[1:]), _planned(config.hydra))
            Command.multirun = folder
        if not _one_by_one(config.hydra):
            announce()


def _planned(config: Any) -> list[list[str]] | None:
    """The words of each job, as Hydra's own sweeper makes them; `None` of another sweeper."""
    if not config.sweeper["_target_"].endswith(".BasicSweeper"):
        return None
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # noqa: PLC0415

    typed = [f"{key}={value}" for key, value in (config.sweeper.params or {}).items()]
    typed += list(config.overrides.task)
    overrides = OverridesParser.create().parse_overrides(typed)
    return [job for batch in BasicSweeper.split_arguments(overrides, None) for job in batch]


def _one_by_one(config: Any) -> bool:
    """Whether jobs run in the process of the command."""
    return config.launcher["_target_"].endswith(".BasicLauncher")


def _require_no_launcher(config: Any) -> None:
    """Refuse a launcher for a single job, which Hydra would not hand to it."""
    if not _one_by_one(config):
        key = "cluster" if config.runtime.choices.get("cluster") else "hydra/launcher"
        raise ValueError(
            f"{key}={config.runtime.choices.get(key)}: only the jobs of -m are handed to it; add "
            "-m, or leave it out"
        )
