"""Which images an experiment on CIFAR-10 trains on, brews against and is judged by."""

from __future__ import annotations

import zlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

from ssmbias.core.checks import require_choice
from ssmbias.core.types import AnyArray, Array
from ssmbias.data.tasks.cifar10 import Cifar10, subset
from ssmbias.data.tasks.images import as_image, as_sequence
from ssmbias.poison.batch import Batch
from ssmbias.poison.full_settings import FullSettings

LAYOUTS = ("rgb", "published", "tokens")

_GRID, _PATCH = 8, 4
_PIXELS = np.arange(256, dtype=np.float32) / np.float32(255)


class Split(NamedTuple):
    """The images of one seed, with the rows of the data set that they are.

    Training images are the clean part, then the poison part. Targets and tests are disjoint.
    """

    images: UInt8[np.ndarray, "train 32 32 3"]
    labels: Int[np.ndarray, " train"]
    target_images: UInt8[np.ndarray, "target 32 32 3"]
    target_labels: Int[np.ndarray, " target"]
    test_images: UInt8[np.ndarray, "test 32 32 3"]
    test_labels: Int[np.ndarray, " test"]
    train_rows: Int[np.ndarray, " train"]
    target_rows: Int[np.ndarray, " target"]
    test_rows: Int[np.ndarray, " test"]


class Training(NamedTuple):
    """The training data of an arm, as it lies on the device: no image is there twice.

    Attributes:
      images: the clean part, then the poison part.
      labels: theirs.
      source: the image of every training example.
      perturbed: whether the example is perturbed.
      delta: perturbations of the poison part, of pixels in [0, 1].
    """

    images: UInt8[AnyArray, "train 32 32 3"]
    labels: Int[AnyArray, " train"]
    source: Int[AnyArray, " example"]
    perturbed: Bool[AnyArray, " example"]
    delta: Float[AnyArray, "poison 32 32 3"]


def draw_split(settings: FullSettings, data: Cifar10, seed: int) -> Split:
    """Draw the parts without replacement, the same in every arm.

    Args:
      settings: numbers of images, `fraction` included.
      data: all of CIFAR-10, or a stand-in.
      seed: of the draw.

    Returns:
      The parts; every test image that is no target judges.

    Raises:
      ValueError: there are not that many images.
    """
    key = jax.random.fold_in(jax.random.key(seed), 100)
    if settings.fraction < 1:
        data = subset(data, settings.fraction, key)
    sizes = settings.sizes
    num_train = sizes.clean + sizes.poisons
    _require_enough(
        f"num_clean + num_poisons = {num_train}", num_train, "training", len(data.train_labels)
    )
    _require_enough(
        f"num_targets={sizes.targets} and one to judge by", sizes.targets + 1, "test",
        len(data.test_labels),
    )  # fmt: skip
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    train = rng.permutation(len(data.train_labels))[:num_train]
    order = rng.permutation(len(data.test_labels))
    target, test = order[: sizes.targets], np.sort(order[sizes.targets :])
    assert not np.intersect1d(target, test).size
    return Split(
        data.train_images[train],
        data.train_labels[train],
        data.test_images[target],
        data.test_labels[target],
        data.test_images[test],
        data.test_labels[test],
        train,
        target,
        test,
    )


def training_of(
    settings: FullSettings,
    split: Split,
    arm: str,
    delta: Float[AnyArray, "poison 32 32 3"] | None = None,
) -> Training:
    """The training data of an arm.

    Args:
      settings: numbers of images.
      split: the images.
      arm: base has the poison part once; all others twice.
      delta: perturbations of the second copies; `None` leaves them as they are.

    Returns:
      Training data, not yet on a device.

    Raises:
      ValueError: perturbations of another number of images.
    """
    clean, num, _ = settings.sizes
    first = np.arange(clean + num, dtype=np.int32)
    second = first[clean:] if arm != "base" else first[:0]
    if delta is None:
        delta = np.zeros((num, 32, 32, 3), np.float32)
    if delta.shape != (num, 32, 32, 3):
        raise ValueError(f"delta has shape {delta.shape}: expected {(num, 32, 32, 3)}")
    return Training(
        split.images,
        split.labels,
        np.concatenate([first, second]),
        np.concatenate([np.zeros(len(first), bool), np.ones(len(second), bool)]),
        delta,
    )


def examples(training: Training, rows: Int[AnyArray, " batch"]) -> Batch:
    """Some training examples, as pixels in [0, 1] in single precision, and their labels.

    Args:
      training: an arm's.
      rows: which examples.

    Returns:
      Images, perturbed where they are poison, and the labels of the data set.
    """
    source = jnp.asarray(training.source)[rows]
    images = pixels(jnp.asarray(training.images)[source])
    # Poisons are the last images; where the first ones look, the result is not used.
    first = training.images.shape[0] - training.delta.shape[0]
    delta = jnp.asarray(training.delta)[jnp.maximum(source - first, 0)]
    perturbed = jnp.asarray(training.perturbed)[rows][:, None, None, None]
    return Batch(jnp.where(perturbed, images + delta, images), jnp.asarray(training.labels)[source])


def poisons_of(settings: FullSettings, split: Split) -> Batch:
    """The images to perturb, as pixels in [0, 1], with their labels."""
    first = settings.sizes.clean
    return Batch(pixels(split.images[first:]), jnp.asarray(split.labels[first:]))


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


def data_mark(data: Cifar10) -> str:
    """A check sum, by which states of other data are told apart."""
    mark = 0
    for array in data:
        mark = zlib.crc32(np.ascontiguousarray(array).tobytes(), mark)
    return f"{mark:08x}"


def _require_enough(what: str, needed: int, kind: str, available: int) -> None:
    if needed > available:
        raise ValueError(
            f"{what}: there are {available} {kind} images; lower these numbers or fraction, or "
            "take all of CIFAR-10"
        )
