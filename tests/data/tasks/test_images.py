"""Images as sequences, and how they are normalised."""

from __future__ import annotations

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssmbias.data.tasks.images import (
    CIFAR10_MEAN,
    CIFAR10_STD,
    as_image,
    as_sequence,
    denormalise,
    normalise,
)

EPS = np.finfo(np.float64).eps


raw = inspect.unwrap  # the guards, without the type checks of a test run in front of them


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
