"""Small handwritten digits as sequences: few-shot tasks that need no download.

The images come with scikit-learn, an optional dependency (`pip install 'ssmbias[digits]'`), which
is imported only when they are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ssmbias.core.checks import require_int
from ssmbias.core.types import Array

GREY_LEVELS = 16
"""The largest pixel value as stored; the smallest is 0."""


class Digits(NamedTuple):
    r"""Digits as sequences, their labels, and which images they are.

    `inputs` holds one image a row, pixel after pixel in raster order, in $[0, 1]$; `labels` counts
    the classes asked for from 0; `indices` are row numbers in scikit-learn's data set.

    Example:
      >>> data = digits((3, 8))
      >>> data.inputs.shape, data.labels.shape
      ((357, 64, 1), (357,))
    """

    inputs: Float[Array, "sample seq 1"]
    labels: Int[Array, " sample"]
    indices: Int[Array, " sample"]


class DigitSplit(NamedTuple):
    """Three parts of the digits, no image in two of them.

    `train` is to be learned and poisoned, `targets` is what poison may be brewed against, and only
    `test` says how accurate a network is.

    Example:
      >>> split = split_digits(jax.random.key(0), (3, 8), shots=20, num_targets=40)
      >>> [len(part.labels) for part in split]
      [40, 80, 237]
    """

    train: Digits
    targets: Digits
    test: Digits


def digits(classes: Sequence[int] = (3, 8), *, dtype: Any = float) -> Digits:
    r"""All 8x8 digits of some classes, as sequences of length 64 with one feature.

    The grey levels $0, \dots, 16$ are divided by 16, which is exact in every floating-point type.

    Args:
      classes: two or more different digits; an image of `classes[j]` gets the label $j$.
      dtype: of the inputs; `float` is JAX's default (float64 where double precision is on).

    Returns:
      The images in the order of scikit-learn's data set.

    Raises:
      ValueError: `classes` repeats, holds one digit only, or something that is no digit.
      ImportError: scikit-learn is not installed.

    Example:
      >>> data = digits((3, 8))
      >>> float(data.inputs.min()), float(data.inputs.max()), jnp.bincount(data.labels).tolist()
      (0.0, 1.0, [183, 174])

    References:
      Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning
      Repository; the copy of its test part in scikit-learn (`load_digits`).
    """
    images, numerals, wanted = _load(classes)
    rows = np.flatnonzero(np.isin(numerals, wanted))
    return _take(images, numerals, wanted, jnp.asarray(rows), dtype)


def split_digits(
    key: jax.Array,
    classes: Sequence[int] = (3, 8),
    *,
    shots: int = 20,
    num_targets: int = 40,
    dtype: Any = float,
) -> DigitSplit:
    r"""A few-shot task: training data, targets for brewing, and the rest as test data.

    The images of each class are permuted once, and the permutation is cut into three pieces: the
    parts share no image, and together they hold all of them. Shapes do not depend on the key, so
    many splits come from `jax.vmap` over keys.

    Args:
      key: a JAX random key.
      classes: two or more different digits.
      shots: training images of *each class*; 20 shots of two classes are 40 images.
      num_targets: target images of each class.
      dtype: of the inputs, as in `digits`.

    Returns:
      The parts, each ordered by class. Training data and targets have equally many images of
      every class; the test data has what is left of each.

    Raises:
      ValueError: `classes` is wrong, a count is below 1, or nothing is left to test on.
      ImportError: scikit-learn is not installed.

    Example:
      >>> split = split_digits(jax.random.key(0), (3, 8), shots=20)
      >>> split.train.labels.sum().tolist(), split.test.inputs.shape
      (20, (237, 64, 1))
    """
    images, numerals, wanted = _load(classes)
    shots = require_int("shots", shots, minimum=1)
    num_targets = require_int("num_targets", num_targets, minimum=1)
    parts: tuple[list[Array], ...] = ([], [], [])
    for subkey, numeral in zip(jax.random.split(key, len(wanted)), wanted, strict=True):
        rows = np.flatnonzero(numerals == numeral)
        if shots + num_targets >= len(rows):
            raise ValueError(
                f"shots={shots}, num_targets={num_targets}: there are {len(rows)} images of the "
                f"digit {numeral}; take fewer, so that some are left to test on"
            )
        mixed = jax.random.permutation(subkey, jnp.asarray(rows))
        for part, piece in zip(parts, jnp.split(mixed, [shots, shots + num_targets]), strict=True):
            part.append(piece)
    return DigitSplit(
        *(_take(images, numerals, wanted, jnp.concatenate(part), dtype) for part in parts)
    )


def _take(
    images: np.ndarray, numerals: np.ndarray, wanted: tuple[int, ...], rows: Array, dtype: Any
) -> Digits:
    """Some rows of the data set as sequences; `rows` may be traced."""
    label_of = np.zeros(10, np.int32)
    label_of[list(wanted)] = range(len(wanted))
    inputs = jnp.asarray(images, dtype)[rows] / GREY_LEVELS
    return Digits(inputs[:, :, None], jnp.asarray(label_of[numerals])[rows], rows)


def _load(classes: Sequence[int]) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """The data set of scikit-learn, and the classes once they are known to be digits."""
    wanted = tuple(require_int("classes", digit, minimum=0, maximum=9) for digit in classes)
    if len(wanted) < 2 or len(set(wanted)) != len(wanted):
        raise ValueError(f"classes={wanted}: give two or more different digits, such as (3, 8)")
    try:
        from sklearn.datasets import load_digits  # noqa: PLC0415  slow, and optional
    except ImportError as err:
        raise ImportError(
            "the digits come with scikit-learn, which is not installed: pip install "
            "'ssmbias[digits]', or pip install scikit-learn"
        ) from err
    images, numerals = load_digits(return_X_y=True)
    return np.asarray(images), np.asarray(numerals), wanted
