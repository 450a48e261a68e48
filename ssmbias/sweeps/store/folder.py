"""The files of a store: written whole or not at all, in an order that a kill cannot upset, checked.

Of a block there are one chunk per variable and a marker. The marker is written when everything
else is safely on the disk, and holds the length and the SHA-256 of each chunk.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ssmbias.runs.files import write_atomically
from ssmbias.sweeps.store.chunks import MARKERS, METADATA, Chunks

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Folder:
    """The blocks in a store's folder.

    Attributes:
      path: the folder.
      chunks: how blocks become bytes.
      names: names of the variables, in the order in which they are written.
      number: number of blocks.
    """

    def __init__(self, path: Path, chunks: Chunks, names: tuple[str, ...], number: int) -> None:
        self.path = path
        self.chunks = chunks
        self.names = names
        self.number = number

    def marker(self, block: int) -> Path:
        """The file that says that a block is finished."""
        return self.path / MARKERS / f"{block}.json"

    def marked(self) -> np.ndarray:
        """Which blocks have a marker."""
        names = {path.name for path in self.path.glob(f"{MARKERS}/*.json")}
        return np.array([f"{block}.json" in names for block in range(self.number)])

    def checksums(self, block: int) -> dict[str, list[Any]]:
        """Length and SHA-256 of each chunk of a finished block."""
        path = self.marker(block)
        try:
            files = json.loads(path.read_bytes())
            if files.keys() != {self.chunks.key(name, block) for name in self.names}:
                raise ValueError("it names other files")
        except (ValueError, AttributeError, OSError) as err:
            raise self._damaged(block, path, str(err)) from err
        return files

    def read(self, block: int, name: str, files: Mapping[str, list[Any]]) -> bytes:
        """The bytes of a chunk, if they are those that were written."""
        key = self.chunks.key(name, block)
        try:
            data = (self.path / key).read_bytes()
        except OSError as err:
            raise self._damaged(block, self.path / key, err.strerror or str(err)) from err
        if [len(data), hashlib.sha256(data).hexdigest()] != files[key]:
            what = f"{len(data)} bytes where {files[key][0]} were written"
            if len(data) == files[key][0]:
                what = "its checksum is not that of what was written"
            raise self._damaged(block, self.path / key, what)
        return data

    def _damaged(self, block: int, path: Path, what: str) -> ValueError:
        return ValueError(
            f"store={str(self.path)!r}: {path} is damaged ({what}); delete "
            f"{self.marker(block)} and run the same command to compute block {block} again"
        )

    def write(self, block: int, values: Mapping[str, np.ndarray]) -> None:
        """Write a block's chunks and then its marker; a block that has one is left as it is."""
        marker = self.marker(block)
        if marker.exists():
            return
        files = {
            self.chunks.key(name, block): self.chunks.encode(name, block, array)
            for name, array in values.items()
        }
        sums = {key: [len(data), hashlib.sha256(data).hexdigest()] for key, data in files.items()}
        try:
            try:
                self._write_files(files, marker, sums)
            except FileNotFoundError:
                # Another process writes the same block, against the rules, and has cleared away
                # what it took for the leavings of a killed one.
                self._write_files(files, marker, sums)
        except OSError as err:
            kept = int(self.marked().sum())
            what = "the disk is full" if err.errno in NO_ROOM else "cannot be written"
            remedy = "make room" if err.errno in NO_ROOM else "see to it"
            raise OSError(
                err.errno,
                f"store={str(self.path)!r}: {what} ({err.strerror}) at block {block}; "
                f"{kept} of {self.number} blocks are kept: {remedy} and run the same command "
                "to go on",
            ) from err

    def _write_files(self, files: Mapping[str, bytes], marker: Path, sums: Any) -> None:
        paths = {self.path / key: data for key, data in files.items()}
        for path in (*paths, marker):
            for left in path.parent.glob(f".{path.name}.*.partial"):
                left.unlink(missing_ok=True)
        for path, data in paths.items():
            _write_bytes(path, data)
        for folder in {path.parent for path in paths}:
            _flush_folder(folder)
        _write_bytes(marker, json.dumps(sums, indent=1).encode())
        _flush_folder(marker.parent)


def is_store(path: Path) -> bool:
    """Whether a folder holds what calls itself a sweep, of whatever version."""
    try:
        schema = json.loads((path / METADATA).read_bytes())["attributes"]["schema"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return isinstance(schema, str) and schema.startswith("ssmbias.sweep/")


def require_free(path: Path) -> None:
    """Raise `ValueError` if something is at `path` already, other than an empty folder."""
    if path.is_dir():
        if any(path.iterdir()):
            raise ValueError(
                f"store={str(path)!r}: is a folder with other things in it (no readable "
                f"{METADATA} of a sweep); give an empty or a new one"
            )
    elif path.exists():
        raise ValueError(f"store={str(path)!r}: is a file; give a folder")


def create(path: Path, files: Mapping[str, bytes]) -> bool:
    """Put an empty store in its place at once; False if another process was faster."""
    staging = path.parent / f".{path.name}.{uuid.uuid4().hex}.partial"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for key, data in files.items():
            file = staging / key
            file.parent.mkdir(parents=True, exist_ok=True)
            _write_bytes(file, data)
        for folder in (*staging.glob("*/"), staging):
            _flush_folder(folder)
        staging.rename(path)  # onto nothing or an empty folder; anything else is refused
        _flush_folder(path.parent)
    except OSError as err:
        shutil.rmtree(staging, ignore_errors=True)
        if is_store(path):
            return False
        if err.errno in NO_ROOM:
            raise OSError(
                err.errno, f"store={str(path)!r}: the disk is full; nothing was written"
            ) from err
        raise ValueError(
            f"store={str(path)!r}: cannot be written ({err.strerror}); give another folder"
        ) from err
    return True


def clear_leavings(path: Path) -> None:
    """Remove what processes that were killed in `create` have left beside a store.

    One that is still at it finds that another was faster.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        shutil.rmtree(left, ignore_errors=True)


def _write_bytes(path: Path, data: bytes) -> None:
    write_atomically(path, lambda stream: stream.write(data))


def _flush_folder(folder: Path) -> None:
    """Make sure that names just given survive a power cut, where folders can be flushed."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
