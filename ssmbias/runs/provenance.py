"""Where numbers were computed: versions of packages, hardware, commit."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

NUMERIC_PACKAGES = (
    "jax", "jaxlib", "numpy", "scipy", "diffrax", "optimistix", "equinox", "lineax", "optax",
    "flax", "ml_dtypes", "python-flint", "xarray", "zarr", "scikit-learn",
)  # fmt: skip
"""Packages that a number may depend on; those that are not installed take no part in it."""

_ROOT = Path(__file__).resolve().parents[2]


def provenance() -> dict[str, Any]:
    """What a file of results says about its origin: versions, commit and hardware."""
    return {"versions": versions(), "git_commit": git_commit(), "hardware": hardware()}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on.

    Example:
      >>> {"python", "ssmbias", "jax", "numpy", "python-flint"} <= versions().keys()
      True
    """
    return dict(_versions())


@functools.cache
def _versions() -> dict[str, str]:
    """Read once: a process keeps the packages that it has imported."""
    found = {"python": platform.python_version()}
    for name in ("ssmbias", *NUMERIC_PACKAGES):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def hardware() -> dict[str, Any]:
    """Where the numbers are computed."""
    import jax  # noqa: PLC0415  (slow to import, and certificates do without it)

    device = jax.devices()[0]
    return {
        "platform": device.platform,
        "device": device.device_kind,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "system": platform.system(),
    }


def git_commit() -> str | None:
    """The commit of the checkout that the package runs from, or `None` outside of one."""
    if not (_ROOT / ".git").exists():
        return None
    git = ["git", "-C", str(_ROOT)]
    try:
        commit = _output([*git, "rev-parse", "HEAD"])
        changed = _output([*git, "status", "--porcelain", "--untracked-files=no"])
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}-dirty" if changed else commit


def _output(command: list[str]) -> str:
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return run.stdout.strip()
