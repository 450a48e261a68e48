r"""Which elements of a sequence the perturbation is pushed to, and where it lies in the end.

The penalty $\lambda \sum_k w_k \|\delta_k\|^2$ holds back the elements with large weight $w_k$.
Its slope $2\lambda w_k\delta_k$ is added to the slope of the matching objective *before* the sign
is taken. Through the sign it therefore decides only entries where the matching slope is smaller
than $2\lambda w_k|\delta_k|$, and nothing at all elsewhere: with the published $\lambda=10^{-7}$
that is 2e-7 · $w_k|\delta_k|$, so on most data the weighted attack and the plain one are the same
to the last bit. Whoever wants an effect takes a $\lambda$ of the order of the matching slopes over
the budget, and reports `late_share` beside the accuracy.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ssmbias.core.checks import require_choice, require_int
from ssmbias.core.types import AnyArray, Array

WEIGHTINGS = ("none", "late", "early", "rows")


def position_weights(
    weighting: str, shape: tuple[int, ...], image: tuple[int, int, int] = (3, 32, 32)
) -> Float[np.ndarray, "..."] | None:
    r"""The weights $w$ of the penalty for one input.

    With positions $k=0..L-1$ along the first axis of the input, "late" is $w_k=L-1-k$: the last
    element is free and the first is held back most; "early" is the mirror image, $w_k=k$. "rows" is
    the published one: $w=H-1-i$ for every entry of row $i$ of an image stored as planes, row $i$
    and column $j$ of plane $c$ at flat index $cHW+Wi+j$. For the published sequences of shape
    (1024, 3), whose step $t$ holds the flat entries $3t..3t+2$, that is three ramps, one a colour,
    and NOT the end of the sequence; for a raster of RGB pixels of the same shape it is neither:
    use "late" there.

    Args:
      weighting: one of `WEIGHTINGS`.
      shape: of one input, sequence axis first.
      image: channels, height $H$ and width $W$, for "rows".

    Returns:
      Non-negative integers as floats, of shape `shape`; `None` for "none".

    Raises:
      ValueError: an unknown weighting, or "rows" of inputs whose size is not that of the image.

    Example:
      >>> position_weights("late", (4,)).tolist(), position_weights("early", (3,)).tolist()
      ([3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0])
      >>> position_weights("rows", (4, 3), image=(3, 2, 2)).tolist()
      [[1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    require_choice("weighting", weighting, WEIGHTINGS)
    if weighting == "none":
        return None
    if weighting == "rows":
        rows = _rows(shape, image)
        return image[1] - 1.0 - rows
    positions = np.arange(shape[0], dtype=np.float64)
    if weighting == "late":
        positions = positions[::-1]
    return np.broadcast_to(positions.reshape((-1,) + (1,) * (len(shape) - 1)), shape).copy()


class LateShare(NamedTuple):
    """How much of a perturbation lies in the last elements.

    Attributes:
      share: mean over examples of ‖last elements of δ‖ / ‖δ‖, examples with δ = 0 left out.
      uniform: the same for a perturbation spread evenly: √(fraction of entries that are last).
    """

    share: Float[Array, ""]
    uniform: float


def late_share(
    delta: Float[AnyArray, "num ..."], last: int = 1, image: tuple[int, int, int] | None = None
) -> LateShare:
    """The share of a perturbation in the last elements, beside that of an even one.

    Args:
      delta: perturbations, sequence axis second.
      last: how many elements of the sequence count as last, or rows where `image` is given.
      image: channels, height and width: count rows of the image in all its planes, as published,
        instead of elements of the sequence.

    Returns:
      The share (nan where every perturbation is zero) and its reference.

    Raises:
      ValueError: `last` is out of range, or the inputs do not have the size of the image.

    Example:
      >>> late_share(jnp.array([[0.0, 3.0, 4.0], [0.0, 0.0, 0.0]]), last=1)
      LateShare(share=Array(0.8, dtype=float64), uniform=0.577...)
    """
    delta = jnp.asarray(delta)
    shape = delta.shape[1:]
    if not shape:
        raise ValueError(f"delta has shape {delta.shape}: expected (num, sequence, ...)")
    length = shape[0] if image is None else image[1]
    last = require_int("last", last, minimum=1, maximum=length)
    if image is None:
        place = np.broadcast_to(np.arange(length).reshape((-1,) + (1,) * (len(shape) - 1)), shape)
    else:
        place = _rows(shape, image)
    is_last = jnp.asarray(place >= length - last)
    axes = tuple(range(1, delta.ndim))
    # Scaled by the largest entry, so that squares of small entries do not underflow.
    largest = jnp.max(jnp.abs(delta), axis=axes, keepdims=True)
    squares = jnp.square(delta / jnp.where(largest > 0, largest, 1))
    whole = jnp.sum(squares, axis=axes)
    part = jnp.sum(jnp.where(is_last[None], squares, 0), axis=axes)
    some = whole > 0
    ratio = jnp.where(some, jnp.sqrt(part / jnp.where(some, whole, 1)), 0)
    return LateShare(jnp.sum(ratio) / jnp.sum(some), math.sqrt(last / length))


def _rows(shape: tuple[int, ...], image: tuple[int, int, int]) -> Float[np.ndarray, "..."]:
    """The image row of every entry of an input that is an image stored as planes."""
    channels, height, width = image
    if math.prod(shape) != channels * height * width:
        raise ValueError(f"image={image!r}: does not have the size of one input, {shape}")
    flat = np.arange(channels * height * width)
    return ((flat % (height * width)) // width).astype(np.float64).reshape(shape)
