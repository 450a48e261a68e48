"""The teachers whose outputs label every training set."""

from __future__ import annotations

import math

import jax.numpy as jnp

from ssmbias.core.checks import require_int, require_x64
from ssmbias.models.ssm import DiagonalSSM

_PAPER_DIAGONALS = {
    1: (1.0,),
    2: (0.99, 0.8),
    3: (0.99, 0.8, 0.5),
    4: (0.99, 0.8, 0.5, 0.3),
}


def theorem1_teacher(state_dim: int) -> DiagonalSSM:
    r"""The two-dimensional teacher of Theorem 1, for a student of dimension $d$.

    $A^* = \mathrm{diag}(1, 0)$ and $B^* = {C^*}^\top = (1, \sqrt{d-1})$: the response is
    $h^*_0 = d$, which a student with $B = C = 1$ matches whatever its diagonal, and
    $h^*_l = 1$ at every lag $l \ge 1$.

    Args:
      state_dim: the *student's* number of states $d \ge 2$.

    Returns:
      The teacher. Its $h^*_0$ is $d$ up to the rounding of the square root.

    Raises:
      ValueError: `state_dim` is no integer or below 2, or double precision is off.

    Example:
      >>> from ssmbias.models.ssm import impulse_response
      >>> [round(float(h), 12) for h in impulse_response(theorem1_teacher(10), 4)]
      [10.0, 1.0, 1.0, 1.0]

    References:
      Slutzky et al. (2025), arXiv:2410.10473, Theorem 1.
    """
    require_x64("theorem1_teacher")
    state_dim = require_int("state_dim", state_dim, minimum=2)
    gain = jnp.array([1.0, math.sqrt(state_dim - 1)], jnp.float64)
    return DiagonalSSM(jnp.array([1.0, 0.0], jnp.float64), gain, gain)


def paper_teacher(dim: int) -> DiagonalSSM:
    r"""The teachers of the paper's trained experiments, with $b^* = c^* = 1$.

    Args:
      dim: number of states $d^*$, 1 to 4. The diagonal is (1) for one state and the first
        `dim` of (0.99, 0.8, 0.5, 0.3) for more.

    Returns:
      The teacher.

    Raises:
      ValueError: `dim` is not an integer from 1 to 4, or double precision is off.

    Example:
      >>> [float(x) for x in paper_teacher(3).a]
      [0.99, 0.8, 0.5]

    References:
      Slutzky et al. (2025), arXiv:2410.10473, experiments.
    """
    require_x64("paper_teacher")
    diagonal = _PAPER_DIAGONALS[require_int("dim", dim, minimum=1, maximum=4)]
    ones = jnp.ones(len(diagonal), jnp.float64)
    return DiagonalSSM(jnp.array(diagonal, jnp.float64), ones, ones)
