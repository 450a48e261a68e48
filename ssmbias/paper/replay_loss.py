"""What the paper's code minimises, written for one run in the precision of its parameters."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from ssmbias.core.types import Array
from ssmbias.dynamics.descent.loop import Gradient
from ssmbias.models.ssm import lag_powers

Params = dict[str, Array]


class ReplayData(NamedTuple):
    """Training sequences with reversed time (column l is seen at lag l), and labels."""

    by_lag: Float[Array, "sample lag"]
    outputs: Float[Array, " sample"]


def head(params: Params, z: Float[Array, " sample"]) -> Float[Array, " sample"]:
    """The MLP on top of the SSM, if there is one."""
    if "D0" not in params:
        return z
    layer = jax.nn.relu(z[:, None] @ params["D0"])
    return (jax.nn.relu(layer @ params["D1"]) @ params["D2"])[:, 0]


def predict(params: Params, by_lag: Float[Array, "sample lag"]) -> Float[Array, " sample"]:
    """The model's outputs."""
    powers = lag_powers(params["a"], by_lag.shape[1])
    return head(params, by_lag @ (powers @ (params["b"] * params["c"])))


def loss(params: Params, data: ReplayData) -> Float[Array, ""]:
    """The mean squared error."""
    return jnp.mean((data.outputs - predict(params, data.by_lag)) ** 2)


def gradient(params: Params, data: ReplayData) -> Gradient:
    """The gradient of a standalone SSM, with the norm that the original's step size sees.

    That norm is the sum of the norms of dL/dB, dL/dC and the dense dL/dA, off-diagonal entries
    included, although only the diagonal is updated.
    """
    value, slopes = jax.value_and_grad(loss)(params, data)
    a, b, c = params["a"], params["b"], params["c"]
    num_lags = data.by_lag.shape[1]
    powers = lag_powers(a, num_lags)
    residuals = data.outputs - data.by_lag @ (powers @ (b * c))
    omega = (2.0 / residuals.shape[0]) * (residuals @ data.by_lag)
    # dL/dA_ij = -c_i b_j Σ_{m,n} ω_{m+n+1} a_i^m a_j^n.
    size = num_lags - 1
    zeros = jnp.zeros((size,), omega.dtype)
    hankel = jnp.stack([jnp.concatenate([omega[1 + m :], zeros[:m]]) for m in range(size)])
    dense = c[:, None] * b[None, :] * (powers[:size].T @ hankel @ powers[:size])
    norm = jnp.sqrt(jnp.sum(dense**2))
    norm = norm + jnp.sqrt(jnp.sum(slopes["b"] ** 2)) + jnp.sqrt(jnp.sum(slopes["c"] ** 2))
    return Gradient(value, slopes, norm)


def reset_bc(params: Params) -> Params:
    """B and C set back to ones."""
    return params | {"b": jnp.ones_like(params["b"]), "c": jnp.ones_like(params["c"])}


def gamma(params: Params, data: ReplayData) -> Float[Array, " lag-1"]:
    """The coefficients γ_l of Proposition 1, with the slopes ξ_i of the head (I2)."""
    powers = lag_powers(params["a"], data.by_lag.shape[1])
    z = data.by_lag @ (powers @ (params["b"] * params["c"]))
    output, slope = jax.jvp(lambda z: head(params, z), (z,), (jnp.ones_like(z),))
    omega = (2.0 / z.shape[0]) * (((data.outputs - output) * slope) @ data.by_lag)
    return omega[1:] * jnp.arange(1, omega.shape[0], dtype=omega.dtype)


def observe(params: Params, data: ReplayData) -> dict[str, Any]:
    """What is logged: the SSM, and γ."""
    return {"a": params["a"], "b": params["b"], "c": params["c"], "gamma": gamma(params, data)}
