"""Images of 32x32 pixels as the sequences that networks see, and back."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped, UInt8

from ssmbias.core.checks import require_choice
from ssmbias.core.types import AnyArray, Array
from ssmbias.data.tasks.images import as_image, as_sequence

LAYOUTS = ("rgb", "published", "tokens")

_GRID, _PATCH = 8, 4
_PIXELS = np.arange(256, dtype=np.float32) / np.float32(255)


def pixels(images: UInt8[AnyArray, "*shape"]) -> Float[Array, "*shape"]:
    """Bytes as numbers in [0, 1], in single precision.

    Example:
      >>> pixels(np.array([0, 255], np.uint8)).tolist()
      [0.0, 1.0]
    """
    # Looked up: a division by a constant is rounded in another way once it is compiled with what
    # follows, and then a perturbed pixel could leave the box.
    return jnp.asarray(_PIXELS)[jnp.asarray(images)]


def to_layout(image: Shaped[AnyArray, "32 32 3"], layout: str) -> Shaped[Array, "seq feature"]:
    """An image as the sequence that a network sees, entries moved only.

    "rgb" and "published" are those of `ssmbias.data.tasks.images.as_sequence`. "tokens" has a step
    for every patch of 4x4 pixels, in raster order, as the encoder of "mamba2" makes it.

    Args:
      image: one image.
      layout: one of `LAYOUTS`.

    Returns:
      1024 steps of 3 entries, or 64 of 48.

    Example:
      >>> to_layout(jnp.zeros((32, 32, 3)), "tokens").shape
      (64, 48)
    """
    if require_choice("layout", layout, LAYOUTS) != "tokens":
        return as_sequence(image, layout)
    cut = jnp.asarray(image).reshape(_GRID, _PATCH, _GRID, _PATCH, 3)
    return jnp.transpose(cut, (0, 2, 1, 3, 4)).reshape(_GRID**2, -1)


def from_layout(sequence: Shaped[AnyArray, "seq feature"], layout: str) -> Shaped[Array, "32 32 3"]:
    """The image that `to_layout` made this sequence of.

    Example:
      >>> image = jnp.arange(3072).reshape(32, 32, 3)
      >>> bool((from_layout(to_layout(image, "tokens"), "tokens") == image).all())
      True
    """
    if require_choice("layout", layout, LAYOUTS) != "tokens":
        return as_image(sequence, layout)
    cut = jnp.asarray(sequence).reshape(_GRID, _GRID, _PATCH, _PATCH, 3)
    return jnp.transpose(cut, (0, 2, 1, 3, 4)).reshape(32, 32, 3)
