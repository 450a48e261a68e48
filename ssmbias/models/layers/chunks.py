"""The state space model of Mamba-2 in chunks: products inside of chunks, states between them."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from ssmbias.core.types import Array


class Signals(NamedTuple):
    """What the state space model sees; x, B, C after their convolution."""

    x: Float[Array, "length heads head_dim"]
    b: Float[Array, "length state"]
    c: Float[Array, "length state"]
    dt: Float[Array, "length heads"]
    log_decay: Float[Array, "length heads"]


def sums_after(signals: Signals) -> Array:
    """At each step the sum of the log decays of all later steps: never positive."""
    total = jnp.cumsum(signals.log_decay[::-1], axis=0)[::-1]
    return jnp.concatenate([total[1:], jnp.zeros_like(total[:1])])


def chunked(signals: Signals, skip: Array, chunk: int) -> Array:
    """S_k C_k + D x_k at every step: products inside of chunks, states carried between them."""
    length = signals.b.shape[0]
    count = -(-length // chunk)

    def split(x: Array) -> Array:
        # Steps of zeros at the end neither add to a state nor let one decay.
        x = jnp.pad(x, ((0, count * chunk - length),) + ((0, 0),) * (x.ndim - 1))
        return x.reshape(count, chunk, *x.shape[1:])

    # Axes: g chunk, h head, i and j steps in the chunk, p input of a head, n state. With the heads
    # before the steps all products are batched ones, and nothing as large as M is transposed.
    signals = Signals(*(split(x) for x in signals))
    b, c = signals.b, signals.c
    x, dt = signals.x.swapaxes(1, 2), signals.dt.swapaxes(1, 2)
    since = jnp.cumsum(signals.log_decay.swapaxes(1, 2), axis=-1)
    # Log decay from step j to step i, exp of nothing positive: -inf where i < j.
    between = since[..., :, None] - since[..., None, :]
    past = jnp.tril(jnp.ones((chunk, chunk), bool))[None, None]
    weight = jnp.exp(jnp.where(past, between, -jnp.inf)) * dt[..., None, :]
    direct = skip[None, :, None, None] * jnp.eye(chunk, dtype=x.dtype)[None, None]
    matrix = weight * jnp.einsum("gin,gjn->gij", c, b)[:, None] + direct

    added = jnp.einsum("ghjn,ghjp->ghnp", weight[..., -1, :, None] * b[:, None], x)
    kept = jnp.exp(since[..., -1])[..., None, None]

    def carry(state, part):
        decay, new = part
        return decay * state + new, state

    before = jax.lax.scan(carry, jnp.zeros_like(added[0]), (kept, added))[1]
    v = matrix @ x + (jnp.exp(since)[..., None] * c[:, None]) @ before
    return v.swapaxes(1, 2).reshape(count * chunk, x.shape[1], x.shape[3])[:length]
