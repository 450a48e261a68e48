"""A store in a folder: begun, gone on with, and read."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from ssmbias.sweeps.blocks import Schema
from ssmbias.sweeps.grid import Grid
from ssmbias.sweeps.store.attributes import SCHEMA, attributes, require_same
from ssmbias.sweeps.store.base import Store
from ssmbias.sweeps.store.chunks import MARKERS, METADATA, Chunks, read_layout
from ssmbias.sweeps.store.folder import Folder, clear_leavings, create, is_store, require_free


class UnfinishedSweepWarning(UserWarning):
    """A store was read that does not hold all points of its grid yet."""


class _Disk(Store):
    """A store in a folder."""

    def __init__(
        self, path: Path, grid: Grid, schema: Schema, extra: Any, attrs: Mapping[str, Any]
    ) -> None:
        super().__init__(grid, schema, extra, attrs)
        self.chunks = Chunks(grid, schema, extra, self.blocks, attrs)
        self.folder = Folder(path, self.chunks, tuple(schema), self.num_blocks)

    def finished(self) -> np.ndarray:
        marked = self.folder.marked()
        for block in np.flatnonzero(marked).tolist():
            sums = self.folder.checksums(block)
            for name in self.schema:
                self.folder.read(block, name, sums)
        return marked

    def _arrays(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        marked = self.folder.marked()
        sums = {block: self.folder.checksums(block) for block in np.flatnonzero(marked).tolist()}
        arrays = {}
        for name in self.schema:
            read = {block: self.folder.read(block, name, of) for block, of in sums.items()}
            arrays[name] = self.chunks.decode(name, read)
        return marked, arrays

    def _write(self, block: int, values: Mapping[str, np.ndarray]) -> None:
        self.folder.write(block, values)


def create_or_resume(
    path: str | Path,
    grid: Grid,
    schema: Schema,
    provenance: Mapping[str, Any],
    block_size: int,
    extra: Mapping[str, np.ndarray] | None = None,
    sources: Sequence[str] = (),
) -> Store:
    """Begin a store, or go on with the one that is there.

    Args:
      path: a folder that does not exist, is empty, or holds a store of the same grid, variables,
        provenance, versions, kind of hardware and source.
      grid: the grid.
      schema: the variables.
      provenance: what else determines the numbers: precision, the solver's settings.
      block_size: largest number of points in a block; a store that is there keeps its own.
      extra: values of the dimensions beyond the grid, except `state`.
      sources: the modules that compute the numbers; none means the whole package.

    Returns:
      The store. Any number of processes may have it open; each writes blocks of its own.

    Raises:
      ValueError: the path holds something else, cannot be written, or holds a store that
        differs; nothing has been changed then.
      OSError: the disk is full.
    """
    path = Path(path).absolute()
    extra = {name: np.asarray(values) for name, values in (extra or {}).items()}
    attrs = attributes(grid, schema, provenance, block_size, sources)
    if not is_store(path):
        try:
            require_free(path)
        except ValueError:
            if not is_store(path):  # else another process was faster
                raise
        store = _Disk(path, grid, schema, extra, attrs)
        if create(path, store.chunks.metadata):
            clear_leavings(path)
            return store
    clear_leavings(path)
    store = _open(path)
    require_same(str(path), store.attrs, attrs)
    _require_same_layout(store, schema, extra)
    if not store.folder.marked().all() and not os.access(path / MARKERS, os.W_OK):
        raise ValueError(
            f"store={str(path)!r}: is unfinished and cannot be written; give a copy that can be"
        )
    return store


def open_sweep(path: str | Path) -> xr.Dataset:
    """Read a store, finished or not, into memory; every block is checked.

    Args:
      path: the folder.

    Returns:
      A Dataset with one dimension per axis of the grid. Points that are missing are nan, or the
      missing value of their variable (-1, or what the variable's attributes say); the attributes
      `finished`, `missing` and `state_of_completion` count them. A store too large for memory can
      be read lazily with ``xarray.open_zarr(path)``.

    Raises:
      ValueError: there is no store, it has another layout, or a block is damaged.

    Warns:
      UnfinishedSweepWarning: points are missing.
    """
    path = Path(path).absolute()
    if not is_store(path):
        what = "is not a store" if path.exists() else "does not exist"
        raise ValueError(f"store={str(path)!r}: {what}; give the folder that a sweep wrote")
    data = _open(path).dataset()
    if data.attrs["missing"]:
        message = f"store={str(path)!r}: {data.attrs['state_of_completion']}"
        warnings.warn(message, UnfinishedSweepWarning, stacklevel=2)
    return data


def _open(path: Path) -> _Disk:
    try:
        group = zarr.open_group(path, mode="r")
        attrs = group.attrs.asdict()
        if attrs["schema"] == SCHEMA:
            grid = Grid.from_json(str(attrs["grid"]))
            schema, extra = read_layout(group, grid)
            return _Disk(path, grid, schema, extra, attrs)
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise ValueError(
            f"store={str(path)!r}: its {METADATA} is damaged ({err}); take it from a backup, or "
            "give another folder"
        ) from err
    raise ValueError(
        f"store={str(path)!r}: its layout is {attrs['schema']!r}, and this version reads {SCHEMA}; "
        "install the version that wrote it"
    )


def _require_same_layout(store: Store, schema: Schema, extra: Mapping[str, np.ndarray]) -> None:
    for name, there in store.schema.items():
        here = schema[name]
        a, b = ((tuple(v.dims), np.dtype(v.dtype).name, repr(v.fill)) for v in (there, here))
        if a != b:
            raise ValueError(f"store: {name} is stored as {a} and would be as {b}")
    for name, values in extra.items():
        if name not in store.extra or not np.array_equal(store.extra[name], values):
            raise ValueError(f"store: holds other values of {name}; give those, or another folder")
