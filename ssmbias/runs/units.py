"""Finished pieces of a run, kept so that a killed run goes on where it was."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssmbias.runs.files import digest_of_file, plain, write_arrays, write_atomically

LAYOUT_FILE = "layout.json"
"""The file of a folder of units that says what they are."""

_RESERVED = LAYOUT_FILE.removesuffix(".json")
_LONGEST_STEM = 120


class OtherLayout(ValueError):
    """A folder holds results of another version, or something else; nothing in it was touched."""


class Stored(NamedTuple):
    """What was kept of a unit.

    Attributes:
      values: plain values as JSON gives them back.
      arrays: arrays by name.
    """

    values: dict[str, Any]
    arrays: dict[str, np.ndarray]


class Units:
    """A folder of finished units of work, each with a mark of what its numbers depend on.

    A unit is found again only if it is whole, and if its mark is the one that is asked for, which
    is a `fingerprint`: a unit of another configuration, other versions, or older source counts as
    missing, and is replaced when it has been computed again. A kill at any moment leaves a unit
    as it was, whole, or missing. Any number of processes may use a folder; of two that compute
    the same unit, the later one's is kept.

    Args:
      folder: made when the first unit is kept.
      layout: name and version of what the units hold, such as "ssmbias.verify.units/1"; a new
        number where the same names would mean something else.

    Raises:
      OtherLayout: the folder holds something else, such as units of an earlier version; a
        `ValueError`, in one line.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     units = Units(Path(folder) / "units", "example/1")
      ...     kept = units.keep("sum", "mark of today", {"total": 3.0}, {"x": np.arange(3)})
      ...     print(units.find("sum", "mark of today").values)
      ...     print(units.find("sum", "mark of tomorrow"))
      {'total': 3.0}
      None
    """

    def __init__(self, folder: str | Path, layout: str) -> None:
        self.folder = Path(folder)
        self.layout = layout
        self._require_layout()

    def find(self, name: str, mark: str) -> Stored | None:
        """What was kept of a unit, if it is whole and belongs to `mark`.

        Args:
          name: of the unit.
          mark: its fingerprint.
        """
        path = self.path(name)
        beside = path.with_suffix(".npz")
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if (record["layout"], record["unit"], record["mark"]) != (self.layout, name, mark):
                return None
            for relative, digest in record["files"].items():
                if digest_of_file(self.folder / relative) != digest:
                    return None
            content = beside.read_bytes() if record["arrays"] else b""
            if record["arrays"] and _digest(content) != record["arrays"]:
                return None  # a kill came between the arrays of a later run and its record
            return Stored(record["values"], _arrays(content) if content else {})
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError):
            return None
        except (zipfile.BadZipFile, zlib.error):
            return None

    def keep(
        self,
        name: str,
        mark: str,
        values: Mapping[str, Any] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
        files: Iterable[Path] = (),
    ) -> Stored:
        """Write a unit: arrays first, and then the record that makes it count.

        Args:
          name: any text; it makes the name of the file.
          mark: a fingerprint of what the numbers depend on.
          values: plain values, numbers that are not finite among them.
          arrays: arrays by name.
          files: further files that the unit consists of and that are written already. The unit is
            found only as long as they are there as they are now.

        Returns:
          What `find` will return, so that a run that was resumed goes on with the same values.

        Raises:
          OSError: the disk is full, or cannot be written for another reason.
        """
        path = self.path(name)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._write_layout()
        arrays = {key: np.asarray(array) for key, array in (arrays or {}).items()}
        beside = path.with_suffix(".npz")
        if arrays:
            write_arrays(beside, arrays)
        record = {
            "layout": self.layout,
            "unit": name,
            "mark": mark,
            "values": plain(values or {}, finite=False),
            "arrays": digest_of_file(beside) if arrays else "",
            "files": {self._relative(file): digest_of_file(file) for file in files},
        }
        # Written last: its presence says that the unit is whole.
        text = json.dumps(record, indent=1, ensure_ascii=False)
        write_atomically(path, lambda stream: stream.write(text.encode()))
        return Stored(json.loads(text)["values"], arrays)

    def path(self, name: str) -> Path:
        """The record of a unit; its arrays lie beside it."""
        stem = re.sub(r"[^\w.+=(),-]+", "_", name)
        if stem != name or len(stem) > _LONGEST_STEM or stem[0] == "." or stem == _RESERVED:
            stem = f"{stem[:_LONGEST_STEM].lstrip('.')}-{_digest(name.encode())[:8]}"
        return self.folder / f"{stem}.json"

    def _relative(self, file: Path) -> str:
        return Path(os.path.relpath(file, self.folder)).as_posix()

    def _require_layout(self) -> None:
        file = self.folder / LAYOUT_FILE
        try:
            there = json.loads(file.read_text(encoding="utf-8"))["layout"]
        except (OSError, ValueError, KeyError, TypeError):
            there = ""
        if there == self.layout or not self._holds_anything():
            return
        what = f"its layout is {there!r}" if there else f"it has no readable {LAYOUT_FILE}"
        raise OtherLayout(
            f"folder={str(self.folder)!r}: holds results of another version of ssmbias ({what}, "
            f"and this version writes {self.layout!r}); use a new folder, such as "
            "hydra.run.dir=..., or install the version that wrote it"
        )

    def _holds_anything(self) -> bool:
        if self.folder.is_dir():
            return any(not path.name.startswith(".") for path in self.folder.iterdir())
        return self.folder.exists()

    def _write_layout(self) -> None:
        file = self.folder / LAYOUT_FILE
        if not file.exists():
            text = json.dumps({"layout": self.layout})
            write_atomically(file, lambda stream: stream.write(text.encode()))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _arrays(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return dict(file)
