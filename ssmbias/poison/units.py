"""Finished pieces of an experiment, kept in files so that a killed run goes on where it was.

A unit is one arm over a block of seeds. Its name holds a fingerprint of everything that its
numbers depend on, so that a unit of other settings is never taken for it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import zipfile
from pathlib import Path
from typing import TypeAlias

import numpy as np

from ssmbias.poison.settings import Experiment
from ssmbias.runs.files import write_atomically

Arrays: TypeAlias = dict[str, np.ndarray]

_LAYOUT = "ssmbias.poison.unit/1"


def unit_path(folder: Path, experiment: Experiment, arm: str, seeds: tuple[int, ...]) -> Path:
    """Where a unit is kept."""
    # The title and the name do not matter to the numbers.
    parts = (experiment.task, experiment.network, experiment.training, experiment.poisons)
    versions = [importlib.metadata.version(name) for name in ("ssmbias", "jax")]
    text = repr((_LAYOUT, versions, parts, arm, seeds))
    mark = hashlib.sha256(text.encode()).hexdigest()[:16]
    return folder / "units" / f"{arm}-{mark}.npz"


def load_unit(path: Path | None) -> Arrays | None:
    """A finished unit; `None` if there is none that can be read."""
    if path is None:
        return None
    try:
        # NumPy does not close a file that it cannot read.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None


def save_unit(path: Path | None, arrays: Arrays) -> Arrays:
    """Keep a unit, whole or not at all; returns it."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda stream: np.savez(stream, **arrays))  # pyright: ignore[reportArgumentType]
    return arrays
