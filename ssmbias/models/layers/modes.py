r"""Diagonal state space layers seen as sums of modes: what S4D and LRU have in common.

Channel $h$ has the impulse response

$$K_{h,k} = \mathrm{Re} \sum_n w_{h,n}\, e^{k z_{h,n}}, \qquad k = 0, 1, \dots$$

with log decays $z$ and weights $w$. Real and imaginary parts are separate real arrays and the sums
are real matrix products, which are quicker than complex ones and than a table of every power.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from ssmbias.core.checks import require_choice, require_int
from ssmbias.core.types import Array
from ssmbias.models.layers.scans import causal_convolution, direct_convolution, linear_recurrence

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
    if modes.decay_re.ndim == 1:
        powers = _powers(modes.decay_re, modes.decay_im, length)
        return _dot("hn,nk->kh", (modes.weight_re, modes.weight_im), powers)
    stride = max(1, round(length**0.5))
    long_im = None if modes.decay_im is None else stride * modes.decay_im
    coarse = _powers(stride * modes.decay_re, long_im, -(-length // stride))
    fine = _powers(modes.decay_re, modes.decay_im, stride)
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


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _powers(decay_re: Array, decay_im: Array | None, num: int) -> _Pair:
    """exp(k z) for k = 0..num-1 along a new last axis.

    By doubling, which takes one exponential a mode: sines and cosines of every power would cost as
    much as the rest of a small network's training step. Errors are those of k z rounded, a few
    units in the last place times k.
    """
    size = jnp.exp(decay_re)[..., None]
    if decay_im is None:
        real = jnp.ones_like(size)
        while real.shape[-1] < num:
            real, size = jnp.concatenate([real, size * real], axis=-1), size * size
        return real[..., :num], None
    step = size * jnp.cos(decay_im)[..., None], size * jnp.sin(decay_im)[..., None]
    real, imag = jnp.ones_like(size), jnp.zeros_like(size)
    while real.shape[-1] < num:
        later = _product((real, imag), step)
        real = jnp.concatenate([real, later[0]], axis=-1)
        imag = jnp.concatenate([imag, later[1]], axis=-1)
        step = _product(step, step)
    return real[..., :num], imag[..., :num]


@_powers.defjvp
def _powers_jvp(num: int, primals: _Pair, tangents: _Pair) -> tuple[_Pair, _Pair]:
    """The derivative k exp(k z) dz; that of the doubling would go through every level."""
    real, imag = _powers(*primals, num)
    steps = jnp.arange(num, dtype=real.dtype).reshape((1,) * (real.ndim - 1) + (num,))
    d_re = tangents[0][..., None] * steps
    if imag is None or tangents[1] is None:
        return (real, None), (real * d_re, None)
    return (real, imag), _product((real, imag), (d_re, tangents[1][..., None] * steps))


def _product(left: tuple[Array, Array], right: tuple[Array, Array]) -> tuple[Array, Array]:
    """Of complex numbers as pairs."""
    (a, b), (c, d) = left, right
    return a * c - b * d, a * d + b * c


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
