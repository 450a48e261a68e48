"""Augmentation of images on the device: random shifts and flips that can be differentiated."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from ssmbias.core.checks import require_number
from ssmbias.core.types import AnyArray, Array

PUBLISHED_SHIFT = 4.0
"""Largest shift of the published code, in pixels: 8/31 of half the distance 31 of the outer
pixels' centres in an image of 32 x 32."""


def augment(
    key: jax.Array,
    image: Float[AnyArray, "height width channel"],
    *,
    max_shift: float = PUBLISHED_SHIFT,
    flip_probability: float = 0.5,
) -> Float[Array, "height width channel"]:
    r"""One image, shifted by a random fraction of a few pixels and perhaps mirrored.

    Both shifts are uniform on $[-s, s]$ with $s$ = `max_shift`, independent of each other and of
    the flip; see `shift_and_flip`. The result is linear in the image, so that the gradient with
    respect to a perturbation goes through.

    Args:
      key: a JAX random key.
      image: one image, channels last; map over keys and images with `jax.vmap`. Zeros come in at
        the border: for normalised images that is the mean colour.
      max_shift: in pixels, at least 0.
      flip_probability: between 0 and 1.

    Returns:
      The augmented image, of the same shape and dtype.

    Raises:
      ValueError: the image is not of floats with three dimensions, or an option is out of range.

    Example:
      >>> image = jnp.ones((8, 8, 3))
      >>> float(augment(jax.random.key(0), image, max_shift=1.5)[3:5, 3:5].min())
      1.0

    References:
      The code published with Slutzky et al. (2025), arXiv:2410.10473: the same law of shifts and
      flips, for 32 x 32 pixels.
    """
    max_shift = require_number("max_shift", max_shift)
    if max_shift < 0:
        raise ValueError(f"max_shift={max_shift!r}: must be 0 or more pixels")
    flip_probability = require_number("flip_probability", flip_probability)
    if not 0 <= flip_probability <= 1:
        raise ValueError(f"flip_probability={flip_probability!r}: must be between 0 and 1")
    image = _require_float_image(image)
    # One draw for all three. Uniform numbers lie in [0, 1), so 0 is never and 1 is always.
    draws = jax.random.uniform(key, (3,), _weight_dtype(image))
    return shift_and_flip(image, max_shift * (2 * draws[:2] - 1), draws[2] < flip_probability)


def shift_and_flip(
    image: Float[AnyArray, "height width channel"],
    shift: Float[AnyArray, " 2"],
    flip: Bool[AnyArray, ""] | bool,
) -> Float[Array, "height width channel"]:
    r"""One image, shifted by bilinear interpolation and mirrored from left to right if asked.

    $$J_{y,x} = \sum_{a,b} w(y + s_1 - a)\, w(x + s_2 - b)\, I_{a,b}$$

    where $w(u) = \max(0, 1 - |u|)$, $I$ is the image, continued by zeros, and $s$ the shift; with
    `flip`, $x$ counts from the right. A shift of zero changes nothing, not even the last bit.

    Args:
      image: one image, channels last.
      shift: $(s_1, s_2)$ in pixels, along rows and columns: positive moves the picture up and to
        the left. May be traced.
      flip: whether to mirror it afterwards. May be traced.

    Returns:
      $J$, of the shape and dtype of the image.

    Raises:
      ValueError: the image is not of floats with three dimensions, or `shift` is not two numbers.

    Example:
      >>> row = jnp.array([[[1.0], [2.0], [4.0]]])
      >>> shift_and_flip(row, jnp.array([0.0, 0.5]), False)[0, :, 0].tolist()
      [1.5, 3.0, 2.0]
      >>> shift_and_flip(row, jnp.array([0.0, 1.0]), True)[0, :, 0].tolist()
      [0.0, 4.0, 2.0]
    """
    image = _require_float_image(image)
    shift = jnp.asarray(shift, _weight_dtype(image))
    if shift.shape != (2,):
        raise ValueError(f"shift has shape {shift.shape}: expected two numbers, for rows, columns")
    rows = _hat_weights(image.shape[0], shift[0])
    columns = _hat_weights(image.shape[1], shift[1])
    columns = jnp.where(flip, columns[::-1], columns)
    # Two small products instead of gathers: fast forwards and backwards on every device. The
    # highest precision, because accelerators otherwise round float32 to ten bits or so.
    return jnp.einsum(
        "ya,abc,xb->yxc",
        rows.astype(image.dtype),
        image,
        columns.astype(image.dtype),
        precision=jax.lax.Precision.HIGHEST,
    )


def _hat_weights(size: int, shift: Array) -> Array:
    """Row y holds the weights w(y + shift - a): two neighbours at most, fewer at the border."""
    places = jnp.arange(size, dtype=shift.dtype)
    return jnp.maximum(0, 1 - jnp.abs(places[:, None] + shift - places[None, :]))


def _weight_dtype(image: Array) -> Any:
    """In half precision a shift would be rounded to a hundredth of a pixel or worse."""
    return jnp.promote_types(image.dtype, jnp.float32)


def _require_float_image(image: Any) -> Array:
    image = jnp.asarray(image)
    if image.ndim != 3:
        raise ValueError(
            f"image has shape {image.shape}: expected (height, width, channels); map over more "
            "images with jax.vmap"
        )
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(
            f"image has dtype {image.dtype}: pass floats, "
            "e.g. from ssmbias.data.tasks.images.normalise"
        )
    return image
