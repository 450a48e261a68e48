r"""Results on disk: appended block by block, resumed after a kill, checked when they are read.

A store is a folder in Zarr's third format with one array per variable, whose dimensions are the
axes of the grid. A block is one chunk of each array: the chunks are written first, each under a
temporary name that is then changed, and last of all a small marker with their checksums. All of it
is flushed to the disk in this order. A block counts from its marker on; whatever a kill leaves
before that is written again. As long as no two processes compute the same block, no file is
written by two, and nothing that a finished block consists of is written twice.

Zarr won over one NetCDF file per block with a merge at the end (benchmarks/store.py: 200 000 points
in blocks of 4096, ten states, 20 MB; NetCDF 3 by SciPy). It is slower: 6 ms against 2 ms for a
block, which takes a second or more to compute, and 60 ms against 5 ms for reading everything,
though with all checks. In return there is no merge, which needs all of the disk a second time, all
of it in memory, and a process that is the last one; an unfinished store is readable as it stands,
and checksums come with the format. Blocks are boxes of the grid and not stretches of one dimension
`point`: that takes no longer to write, and every reader sees the grid.

Plain ``xarray.open_zarr(path)`` reads a store as well, finished or not, with the same dimensions,
lazily and with Zarr's checksums; but it takes a lost chunk for one that was never computed, and it
shows the variables of a half-written block that are there already. `open_sweep` notices both.
"""

from __future__ import annotations

import abc
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from ssmbias.sweeps.blocks import Blocks, Schema, as_block, labelled, sizes
from ssmbias.sweeps.chunks import MARKERS, METADATA, Chunks, read_layout
from ssmbias.sweeps.folder import Folder, create, is_store, require_free
from ssmbias.sweeps.grid import Grid
from ssmbias.sweeps.provenance import SCHEMA, attributes, described, require_same


class UnfinishedSweepWarning(UserWarning):
    """A store was read that does not hold all points of its grid yet."""


class Store(abc.ABC):
    """Results of a sweep, block by block; `create_or_resume` and `in_memory` make one.

    Attributes:
      grid: the grid.
      schema: the variables.
      blocks: how the grid is cut.
      block_size: largest number of points in a block.
      num_blocks: number of blocks.
    """

    def __init__(
        self,
        grid: Grid,
        schema: Schema,
        extra: Mapping[str, np.ndarray],
        attrs: Mapping[str, Any],
    ) -> None:
        self.grid = grid
        self.schema = schema
        self.block_size = int(attrs["block_size"])
        self.blocks = Blocks.cut(grid.shape, self.block_size)
        self.num_blocks = self.blocks.number
        self._extra = extra
        self._attrs = attrs
        self._sizes = sizes(grid, schema, extra)

    def span(self, block: int) -> tuple[int, int]:
        """First point of a block, and the one after its last, for `Grid.points`."""
        return self.blocks.span(block)

    @abc.abstractmethod
    def finished(self) -> np.ndarray:
        """Which blocks are there, as an array of bools.

        Raises:
          ValueError: a block that should be there is damaged; the message names the file.
        """

    def write(self, block: int, values: Mapping[str, Any]) -> None:
        """Keep the results of a block; one that is there already is left as it is.

        Args:
          block: its number.
          values: an array per variable of the schema, whose first axis goes over the points
            `span(block)`.

        Raises:
          ValueError: names, shapes or types are not those of the schema.
          OSError: the disk is full, or cannot be written for another reason.
        """
        start, stop = self.span(block)
        self._write(block, as_block(values, self.schema, stop - start, self._sizes))

    @abc.abstractmethod
    def _write(self, block: int, values: Mapping[str, np.ndarray]) -> None: ...

    @abc.abstractmethod
    def _arrays(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Which blocks are there, and each variable over the whole grid."""

    def dataset(self) -> xr.Dataset:
        """What has been computed, with the axes of the grid as dimensions.

        Points that are missing are nan, or the missing value of their variable; the attributes
        `finished`, `missing` and `state_of_completion` count them.

        Raises:
          ValueError: a block that should be there is damaged; the message names the file.
        """
        finished, arrays = self._arrays()
        spans = map(self.blocks.span, range(self.num_blocks))
        return labelled(
            self.grid, self.schema, self._extra, arrays, finished, spans, described(self._attrs)
        )


class _Memory(Store):
    """A store that ends with its process."""

    def __init__(self, grid: Grid, schema: Schema, extra: Any, attrs: Mapping[str, Any]) -> None:
        super().__init__(grid, schema, extra, attrs)
        self._finished = np.zeros(self.num_blocks, dtype=bool)
        self._flat = {
            name: np.full((grid.num_points, *(self._sizes[dim] for dim in v.dims)), v.fill, v.dtype)
            for name, v in schema.items()
        }

    def finished(self) -> np.ndarray:
        return self._finished.copy()

    def _write(self, block: int, values: Mapping[str, np.ndarray]) -> None:
        if self._finished[block]:
            return
        start, stop = self.span(block)
        for name, array in values.items():
            self._flat[name][start:stop] = array
        self._finished[block] = True

    def _arrays(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        shape = self.grid.shape
        arrays = {name: x.reshape(shape + x.shape[1:]) for name, x in self._flat.items()}
        return self.finished(), arrays


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
) -> Store:
    """Begin a store, or go on with the one that is there.

    Args:
      path: a folder that does not exist, is empty, or holds a store of the same grid, variables,
        versions and provenance.
      grid: the grid.
      schema: the variables.
      provenance: what else determines the numbers: precision, the solver's settings.
      block_size: largest number of points in a block; a store that is there keeps its own.
      extra: values of the dimensions beyond the grid, except `state`.

    Returns:
      The store. Any number of processes may have it open; each writes blocks of its own.

    Raises:
      ValueError: the path holds something else, cannot be written, or holds a store that
        differs; nothing has been changed then.
      OSError: the disk is full.
    """
    path = Path(path).absolute()
    extra = {name: np.asarray(values) for name, values in (extra or {}).items()}
    attrs = attributes(grid, schema, provenance, block_size)
    if not is_store(path):
        try:
            require_free(path)
        except ValueError:
            if not is_store(path):  # else another process was faster
                raise
        store = _Disk(path, grid, schema, extra, attrs)
        if create(path, store.chunks.metadata):
            return store
    store = _open(path)
    require_same(str(path), store._attrs, attrs)
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


def in_memory(
    grid: Grid,
    schema: Schema,
    provenance: Mapping[str, Any],
    block_size: int,
    extra: Mapping[str, np.ndarray] | None = None,
) -> Store:
    """A store without a folder; its Dataset shares the memory.

    Args:
      grid: the grid.
      schema: the variables.
      provenance: what else determines the numbers.
      block_size: largest number of points in a block.
      extra: values of the dimensions beyond the grid, except `state`.

    Example:
      >>> from ssmbias.sweeps.blocks import Variable
      >>> from ssmbias.sweeps.grid import make_grid
      >>> grid = make_grid({"seed": range(3), "strength": [0.0, 1.0]})
      >>> error = Variable((), "float64", {"units": "1"})
      >>> store = in_memory(grid, {"error": error}, {}, block_size=4)
      >>> store.num_blocks, store.span(1)
      (2, (4, 6))
      >>> store.write(1, {"error": [0.5, 0.25]})
      >>> store.dataset().error.values.tolist()
      [[nan, nan], [nan, nan], [0.5, 0.25]]
    """
    values = {name: np.asarray(x) for name, x in (extra or {}).items()}
    return _Memory(grid, schema, values, attributes(grid, schema, provenance, block_size))


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
        if name not in store._extra or not np.array_equal(store._extra[name], values):
            raise ValueError(f"store: holds other values of {name}; give those, or another folder")
