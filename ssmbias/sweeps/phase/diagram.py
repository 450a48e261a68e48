r"""The report of a phase diagram: a sweep's errors beside what theory predicts for them.

`write_report` reads a finished sweep over seed, strength, relative gap and init scale, predicts
every point (M1, M2, M3; nothing is simulated here), saves both in one file, and draws the figures.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ssmbias.report.pages import phase as pages
from ssmbias.report.style import Arrays
from ssmbias.runs.files import write_atomically
from ssmbias.sweeps import Grid, open_sweep, summarise
from ssmbias.sweeps.phase.predictions import (
    PLATEAU_DEFECT,
    law_ratios,
    predict_errors,
    tied_error,
    two_leaders_error,
)
from ssmbias.theory import (
    passage_error_exponent,
    passage_onset,
    passage_ratio,
    passage_second_entry,
)

if TYPE_CHECKING:
    import xarray as xr

ARRAYS_FILE = "phase_diagram.npz"
AXES = ("seed", "strength", "relative_gap", "init_scale")

LEVELS = (1e-4, 1e-3, 1e-2)
"""Errors whose lines are drawn."""

_SAVED = ("weak", "strong", "clean", "defect", "ratio", "similarity")
_FINE, _VALID = 0.005, 0.05
"""D/(κ-3) up to which M3's error is good to 1 % and 10 %: docs/theory.md, M3."""


def write_report(store: str | Path, folder: str | Path) -> Path:
    """Write figures, numbers and a page about a sweep over strength and gap.

    Args:
      store: a finished sweep with the axes seed, strength and relative_gap, and init_scale.
      folder: where files go: `phase_diagram.npz` (errors and predictions), `.csv`, `.md`, and
        `phase_map`, `phase_collapse` and `phase_parting` as PNG and PDF. Made if it is not there.

    Returns:
      The page.

    Raises:
      ValueError: the store is not a sweep, is not finished, or has not the axes for a diagram.
    """
    arrays, counts = diagram_arrays(open_sweep(store))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(
        folder / ARRAYS_FILE,
        lambda stream: np.savez_compressed(stream, **arrays),  # pyright: ignore[reportArgumentType]
    )
    return pages.write_report(arrays, counts, folder)


def load_diagram(folder: str | Path) -> Arrays:
    """Read what `write_report` has saved.

    Args:
      folder: the folder it wrote to.

    Returns:
      Arrays over [seed, strength, gap, init scale] (`error`, `predicted`, `weak`, `strong`,
      `clean`, `defect`, `ratio`, `similarity`, `onset`), the axes, and the numbers of lines and
      laws.
    """
    with np.load(Path(folder) / ARRAYS_FILE, allow_pickle=False) as saved:
        return {name: saved[name] for name in saved.files}


def diagram_arrays(data: xr.Dataset) -> tuple[Arrays, dict[str, int]]:
    """Simulated and predicted errors of a sweep, and how its runs ended.

    Args:
      data: what `ssmbias.open_sweep` or `ssmbias.sweep` returns.

    Returns:
      The arrays that figures and tables are made of, and counts per outcome.

    Raises:
      ValueError: the sweep is not finished, or has not the axes for a diagram.
    """
    grid, horizon = _read_diagram(data)
    counts = summarise(data)
    simulated = np.where(data["outcome"].to_numpy() == 0, data["error"].to_numpy(), np.nan)
    axes = dict(grid.axes)
    missing = [name for name in AXES if name not in axes]
    for name in missing:  # constant axes have been left out of the grid
        simulated = np.expand_dims(simulated, AXES.index(name))
    points = grid.points()
    whole = Grid(
        tuple((name, axes[name] if name in axes else (points[name][0].item(),)) for name in AXES),
        grid.seq_len,
        grid.state_dim,
    )
    found = predict_errors(whole, horizon)
    # Cells are drawn in ascending order, whatever order the grid was given in.
    order = [np.argsort(whole.axes[i][1]) for i in (1, 2, 3)]

    def sorted_(values: np.ndarray) -> np.ndarray:
        for axis, index in enumerate(order, start=1):
            values = np.take(values, index, axis) if values.shape[axis] > 1 else values
        return values

    largest = sorted_(found.largest)
    ratio = law_ratios(found.similarity)
    dim, seq_len = grid.state_dim, grid.seq_len
    values = {name: np.asarray(value, float) for name, value in whole.axes}
    arrays = {
        "seed": np.asarray(whole.axes[0][1], np.int64),
        **{n: values[n][i] for n, i in zip(AXES[1:], order, strict=True)},
        "error": sorted_(simulated),
        "predicted": sorted_(found.error),
        **{name: sorted_(getattr(found, name)) for name in _SAVED},
        "onset": np.where(
            largest > 0, np.asarray(passage_onset(np.where(largest > 0, largest, 1.0), seq_len)),
            np.nan,
        ),
        "levels": np.array(LEVELS),
        "level_ratio": np.asarray(passage_ratio(np.array(LEVELS), seq_len, dim)),
        "fine_defect": np.array(_FINE * (seq_len - 3)),
        "valid_defect": np.array(_VALID * (seq_len - 3)),
        "plateau_defect": np.array(PLATEAU_DEFECT),
        "strong_strength": np.array((seq_len - 1) / dim),
        "law_ratio": ratio,
        "law_error": two_leaders_error(ratio, seq_len, dim, horizon),
        "law_exponent": np.array(passage_error_exponent(seq_len)),
        "law_factor": (dim - 2) / (dim * (dim - 1)) * np.asarray(
            passage_second_entry(1.0, seq_len)
        ) ** 2,
        "tied_error": np.array(tied_error(seq_len, dim, horizon)),
        "seq_len": np.array(seq_len),
        "state_dim": np.array(dim),
        "horizon": np.array(horizon),
    }  # fmt: skip
    return arrays, counts


def require_diagram(grid: Grid, trainable: str = "a") -> None:
    """Refuse a sweep that makes no diagram; this can be known before it is run.

    Args:
      grid: the points.
      trainable: leaves that are trained.

    Raises:
      ValueError: the axes are not those of a diagram, or M1 to M3 say nothing about the setting.

    Example:
      >>> from ssmbias.sweeps import make_grid
      >>> axes = {"strength": [0, 1e-9, 1], "relative_gap": [1e-3, 1e-2]}
      >>> require_diagram(make_grid(axes))
    """
    if "gap" in grid.names:
        raise ValueError("gap: a diagram needs the gap as a part of init_scale; give relative_gap")
    for name in ("strength", "relative_gap"):
        values = dict(grid.axes).get(name, ())
        positive = sum(value > 0 for value in values)
        if positive < 2:
            raise ValueError(
                f"{name}: positive values: {positive}, and a phase diagram needs two or more, "
                f"such as {name}=logspace(-8,-1,15)"
            )
    if min(dict(grid.axes)["relative_gap"]) <= 0:
        raise ValueError("relative_gap=0: an exact tie has no place on a logarithmic axis")
    if grid.state_dim < 3:
        raise ValueError("state_dim=2: two entries have no freedom left to err; take 3 or more")
    if trainable != "a":
        raise ValueError(f"trainable={trainable!r}: M1 to M3 are about training a alone")


def _read_diagram(data: xr.Dataset) -> tuple[Grid, int]:
    """Grid and horizon of a finished sweep that makes a diagram."""
    grid = Grid.from_json(data.attrs["grid"])
    settings = json.loads(data.attrs["settings"])
    require_diagram(grid, settings.get("trainable"))
    missing = int((data["outcome"].to_numpy() < 0).sum())
    if missing:
        raise ValueError(
            f"store: {missing} of {grid.num_points} points are not there; finish the sweep first "
            "(the same command resumes it)"
        )
    return grid, int(settings["horizon"])
