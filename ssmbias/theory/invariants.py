r"""Identities I3, I4, I5: what follows from gradient flow about balance, gaps and loss."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Float

from ssmbias.core.checks import as_float64
from ssmbias.core.types import AnyArray, Array, ScalarLike
from ssmbias.models.ssm import DiagonalSSM, require_ssm


def balancedness(model: DiagonalSSM) -> Float[Array, " state"]:
    r"""The quantities $b_j^2 - c_j^2$, which gradient flow conserves.

    Args:
      model: the student.

    Returns:
      One number a state.

    Raises:
      ValueError: a malformed model.

    Example:
      >>> balancedness(DiagonalSSM(jnp.zeros(2), jnp.array([2.0, 1.0]), jnp.ones(2))).tolist()
      [3.0, 0.0]

    References:
      Derivation in docs/theory.md (I3).
    """
    model = require_ssm("model", model)
    return (model.b - model.c) * (model.b + model.c)


def balancedness_rate(model: DiagonalSSM, velocity: DiagonalSSM) -> Float[Array, " state"]:
    r"""The rate $2(b_j\dot b_j - c_j\dot c_j)$ of the balancedness; 0 under gradient flow.

    Args:
      model: the student.
      velocity: the velocity of its parameters.

    Returns:
      One number a state.

    Raises:
      ValueError: a malformed model or velocity.

    Example:
      >>> model = DiagonalSSM(jnp.zeros(1), jnp.array([2.0]), jnp.array([3.0]))
      >>> velocity = DiagonalSSM(jnp.ones(1), jnp.array([3.0]), jnp.array([2.0]))
      >>> balancedness_rate(model, velocity).tolist()
      [0.0]

    References:
      Derivation in docs/theory.md (I3).
    """
    model = require_ssm("model", model)
    velocity = require_ssm("velocity", velocity)
    return 2.0 * (model.b * velocity.b - model.c * velocity.c)


def log_gap_rate(
    a_i: ScalarLike, a_j: ScalarLike, gamma: Float[AnyArray, " lag"]
) -> Float[Array, ""]:
    r"""The rate of $\log(a_i - a_j)$ where $B = C = 1$, without cancellation.

    All entries follow one scalar equation, $\dot a = \sum_l \gamma_l a^l$, so that
    $$\frac{\mathrm d}{\mathrm dt}\log(a_i-a_j)
      = \sum_{l\ge1}\gamma_l\,\frac{a_i^l-a_j^l}{a_i-a_j}
      = \sum_{l\ge1}\gamma_l\sum_{m=0}^{l-1} a_i^m a_j^{l-1-m},$$
    which has a value at $a_i = a_j$ as well: the rate of a gap below the spacing of doubles.

    Args:
      a_i: one entry.
      a_j: another entry.
      gamma: coefficients $\gamma_0, \gamma_1, \dots$ from `gamma_coefficients`.

    Returns:
      The rate.

    Raises:
      ValueError: an argument is not finite, float64 and of the right dimension.

    Example:
      >>> gamma = jnp.array([7.0, 2.0, 1.0])  # velocity 7 + 2a + a^2
      >>> float(log_gap_rate(0.5, 0.25, gamma)), float(log_gap_rate(0.5, 0.5, gamma))
      (2.75, 3.0)

    References:
      Derivation in docs/theory.md (I4).
    """
    a_i = as_float64("a_i", a_i, ndim=0)
    a_j = as_float64("a_j", a_j, ndim=0)
    gamma = as_float64("gamma", gamma, ndim=1)

    def add_lag(carry, gamma_l):
        # quotient = (a_i^l - a_j^l) / (a_i - a_j) obeys q_{l+1} = a_i q_l + a_j^l.
        total, quotient, power = carry
        return (total + gamma_l * quotient, a_i * quotient + power, a_j * power), None

    start = (jnp.zeros_like(a_i), jnp.zeros_like(a_i), jnp.ones_like(a_j))
    return jax.lax.scan(add_lag, start, gamma)[0][0]


def energy_rate(velocity: DiagonalSSM) -> Float[Array, ""]:
    r"""The rate of the loss under gradient flow, $\dot L = -\lVert\nabla L\rVert^2$.

    Args:
      velocity: the velocities $-\nabla L$; those of fixed parameters must be 0.

    Returns:
      A number $\le 0$.

    Raises:
      ValueError: a malformed velocity.

    Example:
      >>> ones = jnp.ones(2)
      >>> float(energy_rate(DiagonalSSM(ones, ones, 0.0 * ones)))
      -4.0

    References:
      Derivation in docs/theory.md (I5).
    """
    return -sum(
        (jnp.sum(entries**2) for entries in require_ssm("velocity", velocity)),
        start=jnp.zeros((), jnp.float64),
    )
