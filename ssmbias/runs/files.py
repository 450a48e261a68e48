"""The files of a run folder: their names, their layout's name, and how they are written."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

SCHEMA = "ssmbias.verify/2"
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


def write_json(path: Path, value: Any) -> None:
    """Write plain values as JSON; numbers that are not finite become null."""
    text = json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(path, lambda file: file.write(text.encode()))


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
      ValueError: the file is not there, or damaged; in one line that names it.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as err:
        raise ValueError(f"{path}: cannot be read ({err.strerror}); give another file") from err
    except ValueError as err:
        raise ValueError(f"{path}: is damaged or no JSON ({err}); write it again") from err


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as a compressed npz file without pickles.

    Raises:
      ValueError: an array holds Python objects.
    """
    for name, array in arrays.items():
        if np.asarray(array).dtype == object:
            raise ValueError(f"arrays[{name!r}]: holds Python objects; pass numbers or text")
    write_atomically(path, lambda file: np.savez_compressed(file, **arrays))  # pyright: ignore[reportArgumentType]


def digest_of_file(path: Path) -> str:
    """SHA-256 of what a file holds."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def plain(value: Any, *, finite: bool = True) -> Any:
    """Values that JSON knows; those that are not finite become `None` where `finite` is asked for.

    Example:
      >>> plain({"error": math.nan, "seeds": (np.int64(3),)})
      {'error': None, 'seeds': [3]}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    elif hasattr(value, "shape"):  # arrays and their scalars
        value = np.asarray(value).tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item, finite=finite) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, finite=finite) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) or not finite else None
    return value
