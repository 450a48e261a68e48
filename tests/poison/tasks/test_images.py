"""Images of CIFAR-10 as a task: parts, arms and sequences."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from poison_cifar import TINY

from ssmbias.poison.batch import Batch
from ssmbias.poison.search.weighting import position_weights
from ssmbias.poison.tasks.images import ImagesTask
from ssmbias.poison.tasks.layouts import from_layout, to_layout
from ssmbias.poison.training.one_by_one import OneByOne
from ssmbias.poison.training.teller import Teller

TASK = TINY.experiment().task
assert isinstance(TASK, ImagesTask)


def random_delta(num: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.01, 0.01, (num, 32, 32, 3)).astype(np.float32)


class TestData:
    """Parts, arms and sequences."""

    def test_parts(self, data):
        split = TASK.split(data, 0)
        assert not set(split.target_rows) & set(split.test_rows)
        assert sorted([*split.target_rows, *split.test_rows]) == list(range(10))
        assert len(set(split.train_rows)) == len(split.train_rows) == 20
        for part, rows, whole in (
            (split.labels, split.train_rows, data.train_labels),
            (split.images, split.train_rows, data.train_images),
            (split.target_images, split.target_rows, data.test_images),
            (split.test_labels, split.test_rows, data.test_labels),
        ):
            assert np.array_equal(part, whole[rows])
        again, other = TASK.split(data, 0), TASK.split(data, 1)
        assert np.array_equal(split.train_rows, again.train_rows)
        assert not np.array_equal(split.train_rows, other.train_rows)

    def test_too_few_images(self, data):
        with pytest.raises(ValueError, match="there are 50 training images"):
            dataclasses.replace(TASK, num_clean=43).split(data, 0)
        with pytest.raises(ValueError, match="there are 10 test images"):
            dataclasses.replace(TASK, num_targets=10).split(data, 0)

    def test_arms_differ_in_the_second_copies_only(self, data, stand_in):
        # What an epoch is given, arm by arm.
        settings = dataclasses.replace(TINY, data=str(stand_in))
        experiment, delta = settings.experiment(), random_delta(8)
        bench = OneByOne(experiment, (0,), lambda arm: {"delta": delta}, None, Teller(0, None))
        split = experiment.task.split(data, 0)  # pyright: ignore[reportAttributeAccessIssue]
        base = bench.training_data(None)
        dup = bench.training_data(Batch(*(x[0] for x in bench.copies)))
        found = bench.training_data(Batch(*(x[0] for x in bench.perturbed(delta).extra)))
        plain = split.images.astype(np.float32) / np.float32(255)
        assert np.array_equal(base.inputs, plain)
        assert np.array_equal(dup.inputs, np.concatenate([plain, plain[12:]]))
        assert np.array_equal(found.inputs[:20], plain)
        assert np.array_equal(found.inputs[20:], plain[12:] + delta)
        # Labels, to the bit those of the data set, perturbed or not.
        want = data.train_labels[np.concatenate([split.train_rows, split.train_rows[12:]])]
        for batch in (dup, found):
            assert batch.labels.dtype == want.dtype
            assert np.array_equal(batch.labels, want)
        with pytest.raises(ValueError, match="delta has shape"):
            bench.perturbed(delta[:7])

    @pytest.mark.parametrize("layout", ["rgb", "published", "tokens"])
    def test_layouts(self, layout):
        image = np.arange(3072).reshape(32, 32, 3)
        sequence = to_layout(image, layout)
        assert np.array_equal(from_layout(sequence, layout), image)
        # What is last: the last pixel, the end of the blue plane, or the last patch.
        last = {
            "rgb": image[31, 31],
            "published": image[31, 29:, 2],
            "tokens": image[28:, 28:].ravel(),
        }
        assert np.array_equal(sequence[-1], last[layout])

    def test_rows_are_those_of_the_image(self):
        # The published penalty: row i of all three planes gets 31 - i.
        weights = position_weights("rows", (1024, 3))
        image = np.asarray(from_layout(weights, "published"))
        assert np.array_equal(
            image, np.broadcast_to(31 - np.arange(32)[:, None, None], (32, 32, 3))
        )

    def test_shares(self):
        delta = np.zeros((2, 32, 32, 3), np.float32)
        delta[:, 31] = 1
        rgb = dataclasses.replace(TASK, layout="rgb")
        assert rgb.shares(delta) == (1, 1)
        # In the published order a third of it, the blue one, is at the end.
        assert TASK.shares(delta).elements == pytest.approx(1 / math.sqrt(3), rel=1e-6)
        even = TASK.shares(np.ones_like(delta))
        assert even == pytest.approx((math.sqrt(1 / 32),) * 2, rel=1e-6)
