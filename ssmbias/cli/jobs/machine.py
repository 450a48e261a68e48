"""The machine as a job finds it: JAX's settings, and the cores that it may use."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import jax


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
