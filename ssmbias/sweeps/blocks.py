"""Blocks of a grid, the variables that hold its results, and the labelled arrays made of them.

A block is a run of consecutive points and at the same time a box of the grid: the leading axes
fixed, one axis cut, the trailing ones whole. So blocks can be stored as the chunks of
multi-dimensional arrays, and computed without knowing that there is a grid.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from ssmbias.core.checks import require_int
from ssmbias.sweeps.grid import DEFAULTS, Grid

COORDINATES: Mapping[str, Mapping[str, str]] = {
    "seed": {"long_name": "seed of the start", "units": "1"},
    "strength": {"long_name": "poison strength ρ", "units": "1"},
    "gap": {"long_name": "a_1 - a_2 of the start", "units": "1"},
    "relative_gap": {"long_name": "gap / init_scale", "units": "1"},
    "init_scale": {"long_name": "upper end of the start's uniform distribution", "units": "1"},
}
"""Attributes of the coordinates."""


class Variable(NamedTuple):
    """One result per point.

    Attributes:
      dims: dimensions besides those of the grid, e.g. ``("time", "state")``.
      dtype: NumPy's name of the type, e.g. ``"float64"``.
      attrs: attributes; plain text and numbers, among them `units` and `long_name`.
      missing: what stands where nothing has been computed; `None` is nan for floats, -1 for
        integers.
    """

    dims: tuple[str, ...]
    dtype: str
    attrs: Mapping[str, Any]
    missing: float | int | None = None

    @property
    def fill(self) -> float | int:
        """What stands where nothing has been computed."""
        if self.missing is not None:
            return self.missing
        return math.nan if np.dtype(self.dtype).kind == "f" else -1


Schema = Mapping[str, Variable]


@dataclass(frozen=True)
class Blocks:
    """A grid of points cut into boxes of consecutive points.

    Attributes:
      shape: of the grid.
      box: shape of a block; the last ones along the cut axis may be smaller.

    Example:
      >>> blocks = Blocks.cut((3, 5, 4), block_size=12)
      >>> blocks.box, blocks.number, [blocks.span(b) for b in range(3)]
      ((1, 3, 4), 6, [(0, 12), (12, 20), (20, 32)])
    """

    shape: tuple[int, ...]
    box: tuple[int, ...]

    @classmethod
    def cut(cls, shape: tuple[int, ...], block_size: int) -> Blocks:
        """The largest boxes of at most `block_size` points, of like size along the cut axis."""
        left = require_int("block_size", block_size, minimum=1)
        box = []
        for length in reversed(shape):
            pieces = math.ceil(length / min(left, length))
            box.append(math.ceil(length / pieces))
            left = left // length if pieces == 1 else 1
        return cls(shape, tuple(reversed(box)))

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of blocks along each axis."""
        return tuple(math.ceil(n / k) for n, k in zip(self.shape, self.box, strict=True))

    @property
    def number(self) -> int:
        """Number of blocks."""
        return math.prod(self.counts)

    def slices(self, block: int) -> tuple[slice, ...]:
        """Where a block lies in the grid."""
        block = require_int("block", block, minimum=0, maximum=self.number - 1)
        corner = np.unravel_index(block, self.counts)
        return tuple(
            slice(int(i) * k, min((int(i) + 1) * k, n))
            for i, k, n in zip(corner, self.box, self.shape, strict=True)
        )

    def span(self, block: int) -> tuple[int, int]:
        """First point of a block, and the one after its last."""
        box = self.slices(block)
        start = int(np.ravel_multi_index([s.start for s in box], self.shape))
        return start, start + math.prod(s.stop - s.start for s in box)


def sizes(grid: Grid, schema: Schema, extra: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Lengths of the dimensions beyond the grid: `state`, and those that `extra` has values for.

    Raises:
      ValueError: a variable has an unknown dimension, or bears the name of a coordinate.
    """
    known = {"state": grid.state_dim} | {name: len(values) for name, values in extra.items()}
    for name, variable in schema.items():
        if name in COORDINATES or name in known or not name.isidentifier():
            raise ValueError(f"schema: a variable cannot be called {name!r}; give it another name")
        for dim in variable.dims:
            if dim not in known:
                raise ValueError(
                    f"schema: {name} has the dimension {dim!r} of unknown length; known are "
                    f"{', '.join(known)}; give the values of others in extra={{{dim!r}: ...}}"
                )
    return known


def as_block(
    values: Mapping[str, Any], schema: Schema, count: int, lengths: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """The arrays of one block in the types of the schema, points first.

    Raises:
      ValueError: names, shapes or kinds of type are not those of the schema.
    """
    if values.keys() != schema.keys():
        raise ValueError(f"values: has {sorted(values)}, and the schema {sorted(schema)}")
    out = {}
    for name, variable in schema.items():
        array = np.asarray(values[name])
        shape = (count, *(lengths[dim] for dim in variable.dims))
        if array.shape != shape:
            raise ValueError(f"values[{name!r}] has shape {array.shape}: expected {shape}")
        if not np.can_cast(array.dtype, variable.dtype, casting="same_kind"):
            raise ValueError(f"values[{name!r}] has dtype {array.dtype}: expected {variable.dtype}")
        out[name] = np.ascontiguousarray(array, dtype=variable.dtype)
    return out


def coordinates(
    grid: Grid, extra: Mapping[str, np.ndarray]
) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Dimensions and values of all coordinates.

    Axes of the grid have their own dimension, those that were left out none; of gap and relative
    gap the one that is no axis follows from the other and the init scale.
    """
    given = dict(grid.axes)
    out: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    for name in ("seed", "strength", "init_scale", *(["gap"] if "gap" in given else [])):
        dims = (name,) if name in given else ()
        dtype = np.int64 if name == "seed" else np.float64
        out[name] = dims, np.asarray(given[name] if dims else DEFAULTS[name], dtype)
    scale_dims, scale = out["init_scale"]
    if "gap" in given:
        dims, gap = out["gap"]
        out["relative_gap"] = dims + scale_dims, np.divide.outer(gap, scale)
    else:
        dims = ("relative_gap",) if "relative_gap" in given else ()
        relative = np.asarray(given.get("relative_gap", DEFAULTS["relative_gap"]), np.float64)
        out["relative_gap"] = dims, relative
        out["gap"] = dims + scale_dims, np.multiply.outer(relative, scale)
    ordered = {name: out[name] for name in COORDINATES}
    return ordered | {name: ((name,), np.asarray(values)) for name, values in extra.items()}


def labelled(
    grid: Grid,
    schema: Schema,
    extra: Mapping[str, np.ndarray],
    arrays: Mapping[str, np.ndarray],
    finished: np.ndarray,
    spans: Iterable[tuple[int, int]],
    provenance: Mapping[str, Any],
) -> xr.Dataset:
    """Put arrays of the grid's shape into a Dataset that says what is missing.

    Args:
      grid: the grid.
      schema: the variables.
      extra: values of the dimensions beyond the grid.
      arrays: one array per variable, in the shape of the grid and its own dimensions.
      finished: which blocks have been computed.
      spans: first point of each block, and the one after its last.
      provenance: attributes of the Dataset.
    """
    done = sum(stop - start for (start, stop), there in zip(spans, finished, strict=True) if there)
    missing = grid.num_points - done
    attrs = dict(provenance) | {
        "finished": done,
        "missing": missing,
        "state_of_completion": completion(done, missing, int(finished.sum()), finished.size),
    }
    data = {
        name: (grid.names + variable.dims, arrays[name], dict(variable.attrs))
        for name, variable in schema.items()
    }
    coords = {
        name: (dims, values, dict(COORDINATES.get(name, {})))
        for name, (dims, values) in coordinates(grid, extra).items()
    }
    return xr.Dataset(data, coords, attrs)


def completion(done: int, missing: int, blocks: int, all_blocks: int) -> str:
    """One line on what is there and what is not."""
    if not missing:
        return f"complete: all {done} points are there"
    return (
        f"unfinished: {missing} of {done + missing} points are missing ({all_blocks - blocks} of "
        f"{all_blocks} blocks); they are nan, or the missing value of their variable"
    )
