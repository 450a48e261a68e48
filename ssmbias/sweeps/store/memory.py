"""A store that ends with its process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ssmbias.sweeps.blocks import Schema
from ssmbias.sweeps.grid import Grid
from ssmbias.sweeps.store.attributes import attributes
from ssmbias.sweeps.store.base import Store


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


def in_memory(
    grid: Grid,
    schema: Schema,
    provenance: Mapping[str, Any],
    block_size: int,
    extra: Mapping[str, np.ndarray] | None = None,
    sources: Sequence[str] = (),
) -> Store:
    """A store without a folder; its Dataset shares the memory.

    Args:
      grid: the grid.
      schema: the variables.
      provenance: what else determines the numbers.
      block_size: largest number of points in a block.
      extra: values of the dimensions beyond the grid, except `state`.
      sources: the modules that compute the numbers; none means the whole package.

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
    attrs = attributes(grid, schema, provenance, block_size, sources)
    values = {name: np.asarray(x) for name, x in (extra or {}).items()}
    return _Memory(grid, schema, values, attrs)
