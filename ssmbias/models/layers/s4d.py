r"""S4D: diagonal continuous-time state space models, independent per channel, by zero-order hold.

Each channel $h$ has modes $A_{h,n} = -e^{\alpha_{h,n}} + i\,\omega_{h,n}$ with $B = 1$, read out by
$C_{h,n}$, and its own time step $\Delta_h$. An input held constant over each step gives

$$K_{h,k} = 2\,\mathrm{Re} \sum_n C_{h,n}\, \frac{e^{\Delta_h A_{h,n}} - 1}{A_{h,n}}\,
e^{\Delta_h A_{h,n} k}, \qquad y_{h,k} = \sum_{l \ge 0} K_{h,l}\, u_{h,k-l} + D_h u_{h,k},$$

the factor 2 because each complex mode stands for itself and its conjugate; it is absent for real
modes. Learned: $\log\Delta$, $\alpha$, $\omega$, $C$ and $D$.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from ssmbias.core.checks import require_choice, require_number
from ssmbias.core.types import Array
from ssmbias.models.layers.modal_layer import ModalLayer
from ssmbias.models.layers.modes import METHODS, Modes
from ssmbias.models.layers.scans import checked_options, float_dtype

__all__ = [
    "METHODS",
    "OPTIONS",
    "SSM_LEAVES",
    "VARIANTS",
    "S4DParams",
    "apply",
    "check_options",
    "final",
    "hold",
    "init",
    "kernel",
    "modes_of",
]

VARIANTS = ("lin", "real")
"""Starts: conjugate pairs with imaginary parts πn, or real modes -(n+1)."""

OPTIONS = {
    "variant": "lin",
    "dt_min": 0.001,
    "dt_max": 0.1,
    "c_scale": 1.0,
    "d_scale": 1.0,
    "dtype": None,
}
"""Every option of `init` with its default."""

SSM_LEAVES = ("log_dt", "log_a_re", "a_im")
"""The parameters of the dynamics, which are trained with a learning rate of their own."""


class S4DParams(NamedTuple):
    """Parameters of an S4D layer, all real; real modes have no imaginary parts.

    Attributes:
      log_dt: log Δ.
      log_a_re: α, the log of minus the real part of A.
      c_re: real part of C.
      d: D.
      a_im: ω, the imaginary part of A, or `None`.
      c_im: imaginary part of C, or `None`.
    """

    log_dt: Float[Array, " channels"]
    log_a_re: Float[Array, "channels modes"]
    c_re: Float[Array, "channels modes"]
    d: Float[Array, " channels"]
    a_im: Float[Array, "channels modes"] | None = None
    c_im: Float[Array, "channels modes"] | None = None


def check_options(channels: Any, state_dim: Any, **options: Any) -> dict[str, Any]:
    """Every option of `init`, checked, with defaults filled in.

    Args:
      channels: number of channels.
      state_dim: number of real states per channel.
      **options: as for `init`.

    Returns:
      All options by name.

    Raises:
      ValueError: as for `init`.

    Example:
      >>> check_options(4, 8, dt_max=1)["dt_max"]
      1.0
    """
    options = checked_options("s4d", channels, state_dim, OPTIONS, options)
    if require_choice("variant", options["variant"], VARIANTS) == "lin" and state_dim % 2:
        raise ValueError(
            f"state_dim={state_dim}: states come in conjugate pairs in the variant 'lin'; "
            "give an even number"
        )
    for name in ("dt_min", "dt_max", "c_scale", "d_scale"):
        options[name] = require_number(name, options[name])
    if not options["dt_min"] > 0:
        raise ValueError(f"dt_min={options['dt_min']!r}: must be greater than 0")
    if not options["dt_max"] >= options["dt_min"]:
        raise ValueError(
            f"dt_max={options['dt_max']!r}: must be at least dt_min={options['dt_min']!r}"
        )
    options["dtype"] = float_dtype("dtype", options["dtype"])
    return options


def init(key: Array, channels: int, state_dim: int, **options: Any) -> S4DParams:
    r"""Random parameters of an S4D layer.

    $\Delta_h$ is log-uniform on [`dt_min`, `dt_max`] and $D_h \sim N(0, 1)$. Variant `"lin"`: the
    `state_dim` states are `state_dim / 2` conjugate pairs with $A_n = -\tfrac12 + i\pi n$, $n = 0,
    1, \dots$, and $\mathrm{Re}\,C, \mathrm{Im}\,C \sim N(0, \tfrac12)$. Variant `"real"`:
    `state_dim` real modes $A_n = -(n+1)$ and $C \sim N(0, 1)$.

    Args:
      key: PRNG key.
      channels: number of channels, at least 1.
      state_dim: number of real states per channel, at least 1; even in the variant `"lin"`.
      **options: `variant`, `dt_min`, `dt_max`; `c_scale` and `d_scale` multiply the draws of
        C and D; `dtype` (float32 or float64; `None` is JAX's default). See `OPTIONS`.

    Returns:
      The parameters.

    Raises:
      ValueError: a size that is no positive integer, an odd `state_dim` where pairs are needed,
        an unknown option, or an impossible value.

    Example:
      >>> params = init(jax.random.key(0), channels=3, state_dim=8)
      >>> params.log_dt.shape, params.c_im.shape
      ((3,), (3, 4))

    References:
      Gu, Gupta, Goel & Ré (2022), On the parameterization and initialization of diagonal state
      space models, arXiv:2206.11893.
    """
    opts = check_options(channels, state_dim, **options)
    dtype, pairs = opts["dtype"], opts["variant"] == "lin"
    count = state_dim // 2 if pairs else state_dim
    key_dt, key_re, key_im, key_d = jax.random.split(key, 4)
    low, high = math.log(opts["dt_min"]), math.log(opts["dt_max"])
    log_dt = low + (high - low) * jax.random.uniform(key_dt, (channels,), dtype)
    scale = opts["c_scale"] * (math.sqrt(0.5) if pairs else 1.0)
    n = jnp.broadcast_to(jnp.arange(count, dtype=dtype)[None, :], (channels, count))
    return S4DParams(
        log_dt=log_dt,
        log_a_re=jnp.full_like(n, math.log(0.5)) if pairs else jnp.log(n + 1),
        c_re=scale * jax.random.normal(key_re, (channels, count), dtype),
        d=opts["d_scale"] * jax.random.normal(key_d, (channels,), dtype),
        a_im=jnp.pi * n if pairs else None,
        c_im=scale * jax.random.normal(key_im, (channels, count), dtype) if pairs else None,
    )


def modes_of(params: S4DParams) -> Modes:
    r"""Log decays $\Delta A$ and weights $C \Delta\, (e^{\Delta A} - 1) / (\Delta A)$."""
    dt = jnp.exp(params.log_dt)[:, None]
    decay_re = -dt * jnp.exp(params.log_a_re)
    if params.a_im is None or params.c_im is None:
        return Modes(decay_re, None, params.c_re * dt * hold(decay_re), None)
    decay_im = dt * params.a_im
    weight = jax.lax.complex(params.c_re, params.c_im) * hold(jax.lax.complex(decay_re, decay_im))
    return Modes(decay_re, decay_im, 2 * dt * weight.real, 2 * dt * weight.imag)


def hold(z: Array) -> Array:
    r"""$(e^z - 1) / z$, to full precision also near $z = 0$, where it is 1."""
    # Below 1e-5 the next term of the series, z^3/24, is under 1e-16.
    tiny = (jnp.abs(z.real) < 1e-5) & (jnp.abs(z.imag) < 1e-5)
    safe = jnp.where(tiny, jnp.ones_like(z), z)
    return jnp.where(tiny, 1 + z / 2 + z * z / 6, jnp.expm1(safe) / safe)


_LAYER = ModalLayer("s4d", S4DParams, modes_of)

apply = _LAYER.apply
"""The output at every position: `ssmbias.models.layers.modal_layer.ModalLayer.apply`."""

final = _LAYER.final
"""The output at the last position alone."""

kernel = _LAYER.kernel
"""The impulse response, without the direct path D."""
