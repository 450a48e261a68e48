"""The binary version of CIFAR-10: records, files, and how to get at them without unpacking.

A record is one label byte and 3072 bytes of pixels: the red plane in raster order, then green,
then blue. A file holds 10 000 records and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

NUM_CLASSES = 10
RECORD_BYTES = 1 + 3 * 32 * 32
FILE_RECORDS = 10_000
FILE_BYTES = FILE_RECORDS * RECORD_BYTES

TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILE = "test_batch.bin"
FILES = (*TRAIN_FILES, TEST_FILE)

ARCHIVE = "cifar-10-binary.tar.gz"
ARCHIVE_FOLDER = "cifar-10-batches-bin"
ARCHIVE_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
"""As published on https://www.cs.toronto.edu/~kriz/cifar.html; none are for the single files."""

MARKER = "STAND_IN.json"
"""The file that says that its neighbours are generated, and how many records each holds."""

MARKER_SCHEMA = "ssmbias.stand-in/1"

WHAT_TO_PUT = (
    f"put the binary version there: {ARCHIVE} from https://www.cs.toronto.edu/~kriz/cifar.html "
    f"(162 MB, MD5 {ARCHIVE_MD5}), or the folder {ARCHIVE_FOLDER} extracted from it, which holds "
    f"{TRAIN_FILES[0]} to {TRAIN_FILES[-1]} and {TEST_FILE} of {FILE_BYTES} bytes each, or an .npz "
    "with x_train, y_train, x_test, y_test"
)

Fetch = Callable[[str], bytes | None]
"""The content of a file by its name, at most one byte more than `FILE_BYTES`; None: not there."""

# What gives away that another version was put in the place of the binary one.
_OTHER_VERSIONS = {
    "the Python version of CIFAR-10, whose files are pickles (opening one runs its code)": {
        "batches.meta", "cifar-10-batches-py", "cifar-10-python.tar.gz", "data_batch_1",
        "test_batch",
    },
    "the Matlab version of CIFAR-10": {"cifar-10-batches-mat", "data_batch_1.mat"},
    "CIFAR-100": {"cifar-100-binary", "cifar-100-python", "train.bin"},
}  # fmt: skip
_PICKLE_START = b"\x80"  # of pickles since protocol 2; as a label it would be 128


def refusal(source: Path, what: str) -> ValueError:
    """The error of every file that is not what it should be: what is wrong, what to put there."""
    return ValueError(f"source={str(source)!r}: {what}; {WHAT_TO_PUT}")


def encode(
    images: UInt8[np.ndarray, "sample 32 32 3"], labels: Int[np.ndarray, " sample"]
) -> bytes:
    """Records of the binary version.

    Args:
      images: channels last.
      labels: 0 to 9.

    Returns:
      The records, one after the other.

    Example:
      >>> len(encode(np.zeros((2, 32, 32, 3), np.uint8), np.array([3, 9]))) == 2 * RECORD_BYTES
      True
    """
    records = np.empty((len(labels), RECORD_BYTES), np.uint8)
    records[:, 0] = labels
    records[:, 1:] = images.transpose(0, 3, 1, 2).reshape(len(labels), -1)
    return records.tobytes()


def decode(
    content: bytes,
) -> tuple[UInt8[np.ndarray, "sample 32 32 3"], Int[np.ndarray, " sample"]]:
    """Images, channels last, and labels of whole records.

    Args:
      content: the records, one after the other.

    Returns:
      Images, as a view of the records, and labels, which may be wrong (above 9).

    Example:
      >>> images, labels = decode(bytes([7]) + bytes(3072))
      >>> images.shape, labels.tolist()
      ((1, 32, 32, 3), [7])
    """
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD_BYTES)
    planes = records[:, 1:].reshape(-1, 3, 32, 32)
    return planes.transpose(0, 2, 3, 1), records[:, 0].astype(np.int32)


def open_folder(folder: Path) -> Fetch:
    """A reader of the binary version's folder, or of the folder that it lies in.

    Args:
      folder: an existing folder.

    Returns:
      What reads a file by its name.

    Raises:
      ValueError: none of the files is there; the message names what is there instead.
    """
    for place in (folder, folder / ARCHIVE_FOLDER):
        if any((place / name).is_file() for name in FILES):
            return lambda name: _read(place / name)
    found = sorted(path.name for path in folder.iterdir())
    if ARCHIVE in found:
        raise refusal(folder, f"there is {ARCHIVE} in it, not extracted: pass its path instead")
    raise refusal(folder, _telltale(found) or "none of the files of CIFAR-10 is in this folder")


def open_archive(archive: Path, *, verify: bool) -> Fetch:
    """A reader of the binary version's tar.gz, which is not extracted.

    Args:
      archive: an existing file.
      verify: compare the check sum, unless the archive holds a stand-in that says so.

    Returns:
      What reads a file by its name; all of them are in memory.

    Raises:
      ValueError: not a tar.gz, another version, or damaged.
    """
    wanted = {*FILES, MARKER}
    found: dict[str, bytes] = {}
    others: set[str] = set()
    try:
        with tarfile.open(archive, "r:gz") as members:
            for member in members:
                parts = Path(member.name).parts
                stream = members.extractfile(member) if member.isfile() else None
                if stream is not None and parts[-1] in wanted:
                    found[parts[-1]] = stream.read(FILE_BYTES + 1)
                others.update(parts)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as err:
        what = f"not a whole tar.gz ({err}); its MD5 is {_md5(archive)}"
        raise refusal(archive, what) from err
    if not found:
        raise refusal(archive, _telltale(others) or "no file of CIFAR-10 is in this archive")
    if verify and MARKER not in found and (md5 := _md5(archive)) != ARCHIVE_MD5:
        raise refusal(archive, f"its MD5 is {md5} where {ARCHIVE_MD5} is expected")
    return found.get


def read_marker(source: Path, fetch: Fetch) -> dict[str, int] | None:
    """How many records the files of a stand-in hold.

    Args:
      source: where the files come from, for messages.
      fetch: their reader.

    Returns:
      Records by the name of the file, or None where there is no marker: then all is to be genuine.

    Raises:
      ValueError: there is a marker and it cannot be understood.
    """
    content = fetch(MARKER)
    if content is None:
        return None
    try:
        marker = json.loads(content)
        counts = {name: marker["records"][name] for name in FILES}
        known = marker["schema"] == MARKER_SCHEMA
    except (ValueError, KeyError, TypeError) as err:
        raise refusal(source, f"{MARKER} is damaged; write the stand-in anew") from err
    if not known or not all(
        isinstance(count, int) and 1 <= count <= FILE_RECORDS for count in counts.values()
    ):
        raise refusal(source, f"{MARKER} is not of this version; write the stand-in anew")
    return counts


def marker_content(counts: dict[str, int]) -> bytes:
    """The marker of a stand-in whose files hold so many records.

    Args:
      counts: records by the name of the file.

    Returns:
      The marker's content.
    """
    note = "generated images, not CIFAR-10; records per file follow"
    return json.dumps({"schema": MARKER_SCHEMA, "note": note, "records": counts}).encode()


def require_whole(source: Path, name: str, content: bytes | None) -> bytes:
    """The content of a file, or why it cannot be one of the binary version.

    Args:
      source: where the file comes from, for messages.
      name: the name of the file.
      content: what was read.

    Returns:
      The content: one record or more, all whole.

    Raises:
      ValueError: missing, empty, too long, cut inside a record, or a pickle.
    """
    if content is None:
        raise refusal(source, f"{name} is missing")
    if content.startswith(_PICKLE_START):
        version = next(iter(_OTHER_VERSIONS))
        raise refusal(source, f"{name} is a pickle: this seems to be {version}")
    if not content:
        raise refusal(source, f"{name} is empty")
    if len(content) > FILE_BYTES:
        raise refusal(source, f"{name} has more than {FILE_BYTES} bytes")
    if len(content) % RECORD_BYTES:
        raise refusal(
            source,
            f"{name} is cut off or of another kind: its {len(content)} bytes are not a whole "
            f"number of records of {RECORD_BYTES} bytes",
        )
    return content


def _read(path: Path) -> bytes | None:
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        return stream.read(FILE_BYTES + 1)


def _telltale(names: Iterable[str]) -> str | None:
    """Which other version these names belong to."""
    names = set(names)
    for version, telling in _OTHER_VERSIONS.items():
        if names & telling:
            return f"this seems to be {version}"
    return None


def _md5(path: Path) -> str:
    """The check sum that the page of CIFAR-10 gives; it finds damage and is no protection."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
