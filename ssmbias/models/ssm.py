"""Diagonal state space models, their impulse response and their output."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from ssmbias.core.checks import as_float64, require_choice, require_int
from ssmbias.core.types import AnyArray, Array

METHODS = ("lags", "recurrence", "scan")
"""Ways to evaluate a model: direct lag sum, step by step, associative scan."""


class DiagonalSSM(NamedTuple):
    r"""A linear state space model with a real diagonal transition matrix.

    $s_k = A s_{k-1} + B x_k$ from $s_0 = 0$, with $A = \mathrm{diag}(a)$, $B = b$ (a column)
    and $C = c$ (a row); the output is read off the last state, $y = C s_\kappa$.

    A pytree of three arrays: gradients with respect to a model are models.

    Example:
      >>> import jax.numpy as jnp
      >>> model = DiagonalSSM(jnp.array([0.5, 0.1]), jnp.ones(2), jnp.ones(2))
      >>> model.a.shape
      (2,)
    """

    a: Float[Array, " state"]
    b: Float[Array, " state"]
    c: Float[Array, " state"]


def require_ssm(name: str, model: DiagonalSSM) -> DiagonalSSM:
    """Return `model` with float64 JAX entries of one common length, or say what is wrong.

    Args:
      name: the parameter's name, used in messages.
      model: three one-dimensional arrays or sequences of the same length, at least 1.

    Returns:
      The same model, converted.

    Raises:
      ValueError: an entry is not a float64 vector of finite numbers, or lengths differ.

    Example:
      >>> require_ssm("student", DiagonalSSM([0.5], [1.0], [2.0])).c.dtype
      dtype('float64')
    """
    a, b, c = (as_float64(f"{name}.{field}", value, ndim=1) for field, value in _fields(model))
    if not a.shape == b.shape == c.shape:
        raise ValueError(
            f"{name}: a, b, c have lengths {a.shape[0]}, {b.shape[0]}, {c.shape[0]}; "
            "give one entry of each per state"
        )
    if a.shape[0] == 0:
        raise ValueError(f"{name}.a=[]: a model needs at least one state")
    return DiagonalSSM(a, b, c)


def theorem1_student(a: Float[AnyArray, " state"]) -> DiagonalSSM:
    r"""The student of Theorem 1: only the diagonal is free, $B = \mathbf 1$, $C = \mathbf 1^\top$.

    Its impulse response is the power sum $h_l = \sum_j a_j^l$.

    Args:
      a: diagonal of $A$, float64, any sign.

    Returns:
      The model with `b` and `c` all ones.

    Raises:
      ValueError: `a` is not a float64 vector of finite numbers.

    Example:
      >>> import jax.numpy as jnp
      >>> student = theorem1_student(jnp.array([0.5, 0.25]))
      >>> [float(h) for h in impulse_response(student, 3)]
      [2.0, 0.75, 0.3125]

    References:
      Slutzky et al. (2025), arXiv:2410.10473, Theorem 1.
    """
    a = as_float64("a", a, ndim=1)
    ones = jnp.ones_like(a)
    return DiagonalSSM(a, ones, ones)


def impulse_response(
    model: DiagonalSSM, num_lags: int, method: str = "lags"
) -> Float[Array, " lag"]:
    r"""The response $h_l = C A^l B = \sum_j c_j b_j a_j^l$ at lags $l = 0, 1, \dots$.

    Only products are formed, so entries $a_j \le 0$ are as good as any other ($0^0 = 1$) and
    every gradient is finite there.

    Args:
      model: the state space model.
      num_lags: how many lags, at least 1; the last one is `num_lags - 1`.
      method: `"lags"` sums powers directly, `"recurrence"` feeds a unit impulse through the
        recurrence, `"scan"` does so with an associative scan (logarithmic depth). They agree
        to rounding.

    Returns:
      $h_0, \dots$, of length `num_lags`.

    Raises:
      ValueError: a malformed model, `num_lags < 1`, or an unknown `method`.

    Example:
      >>> import jax.numpy as jnp
      >>> model = DiagonalSSM(jnp.array([0.5, -0.5]), jnp.ones(2), jnp.array([1.0, 3.0]))
      >>> [float(h) for h in impulse_response(model, 4)]
      [4.0, -1.0, 1.0, -0.25]

    References:
      Slutzky et al. (2025), arXiv:2410.10473.
    """
    model = require_ssm("model", model)
    num_lags = require_int("num_lags", num_lags, minimum=1)
    if require_choice("method", method, METHODS) == "lags":
        return lag_powers(model.a, num_lags) @ (model.c * model.b)
    impulse = jnp.zeros(num_lags, jnp.float64).at[0].set(1.0)
    return _states(model, impulse, method) @ model.c


def apply(
    model: DiagonalSSM, inputs: Float[AnyArray, " seq"], method: str = "lags"
) -> Float[Array, ""]:
    r"""The output $y = C s_\kappa = \sum_{k=1}^{\kappa} h_{\kappa-k} x_k$ for one sequence.

    The element $x_k$ is seen at lag $\kappa - k$: the first at lag $\kappa-1$, the last at lag 0.

    Args:
      model: the state space model.
      inputs: the sequence $x_1, \dots, x_\kappa$; map over sequences with `jax.vmap`.
      method: as for `impulse_response`.

    Returns:
      The scalar $y$.

    Raises:
      ValueError: a malformed model, an empty or batched sequence, or an unknown `method`.

    Example:
      >>> import jax.numpy as jnp
      >>> model = DiagonalSSM(jnp.array([0.5]), jnp.ones(1), jnp.ones(1))
      >>> float(apply(model, jnp.array([8.0, 0.0, 1.0])))  # 8 at lag 2, 1 at lag 0
      3.0

    References:
      Slutzky et al. (2025), arXiv:2410.10473.
    """
    model = require_ssm("model", model)
    inputs = as_float64("inputs", inputs, ndim=1)
    if inputs.shape[0] == 0:
        raise ValueError("inputs=[]: a sequence needs at least one element")
    if require_choice("method", method, METHODS) == "lags":
        return impulse_response(model, inputs.shape[0])[::-1] @ inputs
    return model.c @ _states(model, inputs, method)[-1]


def _fields(model: DiagonalSSM):
    return zip(DiagonalSSM._fields, model, strict=True)


def lag_powers(a: Float[Array, " state"], num_lags: int) -> Float[Array, "lag state"]:
    r"""Rows $a^0, a^1, \dots$ by doubling: rows m..2m-1 are rows 0..m-1 times $a^m$.

    Products only. Gradients of ``power`` or ``cumprod`` at zero would divide by zero, and a
    product per lag would make a long horizon slow to compile. Works in the precision of `a`.

    Args:
      a: any numbers.
      num_lags: how many rows, at least 1.

    Returns:
      The table of powers.

    Example:
      >>> lag_powers(jnp.array([2.0, 0.0]), 3).tolist()
      [[1.0, 1.0], [2.0, 0.0], [4.0, 0.0]]
    """
    powers = jnp.ones_like(a)[None, :]
    next_power = a[None, :]
    while powers.shape[0] < num_lags:
        powers = jnp.concatenate([powers, powers * next_power])
        next_power = next_power * next_power
    return powers[:num_lags]


def _states(
    model: DiagonalSSM, inputs: Float[Array, " seq"], method: str
) -> Float[Array, "seq state"]:
    """The states s_1 .. s_κ, step by step or by associative scan."""
    drive = inputs[:, None] * model.b[None, :]
    if method == "recurrence":

        def step(state, drive_k):
            state = model.a * state + drive_k
            return state, state

        return jax.lax.scan(step, jnp.zeros_like(model.a), drive)[1]

    def compose(first, second):
        # The maps s -> A1 s + u1, then s -> A2 s + u2.
        (decay1, drive1), (decay2, drive2) = first, second
        return decay1 * decay2, decay2 * drive1 + drive2

    decay = jnp.broadcast_to(model.a[None, :], drive.shape)
    return jax.lax.associative_scan(compose, (decay, drive))[1]
