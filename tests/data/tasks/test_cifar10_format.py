"""Readers of the published files of CIFAR-10, whole and damaged."""

from __future__ import annotations

import inspect
import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from data.tasks.cifar10_files import refused

from ssmbias.data.tasks import cifar10_format
from ssmbias.data.tasks.cifar10 import load_cifar10
from ssmbias.data.tasks.cifar10_format import ARCHIVE_FOLDER, MARKER, TRAIN_FILES

raw = inspect.unwrap  # the guards, without the type checks of a test run in front of them


class Trap:
    """Unpickling one leaves a file behind."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def packed(folder: Path, *, without: tuple[str, ...] = (), inside: str = ARCHIVE_FOLDER) -> Path:
    """A tar.gz of the files in a folder, beside it."""
    target = folder.parent / "packed.tar.gz"
    with tarfile.open(target, "w:gz") as archive:
        for path in sorted(folder.iterdir(), reverse=True):  # in no particular order
            if path.name not in without:
                archive.add(path, f"{inside}/{path.name}")
    return target


class TestReader:
    """The folder and the archive of the binary version."""

    def test_folder_above_and_archive_give_the_same(self, written, folder):
        expected = load_cifar10(written)
        assert expected.train_images.shape == (200, 32, 32, 3)
        folder.rename(folder.with_name(ARCHIVE_FOLDER))
        above = load_cifar10(folder.parent)
        archive = load_cifar10(packed(folder.parent / ARCHIVE_FOLDER))
        for data in (above, archive):
            for left, right in zip(data, expected, strict=True):
                assert np.array_equal(left, right)

    def test_first_images(self, written):
        whole = load_cifar10(written)
        part = load_cifar10(written, num_train=70, num_test=3)
        assert np.array_equal(part.train_images, whole.train_images[:70])
        assert np.array_equal(part.train_labels, whole.train_labels[:70])
        assert np.array_equal(part.test_images, whole.test_images[:3])
        with pytest.raises(ValueError, match="201 images are asked for and this stand-in has 200"):
            load_cifar10(written, num_train=201)

    def test_short_files_need_the_marker_or_a_number(self, folder):
        whole = load_cifar10(folder)
        (folder / MARKER).unlink()
        refused(folder, "data_batch_1.bin has 40 records where 10000 are expected")
        refused(folder, "data_batch_1.bin has 40 records", verify=False)
        part = load_cifar10(folder, num_train=30, num_test=40)
        assert np.array_equal(part.train_images, whole.train_images[:30])
        # More than the first file has: the second one would not follow where it should.
        refused(folder, "data_batch_1.bin has 40 records", num_train=60, num_test=40)
        for name in TRAIN_FILES[1:]:
            (folder / name).unlink()
        assert len(load_cifar10(folder, num_train=30, num_test=40).train_labels) == 30

    @pytest.mark.parametrize("name", ["data_batch_4.bin", "test_batch.bin"])
    def test_missing_truncated_empty_or_too_long_file(self, name, folder):
        path = folder / name
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        refused(folder, f"{name} is cut off or of another kind: its 122919 bytes")
        path.write_bytes(content[:-3073])
        refused(folder, f"{name} has 39 records where 40 are expected")
        path.write_bytes(content + content[:3073])
        refused(folder, f"{name} has 41 records where 40 are expected")
        path.write_bytes(b"")
        refused(folder, f"{name} is empty")
        path.write_bytes(bytes(30_730_001))
        refused(folder, f"{name} has more than 30730000 bytes")
        path.unlink()
        refused(folder, f"{name} is missing")

    def test_label_out_of_range(self, folder):
        content = bytearray((folder / "data_batch_3.bin").read_bytes())
        content[3073 * 5] = 10
        (folder / "data_batch_3.bin").write_bytes(content)
        refused(folder, "data_batch_3.bin has the label 10 at record 5, not 0 to 9")

    def test_missing_folder_and_other_things(self, folder, tmp_path):
        refused(tmp_path / "nowhere", "there is no such file or folder")
        (tmp_path / "empty").mkdir()
        refused(tmp_path / "empty", "none of the files of CIFAR-10 is in this folder")
        (tmp_path / "empty" / "cifar-10-binary.tar.gz").touch()
        refused(tmp_path / "empty", "not extracted: pass its path instead")
        refused(folder / "test_batch.bin", "pass the folder that holds it")
        (tmp_path / "text").write_text("hello")
        refused(tmp_path / "text", "neither a folder, nor a tar.gz, nor an .npz")
        (tmp_path / "hundred").mkdir()
        (tmp_path / "hundred" / "train.bin").touch()
        refused(tmp_path / "hundred", "this seems to be CIFAR-100")

    def test_pickle_version_is_refused_and_not_opened(self, folder, tmp_path):
        trap = tmp_path / "sprung"
        content = pickle.dumps({"data": Trap(trap), "labels": [0]}, protocol=2)
        python = tmp_path / "python" / "cifar-10-batches-py"
        python.mkdir(parents=True)
        (python / "data_batch_1").write_bytes(content)
        for place in (python, python.parent):
            refused(place, "the Python version of CIFAR-10, whose files are pickles")
        refused(python / "data_batch_1", "a pickle, of the Python version")
        refused(packed(python, inside=python.name), "the Python version of CIFAR-10")
        (folder / "data_batch_1.bin").write_bytes(content)  # renamed, to make it fit
        refused(folder, "data_batch_1.bin is a pickle")
        assert not trap.exists()
        pickle.loads(content)  # control: the trap works
        assert trap.exists()

    def test_archive_is_compared_with_the_published_sum(self, folder, monkeypatch):
        archive = packed(folder, without=(MARKER,))
        few = {"num_train": 40, "num_test": 40}
        refused(archive, r"its MD5 is [0-9a-f]{32} where c32a1d4a", **few)
        assert len(load_cifar10(archive, verify=False, **few).test_labels) == 40
        monkeypatch.setattr(cifar10_format, "ARCHIVE_MD5", cifar10_format._md5(archive))
        assert len(load_cifar10(archive, **few).test_labels) == 40

    def test_damaged_archive(self, folder, tmp_path):
        archive = packed(folder)
        content = archive.read_bytes()
        for damaged in (content[: len(content) // 2], content[:2], b"\x1f\x8b" + bytes(50)):
            archive.write_bytes(damaged)
            refused(archive, "not a whole tar.gz")
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "readme").write_text("nothing of it")
        refused(packed(tmp_path / "other"), "no file of CIFAR-10 is in this archive")

    def test_links_in_an_archive_are_not_followed(self, tmp_path):
        (tmp_path / "secret").write_bytes(bytes(3073))
        archive = tmp_path / "links.tar.gz"
        with tarfile.open(archive, "w:gz") as members:
            link = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
            link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
            members.addfile(link)
            real = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
            real.size = 3073
            members.addfile(real, io.BytesIO(bytes(3073)))
        options = {"num_train": 1, "num_test": 1, "verify": False}
        refused(archive, "test_batch.bin is missing", **options)

    @pytest.mark.parametrize("name", ["num_train", "num_test"])
    @pytest.mark.parametrize("number", [0, -1, 50_001, 1.5])
    def test_bad_numbers(self, name, number, written):
        with pytest.raises(ValueError, match=f"{name}={number}"):
            raw(load_cifar10)(written, **{name: number})


class TestNpz:
    """The same images in NumPy's format."""

    @pytest.fixture
    def arrays(self, written) -> dict[str, np.ndarray]:
        data = load_cifar10(written)
        return dict(zip(("x_train", "y_train", "x_test", "y_test"), data, strict=True))

    few = {"num_train": 200, "num_test": 40}  # noqa: RUF012

    def test_same_as_the_binary_version(self, arrays, written, tmp_path):
        expected = load_cifar10(written)
        arrays["y_test"] = arrays["y_test"].astype(np.uint8)[:, None]  # as some tools write it
        np.savez(tmp_path / "a.npz", **arrays)
        for left, right in zip(load_cifar10(tmp_path / "a.npz", **self.few), expected, strict=True):
            assert left.dtype == right.dtype
            assert np.array_equal(left, right)
        refused(tmp_path / "a.npz", "x_train has 200 images where 50000 are needed")
        refused(tmp_path / "a.npz", "200 images where 201 are", num_train=201, num_test=40)

    def test_pickled_objects_are_refused_and_not_opened(self, arrays, tmp_path):
        trap = tmp_path / "sprung"
        arrays["y_train"] = np.array([Trap(trap)] * 200, dtype=object)
        np.savez(tmp_path / "a.npz", **arrays)
        refused(tmp_path / "a.npz", "without pickles .*allow_pickle=False", **self.few)
        (tmp_path / "b.npz").write_bytes(pickle.dumps(Trap(trap)))
        refused(tmp_path / "b.npz", "without pickles")
        assert not trap.exists()

    def test_wrong_content(self, arrays, tmp_path):
        def with_change(match, **changed):
            np.savez(tmp_path / "a.npz", **(arrays | changed))
            refused(tmp_path / "a.npz", match, **self.few)

        planes = arrays["x_train"].transpose(0, 3, 1, 2)
        with_change(r"x_train is uint8 of shape \(200, 3, 32, 32\).*channels last", x_train=planes)
        with_change("x_test is float64", x_test=arrays["x_test"] / 255)
        with_change(r"y_test is int32 of shape \(39,\)", y_test=arrays["y_test"][1:])
        with_change("y_train is float64", y_train=arrays["y_train"] * 1.0)
        for label in (-1, 10):
            changed = arrays["y_train"].copy()
            changed[7] = label
            with_change(f"y_train has the label {label} at record 7", y_train=changed)
        with_change(
            r"x_train has 0 images", x_train=arrays["x_train"][:0], y_train=np.zeros(0, int)
        )

    def test_wrong_keys_and_damaged_files(self, arrays, tmp_path):
        path = tmp_path / "a.npz"
        np.savez(path, images=arrays["x_train"], y_train=arrays["y_train"])
        refused(path, "it lacks x_train, x_test, y_test and has images, y_train")
        np.savez(path)
        refused(path, "and has nothing")
        np.savez(path, **arrays)
        content = path.read_bytes()
        for damaged in (b"", content[: len(content) // 2], b"PK\x03\x04"):
            path.write_bytes(damaged)
            refused(path, "npz")
        flipped = bytearray(content)
        flipped[len(content) // 2] ^= 255  # inside the images: the zip's own check sum finds it
        path.write_bytes(flipped)
        refused(path, "a damaged .npz", **self.few)
        with path.open("wb") as stream:  # one array under the name of many
            np.save(stream, arrays["y_train"])
        refused(path, "without pickles")
