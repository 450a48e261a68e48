"""What the command-line programs share: set-up of JAX, one-line errors, exit codes."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import shlex
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import jax
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

HOLDS, VIOLATED, BAD_INPUT, DEFECT, INTERRUPTED = 0, 1, 2, 3, 130

LAUNCHERS = ("joblib", "ray", "submitit_local", "submitit_slurm")


class _Command:
    """What the process of the command knows; those to which a launcher hands jobs know nothing.

    Attributes:
      codes: exit code of each job that has ended; `None` in the other processes.
      again: how to go on after an interruption, once that is known.
      announced: whether that has been said.
    """

    codes: dict[int, int] | None = None
    again = ""
    announced = False


class Refused(Exception):
    """Raised by a job from an error that its input or its surroundings are to blame for."""


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
        if _Command.codes is not None and number not in _Command.codes:
            _Command.codes[number] = code
            if message:
                print(message, file=sys.stderr)
        return ended

    def __reduce__(self) -> tuple[Any, ...]:
        return Ended, self.content


def set_up_jax() -> None:
    """Double precision, and a cache of compiled code that the next run of a program finds."""
    if os.environ.get("JAX_ENABLE_X64", "1").lower() in ("0", "false", "no"):
        raise ValueError(
            "JAX_ENABLE_X64=0: everything is computed in float64 only; unset it, or set it to 1"
        )
    jax.config.update("jax_enable_x64", True)
    if not getattr(jax.config, "jax_compilation_cache_dir", None):
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(home / "ssmbias" / "jax"))
    # Everything is kept: hundreds of small programs make up a quarter of a warm `make verify`.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def set_up_cores(devices: int | None) -> None:
    """Make every core that this process may use a device of JAX, and `devices` at least.

    JAX_NUM_CPU_DEVICES says another number; it is read here, because a launcher's `env_set` comes
    after JAX was imported. Accelerators are devices as they are, and are taken first.
    """
    asked = os.environ.get("JAX_NUM_CPU_DEVICES", "")
    number = int(asked) if asked.isdigit() else max(usable_cores(), devices or 1)
    # JAX refuses when it has begun to compute: then an earlier job of this process has chosen.
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", number)


def usable_cores() -> int:
    """Cores that this process may keep busy.

    The system's word, and that of those who share a machine out: joblib and Ray set
    OMP_NUM_THREADS for each of their processes, Slurm sets SLURM_CPUS_PER_TASK.
    """
    known = hasattr(os, "sched_getaffinity")  # not on macOS
    cores = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        asked = os.environ.get(name, "")
        cores = min(cores, int(asked)) if asked.isdigit() and int(asked) else cores
    return cores


def run(
    parse: Callable[[dict], Any],
    job: Callable[[Any, Path], int],
    config_name: str,
    known: tuple[str, ...],
    *,
    announced: bool = True,
) -> None:
    """Run `job(parse(configuration), output folder)` under Hydra, once or (-m) many times.

    `known` are the keys that a message about an unknown one lists. How to go on after an
    interruption is said when a job begins, or, if not `announced`, when it calls `announce`.

    Exits with the largest code of all jobs, wherever they ran. Bad input, which is a `ValueError`
    of `parse`, a `Refused` of `job` or an error of Hydra, is one line and code 2; another error of
    `job` is a defect: a traceback and code 3. Ctrl-C is code 130 and a line that says how to go on.
    """
    _Command.codes, _Command.again, _Command.announced = {}, "", False
    debug = os.environ.get("HYDRA_FULL_ERROR", "0") != "0"
    codes = [HOLDS]

    @hydra.main(version_base="1.3", config_path="pkg://ssmbias.conf", config_name=config_name)
    def main(cfg: DictConfig) -> Ended:
        return _run_job(cfg, parse, job, known, debug, announced)

    # Hydra would print a traceback and exit with 1: take the exception instead.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        main()
    except (HydraException, OmegaConfBaseException, OSError, ValueError) as error:
        codes.append(BAD_INPUT)
        _say(error, debug, known)
    except KeyboardInterrupt:
        again = f"; to go on: {_Command.again}" if _Command.again else ""
        print(f"interrupted{again}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:  # of a launcher, such as the death of a process that it started
        codes.append(DEFECT)
        _say(error, debug, known, f"defect: {type(error).__name__}: ")
    sys.exit(max(codes + list(_Command.codes.values())))


def announce() -> None:
    """Say once, in the process of the command, how to go on after an interruption."""
    if _Command.codes is not None and not _Command.announced:
        _Command.announced = True
        print(f"to go on after an interruption: {_Command.again}", file=sys.stderr)


def _run_job(
    cfg: DictConfig,
    parse: Callable[[dict], Any],
    job: Callable[[Any, Path], int],
    known: tuple[str, ...],
    debug: bool,
    announced: bool,
) -> Ended:
    """One job, in whichever process: nothing is raised but Ctrl-C."""
    mapping = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(mapping, dict)
    one_of_many = HydraConfig.get().mode == RunMode.MULTIRUN
    number = int(HydraConfig.get().job.num) if one_of_many else 0
    folder = Path(HydraConfig.get().runtime.output_dir)
    _Command.again = _Command.again or _resume_command(HydraConfig.get())

    def refused(error: BaseException) -> Ended:
        if debug:
            traceback.print_exception(error)
        return Ended(BAD_INPUT, number, f"error: {which}{_one_line(error, known)}")

    # Hydra takes an exception as a reason to drop the jobs still to come: none gets that far.
    which = f"job {number}: " if _Command.codes is None else ""
    try:
        config = parse({str(key): value for key, value in mapping.items()})
    except ValueError as error:
        return refused(error)
    if announced:
        announce()
    try:
        return Ended(job(config, folder), number, "")
    except Refused as error:
        return refused(error.__cause__ or error)
    except Exception as error:
        traceback.print_exc()
        what = f"{type(error).__name__}: {_one_line(error, known)}; " if which else ""
        return Ended(DEFECT, number, f"defect; {which}{what}finished work is kept in {folder}")


# A quoted text as it is; else a part without comma or square bracket outside of parentheses.
_PART = re.compile(r"""'[^']*'|"[^"]*"|(?:[^,()'"\[\]]|\((?:[^()]|\([^()]*\))*\))+""")


def with_quotes(word: str, keys: tuple[str, ...]) -> str:
    """`strength='logspace(-9,3,60)'` for a text without quotes, which Hydra would take for a call.

    Commas and square brackets outside of parentheses keep what they mean to Hydra.
    """
    key, sign, value = word.partition("=")
    if not sign or key.lstrip("+") not in keys:
        return word
    return f"{key}={_PART.sub(_with_quotes, value)}"


def _with_quotes(part: re.Match[str]) -> str:
    return f"'{part[0]}'" if "(" in part[0] and part[0][0] not in "'\"" else part[0]


def console() -> Console:
    """A console that is as wide as a table needs where there is no terminal to ask."""
    return Console(width=None if sys.stdout.isatty() else 120)


def _say(error: BaseException, debug: bool, known: tuple[str, ...], kind: str = "error: ") -> None:
    """Say in one line what is wrong; HYDRA_FULL_ERROR=1 adds the traceback."""
    if debug:
        traceback.print_exception(error)
    print(f"{kind}{_one_line(error, known)}", file=sys.stderr)


class NotesFolder(Callback):
    """Hydra's callback for a program whose jobs may all run in other processes (`callbacks`)."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note how to go on, before the sweep's folder is known to the jobs alone."""
        _Command.again = _resume_command(config.hydra)


def _resume_command(config: Any) -> str:
    """The command as it was typed, with the folder of its results."""
    if config.mode == RunMode.MULTIRUN:
        key, folder = "hydra.sweep.dir", Path(config.sweep.dir).absolute()
    else:
        key, folder = "hydra.run.dir", Path(config.runtime.output_dir or config.run.dir).absolute()
    plain = re.fullmatch(r"[\w./:+-]+", str(folder))  # what Hydra's grammar takes unquoted
    value = folder if plain else "'" + str(folder).replace("'", r"\'") + "'"
    words = [word for word in sys.orig_argv if not word.startswith(f"{key}=")]
    return shlex.join([*words, f"{key}={value}"])


def _one_line(error: BaseException, known: tuple[str, ...]) -> str:
    """The message of an error and of what caused it, without line breaks."""
    unknown = re.search(r"Could not override '([^']+)'", str(error))
    if unknown:
        close = difflib.get_close_matches(unknown[1], known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"{unknown[1]}: unknown key; known are {', '.join(known)}{hint}"
    missing = re.search(
        r"Could not find '([\w/]+)/([^'/]+)'(?:\s+Available options in '[\w/]+':([^:]*?)Config)?",
        str(error),
        re.S,
    )
    if missing:
        group, value, options = missing.groups()
        if value in LAUNCHERS:
            return f"{group}={value}: is not installed; pip install 'ssmbias[cluster]'"
        return f"{group}={value}: choose from {', '.join((options or 'nothing').split())}"
    ambiguous = re.search(r"Ambiguous value for argument '([^'=]+)=([^']+)'", str(error))
    if ambiguous:
        key, values = ambiguous.groups()
        return f"{key}={values}: write {key}=[{values}] for one job, or add -m for one job each"
    override = getattr(error, "override", None)
    parts = [*([f"{override}:"] if override else []), str(error)]
    if error.__cause__ is not None and isinstance(error, HydraException):
        parts.append(str(error.__cause__))
    return " ".join(" ".join(parts).split())
