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

from ssmbias.sweeps.store.base import Store
from ssmbias.sweeps.store.disk import UnfinishedSweepWarning, create_or_resume, open_sweep
from ssmbias.sweeps.store.memory import in_memory

__all__ = ["Store", "UnfinishedSweepWarning", "create_or_resume", "in_memory", "open_sweep"]
