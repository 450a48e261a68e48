"""How much memory and disk a grid takes, and whether there is as much: asked before the work."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from ssmbias.sweeps.grid import Grid

# Error, loss, steps and outcome of one point; and its seed, strength, gap and init scale.
_SCALARS = 8 + 8 + 4 + 1
_INPUTS = 4 * 8
# A block is cut out of the grid and the last one of a row is filled up: by a third at most,
# where three rows are held in blocks of two (see ssmbias.sweeps.blocks).
_FILLED_UP = 4 / 3
_METADATA = 2**16


class RoomNeeded(NamedTuple):
    """What a sweep takes.

    Attributes:
      points: number of points.
      bytes_in_memory: of the labelled arrays, while they are being put together.
      bytes_on_disk: of the finished store, at most.
    """

    points: int
    bytes_in_memory: int
    bytes_on_disk: int


def estimate(grid: Grid, saved_times: int = 0, num_leaves: int = 1, working: int = 0) -> RoomNeeded:
    """Say what a sweep over `grid` takes, by arithmetic.

    Args:
      grid: the grid.
      saved_times: number of times at which states are kept, besides the last one.
      num_leaves: how many of a, b, c are kept.
      working: bytes that the engine itself takes while it runs.

    Returns:
      A `RoomNeeded`.

    Example:
      >>> from ssmbias.sweeps.grid import make_grid
      >>> estimate(make_grid({"seed": range(1000)})).points
      1000
    """
    state = 8 * grid.state_dim
    saved = saved_times * (state + 8)
    per_point = _SCALARS + num_leaves * state + saved
    # The start, and once more while equal ones are looked for; the largest variable is held twice,
    # as it was read and as it is handed out.
    in_memory = grid.num_points * (per_point + _INPUTS + 2 * state + max(state, saved)) + working
    on_disk = int(grid.num_points * per_point * _FILLED_UP) + _METADATA
    return RoomNeeded(grid.num_points, in_memory, on_disk)


def require_room(
    estimate: RoomNeeded, folder: str | Path | None = None, memory: int | None = None
) -> None:
    """Refuse a grid that does not fit.

    Args:
      estimate: what it takes.
      folder: where the store is or is to be; `None` when there is none. What it holds already
        need not fit again.
      memory: bytes that may be used; `None` asks the operating system, and what it does not
        tell is not checked.

    Raises:
      ValueError: there is less memory or disk than is needed, or a new folder cannot be made.

    Example:
      >>> require_room(RoomNeeded(10**9, 2**40, 2**40), memory=2**33)
      Traceback (most recent call last):
      ...
      ValueError: grid: 1000000000 points take 1.10 TB of memory, and 8.59 GB are free; ...
    """
    memory = _free_memory() if memory is None else memory
    needed = estimate.bytes_in_memory
    if memory is not None and needed > memory:
        raise ValueError(
            f"grid: {estimate.points} points take {_size(needed)} of memory, and {_size(memory)} "
            "are free; take fewer values, or split an axis over several sweeps"
        )
    if folder is None:
        return
    folder = Path(folder).absolute()
    needed = estimate.bytes_on_disk - _held(folder)
    place = folder
    while not place.is_dir() and place != place.parent:
        place = place.parent
    if place != folder:
        _require_writable(folder, place)
    free = shutil.disk_usage(place).free
    if needed > free:
        raise ValueError(
            f"store={str(folder)!r}: {estimate.points} points take up to {_size(needed)} of disk, "
            f"and {_size(free)} are free; make room, choose another disk, or take fewer values"
        )


def _require_writable(folder: Path, place: Path) -> None:
    """Try to write, which also tells on file systems that take no files, such as /proc."""
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as err:
        if err.errno not in {errno.ENOSPC, errno.EDQUOT}:  # that is said with numbers
            raise ValueError(
                f"store={str(folder)!r}: {place} cannot be written to ({err.strerror}); give "
                "another folder"
            ) from err


def _held(folder: Path) -> int:
    """Bytes in the files of a folder; another process may be renaming some of them."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def _free_memory() -> int | None:
    """Bytes that can be used without swapping, as far as the system says."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _size(number: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 1000:
            return f"{number:.3g} {unit}" if unit == "B" else f"{number:.2f} {unit}"
        number /= 1000
    return f"{number:.2f} PB"
