"""Handwritten digits: the same from seed to seed, split without overlap."""

from __future__ import annotations

import inspect
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssmbias.data.tasks.digits import digits, split_digits

raw = inspect.unwrap  # the guards, without the type checks of a test run in front of them


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
