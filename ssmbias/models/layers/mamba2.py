r"""Mamba-2: a selective state space mixer whose states decay by input-dependent scalars (SSD).

One projection of $u_k$ gives a gate $z_k$, $P$ inputs $x_k$ for each head, $B_k, C_k$ shared by
the heads, and a step per head; $x, B, C$ pass a causal depth-wise convolution and SiLU. With
$\Delta_k = \mathrm{softplus}(\mathrm{dt}_k + \beta)$ and $A = -e^{\alpha}$ per head, the state
$S_k$ ($P \times N$) and output are

$$S_k = e^{\Delta_k A} S_{k-1} + \Delta_k x_k B_k^\top, \qquad v_k = S_k C_k + D x_k,$$

and $y_k = W\, \mathrm{RMSNorm}(v_k \odot \mathrm{silu}(z_k))$. Unrolled, $v = M x$ with the
lower-triangular matrix $M_{kj} = (C_k^\top B_j)\, e^{A (\Delta_{j+1} + \dots + \Delta_k)}
\Delta_j$: inside a chunk this product is formed, between chunks the state is carried.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from ssmbias.core.checks import require_choice, require_int, require_number
from ssmbias.core.types import Array
from ssmbias.models.layers.chunks import Signals, chunked, sums_after
from ssmbias.models.layers.scans import (
    checked_options,
    float_dtype,
    in_working_dtype,
    linear_recurrence,
    require_params,
    require_sequence,
)

METHODS = ("chunked", "recurrence", "scan")
"""Ways to run the layer: matrix products in chunks, step by step, associative scan."""

OPTIONS = {"expand": 2, "head_dim": None, "conv_width": 4, "dt_bias": 0.0, "dtype": None}
"""Every option of `init` with its default."""

_NORM_EPS = 1e-5
_WIDEST_HEAD = 64


class Mamba2Params(NamedTuple):
    """Parameters of a Mamba-2 layer.

    Attributes:
      in_proj: to z, x, B, C and dt, in this order.
      conv: kernels of the depth-wise convolution over x, B, C; the last tap is the present.
      conv_bias: its biases.
      dt_bias: β.
      a_log: α.
      d: D.
      norm: weights of the gated RMSNorm.
      out_proj: W.
    """

    in_proj: Float[Array, "channels projected"]
    conv: Float[Array, "width convolved"]
    conv_bias: Float[Array, " convolved"]
    dt_bias: Float[Array, " heads"]
    a_log: Float[Array, " heads"]
    d: Float[Array, " heads"]
    norm: Float[Array, " inner"]
    out_proj: Float[Array, "inner channels"]


def check_options(channels: Any, state_dim: Any, **options: Any) -> dict[str, Any]:
    """Every option of `init`, checked, with defaults filled in.

    Args:
      channels: number of channels.
      state_dim: length N of B and C.
      **options: as for `init`.

    Returns:
      All options by name.

    Raises:
      ValueError: as for `init`.

    Example:
      >>> check_options(4, 8, head_dim=2)["head_dim"], check_options(4, 8)["head_dim"]
      (2, 8)
    """
    options = checked_options("mamba2", channels, state_dim, OPTIONS, options)
    options["expand"] = require_int("expand", options["expand"], minimum=1)
    if options["head_dim"] is None:
        options["head_dim"] = math.gcd(_WIDEST_HEAD, options["expand"] * channels)
    for name in ("head_dim", "conv_width"):
        options[name] = require_int(name, options[name], minimum=1)
    options["dt_bias"] = require_number("dt_bias", options["dt_bias"])
    inner = options["expand"] * channels
    if inner % options["head_dim"]:
        raise ValueError(
            f"head_dim={options['head_dim']}: must divide expand * channels = {inner}, which the "
            "heads share"
        )
    options["dtype"] = float_dtype("dtype", options["dtype"])
    return options


def init(key: Array, channels: int, state_dim: int, **options: Any) -> Mamba2Params:
    r"""Random parameters of a Mamba-2 layer.

    There are $H = $ `expand · channels / head_dim` heads. Matrices are uniform on
    $\pm 1/\sqrt{\text{fan-in}}$, the convolution and its biases on
    $\pm 1/\sqrt{\text{conv width}}$; $\alpha \sim N(0, 0.1^2)$ and $\beta$ likewise around the
    option `dt_bias`, which is how to get long memories: a state decays by about $e^{-e^\beta}$ a
    step where $\beta \ll 0$; D and the norm's weights are 1.

    Args:
      key: PRNG key.
      channels: number of channels, at least 1.
      state_dim: length N of B and C, at least 1.
      **options: `expand`, `head_dim` (must divide `expand * channels`; `None` is the largest that
        also divides 64, the published one), `conv_width`,
        `dt_bias`, `dtype` (float32 or float64; `None` is JAX's default). See `OPTIONS`.

    Returns:
      The parameters.

    Raises:
      ValueError: a size or option that is no positive integer, a `head_dim` that does not fit,
        an unknown option.

    Example:
      >>> params = init(jax.random.key(0), channels=4, state_dim=3, head_dim=2)
      >>> params.in_proj.shape, params.a_log.shape
      ((4, 26), (4,))

    References:
      Dao & Gu (2024), Transformers are SSMs, arXiv:2405.21060.
    """
    opts = check_options(channels, state_dim, **options)
    dtype, width = opts["dtype"], opts["conv_width"]
    inner = opts["expand"] * channels
    heads, convolved = inner // opts["head_dim"], inner + 2 * state_dim
    keys = jax.random.split(key, 6)

    def uniform(key: Array, shape: tuple[int, ...], fan_in: int) -> Array:
        bound = 1 / math.sqrt(fan_in)
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return Mamba2Params(
        in_proj=uniform(keys[0], (channels, inner + convolved + heads), channels),
        conv=uniform(keys[1], (width, convolved), width),
        conv_bias=uniform(keys[2], (convolved,), width),
        dt_bias=opts["dt_bias"] + 0.1 * jax.random.normal(keys[3], (heads,), dtype),
        a_log=0.1 * jax.random.normal(keys[4], (heads,), dtype),
        d=jnp.ones(heads, dtype),
        norm=jnp.ones(inner, dtype),
        out_proj=uniform(keys[5], (inner, channels), inner),
    )


def apply(
    params: Mamba2Params,
    u: Float[Array, "length channels"],
    method: str = "chunked",
    *,
    chunk: int = 32,
) -> Float[Array, "length channels"]:
    r"""The layer's output at every position.

    Args:
      params: as `init` returns them; map over several with `jax.vmap`.
      u: one sequence.
      method: `"chunked"`, `"recurrence"` or `"scan"`; they agree to rounding.
      chunk: steps per chunk, at least 1; the length need not be a multiple of it.

    Returns:
      $y$, of the shape and dtype of `u`; $y_k$ depends on $u_1, \dots, u_k$ only.

    Raises:
      ValueError: `u` is no floating-point array of shape (length, channels) with length at
        least 1, `params` are another layer's, an unknown `method`, or an impossible `chunk`.

    Example:
      >>> params = init(jax.random.key(0), channels=4, state_dim=3, head_dim=2)
      >>> jax.jit(apply)(params, jnp.ones((10, 4))).shape
      (10, 4)

    References:
      Dao & Gu (2024), arXiv:2405.21060, the state space duality in chunks.
    """
    require_choice("method", method, METHODS)
    chunk = require_int("chunk", chunk, minimum=1)
    dtype, u, params = _checked(params, u)
    inner, heads = params.norm.shape[0], params.a_log.shape[0]
    # Split, not sliced: the slope of slices is a sum of padded ones, that of a split is one array.
    sizes = (inner, params.conv_bias.shape[0], heads)
    gate, xbc, dt = jax.lax.split(_product(u, params.in_proj), sizes, axis=1)
    signals = _signals(params, xbc, dt)
    if method == "chunked":
        v = chunked(signals, params.d, min(chunk, u.shape[0]))
    else:
        v = linear_recurrence(
            lambda s: jnp.exp(s.log_decay)[:, None, None],
            lambda s: (s.dt[:, None] * s.x)[:, :, None] * s.b[None, None, :],
            lambda state, s: state @ s.c,
            signals,
            method,
        )
        v = v + params.d[None, :, None] * signals.x
    return _output(params, v, gate).astype(dtype)


def final(params: Mamba2Params, u: Float[Array, "length channels"]) -> Float[Array, " channels"]:
    """The output at the last position alone: one row of M, and one row of the output projection.

    Args:
      params: as `init` returns them.
      u: one sequence.

    Returns:
      The last row of `apply`.

    Raises:
      ValueError: as for `apply`.

    Example:
      >>> params = init(jax.random.key(0), channels=4, state_dim=3, head_dim=2)
      >>> u = jnp.ones((10, 4))
      >>> last, whole = jax.jit(final)(params, u), jax.jit(apply)(params, u)
      >>> bool(jnp.allclose(last, whole[-1], rtol=1e-4, atol=1e-6))
      True
    """
    dtype, u, params = _checked(params, u)
    inner = params.norm.shape[0]
    gate, rest = u[-1:] @ params.in_proj[:, :inner], u @ params.in_proj[:, inner:]
    convolved = params.conv_bias.shape[0]
    signals = _signals(params, rest[:, :convolved], rest[:, convolved:])
    row = (signals.b @ signals.c[-1])[:, None] * signals.dt * jnp.exp(sums_after(signals))
    v = jnp.einsum("kh,khp->hp", row, signals.x) + params.d[:, None] * signals.x[-1]
    return _output(params, v[None], gate)[0].astype(dtype)


def _checked(params: Mamba2Params, u: Any) -> tuple[Any, Array, Mamba2Params]:
    require_params("mamba2", params, Mamba2Params)
    u = require_sequence(u, params.out_proj.shape[-1])
    return u.dtype, *in_working_dtype(u, params)


def _signals(params: Mamba2Params, xbc: Array, dt: Array) -> Signals:
    """What the state space model sees of the projected sequence."""
    inner, heads = params.norm.shape[0], params.a_log.shape[0]
    state = (xbc.shape[1] - inner) // 2
    xbc = jax.nn.silu(_causal_filter(xbc, params.conv) + params.conv_bias[None, :])
    x, b, c = jax.lax.split(xbc, (inner, state, state), axis=1)
    dt = jax.nn.softplus(dt + params.dt_bias[None, :])
    log_decay = -jnp.exp(params.a_log)[None, :] * dt
    return Signals(x.reshape(x.shape[0], heads, -1), b, c, dt, log_decay)


def _causal_filter(x: Array, taps: Array) -> Array:
    """Depth-wise convolution with the present and the last width - 1 elements."""
    width, length = taps.shape[0], x.shape[0]
    padded = jnp.pad(x, ((width - 1, 0), (0, 0)))
    return sum(padded[i : i + length] * taps[i][None, :] for i in range(width))  # type: ignore


def _output(params: Mamba2Params, v: Array, gate: Array) -> Array:
    """Gate, norm and projection."""
    v = v.reshape(gate.shape) * jax.nn.silu(gate)
    scale = jax.lax.rsqrt(jnp.mean(v * v, axis=-1, keepdims=True) + _NORM_EPS)
    # The norm's weights go into the matrix, its scale behind: two passes over v less.
    return scale * _product(v, params.norm[:, None] * params.out_proj)


def _product(x: Array, matrix: Array) -> Array:
    """`x @ matrix`, with a quick slope by the matrix under `jax.vmap` over sequences."""
    if x.shape[0] >= x.shape[1]:
        # The slope by a matrix that sequences share is a sum over sequences and steps at once, for
        # which XLA transposes what is as large as the output on CPUs. A choice between equals that
        # depends on the sequence makes it one sum over steps for each, and then over sequences.
        # With fewer steps than channels these matrices would be larger than the output.
        matrix = jnp.where(x[0, 0] > 0, matrix, matrix)
    return x @ matrix
