"""What a stored result depends on, and where its numbers were computed."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax

from ssmbias.runs.files import plain

_PACKAGES = (
    "ssmbias", "jax", "jaxlib", "diffrax", "optimistix", "equinox", "lineax", "optax", "flax",
    "numpy", "scipy",
)  # fmt: skip

_ROOT = Path(__file__).resolve().parents[1]


def fingerprint(config: Any, ignored_rooms: tuple[str, ...] = ()) -> str:
    """Identifies what a stored result depends on: configuration (a dataclass) and software.

    Subpackages in `ignored_rooms` do not count: results that they take no part in outlive them.
    """
    parts = {
        "config": dataclasses.asdict(config),
        "versions": versions(),
        "hardware": hardware(),
        "code": _code_hash(ignored_rooms),
    }
    return hashlib.sha256(json.dumps(plain(parts), sort_keys=True).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **found}


def hardware() -> dict[str, Any]:
    """Where the numbers were computed."""
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
    root = _ROOT.parent
    if not (root / ".git").exists():
        return None
    git = ["git", "-C", str(root)]
    try:
        commit = _output([*git, "rev-parse", "HEAD"])
        changed = _output([*git, "status", "--porcelain", "--untracked-files=no"])
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}-dirty" if changed else commit


def _output(command: list[str]) -> str:
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return run.stdout.strip()


def _code_hash(ignored_rooms: tuple[str, ...] = ()) -> str:
    """Digest of the package's own source, so that stored evidence does not outlive a change."""
    digest = hashlib.sha256()
    root = _ROOT
    for path in sorted(root.rglob("*.py")):
        if path.relative_to(root).parts[0] in ignored_rooms:
            continue
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(path.read_bytes())
    return digest.hexdigest()
