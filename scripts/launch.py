"""What the command-line programs share: set-up of JAX, one-line errors, exit codes."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import jax
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

HOLDS, VIOLATED, BAD_INPUT, DEFECT = 0, 1, 2, 3


def set_up_jax() -> None:
    """Double precision, and a cache of compiled code that the next run of a program finds."""
    if os.environ.get("JAX_ENABLE_X64", "1").lower() in ("0", "false", "no"):
        raise ValueError(
            "JAX_ENABLE_X64=0: claims are verified in float64 only; unset it, or set it to 1"
        )
    jax.config.update("jax_enable_x64", True)
    if not getattr(jax.config, "jax_compilation_cache_dir", None):
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(home / "ssmbias" / "jax"))
    # Everything is kept: hundreds of small programs make up a quarter of a warm `make verify`.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def run(
    parse: Callable[[dict], Any],
    job: Callable[[Any, Path], int],
    config_name: str,
    known: tuple[str, ...],
) -> None:
    """Run `job(parse(configuration), output folder)` under Hydra, once or (-m) many times.

    `known` are the keys that a message about an unknown one lists.

    Exits with the largest code of all jobs. Bad input, a `ValueError` of `parse` or an error of
    Hydra, is one line and code 2; an error of `job` is a defect: a traceback and code 3.
    """
    codes = [HOLDS]
    debug = os.environ.get("HYDRA_FULL_ERROR", "0") != "0"

    @hydra.main(version_base="1.3", config_path="pkg://ssmbias.conf", config_name=config_name)
    def main(cfg: DictConfig) -> None:
        mapping = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
        assert isinstance(mapping, dict)
        folder = Path(HydraConfig.get().runtime.output_dir)
        try:
            config = parse({str(key): value for key, value in mapping.items()})
        except ValueError as error:
            # Caught here: Hydra would add a line of its own, and drop the jobs still to come.
            codes.append(_refuse(error, debug, known))
            return
        again = f"the same again with hydra.run.dir={folder}"
        print(f"to go on after an interruption: {again}", file=sys.stderr)
        try:
            codes.append(job(config, folder))
        except KeyboardInterrupt:
            print(f"interrupted; to go on: {again}", file=sys.stderr)
            raise
        except Exception:
            traceback.print_exc()
            print(f"defect; finished checks are kept in {folder}", file=sys.stderr)
            codes.append(DEFECT)

    # Hydra would print a traceback and exit with 1: take the exception instead.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        main()
    except (HydraException, OmegaConfBaseException, OSError) as error:
        codes.append(_refuse(error, debug, known))
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(max(codes))


def console() -> Console:
    """A console that is as wide as a table needs where there is no terminal to ask."""
    return Console(width=None if sys.stdout.isatty() else 120)


def _refuse(error: BaseException, debug: bool, known: tuple[str, ...]) -> int:
    """Say in one line what is wrong with the input; HYDRA_FULL_ERROR=1 adds the traceback."""
    if debug:
        traceback.print_exception(error)
    print(f"error: {_one_line(error, known)}", file=sys.stderr)
    return BAD_INPUT


def _one_line(error: BaseException, known: tuple[str, ...]) -> str:
    """The message of an error and of what caused it, without line breaks."""
    unknown = re.search(r"Could not override '([^']+)'", str(error))
    if unknown:
        return f"{unknown[1]}: unknown key; known are {', '.join(known)}"
    missing = re.search(
        r"Could not find '(\w+)/([^']+)'\s+Available options in '\w+':([^:]*?)Config",
        str(error),
        re.S,
    )
    if missing:
        group, value, options = missing.groups()
        return f"{group}={value}: choose from {', '.join(options.split())}"
    ambiguous = re.search(r"Ambiguous value for argument '([^'=]+)=([^']+)'", str(error))
    if ambiguous:
        key, values = ambiguous.groups()
        return f"{key}={values}: write {key}=[{values}] for one job, or add -m for one job each"
    override = getattr(error, "override", None)
    parts = [*([f"{override}:"] if override else []), str(error)]
    if error.__cause__ is not None and isinstance(error, HydraException):
        parts.append(str(error.__cause__))
    return " ".join(" ".join(parts).split())
