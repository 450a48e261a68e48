"""Groups of poisons and targets: which poison imitates which targets."""

from __future__ import annotations

import itertools
from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from ssmbias.core.checks import is_concrete, require_int, require_number
from ssmbias.core.types import AnyArray, Array


class Block(NamedTuple):
    """Groups of the same shape, one a row.

    Attributes:
      targets: indices of the targets of every group.
      poisons: indices of its poisons.
    """

    targets: Int[AnyArray, "group target"]
    poisons: Int[AnyArray, "group poison"]


Groups: TypeAlias = tuple[Block, ...]
"""All groups: every poison is in exactly one of them."""


def count_groups(groups: Groups) -> int:
    """The number of groups.

    Example:
      >>> count_groups(equal_groups(num_targets=5, num_poisons=7, num_groups=2))
      2
    """
    return sum(block.targets.shape[0] for block in groups)


def equal_groups(num_targets: int, num_poisons: int, num_groups: int) -> Groups:
    """Targets and poisons in the given order, in groups of equal numbers (give or take one).

    Args:
      num_targets: targets, at least one a group.
      num_poisons: poisons, at least one a group.
      num_groups: groups.

    Returns:
      The groups; the first ones are the larger.

    Raises:
      ValueError: more groups than targets or poisons.

    Example:
      >>> [block.poisons.tolist() for block in equal_groups(2, 5, num_groups=2)]
      [[[0, 1, 2]], [[3, 4]]]
    """
    require_int("num_groups", num_groups, minimum=1)
    return _blocks(np.arange(num_targets), np.arange(num_poisons), num_groups)


def allocate(
    losses: Float[AnyArray, " target"],
    correct: Bool[AnyArray, " target"],
    num_poisons: int,
    *,
    group_size: int,
    high_fraction: float = 1 / 3,
    high_poisons: float = 0.5,
) -> Groups:
    """The published allocation: the hardest targets that are still right get more poisons.

    Correctly classified targets come first, highest loss first; wrongly classified ones follow in
    the given order. The first `high_fraction` of this order is the high part, the rest the low
    part. Each part is cut in order into groups of about `group_size` targets, and the poisons of a
    part, taken in the given order, are shared out evenly among its groups. With 3000 targets,
    10 000 poisons and groups of 50, that is 20 groups with 250 poisons each and 40 with 125.

    Args:
      losses: loss of every target under the clean network; may be traced.
      correct: whether the clean network gets it right.
      num_poisons: poisons to share out.
      group_size: targets a group; numbers that do not divide differ by one.
      high_fraction: part of the targets that is high, in [0, 1].
      high_poisons: part of the poisons that goes to the high part, in [0, 1].

    Returns:
      The groups, high part first.

    Raises:
      ValueError: no target, shapes differ, a fraction is out of range, or a group would be left
        without poison.

    Example:
      >>> losses, correct = np.array([0.1, 0.5, 0.3, 2.0]), np.array([True, True, True, False])
      >>> found = allocate(losses, correct, 6, group_size=2, high_fraction=0.5, high_poisons=0.5)
      >>> [(block.targets.tolist(), block.poisons.tolist()) for block in found]
      [([[1, 2]], [[0, 1, 2]]), ([[0, 3]], [[3, 4, 5]])]

    References:
      Slutzky et al. (2025), arXiv:2410.10473, experiments (clean-label poisoning of real SSM
      networks).
    """
    losses, correct = jnp.asarray(losses), jnp.asarray(correct)
    if losses.ndim != 1 or losses.shape != correct.shape or losses.size == 0:
        raise ValueError(
            f"losses and correct have shapes {losses.shape} and {correct.shape}: "
            "pass one loss and one truth value a target, at least one"
        )
    if correct.dtype != jnp.bool_:
        raise ValueError(f"correct has dtype {correct.dtype}: pass booleans")
    group_size = require_int("group_size", group_size, minimum=1)
    num_poisons = require_int("num_poisons", num_poisons, minimum=1)
    for name, fraction in (("high_fraction", high_fraction), ("high_poisons", high_poisons)):
        if not 0 <= require_number(name, fraction) <= 1:
            raise ValueError(f"{name}={fraction!r}: must lie between 0 and 1")
    # A stable sort: equal losses, and all wrong targets, keep the given order.
    order = jnp.argsort(jnp.where(correct, -losses, jnp.inf), stable=True)
    high = round(high_fraction * losses.size)
    if high in (0, losses.size):
        parts = [(order, np.arange(num_poisons))]
    else:
        cut = round(high_poisons * num_poisons)
        parts = [
            (order[:high], np.arange(cut)),
            (order[high:], np.arange(cut, num_poisons)),
        ]
    return tuple(
        block
        for targets, poisons in parts
        for block in _blocks(targets, poisons, max(1, round(targets.size / group_size)))
    )


def check_groups(groups: Groups, num_targets: int, num_poisons: int) -> None:
    """Raise `ValueError` unless every poison is in one group and every index exists."""
    shapes = [(block.targets.shape, block.poisons.shape) for block in groups]
    if not groups or any(
        len(t) != 2 or len(p) != 2 or t[0] != p[0] or not min(t + p) for t, p in shapes
    ):
        raise ValueError(f"groups have shapes {shapes}: pass (group, target) and (group, poison)")
    used = sum(block.poisons.size for block in groups)
    if used != num_poisons:
        raise ValueError(f"groups hold {used} poisons of {num_poisons}: each belongs to one group")
    if all(is_concrete(index) for block in groups for index in block):
        poisons = np.sort(np.concatenate([np.ravel(block.poisons) for block in groups]))
        if not np.array_equal(poisons, np.arange(num_poisons)):
            raise ValueError("groups: every poison must be in exactly one group")
        targets = np.concatenate([np.ravel(block.targets) for block in groups])
        if targets.min() < 0 or targets.max() >= num_targets:
            raise ValueError(f"groups: targets must be indices in 0..{num_targets - 1}")


def _blocks(targets: Array | np.ndarray, poisons: np.ndarray, num_groups: int) -> Groups:
    """Both in `num_groups` nearly equal runs, collected into blocks of one shape."""
    if num_groups > min(len(targets), len(poisons)):
        raise ValueError(
            f"{num_groups} group(s) of targets share {len(targets)} target(s) and {len(poisons)} "
            "poison(s): every group needs one of each; use fewer groups or more poisons"
        )
    # As numpy.array_split: the first few groups have one more. So shapes change at most twice.
    edges = sorted({0, len(targets) % num_groups, len(poisons) % num_groups, num_groups})
    blocks = []
    for first, last in itertools.pairwise(edges):
        rows = []
        for index in (targets, poisons):
            size, more = divmod(len(index), num_groups)
            start, stop = (group * size + min(group, more) for group in (first, last))
            rows.append(index[start:stop].reshape(last - first, -1))
        blocks.append(Block(*rows))
    return tuple(blocks)
