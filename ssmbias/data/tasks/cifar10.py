"""CIFAR-10 from the user's disk: the binary version or an .npz, and never a pickle."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int, UInt8

from ssmbias.core.checks import require_int, require_number
from ssmbias.data.tasks.cifar10_format import (
    FILE_RECORDS,
    NUM_CLASSES,
    TEST_FILE,
    TRAIN_FILES,
    Fetch,
    decode,
    open_archive,
    open_folder,
    read_marker,
    refusal,
    require_whole,
)

NUM_TRAIN = FILE_RECORDS * len(TRAIN_FILES)
NUM_TEST = FILE_RECORDS
NPZ_KEYS = ("x_train", "y_train", "x_test", "y_test")


class Cifar10(NamedTuple):
    """Images with their labels, in the memory of the host (184 MB for all of CIFAR-10).

    Images are bytes, channels last; labels are 0 to 9, in the order of `CLASS_NAMES`.
    """

    train_images: UInt8[np.ndarray, "train 32 32 3"]
    train_labels: Int[np.ndarray, " train"]
    test_images: UInt8[np.ndarray, "test 32 32 3"]
    test_labels: Int[np.ndarray, " test"]


def load_cifar10(
    source: str | os.PathLike[str],
    *,
    num_train: int | None = None,
    num_test: int | None = None,
    verify: bool = True,
) -> Cifar10:
    r"""CIFAR-10, in the order in which it was published.

    `source` is one of

    - the folder `cifar-10-batches-bin` (or the one that holds it): six files of 30 730 000 bytes;
    - `cifar-10-binary.tar.gz`, from which it is extracted; nothing is written;
    - an `.npz` with `x_train` (50000, 32, 32, 3) and `x_test` (10000, 32, 32, 3) of bytes, and
      `y_train`, `y_test` of integers, (n,) or (n, 1). It is read with `allow_pickle=False`;
    - what `ssmbias.data.tasks.cifar10_stand_in.write_stand_in` wrote: it has fewer images, and is
      known by its marker.

    Args:
      source: path of a folder or file; `~` is the home folder.
      num_train: read only the first so many training images, after which files may end or be
        missing; default: all 50 000.
      num_test: likewise of the 10 000 test images.
      verify: also compare the MD5 sum of the tar.gz, and the number of images of each class of a
        whole training or test set (5000 and 1000). Sizes and the range of labels are always
        checked.

    Returns:
      Images and labels, as NumPy arrays.

    Raises:
      ValueError: something is missing, cut off, of another size or another data set, a label is
        above 9, or a file is a pickle. The message says what to put where.

    Example:
      >>> import tempfile
      >>> from ssmbias.data.tasks.cifar10_stand_in import write_stand_in
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     data = load_cifar10(write_stand_in(folder, jax.random.key(0), num_per_file=20))
      >>> data.train_images.shape, data.test_images.shape
      ((100, 32, 32, 3), (20, 32, 32, 3))

    References:
      Krizhevsky (2009), Learning multiple layers of features from tiny images;
      https://www.cs.toronto.edu/~kriz/cifar.html for the format and the check sum.
    """
    if num_train is not None:
        num_train = require_int("num_train", num_train, minimum=1, maximum=NUM_TRAIN)
    if num_test is not None:
        num_test = require_int("num_test", num_test, minimum=1, maximum=NUM_TEST)
    path = Path(source).expanduser()
    if not path.exists():
        raise refusal(path, "there is no such file or folder")
    stand_in = False
    if path.suffix == ".npz" and path.is_file():
        data = _read_npz(path, num_train, num_test)
    else:
        fetch = open_folder(path) if path.is_dir() else _open_file(path, verify=verify)
        counts = read_marker(path, fetch)
        stand_in = counts is not None
        data = Cifar10(
            *_read_records(path, fetch, TRAIN_FILES, num_train, counts),
            *_read_records(path, fetch, (TEST_FILE,), num_test, counts),
        )
    for name, labels, whole in (
        ("training", data.train_labels, NUM_TRAIN),
        ("test", data.test_labels, NUM_TEST),
    ):
        if verify and not stand_in and len(labels) == whole:
            _require_balance(path, name, labels)
    return data


def subset(data: Cifar10, fraction: float, key: jax.Array) -> Cifar10:
    r"""A part of the images with equally many of each class, chosen at random.

    Of each class present, `fraction` of the rarest one's number of images are taken, rounded, and
    one at least: of CIFAR-10, `fraction=0.01` leaves 500 training images and 100 test images.

    Args:
      data: images and labels.
      fraction: above 0, at most 1.
      key: a JAX random key.

    Returns:
      The images kept, in their former order.

    Raises:
      ValueError: `fraction` is out of range, or a set is empty.

    Example:
      >>> images, labels = np.zeros((80, 32, 32, 3), np.uint8), np.repeat(np.arange(10), 8)
      >>> part = subset(Cifar10(images, labels, images, labels), 0.25, jax.random.key(0))
      >>> np.bincount(part.train_labels).tolist()
      [2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
    """
    fraction = require_number("fraction", fraction)
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction={fraction!r}: must be above 0 and at most 1")
    # NumPy's generator, seeded by the key: nothing to compile for another number of images.
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    train = _balanced_rows(rng, data.train_labels, fraction)
    test = _balanced_rows(rng, data.test_labels, fraction)
    return Cifar10(
        data.train_images[train],
        data.train_labels[train],
        data.test_images[test],
        data.test_labels[test],
    )


def _balanced_rows(rng: np.random.Generator, labels: np.ndarray, fraction: float) -> np.ndarray:
    if len(labels) == 0:
        raise ValueError("data: there are no images in one of its sets; load some first")
    counts = np.bincount(labels, minlength=NUM_CLASSES)
    each = max(1, round(fraction * int(counts[counts > 0].min())))
    chosen = [
        rng.permutation(np.flatnonzero(labels == label))[:each] for label in np.flatnonzero(counts)
    ]
    return np.sort(np.concatenate(chosen))


def _open_file(path: Path, *, verify: bool) -> Fetch:
    """A reader of a file that is no .npz."""
    with path.open("rb") as stream:
        start = stream.read(2)
    if start == b"\x1f\x8b":
        return open_archive(path, verify=verify)
    if path.suffix == ".bin":
        raise refusal(path, "one file of several: pass the folder that holds it")
    if start.startswith(b"\x80"):
        raise refusal(path, "a pickle, of the Python version of CIFAR-10 perhaps")
    raise refusal(path, "neither a folder, nor a tar.gz, nor an .npz")


def _read_records(
    source: Path,
    fetch: Fetch,
    names: Sequence[str],
    num: int | None,
    counts: dict[str, int] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """The first `num` records (None: all) of some files, in their order."""
    expected = [FILE_RECORDS if counts is None else counts[name] for name in names]
    left = sum(expected) if num is None else num
    if left > sum(expected):
        raise ValueError(
            f"source={str(source)!r}: {num} images are asked for and this stand-in has "
            f"{sum(expected)} in {', '.join(names)}; ask for fewer, or write a larger one"
        )
    images = np.empty((left, 32, 32, 3), np.uint8)
    labels = np.empty(left, np.int32)
    filled = 0
    for name, count in zip(names, expected, strict=True):
        if left == 0:
            break
        part_images, part_labels = decode(require_whole(source, name, fetch(name)))
        # A shorter file would move all that follow: it may end only where reading ends.
        if len(part_labels) != count and not left <= len(part_labels) < count:
            raise refusal(
                source, f"{name} has {len(part_labels)} records where {count} are expected"
            )
        taken = min(left, count)
        _require_labels(source, name, part_labels)
        images[filled : filled + taken] = part_images[:taken]
        labels[filled : filled + taken] = part_labels[:taken]
        filled += taken
        left -= taken
    return images, labels


def _read_npz(path: Path, num_train: int | None, num_test: int | None) -> Cifar10:
    try:
        # Opened here: np.load leaves a damaged file open.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            arrays: dict[str, Any] = {name: stored[name] for name in NPZ_KEYS if name in stored}
            found = list(stored.files)
    except (ValueError, TypeError, AttributeError, OSError, EOFError) as err:
        # NumPy's own words cover arrays of objects, which are pickles.
        raise refusal(path, f"cannot be read as an .npz without pickles ({err})") from err
    except (zipfile.BadZipFile, zlib.error) as err:
        raise refusal(path, f"a damaged .npz ({err})") from err
    missing = [name for name in NPZ_KEYS if name not in arrays]
    if missing:
        raise refusal(
            path, f"it lacks {', '.join(missing)} and has {', '.join(found) or 'nothing'}"
        )
    parts: list[np.ndarray] = []
    for part, num, whole in (("train", num_train, NUM_TRAIN), ("test", num_test, NUM_TEST)):
        images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3):
            raise refusal(
                path,
                f"x_{part} is {images.dtype} of shape {images.shape}: expected uint8 of shape "
                "(n, 32, 32, 3), channels last",
            )
        if not np.issubdtype(labels.dtype, np.integer) or (
            labels.shape not in {(len(images),), (len(images), 1)}
        ):
            raise refusal(
                path,
                f"y_{part} is {labels.dtype} of shape {labels.shape}: expected integers of shape "
                f"({len(images)},)",
            )
        if len(images) != whole and (num is None or len(images) < num):
            raise refusal(
                path, f"x_{part} has {len(images)} images where {num or whole} are needed"
            )
        labels = labels.reshape(-1)
        _require_labels(path, f"y_{part}", labels)
        parts += [images[:num], labels[:num].astype(np.int32)]
    return Cifar10(*parts)


def _require_labels(source: Path, name: str, labels: np.ndarray) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= NUM_CLASSES))
    if len(wrong):
        raise refusal(
            source, f"{name} has the label {labels[wrong[0]]} at record {wrong[0]}, not 0 to 9"
        )


def _require_balance(source: Path, name: str, labels: np.ndarray) -> None:
    counts = np.bincount(labels, minlength=NUM_CLASSES).tolist()
    expected = len(labels) // NUM_CLASSES
    if any(count != expected for count in counts):
        raise refusal(
            source,
            f"the {name} set has {counts} images of its classes where {expected} of each are "
            "expected: files of it were exchanged or altered",
        )
