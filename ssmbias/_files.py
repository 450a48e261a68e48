"""The files of a run folder: their names, their layout's name, and how they are written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

SCHEMA = "ssmbias.verify/1"
"""What `results.json` calls its layout; docs/results-schema.md describes it."""

CERTIFY_SCHEMA = "ssmbias.certify/1"
"""The same for the certificates of scripts/certify.py."""

RESULTS_FILE = "results.json"
ARRAYS_FILE = "arrays.npz"


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> Path:
    """Write a file that is either complete or not there.

    Args:
      path: where the file is to be; its folder exists.
      write: called with a binary stream.

    Returns:
      `path`.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path
