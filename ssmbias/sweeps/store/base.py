"""What every store of a sweep can do, on disk or in memory."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from ssmbias.sweeps.blocks import Blocks, Schema, as_block, labelled, sizes
from ssmbias.sweeps.grid import Grid
from ssmbias.sweeps.store.attributes import described


class Store(abc.ABC):
    """Results of a sweep, block by block; `create_or_resume` and `in_memory` make one.

    Attributes:
      grid: the grid.
      schema: the variables.
      blocks: how the grid is cut.
      block_size: largest number of points in a block.
      num_blocks: number of blocks.
      extra: values of the dimensions beyond the grid, except `state`.
      attrs: attributes of the store, which say what its numbers depend on.
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
        self.extra = extra
        self.attrs = attrs
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
            self.grid, self.schema, self.extra, arrays, finished, spans, described(self.attrs)
        )
