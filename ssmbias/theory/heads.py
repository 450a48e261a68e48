r"""Identity I2: Proposition 1 with a network on top of the SSM.

If the prediction is $N(z)$ with $z = \varphi(x)$ the SSM's output, every residual is multiplied by
the slope of the head, $\delta_i \to \delta_i\,\xi_i$ with $\xi_i = N'(z_i)$; nothing else changes.
The head enters through numbers only, so that any head will do.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Float

from ssmbias.core.checks import as_float64
from ssmbias.core.types import AnyArray, Array
from ssmbias.data.lag_gram import require_training_set
from ssmbias.data.sequences import TrainingSet
from ssmbias.models.ssm import DiagonalSSM, require_ssm


def head_omega(
    training_set: TrainingSet,
    residuals: Float[AnyArray, " sample"],
    slopes: Float[AnyArray, " sample"],
) -> Float[Array, " lag"]:
    r"""The force on each lag: $\omega_l = 2\sum_i w_i\delta_i\xi_i x^{(i)}_{\kappa-l}/\sum_i w_i$.

    Args:
      training_set: sequences $x^{(i)}$ and weights $w_i$.
      residuals: $\delta_i = y_i - N(z_i)$.
      slopes: $\xi_i = N'(z_i)$; ones for a standalone SSM.

    Returns:
      $\omega_0, \dots, \omega_{\kappa-1}$.

    Raises:
      ValueError: a malformed training set, or not one residual and slope a sequence.

    Example:
      >>> from ssmbias.data import theorem1_training_set
      >>> data = theorem1_training_set(4, strength=1.0)
      >>> head_omega(data, jnp.array([1.0, 1.0]), jnp.array([1.0, 0.5])).tolist()
      [0.0, 0.5, 0.0, 1.0]

    References:
      Slutzky et al. (2025), arXiv:2410.10473, Proposition 1 (with a network on top).
    """
    inputs, weights = require_training_set(training_set)
    residuals = as_float64("residuals", residuals, ndim=1)
    slopes = as_float64("slopes", slopes, ndim=1)
    if not residuals.shape == slopes.shape == weights.shape:
        raise ValueError(
            f"residuals and slopes have {residuals.shape[0]} and {slopes.shape[0]} entries for "
            f"{weights.shape[0]} sequences: give one of each per sequence"
        )
    return 2.0 * ((weights * residuals * slopes) @ inputs[:, ::-1]) / jnp.sum(weights)


def head_velocity(model: DiagonalSSM, omega: Float[AnyArray, " lag"]) -> DiagonalSSM:
    r"""The gradient flow of the SSM below a head.

    With $g(z) = \sum_l \omega_l z^l$: $\dot a_j = b_jc_j\,g'(a_j)$, $\dot b_j = c_j\,g(a_j)$,
    $\dot c_j = b_j\,g(a_j)$.

    Args:
      model: the SSM.
      omega: from `head_omega`.

    Returns:
      The velocity of each parameter.

    Raises:
      ValueError: a malformed model.

    Example:
      >>> model = DiagonalSSM(jnp.array([0.5]), jnp.array([2.0]), jnp.array([1.0]))
      >>> [x.tolist() for x in head_velocity(model, jnp.array([0.0, 1.0, 1.0]))]
      [[4.0], [0.75], [1.5]]

    References:
      Slutzky et al. (2025), arXiv:2410.10473, Proposition 1.
    """
    model = require_ssm("model", model)
    omega = as_float64("omega", omega, ndim=1)
    slope = jnp.polyval(jnp.arange(1.0, omega.shape[0])[::-1] * omega[:0:-1], model.a)
    g = jnp.polyval(omega[::-1], model.a)
    return DiagonalSSM(model.b * model.c * slope, model.c * g, model.b * g)
