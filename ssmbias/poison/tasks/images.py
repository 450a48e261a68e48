"""Images of CIFAR-10 as a task: which ones train, are poisoned, are attacked and judge."""

from __future__ import annotations

import dataclasses
import functools
import zlib
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from ssmbias.core.types import AnyArray, Array
from ssmbias.data.tasks.augment import augment
from ssmbias.data.tasks.cifar10 import Cifar10, load_cifar10, subset
from ssmbias.data.tasks.images import denormalise, normalise
from ssmbias.poison.batch import Batch
from ssmbias.poison.protocols import Problem
from ssmbias.poison.search.weighting import late_share
from ssmbias.poison.tasks.layouts import from_layout, pixels, to_layout

LAST_PART = 32
"""The last elements are the last of so many equal parts of the sequence: one row of an image."""

UNIFORM_SHARE = LAST_PART**-0.5
"""The share of the last elements in a perturbation that is spread evenly."""

_PLANES = (3, 32, 32)


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


class Shares(NamedTuple):
    """The part of perturbations at the end: of the network's sequence, and of the image.

    Each is a mean of norms, of the last 1/32 over the whole; evenly spread it is `UNIFORM_SHARE`.
    """

    elements: float
    rows: float


@dataclass(frozen=True)
class ImagesTask:
    """Images of CIFAR-10; some of the training images are there to be perturbed.

    Attributes:
      num_clean: training images that are never perturbed.
      num_poisons: training images of which an arm adds another copy.
      num_targets: test images that poison is brewed against. All others judge.
      layout: the sequence that the network sees.
      fraction: of all images, from which the others are drawn.
      data: the path given to `load_cifar10`; it does not tell tasks apart.
    """

    num_clean: int
    num_poisons: int
    num_targets: int
    layout: str = "published"
    fraction: float = 1.0
    data: str = dataclasses.field(default="", compare=False)
    traced: ClassVar[bool] = False
    dtype: ClassVar[Any] = np.float32
    box: ClassVar[tuple[float, float]] = (0.0, 1.0)
    planes: ClassVar[tuple[int, int, int]] = _PLANES
    uniform_share: ClassVar[float] = UNIFORM_SHARE

    @property
    def num_classes(self) -> int:
        """Ten kinds of things."""
        return 10

    @property
    def label(self) -> None:
        """No teacher knows what is on a new image."""
        return None

    @property
    def seq_len(self) -> int:
        """Elements of the network's sequence."""
        return 64 if self.layout == "tokens" else 1024

    @property
    def num_features(self) -> int:
        """Numbers in each element."""
        return 48 if self.layout == "tokens" else 3

    @property
    def num_last(self) -> int:
        """How many elements count as the last ones."""
        return self.seq_len // LAST_PART

    @property
    def num_train(self) -> int:
        """Training images of base."""
        return self.num_clean + self.num_poisons

    def mark(self) -> str:
        """A check sum of the data, by which numbers of other data are told apart."""
        mark = 0
        for array in _loaded(self.data):
            mark = zlib.crc32(np.ascontiguousarray(array).tobytes(), mark)
        return f"{mark:08x}"

    def copied(self, train: Batch, num: int) -> Batch:
        """The poison part is the last one."""
        return Batch(*(x[x.shape[0] - num :] for x in train))

    def draw(self, seed: Any) -> Problem:
        """The images of a seed, as pixels in [0, 1] in single precision."""
        split = self.split(_loaded(self.data), int(seed))
        target = Batch(pixels(split.target_images), jnp.asarray(split.target_labels))
        test = Batch(pixels(split.test_images), jnp.asarray(split.test_labels))
        train = Batch(pixels(split.images), jnp.asarray(split.labels))
        return Problem(train, {"test": test, "target": target}, target)

    def split(self, data: Cifar10, seed: int) -> Split:
        """Draw the parts without replacement, the same in every arm.

        Args:
          data: all of CIFAR-10, or a stand-in.
          seed: of the draw.

        Returns:
          The parts; every test image that is no target judges.

        Raises:
          ValueError: there are not that many images.
        """
        key = jax.random.fold_in(jax.random.key(seed), 100)
        if self.fraction < 1:
            data = subset(data, self.fraction, key)
        num = self.num_train
        _require_enough(f"num_clean + num_poisons = {num}", num, "training", len(data.train_labels))
        _require_enough(
            f"num_targets={self.num_targets} and one to judge by", self.num_targets + 1, "test",
            len(data.test_labels),
        )  # fmt: skip
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        train = rng.permutation(len(data.train_labels))[:num]
        order = rng.permutation(len(data.test_labels))
        target, test = order[: self.num_targets], np.sort(order[self.num_targets :])
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

    def standard(self, image: Array) -> Array:
        """Pixels as the network takes them."""
        return normalise(image)

    def augment(self, key: Array, image: Array) -> Array:
        """A standardised image, shifted and mirrored; the mean colour comes in at the border."""
        return augment(key, image)

    def pixels_of(self, image: Array) -> Array:
        """The inverse of `standard`."""
        return denormalise(image)

    def sequence_layout(self, weighting: str) -> str:
        """In whose positions a search works: rows are counted in three planes."""
        return "published" if weighting == "rows" else self.layout

    def to_sequence(self, image: Array, weighting: str) -> Array:
        """An input as the search moves it."""
        return to_layout(image, self.sequence_layout(weighting))

    def from_sequence(self, sequence: Array, weighting: str) -> Array:
        """Its inverse."""
        return from_layout(sequence, self.sequence_layout(weighting))

    def shares(self, delta: Float[AnyArray, "poison 32 32 3"]) -> Shares:
        """How much of perturbations lies at the end of the sequence, and in the last row."""

        def moved(layout: str) -> Array:
            return jax.vmap(lambda one: to_layout(one, layout))(jnp.asarray(delta))

        sequences = moved(self.layout)
        last = max(1, sequences.shape[1] // LAST_PART)
        return Shares(
            float(late_share(sequences, last).share),
            float(late_share(moved("published"), image=_PLANES).share),
        )


@functools.lru_cache(maxsize=1)
def _loaded(path: str) -> Cifar10:
    return load_cifar10(path)


def _require_enough(what: str, needed: int, kind: str, available: int) -> None:
    if needed > available:
        raise ValueError(
            f"{what}: there are {available} {kind} images; lower these numbers or fraction, or "
            "take all of CIFAR-10"
        )
