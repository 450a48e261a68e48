"""Zarr's part of a store: metadata, and blocks as the bytes of chunks and back.

Zarr encodes and decodes in memory; files are written and checked by `ssmbias.sweeps.store.folder`.
Arrays are raw little-endian numbers with a CRC-32C behind each chunk, which every reader of Zarr
checks. They are not compressed: of the mantissas next to nothing is saved (benchmarks/store.py).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, MutableMapping
from typing import Any

import numpy as np
import zarr
from zarr.buffer.cpu import Buffer
from zarr.codecs import Crc32cCodec
from zarr.storage import MemoryStore

from ssmbias.sweeps.blocks import COORDINATES, Blocks, Schema, Variable, coordinates, sizes
from ssmbias.sweeps.grid import Grid

MARKERS = "blocks"
"""The group whose folder holds one file per finished block."""

METADATA = "zarr.json"


class Chunks:
    """An empty Zarr group in memory, laid out for one grid, which encodes and decodes chunks.

    Attributes:
      metadata: all files of a store that holds no block yet, by name.
    """

    def __init__(
        self,
        grid: Grid,
        schema: Schema,
        extra: Mapping[str, np.ndarray],
        blocks: Blocks,
        attrs: Mapping[str, Any],
    ) -> None:
        self._held: MutableMapping[str, Any] = {}
        self._blocks = blocks
        store = MemoryStore(self._held)
        group = zarr.create_group(store, zarr_format=3, attributes=dict(attrs))
        group.create_group(MARKERS)
        for name, (dims, values) in coordinates(grid, extra).items():
            attributes = dict(COORDINATES.get(name, {}))
            shape = values.shape
            _create(group, name, shape, shape, values.dtype, 0, dims, attributes)[...] = values
        lengths = sizes(grid, schema, extra)
        self._arrays = {}
        for name, variable in schema.items():
            beyond = tuple(lengths[dim] for dim in variable.dims)
            self._arrays[name] = _create(
                group,
                name,
                blocks.shape + beyond,
                blocks.box + beyond,
                variable.dtype,
                variable.fill,
                grid.names + variable.dims,
                dict(variable.attrs),
            )
        with warnings.catch_warnings():
            # Zarr warns that other readers may not know consolidated metadata; those find the
            # same in each array's folder.
            warnings.filterwarnings("ignore", message="Consolidated metadata")
            zarr.consolidate_metadata(store)
        self.metadata = {key: value.to_bytes() for key, value in self._held.items()}
        for key in [k for k in self._held if not k.endswith(METADATA)]:
            del self._held[key]

    def key(self, name: str, block: int) -> str:
        """Where the store keeps the chunk of a variable that holds a block."""
        corner = np.unravel_index(block, self._blocks.counts)
        beyond = self._arrays[name].ndim - len(corner)
        return f"{name}/" + ".".join(["c", *(str(int(i)) for i in corner), *["0"] * beyond])

    def encode(self, name: str, block: int, values: np.ndarray) -> bytes:
        """A block's values of one variable, points first, as the bytes of its chunk."""
        box = self._blocks.slices(block)
        shape = tuple(s.stop - s.start for s in box) + values.shape[1:]
        self._arrays[name][box] = values.reshape(shape)
        return self._held.pop(self.key(name, block)).to_bytes()

    def decode(self, name: str, chunks: Mapping[int, bytes]) -> np.ndarray:
        """A variable over the whole grid from the chunks of some blocks; the others are missing."""
        keys = {self.key(name, block): data for block, data in chunks.items()}
        self._held.update({key: Buffer.from_bytes(data) for key, data in keys.items()})
        try:
            return np.asarray(self._arrays[name][...])
        finally:
            for key in keys:
                del self._held[key]


def _create(
    group: zarr.Group,
    name: str,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: Any,
    fill: float | int,
    dims: tuple[str, ...],
    attrs: dict[str, Any],
) -> zarr.Array:
    return group.create_array(
        name,
        shape=shape,
        chunks=chunks or "auto",
        dtype=dtype,
        fill_value=fill,
        filters=None,
        compressors=[Crc32cCodec()],
        dimension_names=dims,
        attributes=attrs,
        # Dots, so that a variable is one folder whatever the number of axes.
        chunk_key_encoding={"name": "default", "separator": "."},
        # A block that is nan throughout is a result as well.
        config={"write_empty_chunks": True},
    )


def read_layout(group: zarr.Group, grid: Grid) -> tuple[dict[str, Variable], dict[str, np.ndarray]]:
    """The variables of an opened store, and the values of its dimensions beyond the grid."""
    schema: dict[str, Variable] = {}
    arrays: dict[str, Any] = dict(group.arrays())
    extra: dict[str, np.ndarray] = {}
    for name in str(group.attrs["variables"]).split():
        array = arrays[name]
        dims = tuple(array.metadata.dimension_names)[len(grid.names) :]
        missing = np.asarray(array.fill_value).item()
        schema[name] = Variable(dims, array.dtype.name, array.attrs.asdict(), missing)
        extra |= {dim: np.asarray(arrays[dim][...]) for dim in dims if dim in arrays}
    return schema, extra
