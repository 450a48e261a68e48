"""A generated data set in the format of CIFAR-10, for tests, documentation and dry runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

import jax
import numpy as np

from ssmbias.core.checks import require_int, require_number
from ssmbias.data.tasks.cifar10_format import (
    FILE_RECORDS,
    FILES,
    MARKER,
    NUM_CLASSES,
    encode,
    marker_content,
)
from ssmbias.runs.files import write_atomically

_CHUNK = 500  # records made at a time: 12 MB of noise
_WAVES = 4  # of each class and colour
_HIGHEST = 3  # half periods across the image, so that a shift by 4 pixels keeps the pattern


def write_stand_in(
    folder: str | os.PathLike[str],
    key: jax.Array,
    *,
    num_per_file: int = 100,
    contrast: float = 0.15,
    noise: float = 0.1,
) -> Path:
    r"""Write images that can be learned, in exactly the binary format of CIFAR-10.

    A pixel of class $k$, cut to $[0, 1]$ and rounded to bytes, is
    $1/2 + \gamma\, P_k + \sigma\, \xi$: a smooth pattern $P_k$ of variance 1, the same in all
    images of its class, and independent standard normal $\xi$. Every class has equally many images
    in each file, or one more than another. Besides the six files there is `STAND_IN.json`, which
    says that they are generated and how many records each holds; without it they are refused as
    cut off.

    Args:
      folder: where to; made if missing. An earlier stand-in is replaced, real data never is.
      key: a JAX random key. It decides on all the bytes.
      num_per_file: records in each of the six files, 10 to 10 000; the real ones have 10 000.
      contrast: $\gamma$, 0 or more. With 0 there is nothing to be learned.
      noise: $\sigma$, 0 or more.

    Returns:
      The folder, to be given to `load_cifar10`.

    Raises:
      ValueError: a number is out of range, or the folder holds the real files.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     _ = write_stand_in(folder, jax.random.key(0), num_per_file=10)
      ...     len(list(Path(folder).iterdir())), (Path(folder) / "test_batch.bin").stat().st_size
      (7, 30730)
    """
    num = require_int("num_per_file", num_per_file, minimum=NUM_CLASSES, maximum=FILE_RECORDS)
    contrast = require_number("contrast", contrast)
    noise = require_number("noise", noise)
    if contrast < 0 or noise < 0:
        raise ValueError(f"contrast={contrast!r}, noise={noise!r}: both must be 0 or more")
    folder = Path(folder).expanduser()
    found = [name for name in FILES if (folder / name).exists()]
    if found and not (folder / MARKER).exists():
        raise ValueError(
            f"folder={str(folder)!r}: it holds {found[0]} and no {MARKER}, so this may be the real "
            "CIFAR-10; name another folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    # First the marker: whatever happens later, the files never pass for the real ones.
    marker = marker_content(dict.fromkeys(FILES, num))
    write_atomically(folder / MARKER, lambda stream: stream.write(marker))
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    means = 0.5 + contrast * _patterns(rng)

    def write(stream: IO[bytes]) -> None:
        labels = rng.permutation(np.arange(num) % NUM_CLASSES)
        for begin in range(0, num, _CHUNK):
            chunk = labels[begin : begin + _CHUNK]
            images = means[chunk]
            images += noise * rng.standard_normal(images.shape, np.float32)
            stream.write(encode(np.rint(255 * images.clip(0, 1)).astype(np.uint8), chunk))

    for name in FILES:
        write_atomically(folder / name, write)
    return folder


def _patterns(rng: np.random.Generator) -> np.ndarray:
    """One smooth image a class, of variance 1 in each colour: sums of a few slow waves."""
    places = (np.arange(32) + 0.5) * np.pi / 32
    shape = (NUM_CLASSES, 3, _WAVES, 1)
    row_waves, column_waves = rng.integers(1, _HIGHEST + 1, (2, *shape))
    row_phase, column_phase = rng.uniform(0, 2 * np.pi, (2, *shape))
    rows = np.cos(row_waves * places + row_phase)
    columns = np.cos(column_waves * places + column_phase)
    waves = np.einsum("kcwy,kcwx->kyxc", rows, columns)
    waves -= waves.mean(axis=(1, 2), keepdims=True)
    return (waves / waves.std(axis=(1, 2), keepdims=True)).astype(np.float32)
