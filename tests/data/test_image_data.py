"""Digits, CIFAR-10 from disk, its stand-in, images as sequences, and augmentation."""

from __future__ import annotations

import inspect
import io
import json
import pickle
import shutil
import sys
import tarfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

from ssmbias.data.tasks import cifar10_format
from ssmbias.data.tasks.augment import augment, shift_and_flip
from ssmbias.data.tasks.cifar10 import Cifar10, load_cifar10, subset
from ssmbias.data.tasks.cifar10_format import ARCHIVE_FOLDER, FILES, MARKER, TRAIN_FILES
from ssmbias.data.tasks.cifar10_stand_in import write_stand_in
from ssmbias.data.tasks.digits import digits, split_digits
from ssmbias.data.tasks.images import (
    CIFAR10_MEAN,
    CIFAR10_STD,
    as_image,
    as_sequence,
    denormalise,
    normalise,
)

EPS = np.finfo(np.float64).eps
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
raw = inspect.unwrap  # the guards, without the type checks of a test run in front of them


class Trap:
    """Unpickling one leaves a file behind."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


class TestDigits:
    """8x8 images as sequences of 64 steps."""

    def test_all_of_two_classes(self):
        from sklearn.datasets import load_digits

        stored = load_digits()
        data = digits((8, 3))
        rows = np.asarray(data.indices)
        assert np.array_equal(data.inputs[:, :, 0], stored.images[rows].reshape(-1, 64) / 16)
        # The first class named is label 0, whatever its numeral.
        assert np.array_equal(np.array([8, 3])[np.asarray(data.labels)], stored.target[rows])
        assert len(np.unique(rows)) == np.isin(stored.target, (3, 8)).sum()

    @pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
    def test_grey_levels_are_exact_in_every_type(self, dtype):
        data = digits((4, 9), dtype=dtype)
        assert data.inputs.dtype == dtype
        levels = np.asarray(data.inputs, np.float64) * 16
        assert np.array_equal(levels, np.rint(levels))
        assert (levels.min(), levels.max()) == (0, 16)

    def test_parts_are_disjoint_and_complete_for_every_key(self):
        keys = jax.random.split(jax.random.key(0), 50)
        whole = digits((3, 8, 5))
        split = jax.jit(lambda key: split_digits(key, (3, 8, 5), shots=7, num_targets=11))
        splits = jax.tree.map(np.asarray, jax.jit(jax.vmap(split))(keys))
        everything = np.sort(np.asarray(whole.indices))
        label_of = dict(zip(whole.indices.tolist(), whole.labels.tolist(), strict=True))
        for rows in np.concatenate([part.indices for part in splits], axis=1):
            # As many as there are, and each of them: no image twice.
            assert np.array_equal(np.sort(rows), everything)
        for part, each in ((splits.train, 7), (splits.targets, 11)):
            for labels, rows in zip(part.labels, part.indices, strict=True):
                assert np.bincount(labels).tolist() == [each] * 3
                assert [label_of[row] for row in rows.tolist()] == labels.tolist()
        assert np.bincount(splits.test.labels[0]).min() > 150
        # The split is random: first images of different keys differ, the same key repeats.
        assert len({tuple(rows) for rows in splits.train.indices.tolist()}) == 50
        again = split(keys[3])
        assert np.array_equal(again.test.indices, splits.test.indices[3])
        assert np.array_equal(again.test.inputs, splits.test.inputs[3])

    def test_control_independent_draws_overlap(self):
        # What the test above would find if the parts had keys of their own.
        split = jax.jit(split_digits)
        first, second = (split(jax.random.key(k)) for k in (0, 1))
        assert set(first.train.indices.tolist()) & set(second.test.indices.tolist())

    @pytest.mark.parametrize("classes", [(3,), (3, 3), (), (3, 10), (-1, 2), (1.5, 2)])
    def test_bad_classes(self, classes):
        with pytest.raises(ValueError, match="classes="):
            raw(digits)(classes)

    def test_bad_counts(self):
        key = jax.random.key(0)
        with pytest.raises(ValueError, match="shots=0"):
            split_digits(key, shots=0)
        with pytest.raises(ValueError, match=r"174 images of the digit 8; take fewer"):
            split_digits(key, shots=134, num_targets=40)

    def test_without_scikit_learn(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
        with pytest.raises(ImportError, match=r"pip install 'ssmbias\[digits\]'"):
            digits((3, 8))


class TestSequences:
    """The two orders, and normalisation."""

    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)

    def test_rgb_is_the_raster(self):
        sequence = as_sequence(self.image)
        assert sequence.shape == (1024, 3)
        assert sequence.dtype == np.uint8
        for t in (0, 1, 31, 32, 500, 1023):
            assert np.array_equal(sequence[t], self.image[t // 32, t % 32])

    def test_published_is_plane_after_plane(self):
        sequence = np.asarray(as_sequence(self.image, "published"))
        # Entry j of step t is flat entry 3 t + j of the array of planes, rows, columns.
        for t, j in np.ndindex(1024, 3):
            plane, rest = divmod(3 * t + j, 1024)
            assert sequence[t, j] == self.image[rest // 32, rest % 32, plane]
        # Control: the orders are different ones.
        assert not np.array_equal(sequence, as_sequence(self.image, "rgb"))

    def test_last_elements_of_the_published_order_are_blue(self):
        def last(image, order):
            return as_sequence(image, order)[-32:].sum()

        touched = jax.grad(last)(jnp.asarray(self.image, float), "published")
        expected = np.zeros((32, 32, 3))
        expected[29:, :, 2] = 1  # 32 steps of 3 entries: three rows of the blue plane
        assert np.array_equal(touched, expected)
        touched = jax.grad(last)(jnp.asarray(self.image, float), "rgb")
        expected = np.zeros((32, 32, 3))
        expected[31] = 1
        assert np.array_equal(touched, expected)

    @pytest.mark.parametrize("order", ["rgb", "published"])
    def test_inverse(self, order):
        assert np.array_equal(as_image(as_sequence(self.image, order), order), self.image)
        oblong = self.image[:5, :7]
        back = as_image(as_sequence(oblong, order), order, shape=(5, 7))
        assert np.array_equal(back, oblong)

    def test_normalise(self):
        got = normalise(self.image)
        by_hand = (self.image / 255 - np.array(CIFAR10_MEAN)) / np.array(CIFAR10_STD)
        # Three roundings of numbers up to 1, divided by 0.24.
        np.testing.assert_allclose(got, by_hand, rtol=0, atol=16 * EPS)
        np.testing.assert_allclose(denormalise(got), self.image / 255, rtol=0, atol=8 * EPS)
        assert normalise(self.image, dtype=jnp.float32).dtype == jnp.float32
        floats = jnp.asarray(self.image / 255, jnp.float32)
        assert normalise(floats).dtype == jnp.float32
        # Control: bytes taken for floats would be far off.
        assert abs(np.asarray(got)).max() < 2.2

    def test_bad_input(self):
        with pytest.raises(ValueError, match=r"order='bgr': choose one of rgb, published"):
            as_sequence(self.image, "bgr")
        with pytest.raises(ValueError, match=r"shape \(1, 32, 32, 3\).*jax\.vmap"):
            raw(as_sequence)(self.image[None])
        with pytest.raises(ValueError, match=r"expected \(1024, channels\)"):
            as_image(np.zeros((1000, 3)))
        with pytest.raises(ValueError, match="dtype int64: pass bytes"):
            raw(normalise)(self.image.astype(np.int64))
        with pytest.raises(ValueError, match=r"expected \(height, width, 3\)"):
            raw(normalise)(self.image[:, :, :1])
        with pytest.raises(ValueError, match="dtype uint8: pass what `normalise` returned"):
            raw(denormalise)(self.image)


transform = jax.jit(shift_and_flip)


class TestAugment:
    """Bilinear shifts with zeros around, and flips."""

    image = np.random.default_rng(0).normal(size=(32, 32, 3))

    @staticmethod
    def sampled(image, shift, mode="grid-constant"):
        """SciPy's bilinear sampler; "grid-constant" has zeros at the pixels around the image."""
        return scipy.ndimage.shift(image, (-shift[0], -shift[1], 0), order=1, mode=mode)

    @pytest.mark.parametrize("shift", [(0.3, -1.7), (-3.99, 2.5), (4.0, -4.0), (0.0, 0.01)])
    def test_equals_an_independent_sampler(self, shift):
        got = transform(self.image, np.array(shift), False)
        # Weights are differences of places up to 36, off by 36 eps; four of them on values up
        # to 5, here and there: 2 * 4 * 5 * 36 eps = 3.2e-13.
        np.testing.assert_allclose(got, self.sampled(self.image, shift), rtol=0, atol=4e-13)
        # Controls: the other direction, and no interpolation with the zeros outside.
        assert np.abs(got - self.sampled(self.image, (-shift[0], -shift[1]))).max() > 1e-2
        if shift[0] % 1:
            assert np.abs(got - self.sampled(self.image, shift, "constant")).max() > 1e-2

    @pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32, jnp.bfloat16])
    def test_zero_shift_is_the_identity(self, dtype):
        image = jnp.asarray(self.image, dtype)
        same, mirrored = (transform(image, np.zeros(2), flip) for flip in (False, True))
        assert same.dtype == dtype
        assert np.array_equal(same, image)
        assert np.array_equal(mirrored, image[:, ::-1])

    def test_flip_reverses_every_shift(self):
        shift = np.array([1.3, -2.6])
        plain, mirrored = (transform(self.image, shift, flip) for flip in (False, True))
        assert np.array_equal(mirrored, plain[:, ::-1])

    @pytest.mark.parametrize("flip", [False, True])
    def test_gradient_is_the_transpose(self, flip):
        # The operator as a dense matrix, from SciPy; oblong, so that axes cannot be exchanged.
        shape, shift = (4, 6, 1), (0.4, -1.3)
        columns = [self.sampled(unit.reshape(shape), shift) for unit in np.eye(24)]
        if flip:
            columns = [column[:, ::-1] for column in columns]
        matrix = np.stack([column.ravel() for column in columns], axis=1)
        x, y = np.random.default_rng(1).normal(size=(2, *shape))
        value, pull = jax.vjp(lambda image: transform(image, np.array(shift), flip), x)
        (back,) = pull(jnp.asarray(y))
        np.testing.assert_allclose(value.ravel(), matrix @ x.ravel(), rtol=0, atol=1e-13)
        np.testing.assert_allclose(back.ravel(), matrix.T @ y.ravel(), rtol=0, atol=1e-13)
        inner = float((value * y).sum()), float((back * x).sum())
        assert abs(inner[0] - inner[1]) < 1e-13  # 24 products of size 1 or so
        # Control: the matrix is not symmetric.
        assert np.abs(back.ravel() - matrix @ y.ravel()).max() > 1e-2

    def test_law_of_shifts_and_flips(self):
        # On a ramp of coordinates the pixels in the middle say where they came from.
        places = jnp.arange(13.0)
        ramp = jnp.stack(jnp.meshgrid(places, places, indexing="ij"), axis=-1)
        keys = jax.random.split(jax.random.key(0), 4000)
        images = jax.jit(jax.vmap(lambda key: augment(key, ramp)))(keys)
        rows, columns = np.moveaxis(np.asarray(images[:, 6, 6]) - 6, -1, 0)
        flipped = np.asarray(images[:, 6, 7, 1] < images[:, 6, 6, 1])
        assert max(abs(rows).max(), abs(columns).max()) <= 4
        for shifts in (rows, columns):
            # Control: +-5 pixels differ by .1 in the distribution function, of which the test
            # statistic 6.3 = .1 sqrt(4000) has p = 2 exp(-2 * 6.3**2) = 4e-35.
            assert scipy.stats.kstest(shifts, scipy.stats.uniform(-4, 8).cdf).pvalue > 0.01
            assert scipy.stats.kstest(shifts, scipy.stats.uniform(-5, 10).cdf).pvalue < 1e-20
        assert abs(flipped.mean() - 0.5) < 5 * 0.5 / np.sqrt(4000)
        # Independent of each other: correlations within five standard errors.
        correlation = np.corrcoef([rows, columns, flipped]) - np.eye(3)
        assert np.abs(correlation).max() < 5 / np.sqrt(4000)

    @pytest.mark.parametrize("probability", [0.0, 1.0])
    def test_nothing_left_to_chance(self, probability):
        keys = jax.random.split(jax.random.key(0), 20)
        image = jnp.asarray(self.image)
        options = {"max_shift": 0.0, "flip_probability": probability}
        images = jax.jit(jax.vmap(lambda key: augment(key, image, **options)))(keys)
        expected = self.image[:, ::-1] if probability else self.image
        assert (np.asarray(images) == expected).all()

    def test_bad_input(self):
        key = jax.random.key(0)
        with pytest.raises(ValueError, match="max_shift=-1"):
            augment(key, self.image, max_shift=-1.0)
        with pytest.raises(ValueError, match="max_shift=inf"):
            augment(key, self.image, max_shift=np.inf)
        with pytest.raises(ValueError, match=r"flip_probability=1\.5"):
            augment(key, self.image, flip_probability=1.5)
        with pytest.raises(ValueError, match=r"dtype uint8: pass floats"):
            raw(augment)(key, np.zeros((32, 32, 3), np.uint8))
        with pytest.raises(ValueError, match=r"shape \(2, 32, 32, 3\).*jax\.vmap"):
            raw(augment)(key, np.zeros((2, 32, 32, 3)))
        with pytest.raises(ValueError, match=r"shift has shape \(3,\)"):
            raw(shift_and_flip)(self.image, np.zeros(3), False)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """A stand-in of 6 x 40 images; copy it before breaking it."""
    return write_stand_in(tmp_path_factory.mktemp("cifar"), jax.random.key(0), num_per_file=40)


@pytest.fixture
def folder(written, tmp_path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "cifar"))


def refused(source, match, **options) -> None:
    """It is refused for this reason, and the message says what to put there."""
    with pytest.raises(ValueError, match=match) as caught:
        load_cifar10(source, **options)
    message = str(caught.value)
    assert MD5 in message
    assert str(source) in message
    assert "30730000 bytes" in message


def packed(folder: Path, *, without: tuple[str, ...] = (), inside: str = ARCHIVE_FOLDER) -> Path:
    """A tar.gz of the files in a folder, beside it."""
    target = folder.parent / "packed.tar.gz"
    with tarfile.open(target, "w:gz") as archive:
        for path in sorted(folder.iterdir(), reverse=True):  # in no particular order
            if path.name not in without:
                archive.add(path, f"{inside}/{path.name}")
    return target


class TestStandIn:
    """Generated files of the same format."""

    def test_format_byte_by_byte(self, written):
        data = load_cifar10(written)
        for name, images, labels in (
            ("data_batch_2.bin", data.train_images[40:80], data.train_labels[40:80]),
            ("test_batch.bin", data.test_images, data.test_labels),
        ):
            content = (written / name).read_bytes()
            assert len(content) == 40 * 3073
            for number in (0, 1, 39):
                record = content[3073 * number : 3073 * (number + 1)]
                assert record[0] == labels[number]
                for plane, y, x in ((0, 0, 1), (0, 1, 0), (1, 7, 3), (2, 31, 31)):
                    value = record[1 + 1024 * plane + 32 * y + x]
                    assert value == images[number, y, x, plane]

    def test_every_file_is_balanced(self, written):
        for name in FILES:
            labels = np.frombuffer((written / name).read_bytes(), np.uint8)[::3073]
            assert np.bincount(labels).tolist() == [4] * 10

    def test_key_decides(self, written, tmp_path):
        again = write_stand_in(tmp_path / "a", jax.random.key(0), num_per_file=40)
        other = write_stand_in(tmp_path / "b", jax.random.key(1), num_per_file=40)
        for name in FILES:
            assert (again / name).read_bytes() == (written / name).read_bytes()
            assert (other / name).read_bytes() != (written / name).read_bytes()

    def test_can_be_learned_and_only_with_contrast(self, tmp_path):
        def accuracy(contrast):
            key = jax.random.key(2)
            data = load_cifar10(write_stand_in(tmp_path, key, num_per_file=40, contrast=contrast))
            train, test = (x.reshape(len(x), -1).astype(float) for x in (data[0], data[2]))
            means = np.stack([train[data.train_labels == k].mean(axis=0) for k in range(10)])
            distance = ((test[:, None] - means) ** 2).sum(axis=-1)
            return (distance.argmin(axis=1) == data.test_labels).mean()

        assert accuracy(0.15) == 1
        # Chance is .1; 40 images, so five standard deviations are .24.
        assert accuracy(0.0) < 0.34

    def test_real_files_are_never_overwritten(self, folder):
        (folder / MARKER).unlink()
        before = (folder / "test_batch.bin").read_bytes()
        with pytest.raises(ValueError, match="may be the real CIFAR-10; name another folder"):
            write_stand_in(folder, jax.random.key(3))
        assert (folder / "test_batch.bin").read_bytes() == before

    def test_half_written_one_is_refused(self, folder):
        # As after a kill while an earlier one of another size is being replaced.
        counts = dict.fromkeys(FILES, 50)
        (folder / MARKER).write_bytes(cifar10_format.marker_content(counts))
        refused(folder, "data_batch_1.bin has 40 records where 50 are expected")

    @pytest.mark.parametrize(
        "options",
        [{"num_per_file": 9}, {"num_per_file": 10_001}, {"noise": -1.0}, {"contrast": -1.0}],
    )
    def test_bad_options(self, options, tmp_path):
        with pytest.raises(ValueError, match=next(iter(options))):
            write_stand_in(tmp_path / "new", jax.random.key(0), **options)
        assert not (tmp_path / "new").exists()

    @pytest.mark.parametrize(
        "content",
        ["", "[]", '{"schema": "other/1"}', '{"schema": "ssmbias.stand-in/1", "records": {}}'],
    )
    def test_damaged_marker(self, content, folder):
        (folder / MARKER).write_text(content)
        refused(folder, "STAND_IN.json is damaged")

    def test_marker_with_impossible_counts(self, folder):
        marker = json.loads((folder / MARKER).read_bytes())
        marker["records"]["test_batch.bin"] = 0
        (folder / MARKER).write_text(json.dumps(marker))
        refused(folder, "STAND_IN.json is not of this version")


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


class TestSubset:
    """Equally many of each class."""

    def test_balanced_random_and_matching(self, written):
        data = load_cifar10(written)
        part, again, other = (subset(data, 0.2, jax.random.key(k)) for k in (0, 0, 1))
        assert np.bincount(part.train_labels).tolist() == [4] * 10
        assert np.bincount(part.test_labels).tolist() == [1] * 10
        # Each image is one of the whole set, with its label, and none is there twice.
        place = {x.tobytes(): n for n, x in enumerate(data.train_images)}
        rows = [place[x.tobytes()] for x in part.train_images]
        assert rows == sorted(set(rows))
        assert np.array_equal(part.train_labels, data.train_labels[rows])
        assert np.array_equal(part.train_images, again.train_images)
        assert not np.array_equal(part.train_images, other.train_images)

    def test_unbalanced_classes(self):
        labels = np.array([0] * 50 + [1] * 10)
        images = np.zeros((60, 32, 32, 3), np.uint8)
        data = Cifar10(images, labels, images, labels)
        assert np.bincount(subset(data, 0.5, jax.random.key(0)).train_labels).tolist() == [5, 5]
        assert np.bincount(subset(data, 1e-9, jax.random.key(0)).test_labels).tolist() == [1, 1]

    @pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01, np.nan])
    def test_bad_fraction(self, fraction, written):
        with pytest.raises(ValueError, match=f"fraction={fraction}"):
            subset(load_cifar10(written), fraction, jax.random.key(0))

    def test_empty(self):
        images, labels = np.zeros((0, 32, 32, 3), np.uint8), np.zeros(0, np.int32)
        with pytest.raises(ValueError, match="there are no images"):
            subset(Cifar10(images, labels, images, labels), 0.5, jax.random.key(0))


def test_full_size(tmp_path):
    """Six files as large as the real ones, without a marker: classes are counted."""
    labels = np.arange(10_000) % 10
    records = np.zeros((10_000, 3073), np.uint8)
    records[:, 0] = labels
    for name in FILES:
        records.tofile(tmp_path / name)
    data = load_cifar10(tmp_path)
    assert np.bincount(data.train_labels).tolist() == [5000] * 10
    one_percent = subset(data, 0.01, jax.random.key(0))
    assert (len(one_percent.train_labels), len(one_percent.test_labels)) == (500, 100)
    # One label altered: the sizes are right, and the count is not.
    records[4, 0] = 5
    records.tofile(tmp_path / "test_batch.bin")
    few = {"num_train": 10}
    refused(tmp_path, r"the test set has \[1000, 1000, 1000, 1000, 999, 1001,", **few)
    assert len(load_cifar10(tmp_path, verify=False, **few).test_labels) == 10_000
    for name in FILES:  # pytest keeps the folders of three runs
        (tmp_path / name).unlink()
