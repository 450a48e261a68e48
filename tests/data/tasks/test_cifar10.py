"""CIFAR-10 as a training set: subsets, and the full size."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from data.tasks.cifar10_files import refused

from ssmbias.data.tasks.cifar10 import Cifar10, load_cifar10, subset
from ssmbias.data.tasks.cifar10_format import FILES


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
