"""Colour images as sequences, in the two orders in use, and their normalisation."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped, UInt8

from ssmbias.core.checks import require_choice
from ssmbias.core.types import AnyArray, Array

ORDERS = ("rgb", "published")
"""How an image may become a sequence, see `as_sequence`."""

CIFAR10_MEAN = (0.4915, 0.4823, 0.4468)
"""Mean of red, green and blue over CIFAR-10's training images, pixel values in [0, 1]."""

CIFAR10_STD = (0.2470, 0.2435, 0.2616)
"""Standard deviation of red, green and blue, likewise."""


def as_sequence(
    image: Shaped[AnyArray, "height width channel"], order: str = "rgb"
) -> Shaped[Array, "seq channel"]:
    r"""An image as a sequence of length height x width with `channel` features.

    Let $I_{c,y,x}$ be channel $c$ of the pixel in row $y$ and column $x$, $H \times W$ pixels and
    $C$ channels.

    - `"rgb"`: plain raster. Step $t = W y + x$ holds all channels of one pixel, $I_{\cdot,y,x}$, so
      that the last elements are the last row of the image.
    - `"published"`: the memory of the array $(C, H, W)$ read as $(HW, C)$, which is what the code
      published with the paper does. Step $t$ holds the entries $Ct, \dots, Ct + C - 1$ of the
      flattened array: $C$ *neighbouring pixels of one colour*. The sequence is the whole red
      plane, then green, then blue, and its last elements are the last rows of the blue plane.

    Both only move entries: any dtype, and the gradient is moved back.

    Args:
      image: one image, channels last; map over more with `jax.vmap`.
      order: `"rgb"` or `"published"`.

    Returns:
      The sequence, in the dtype of the image.

    Raises:
      ValueError: the image has not three dimensions, or there is no such order.

    Example:
      >>> image = jnp.arange(12).reshape(2, 2, 3)
      >>> as_sequence(image)[0].tolist(), as_sequence(image, "published")[0].tolist()
      ([0, 1, 2], [0, 3, 6])

    References:
      Slutzky et al. (2025), arXiv:2410.10473, the experiments on CIFAR-10.
    """
    require_choice("order", order, ORDERS)
    image = _require_image(image)
    height, width, channels = image.shape
    moved = image if order == "rgb" else jnp.transpose(image, (2, 0, 1))
    return moved.reshape(height * width, channels)


def as_image(
    sequence: Shaped[AnyArray, "seq channel"],
    order: str = "rgb",
    *,
    shape: tuple[int, int] = (32, 32),
) -> Shaped[Array, "height width channel"]:
    """The image that `as_sequence` made this sequence of: its exact inverse.

    Args:
      sequence: one sequence.
      order: the order in which it was made.
      shape: height and width of the image.

    Returns:
      The image, channels last.

    Raises:
      ValueError: the length is not height x width, or there is no such order.

    Example:
      >>> image = jnp.arange(24).reshape(4, 2, 3)
      >>> sequence = as_sequence(image, "published")
      >>> bool((as_image(sequence, "published", shape=(4, 2)) == image).all())
      True
    """
    require_choice("order", order, ORDERS)
    sequence = jnp.asarray(sequence)
    height, width = shape
    if sequence.ndim != 2 or sequence.shape[0] != height * width:
        raise ValueError(
            f"sequence has shape {sequence.shape}: expected ({height * width}, channels) for an "
            f"image of {height} x {width}; map over more sequences with jax.vmap"
        )
    channels = sequence.shape[1]
    if order == "rgb":
        return sequence.reshape(height, width, channels)
    return jnp.transpose(sequence.reshape(channels, height, width), (1, 2, 0))


def normalise(
    image: Float[AnyArray, "height width 3"] | UInt8[AnyArray, "height width 3"],
    *,
    dtype: Any = float,
) -> Float[Array, "height width 3"]:
    r"""Colours with mean 0 and variance 1 over CIFAR-10: $(I_c - \mu_c) / \sigma_c$.

    Args:
      image: one image $I$, channels last: bytes (divided by 255 first) or floats in $[0, 1]$.
      dtype: of the result if the image is of bytes; floats keep theirs.

    Returns:
      The normalised image.

    Raises:
      ValueError: not one colour image, or neither bytes nor floats.

    Example:
      >>> grey = normalise(np.full((2, 2, 3), 128, np.uint8))
      >>> [round(float(channel), 3) for channel in grey[0, 0]]
      [0.042, 0.081, 0.211]

    References:
      `CIFAR10_MEAN` and `CIFAR10_STD` are those of the code published with Slutzky et al. (2025),
      arXiv:2410.10473.
    """
    image = _require_image(image, channels=3)
    if image.dtype == np.uint8:
        image = image.astype(dtype) / 255
    elif not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(
            f"image has dtype {image.dtype}: pass bytes (uint8), or floats between 0 and 1"
        )
    return (image - _colours(CIFAR10_MEAN, image.dtype)) / _colours(CIFAR10_STD, image.dtype)


def denormalise(image: Float[AnyArray, "height width 3"]) -> Float[Array, "height width 3"]:
    r"""The inverse of `normalise`: $\sigma_c I_c + \mu_c$, in $[0, 1]$ for what came from bytes.

    Args:
      image: one normalised image, channels last.

    Returns:
      The image as floats; not clipped.

    Raises:
      ValueError: not one colour image, or not of floats.

    Example:
      >>> back = denormalise(normalise(jnp.full((1, 1, 3), 0.25)))
      >>> bool(jnp.allclose(back, 0.25))
      True
    """
    image = _require_image(image, channels=3)
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(f"image has dtype {image.dtype}: pass what `normalise` returned")
    return image * _colours(CIFAR10_STD, image.dtype) + _colours(CIFAR10_MEAN, image.dtype)


def _colours(values: tuple[float, ...], dtype: Any) -> Array:
    """One number a channel, of the rank of an image: ranks are never promoted silently."""
    return jnp.asarray(values, dtype)[None, None, :]


def _require_image(image: Any, *, channels: int | None = None) -> Array:
    image = jnp.asarray(image)
    if image.ndim != 3 or (channels is not None and image.shape[2] != channels):
        raise ValueError(
            f"image has shape {image.shape}: expected (height, width, {channels or 'channels'}); "
            "map over more images with jax.vmap"
        )
    return image
