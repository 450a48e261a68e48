"""Augmentation of images, against loops over pixels."""

from __future__ import annotations

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

from ssmbias.data.tasks.augment import augment, shift_and_flip

raw = inspect.unwrap  # the guards, without the type checks of a test run in front of them


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
