"""Lanes: independent runs side by side in one call, and the one rule that puts them there.

An engine works on many runs at once, laid out along one axis of every array, the lane axis. A
public function is written for one run and calls its engine with a single lane. Under `jax.vmap`,
nested or not, `over_lanes` hands all mapped runs to one call of the engine; `in_chunks` splits
lanes that are too many for one call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jaxtyping import Int

from ssmbias.core.types import Array

Out = TypeVar("Out")


def over_lanes(run: Callable[[Any, Any], Out], *, axis: int = -1) -> Callable[[Any, Any], Out]:
    """Give an engine its batching rule: runs that are mapped over become further lanes.

    Args:
      run: (lanes, shared) -> pytree. Every array of `lanes` has the lane axis, and so has every
        array of the result; a number without axes in the result belongs to the whole call and is
        repeated for each mapped run. `shared` holds what all lanes have in common.
      axis: the lane axis, -1 or 0.

    Returns:
      The same function, which under `jax.vmap` is called once with more lanes.

    Raises:
      ValueError: `axis` is neither -1 nor 0, or `shared` is mapped over.

    Example:
      >>> engine = over_lanes(lambda lanes, factor: factor * lanes)
      >>> jax.vmap(engine, (0, None))(jnp.array([[1.0], [2.0]]), 3.0).tolist()
      [[3.0], [6.0]]
    """
    if axis not in (-1, 0):
        raise ValueError(f"axis={axis!r}: lanes are the first axis (0) or the last one (-1)")
    engine = custom_vmap(run)

    @engine.def_vmap
    def _(axis_size: int, in_batched: Any, lanes: Any, shared: Any) -> tuple[Any, Any]:
        def fold(x: Array, batched: bool) -> Array:
            return _merged(x if batched else jnp.broadcast_to(x[None], (axis_size, *x.shape)), axis)

        def unfold(x: Array) -> Array:
            return _parted(x, axis_size, axis) if x.ndim else jnp.broadcast_to(x, (axis_size,))

        if any(jax.tree.leaves(in_batched[1])):
            raise ValueError("shared: is the same for all lanes; map over `lanes` only")
        out = jax.tree.map(unfold, engine(jax.tree.map(fold, lanes, in_batched[0]), shared))
        return out, jax.tree.map(lambda _: True, out)

    return engine


def in_chunks(
    run: Callable[[Any], Out],
    lanes: Any,
    num_lanes: int,
    size: int,
    *,
    order: Int[Array, " lane"] | None = None,
    axis: int = -1,
) -> Out:
    """Run lanes in chunks of one size, one chunk after another.

    A chunk lasts as long as its slowest lane: neighbours in `order` share one. The last chunk is
    filled up with repeats of the last lane, whose results are dropped.

    Args:
      run: lanes -> pytree, every array of both with the lane axis.
      lanes: pytree of arrays.
      num_lanes: how many lanes there are.
      size: lanes a chunk.
      order: a permutation of the lanes; `None` leaves them as they are.
      axis: the lane axis, -1 or 0.

    Returns:
      The results, in the order of `lanes`.

    Example:
      >>> in_chunks(lambda x: 2 * x, jnp.arange(5), 5, 2, order=jnp.array([4, 3, 2, 1, 0])).tolist()
      [0, 2, 4, 6, 8]
    """
    if num_lanes <= size:
        return run(lanes)
    num_chunks = -(-num_lanes // size)
    index = jnp.minimum(jnp.arange(num_chunks * size), num_lanes - 1)
    if order is not None:
        index = order[index]
    chunks = jax.tree.map(lambda x: _parted(jnp.take(x, index, axis=axis), num_chunks, axis), lanes)
    back = None if order is None else jnp.argsort(order)

    def join(x: Array) -> Array:
        x = _merged(x, axis)
        if back is not None:
            return jnp.take(x, back, axis=axis)
        return x[:num_lanes] if axis == 0 else x[..., :num_lanes]

    return jax.tree.map(join, jax.lax.map(run, chunks))


def _merged(x: Array, axis: int) -> Array:
    """The leading axis made part of the lane axis, as the slower index."""
    if axis == 0:
        return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])
    x = jnp.moveaxis(x, 0, -2)
    return x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])


def _parted(x: Array, number: int, axis: int) -> Array:
    """The inverse of `_merged`: `number` equal parts of the lane axis, as a new leading axis."""
    if axis == 0:
        return x.reshape(number, x.shape[0] // number, *x.shape[1:])
    x = x.reshape(*x.shape[:-1], number, x.shape[-1] // number)
    return jnp.moveaxis(x, -2, 0)
