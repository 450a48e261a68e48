r"""Diagonal state space layers seen as sums of modes: what S4D and LRU have in common.

Channel $h$ has the impulse response

$$K_{h,k} = \mathrm{Re} \sum_n w_{h,n}\, e^{k z_{h,n}}, \qquad k = 0, 1, \dots$$

with log decays $z$ and weights $w$. Real and imaginary parts are separate real arrays and the sums
are real matrix products, which are quicker than complex ones and than a table of every power.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from ssmbias._checks import require_choice, require_int
from ssmbias._types import Array
from ssmbias.models.scans import causal_convolution, direct_convolution, linear_recurrence

METHODS = ("fft", "direct", "recurrence", "scan")
"""Ways to run the layer: convolution by FFT or directly, step by step, associative scan."""


class Modes(NamedTuple):
    """Modes of a layer; without imaginary parts the modes are real.

    Attributes:
      decay_re: real part of the log decay z, (channels, modes), or (modes,) if all channels
        share them.
      decay_im: imaginary part, likewise, or `None`.
      weight_re: real part of the weight w.
      weight_im: imaginary part, or `None` with `decay_im`.
    """

    decay_re: Float[Array, "*channels modes"]
    decay_im: Float[Array, "*channels modes"] | None
    weight_re: Float[Array, "channels modes"]
    weight_im: Float[Array, "channels modes"] | None


def modal_kernel(modes: Modes, length: int) -> Float[Array, "length channels"]:
    r"""The impulse response $K_{h,0}, K_{h,1}, \dots$ of every channel.

    With modes of each channel's own, $k = m k_1 + k_2$ splits every power into
    $e^{m k_1 z} e^{k_2 z}$: about $2\sqrt{\text{length}}$ exponentials per mode instead of
    one per step, and a matrix product over the modes.

    Args:
      modes: the modes.
      length: how many lags, at least 1.

    Returns:
      $K$, time first.

    Raises:
      ValueError: `length` is no positive integer.

    Example:
      >>> half = Modes(jnp.log(jnp.array([[0.5]])), None, jnp.array([[4.0]]), None)
      >>> [round(float(v), 6) for v in modal_kernel(half, 4)[:, 0]]
      [4.0, 2.0, 1.0, 0.5]
    """
    length = require_int("length", length, minimum=1)
    dtype = modes.weight_re.dtype
    if modes.decay_re.ndim == 1:
        powers = _powers(modes, jnp.arange(length, dtype=dtype))
        return _dot("hn,nk->kh", (modes.weight_re, modes.weight_im), powers)
    stride = max(1, round(length**0.5))
    coarse = _powers(modes, jnp.arange(0, length, stride, dtype=dtype))
    fine = _powers(modes, jnp.arange(stride, dtype=dtype))
    weighted = _times((modes.weight_re, modes.weight_im), coarse)
    kernel = _dot("hni,hnj->hij", weighted, fine)
    return kernel.reshape(kernel.shape[0], -1)[:, :length].T


def modal_apply(
    modes: Modes,
    skip: Float[Array, " channels"],
    u: Float[Array, "length channels"],
    method: str = "fft",
) -> Float[Array, "length channels"]:
    r"""$y_{h,k} = \sum_{l} K_{h,l}\, u_{h,k-l} + D_h u_{h,k}$ at every position.

    Args:
      modes: the modes.
      skip: $D$.
      u: the sequence, in the dtype of the modes.
      method: one of `METHODS`; they agree to rounding.

    Returns:
      $y$, of the shape of `u`.

    Raises:
      ValueError: an unknown `method`.

    Example:
      >>> half = Modes(jnp.log(jnp.array([[0.5]])), None, jnp.array([[4.0]]), None)
      >>> y = modal_apply(half, jnp.ones(1), jnp.array([[1.0], [0.0]]), "recurrence")
      >>> [round(float(v), 6) for v in y[:, 0]]
      [5.0, 2.0]
    """
    if require_choice("method", method, METHODS) in ("fft", "direct"):
        convolve = causal_convolution if method == "fft" else direct_convolution
        return convolve(modal_kernel(modes, u.shape[0]), u) + skip[None, :] * u
    log_decay, weight = modes.decay_re, modes.weight_re
    if modes.decay_im is not None and modes.weight_im is not None:
        log_decay = jax.lax.complex(modes.decay_re, modes.decay_im)
        weight = jax.lax.complex(modes.weight_re, modes.weight_im)
    factor = jnp.broadcast_to(jnp.exp(log_decay), weight.shape)
    ones = jnp.ones_like(weight)
    filtered = linear_recurrence(
        lambda x: factor,
        lambda x: ones * x[:, None],
        lambda state, x: jnp.sum(weight * state, axis=-1).real,
        u,
        method,
    )
    return filtered + skip[None, :] * u


def modal_final(
    modes: Modes, skip: Float[Array, " channels"], u: Float[Array, "length channels"]
) -> Float[Array, " channels"]:
    r"""The last output alone: $y_{h,L} = \sum_l K_{h,l}\, u_{h,L-l} + D_h u_{h,L}$.

    A product with the reversed kernel. The kernel does not depend on the sequence, so under
    `jax.vmap` over sequences it is formed once.

    Args:
      modes: the modes.
      skip: $D$.
      u: the sequence.

    Returns:
      The last row of `modal_apply`.

    Example:
      >>> half = Modes(jnp.log(jnp.array([[0.5]])), None, jnp.array([[4.0]]), None)
      >>> float(modal_final(half, jnp.ones(1), jnp.array([[1.0], [0.0]]))[0])
      2.0
    """
    kernel = modal_kernel(modes, u.shape[0])
    return jnp.sum(kernel[::-1] * u, axis=0) + skip * u[-1]


_Pair = tuple[Array, Array | None]


def _powers(modes: Modes, steps: Float[Array, " step"]) -> _Pair:
    """exp(k z), with the steps k along a new last axis."""
    steps = steps.reshape((1,) * modes.decay_re.ndim + (-1,))
    size = jnp.exp(modes.decay_re[..., None] * steps)
    if modes.decay_im is None:
        return size, None
    angle = modes.decay_im[..., None] * steps
    return size * jnp.cos(angle), size * jnp.sin(angle)


def _times(weight: _Pair, powers: _Pair) -> _Pair:
    """Complex products, the weights broadcast along the last axis of the powers."""
    (re, im), (powers_re, powers_im) = weight, powers
    if im is None or powers_im is None:
        return re[..., None] * powers_re, None
    re, im = re[..., None], im[..., None]
    return re * powers_re - im * powers_im, re * powers_im + im * powers_re


def _dot(axes: str, left: _Pair, right: _Pair) -> Array:
    """Real part of a sum of complex products."""
    # Full precision also where matrix units would round the factors to ten bits.
    re = jnp.einsum(axes, left[0], right[0], precision="highest")
    if left[1] is None or right[1] is None:
        return re
    return re - jnp.einsum(axes, left[1], right[1], precision="highest")
