"""What the command-line programs share: set-up of JAX, one-line errors, exit codes."""

from __future__ import annotations

import contextlib
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

from ssmbias.cli import words  # pyright: ignore[reportMissingImports]
from ssmbias.runs.units import OtherLayout

HOLDS, VIOLATED, BAD_INPUT, DEFECT, INTERRUPTED = 0, 1, 2, 3, 130


class _Command:
    """What the process of the command knows; those to which a launcher hands jobs know nothing.

    Attributes:
      codes: exit code of each job that has ended; `None` in the other processes.
      again: how to go on after an interruption, once that is known.
      announced: whether that has been said.
      kept: what of the job in flight an interruption leaves, once that is known.
      texts: keys that take lists and texts; `None` if the program has not said.
    """

    codes: dict[int, int] | None = None
    again = ""
    announced = False
    kept = ""
    texts: tuple[str, ...] | None = None


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
    """Make every core that this process may use a device of JAX.

    JAX_NUM_CPU_DEVICES says another number; it is read here, because a launcher's `env_set` comes
    after JAX was imported. Accelerators are devices as they are, and are taken first.

    Raises:
      ValueError: `devices` is more than the cores, nobody has asked for so many to be made, and
        there is no accelerator, whose number is checked later.
    """
    asked = os.environ.get("JAX_NUM_CPU_DEVICES", "")
    cores = usable_cores()
    # JAX refuses when it has begun to compute: then an earlier job of this process has chosen.
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", int(asked) if asked.isdigit() else cores)
    if (devices or 1) > cores and not asked.isdigit() and jax.default_backend() == "cpu":
        raise ValueError(
            f"devices={devices}: cores of the CPU that this process may use: {cores}, and more "
            f"devices are slower; give {cores} at most, or set JAX_NUM_CPU_DEVICES={devices}"
        )


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
    texts: tuple[str, ...] | None = None,
) -> None:
    """Run `job(parse(configuration), output folder)` under Hydra, once or (-m) many times.

    `known` are the keys that a message about an unknown one lists. How to go on after an
    interruption is said when a job begins, or, if not `announced`, when it calls `announce`. Of a
    program that names its `texts`, the words are `words.prepared` before Hydra reads them.

    Exits with the largest code of all jobs, wherever they ran. Bad input, which is a `ValueError`
    of `parse`, a `Refused` of `job` or an error of Hydra, is one line and code 2; another error of
    `job` is a defect: a traceback and code 3. Ctrl-C is code 130 and a line that says how to go on.
    """
    _Command.codes, _Command.again, _Command.announced = {}, "", False
    _Command.kept, _Command.texts = "", texts
    debug = os.environ.get("HYDRA_FULL_ERROR", "0") != "0"
    codes = [HOLDS]

    @hydra.main(version_base="1.3", config_path="pkg://ssmbias.conf", config_name=config_name)
    def main(cfg: DictConfig) -> Ended:
        return _run_job(cfg, parse, job, known, debug, announced)

    # Hydra would print a traceback and exit with 1: take the exception instead.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        if texts is not None:
            sys.argv[1:] = words.prepared(sys.argv[1:], known, texts)
        main()
    except (HydraException, OmegaConfBaseException, OSError, ValueError) as error:
        codes.append(BAD_INPUT)
        _say(error, debug, known)
    except KeyboardInterrupt:
        again = f"; to go on: {_Command.again}" if _Command.again else ""
        kept = f"; {_Command.kept} are kept" if _Command.kept else ""
        print(f"interrupted{kept}{again}", file=sys.stderr)
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


def note_kept(what: str) -> None:
    """Note what an interruption from now on leaves; nothing is known of it if `what` is empty."""
    _Command.kept = what


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
    _Command.again = _Command.again or _resume_command(HydraConfig.get(), mapping.get("store"))

    def refused(error: BaseException) -> Ended:
        if debug:
            traceback.print_exception(error)
        return Ended(
            BAD_INPUT, number, f"error: {which}{words.one_line(error, known, _Command.texts)}"
        )

    # Hydra takes an exception as a reason to drop the jobs still to come: none gets that far.
    which = f"job {number}: " if _Command.codes is None else ""
    try:
        if not one_of_many:
            _require_no_launcher(HydraConfig.get())
        config = parse({str(key): value for key, value in mapping.items()})
    except ValueError as error:
        return refused(error)
    if announced:
        announce()
    try:
        return Ended(job(config, folder), number, "")
    except Refused as error:
        return refused(error.__cause__ or error)
    except OtherLayout as error:
        return refused(error)
    except Exception as error:
        traceback.print_exc()
        what = (
            f"{type(error).__name__}: {words.one_line(error, known, _Command.texts)}; "
            if which
            else ""
        )
        return Ended(DEFECT, number, f"defect; {which}{what}finished work is kept in {folder}")


def console() -> Console:
    """A console that is as wide as a table needs where there is no terminal to ask."""
    return Console(width=None if sys.stdout.isatty() else 120)


def _say(error: BaseException, debug: bool, known: tuple[str, ...], kind: str = "error: ") -> None:
    """Say in one line what is wrong; HYDRA_FULL_ERROR=1 adds the traceback."""
    if debug:
        traceback.print_exception(error)
    print(f"{kind}{words.one_line(error, known, _Command.texts)}", file=sys.stderr)


class NotesFolder(Callback):
    """Hydra's callback for a program whose jobs may all run in other processes (`callbacks`)."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note how to go on; say so too if it is other processes that will know of the input."""
        _Command.again = _resume_command(config.hydra)
        if not _one_by_one(config.hydra):
            announce()


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


def _resume_command(config: Any, store: Any = None) -> str:
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
