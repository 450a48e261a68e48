r"""The grid of a sweep: which seeds, poison strengths, gaps and init scales, in which order.

A grid is a Cartesian product. Its points are numbered in C order of the axes seed, strength,
gap (or relative gap), init scale: the last axis varies fastest.
"""

from __future__ import annotations

import hashlib
import json
import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssmbias.core.checks import require_int, require_seq_len
from ssmbias.runs.mapping import close_name
from ssmbias.sweeps.values import MAX_VALUES, Number, parse_values

AXES = ("seed", "strength", "gap", "init_scale")
"""What a point is made of. A grid may give `relative_gap` = gap / init_scale instead of `gap`."""

_ORDER = ("seed", "strength", "gap", "relative_gap", "init_scale")
_ARGUMENTS = ("seq_len", "state_dim")
MAX_SEED = 2**32 - 1
MAX_SEQ_LEN = 201

DEFAULTS: Mapping[str, Number] = {
    "seed": 0,
    "strength": 1.0,
    "relative_gap": 0.05 * math.exp(-15) / 1e-3,
    "init_scale": 1e-3,
}
"""Axes that a grid leaves out: the reference setting κ = 7 of Theorem 1's experiments. The gap
follows the init scale, so that starts at all scales are alike."""


@dataclass(frozen=True)
class Grid:
    """A grid of starts and poison strengths; `make_grid` builds and checks one.

    Attributes:
      axes: names with their values, in the order seed, strength, gap or relative_gap, init_scale;
        seeds are `int`, everything else `float`.
      seq_len: sequence length κ of all points.
      state_dim: number of states d of all points.
    """

    axes: tuple[tuple[str, tuple[Number, ...]], ...]
    seq_len: int
    state_dim: int

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the axes."""
        return tuple(name for name, _ in self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values of each axis."""
        return tuple(len(values) for _, values in self.axes)

    @property
    def num_points(self) -> int:
        """Number of points."""
        return math.prod(self.shape)

    def points(self, start: int = 0, stop: int | None = None) -> dict[str, np.ndarray]:
        """Seed, strength, gap and init scale of the points start, ..., stop-1.

        Args:
          start: number of the first point.
          stop: number after the last point; `None` means all.

        Returns:
          `AXES` with one array each; seeds int64, the others float64.

        Raises:
          ValueError: the range does not lie within the grid.

        Example:
          >>> grid = make_grid({"strength": [0, 1], "relative_gap": [0.5, 0.25]})
          >>> grid.points(1, 3)["gap"].tolist(), grid.points(1, 3)["strength"].tolist()
          ([0.00025, 0.0005], [0.0, 1.0])
        """
        stop = self.num_points if stop is None else stop
        if not 0 <= start <= stop <= self.num_points:
            raise ValueError(
                f"start={start}, stop={stop}: the grid has the points 0..{self.num_points}"
            )
        index = np.unravel_index(np.arange(start, stop), self.shape)
        given: dict[str, np.ndarray] = {
            name: np.asarray(values, np.int64 if name == "seed" else np.float64)[i]
            for (name, values), i in zip(self.axes, index, strict=True)
        }
        for name, default in DEFAULTS.items():
            if name not in given and not (name == "relative_gap" and "gap" in given):
                given[name] = np.full(stop - start, default)
        if "gap" not in given:
            given["gap"] = given["relative_gap"] * given["init_scale"]
        return {name: given[name] for name in AXES}

    def to_json(self) -> str:
        """The grid as one line of JSON, from which `from_json` returns it to the last bit."""
        axes = {name: list(values) for name, values in self.axes}
        whole = {"axes": axes, "seq_len": self.seq_len, "state_dim": self.state_dim}
        return json.dumps(whole, allow_nan=False)  # shortest digits that read back exactly

    @classmethod
    def from_json(cls, text: str) -> Grid:
        """Rebuild a grid from `to_json`, with all checks of `make_grid`."""
        try:
            whole = json.loads(text)
            return make_grid(whole["axes"], whole["seq_len"], whole["state_dim"])
        except (json.JSONDecodeError, KeyError, TypeError) as err:
            raise ValueError(f"grid={text[:80]!r}: is not what Grid.to_json writes") from err

    def fingerprint(self) -> str:
        """SHA-256 of the grid: the same points in the same order have the same one."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def make_grid(grid: Mapping[str, Any], seq_len: int = 7, state_dim: int = 10) -> Grid:
    r"""Build a grid from a mapping, or say what is wrong with it.

    Args:
      grid: names of `AXES`, or ``relative_gap`` (= gap / init_scale) in the place of ``gap``,
        with a number, a sequence or one-dimensional array of numbers, or a text for
        `ssmbias.sweeps.values.parse_values`; lists may mix numbers and texts. The order of names
        does not matter, that of values is kept. Axes left out take `DEFAULTS`.
      seq_len: sequence length κ, odd and at least 5.
      state_dim: number of states $d \ge 2$.

    Returns:
      The checked grid. Points that cannot be started, because another entry of the draw lies
      within the gap, are part of it: that is an outcome of theirs.

    Raises:
      ValueError: no axis, an unknown or empty one, a value twice, out of range, not finite or not
        a number, both gap and relative_gap, or a shape that Theorem 1 does not speak of.

    Example:
      >>> grid = make_grid({"strength": "0 + logspace(-3, 0, 4)", "seed": range(2)})
      >>> grid.names, grid.shape, grid.num_points
      (('seed', 'strength'), (2, 5), 10)
    """
    seq_len = require_seq_len(seq_len, minimum=5, odd=True)
    if seq_len > MAX_SEQ_LEN:
        raise ValueError(
            f"seq_len={seq_len}: at most {MAX_SEQ_LEN} here, because the code that is "
            "compiled grows with it; simulate_theorem1 takes longer ones, slowly"
        )
    state_dim = require_int("state_dim", state_dim, minimum=2)
    if not isinstance(grid, Mapping):
        raise ValueError(f"grid={grid!r}: expected a mapping such as {{'seed': range(64)}}")
    if not grid:
        raise ValueError(
            "grid={}: is empty; give at least one of " + ", ".join(_ORDER) + ", e.g. "
            "{'seed': range(64), 'strength': 'logspace(-9, 3, 60)'}"
        )
    for name in grid:
        if name in _ARGUMENTS:
            raise ValueError(
                f"grid: {name!r} is an argument of sweep, not an axis; give it one value, as in "
                f"ssmbias.sweep(grid, {name}=7)"
            )
        if name not in _ORDER:
            close = close_name(str(name), _ORDER)
            hint = f"did you mean {close}? " if close else ""
            raise ValueError(f"grid: unknown axis {name!r}; {hint}known: {', '.join(_ORDER)}")
    if "gap" in grid and "relative_gap" in grid:
        raise ValueError(
            "grid: gap and relative_gap are both given, and gap = relative_gap * init_scale; "
            "leave one of them out"
        )
    axes = tuple((name, _axis(name, grid[name])) for name in _ORDER if name in grid)
    return Grid(axes, seq_len, state_dim)


def _axis(name: str, value: Any) -> tuple[Number, ...]:
    """The checked values of one axis."""
    values = _listed(f"grid[{name!r}]", value)
    if not values:
        raise ValueError(f"grid[{name!r}]={value!r}: has no values; give one or leave the axis out")
    check = _seed if name == "seed" else _real
    checked = tuple(check(name, x) for x in values)
    seen: set[Number] = set()
    for x in checked:
        if x in seen:
            raise ValueError(f"grid[{name!r}]: {x!r} is there twice; give every value once")
        seen.add(x)
    return checked


def _listed(name: str, value: Any) -> list[Any]:
    """A number, text, sequence or array as a list of what it holds; texts are read."""
    if isinstance(value, str):
        return list(parse_values(value, name))
    if isinstance(value, numbers.Real):
        return [value]
    if not isinstance(value, list | tuple | range) and hasattr(value, "__array__"):
        array = np.asarray(value)
        if array.dtype.kind == "f" and array.dtype != np.float64:
            raise ValueError(f"{name} has dtype {array.dtype}: pass float64, from exact numbers")
        if array.dtype.kind not in "iuf" or array.ndim > 1:
            raise ValueError(
                f"{name} has dtype {array.dtype} and shape {array.shape}: pass a one-dimensional "
                "array of numbers"
            )
        value = array.reshape(-1)
    if not isinstance(value, list | tuple | range | np.ndarray):
        raise ValueError(
            f"{name}={value!r}: expected a number, a list, an array, or a text such as "
            "'logspace(-9, 3, 60)'"
        )
    if len(value) > MAX_VALUES:
        raise ValueError(f"{name}: {len(value)} values, and an axis may have {MAX_VALUES}")
    if isinstance(value, np.ndarray):
        return value.tolist()
    found: list[Any] = []
    for x in value:
        found.extend(parse_values(x, name) if isinstance(x, str) else [x])
    return found


def _seed(name: str, value: Any) -> int:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise ValueError(f"{name}={value!r}: seeds are integers; write e.g. range(64)")
    return require_int(name, value, minimum=0, maximum=MAX_SEED)


def _real(name: str, value: Any) -> float:
    if not isinstance(value, numbers.Real) or isinstance(value, bool | np.bool_):
        raise ValueError(f"{name}={value!r}: expected a number, or a text such as 'range(64)'")
    if isinstance(value, np.floating) and not isinstance(value, np.float64):
        raise ValueError(f"{name}={value!r}: has type {value.dtype}; pass float64, or a number")
    try:
        x = float(value) + 0.0  # -0.0 is 0.0
    except OverflowError:
        x = math.inf
    if not math.isfinite(x):
        raise ValueError(f"{name}={value!r}: every value must be finite")
    if name == "init_scale" and not 0 < x < 1:
        raise ValueError(f"init_scale={x!r}: must lie in (0, 1); the paper uses 1e-3 and 5e-3")
    if x < 0:
        raise ValueError(f"{name}={x!r}: must be 0 or greater")
    if name == "relative_gap" and x >= 1:
        raise ValueError(
            f"relative_gap={x!r}: must be smaller than 1, since no two entries of a start in "
            "(0, init_scale) are further apart"
        )
    return x
