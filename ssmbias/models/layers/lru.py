r"""LRU: a linear recurrent unit in discrete time whose complex modes are shared by all channels.

With the modes $\lambda_n = \exp(-e^{\nu_n} + i e^{\theta_n})$, inside the unit circle by
construction, channel $h$ has

$$K_{h,k} = \mathrm{Re} \sum_n C_{h,n} B_{h,n} \lambda_n^k, \qquad
y_{h,k} = \sum_{l \ge 0} K_{h,l}\, u_{h,k-l} + D_h u_{h,k}.$$

$B$ and $C$ act element-wise: channels do not mix here, and there is no normalisation of the input.
Learned: $\nu$, $\theta$, $B$, $C$ and $D$.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from ssmbias.core.checks import require_number
from ssmbias.core.types import Array
from ssmbias.models.layers.modal_layer import ModalLayer
from ssmbias.models.layers.modes import METHODS, Modes
from ssmbias.models.layers.scans import checked_options, float_dtype

__all__ = [
    "METHODS",
    "OPTIONS",
    "LRUParams",
    "apply",
    "check_options",
    "final",
    "init",
    "kernel",
    "modes_of",
]

OPTIONS = {
    "r_min": 0.0,
    "r_max": 1.0,
    "max_phase": 6.28,
    "b_scale": 1.0,
    "c_scale": 1.0,
    "d_scale": 1.0,
    "dtype": None,
}
"""Every option of `init` with its default."""


class LRUParams(NamedTuple):
    """Parameters of an LRU layer, all real.

    Attributes:
      nu: ν, the log of minus the log of the modes' radius.
      theta: θ, the log of the modes' phase.
      b_re: real part of B.
      b_im: imaginary part of B.
      c_re: real part of C.
      c_im: imaginary part of C.
      d: D.
    """

    nu: Float[Array, " modes"]
    theta: Float[Array, " modes"]
    b_re: Float[Array, "channels modes"]
    b_im: Float[Array, "channels modes"]
    c_re: Float[Array, "channels modes"]
    c_im: Float[Array, "channels modes"]
    d: Float[Array, " channels"]


def check_options(channels: Any, state_dim: Any, **options: Any) -> dict[str, Any]:
    """Every option of `init`, checked, with defaults filled in.

    Args:
      channels: number of channels.
      state_dim: number of complex modes.
      **options: as for `init`.

    Returns:
      All options by name.

    Raises:
      ValueError: as for `init`.

    Example:
      >>> check_options(4, 8, r_max=0.5)["r_max"]
      0.5
    """
    options = checked_options("lru", channels, state_dim, OPTIONS, options)
    for name in ("r_min", "r_max", "max_phase", "b_scale", "c_scale", "d_scale"):
        options[name] = require_number(name, options[name])
    if not 0 < options["r_max"] <= 1:
        raise ValueError(f"r_max={options['r_max']!r}: must lie in (0, 1]")
    if not 0 <= options["r_min"] <= options["r_max"]:
        raise ValueError(
            f"r_min={options['r_min']!r}: must lie in [0, r_max], r_max={options['r_max']!r}"
        )
    if not options["max_phase"] > 0:
        raise ValueError(f"max_phase={options['max_phase']!r}: must be greater than 0")
    options["dtype"] = float_dtype("dtype", options["dtype"])
    return options


def init(key: Array, channels: int, state_dim: int, **options: Any) -> LRUParams:
    r"""Random parameters of an LRU layer.

    The modes are uniform on the ring [`r_min`, `r_max`] by area: $|\lambda|^2$ is uniform on
    [`r_min`², `r_max`²], the phase on (0, `max_phase`). Real and imaginary parts of $B$ are
    $N(0, 1/(2N))$, those of $C$ are $N(0, 1/N)$ with $N$ = `state_dim`, and $D \sim N(0, 1)$.

    Args:
      key: PRNG key.
      channels: number of channels, at least 1.
      state_dim: number N of complex modes, at least 1.
      **options: `r_min`, `r_max`, `max_phase`; `b_scale`, `c_scale` and `d_scale` multiply
        the draws of B, C and D; `dtype` (float32 or float64; `None` is JAX's default). See
        `OPTIONS`.

    Returns:
      The parameters.

    Raises:
      ValueError: a size that is no positive integer, an unknown option, or an impossible value.

    Example:
      >>> params = init(jax.random.key(0), channels=3, state_dim=8, r_max=0.99)
      >>> params.nu.shape, params.b_re.shape
      ((8,), (3, 8))

    References:
      Orvieto et al. (2023), Resurrecting recurrent neural networks for long sequences,
      arXiv:2303.06349.
    """
    opts = check_options(channels, state_dim, **options)
    dtype = opts["dtype"]
    key_modes, *keys_bc, key_d = jax.random.split(key, 6)
    # Neither 0 nor 1: the logs of the radius, of its log and of the phase are to be finite.
    eps, tiny = float(jnp.finfo(dtype).eps), float(jnp.finfo(dtype).tiny)
    uniform = jnp.clip(jax.random.uniform(key_modes, (2, state_dim), dtype), eps, 1 - eps)
    low, high = opts["r_min"] ** 2, opts["r_max"] ** 2
    square = jnp.clip(low + (high - low) * uniform[0], tiny, 1 - eps)
    phase = jnp.maximum(opts["max_phase"] * uniform[1], tiny)
    b_sd = opts["b_scale"] / math.sqrt(2 * state_dim)
    c_sd = opts["c_scale"] / math.sqrt(state_dim)
    b_re, b_im, c_re, c_im = (
        sd * jax.random.normal(k, (channels, state_dim), dtype)
        for sd, k in zip((b_sd, b_sd, c_sd, c_sd), keys_bc, strict=True)
    )
    return LRUParams(
        nu=jnp.log(-0.5 * jnp.log(square)),
        theta=jnp.log(phase),
        b_re=b_re,
        b_im=b_im,
        c_re=c_re,
        c_im=c_im,
        d=opts["d_scale"] * jax.random.normal(key_d, (channels,), dtype),
    )


def modes_of(params: LRUParams) -> Modes:
    r"""Log decays $\log\lambda$ and weights $C B$."""
    return Modes(
        -jnp.exp(params.nu),
        jnp.exp(params.theta),
        params.c_re * params.b_re - params.c_im * params.b_im,
        params.c_re * params.b_im + params.c_im * params.b_re,
    )


_LAYER = ModalLayer("lru", LRUParams, modes_of)

apply = _LAYER.apply
"""The output at every position: `ssmbias.models.layers.modal_layer.ModalLayer.apply`."""

final = _LAYER.final
"""The output at the last position alone."""

kernel = _LAYER.kernel
"""The impulse response, without the direct path D."""
