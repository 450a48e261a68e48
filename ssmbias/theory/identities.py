r"""Identity I1: gradient flow written out, from samples and in the setting of Theorem 1.

Everything here is computed from the training sequences, not from their lag Gram matrix, so
that a simulation that runs on the latter is checked against something else.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Float

from ssmbias.core.checks import as_float64, require_seq_len
from ssmbias.core.types import AnyArray, Array, ScalarLike
from ssmbias.data.lag_gram import require_targets, require_training_set
from ssmbias.data.sequences import TrainingSet, require_strength
from ssmbias.models.ssm import DiagonalSSM, apply, require_ssm


def omega_coefficients(
    model: DiagonalSSM, training_set: TrainingSet, targets: Float[AnyArray, " sample"]
) -> Float[Array, " lag"]:
    r"""The force on each lag, $\omega_l = 2\sum_i w_i\,\delta_i\,x^{(i)}_{\kappa-l} / \sum_i w_i$.

    $\delta_i = y_i - \varphi(x^{(i)})$ is the residual of sequence $i$, $w_i$ its weight; with
    equal weights the factor is the $2/n$ of the paper.

    Args:
      model: the student $\varphi$.
      training_set: sequences $x^{(i)}$ and weights $w_i$.
      targets: the labels $y_i$.

    Returns:
      $\omega_0, \dots, \omega_{\kappa-1}$.

    Raises:
      ValueError: a malformed model or training set, or not one target a sequence.

    Example:
      >>> from ssmbias.data import theorem1_training_set
      >>> from ssmbias.models import theorem1_student
      >>> student = theorem1_student(jnp.array([0.5, 0.0]))
      >>> omega_coefficients(student, theorem1_training_set(4, 1.0), jnp.ones(2)).tolist()
      [0.0, 0.5, 0.0, 0.875]

    References:
      Slutzky et al. (2025), arXiv:2410.10473, Proposition 1.
    """
    model, inputs, weights, targets = _checked(model, training_set, targets)
    outputs = jax.vmap(lambda sequence: apply(model, sequence))(inputs)
    return _force(inputs, weights, targets - outputs)


def gamma_coefficients(
    model: DiagonalSSM, training_set: TrainingSet, targets: Float[AnyArray, " sample"]
) -> Float[Array, " lag"]:
    r"""The coefficients $\gamma_l = (l+1)\,\omega_{l+1}$ of the equation for $a$.

    One polynomial moves all entries, $\dot a_j = b_jc_j\sum_l\gamma_l a_j^l$.

    With $\gamma_0,\dots,\gamma_{l_0-1}$ small, an entry moves like $a_j^{l_0}$: the largest one
    first, on its own. A large $\gamma_0$, which poison produces, moves all entries together.

    Args:
      model: the student.
      training_set: sequences and weights.
      targets: the labels.

    Returns:
      $\gamma_0, \dots, \gamma_{\kappa-2}$.

    Raises:
      ValueError: as for `omega_coefficients`.

    Example:
      >>> from ssmbias.data import theorem1_training_set
      >>> from ssmbias.models import theorem1_student
      >>> student = theorem1_student(jnp.array([0.5, 0.0]))
      >>> gamma_coefficients(student, theorem1_training_set(4, 1.0), jnp.ones(2)).tolist()
      [0.5, 0.0, 2.625]

    References:
      Slutzky et al. (2025), arXiv:2410.10473, Proposition 1.
    """
    return _derivative(omega_coefficients(model, training_set, targets))


def flow_velocity(
    model: DiagonalSSM, training_set: TrainingSet, targets: Float[AnyArray, " sample"]
) -> DiagonalSSM:
    r"""Gradient flow as Proposition 1 states it, with all of $a$, $b$, $c$ trained.

    With $g(z) = \sum_l \omega_l z^l$,
    $$\dot a_j = b_jc_j\,g'(a_j),\qquad \dot b_j = c_j\,g(a_j),\qquad \dot c_j = b_j\,g(a_j).$$

    Args:
      model: the student.
      training_set: sequences and weights.
      targets: the labels.

    Returns:
      The velocity $-\nabla L$ of each parameter; ignore those of parameters that are fixed.

    Raises:
      ValueError: as for `omega_coefficients`.

    Example:
      >>> from ssmbias.data import theorem1_training_set
      >>> from ssmbias.models import theorem1_student
      >>> student = theorem1_student(jnp.array([0.5, 0.0]))
      >>> velocity = flow_velocity(student, theorem1_training_set(4, 1.0), jnp.ones(2))
      >>> velocity.a.tolist(), velocity.b.tolist()
      ([1.15625, 0.5], [0.359375, 0.0])

    References:
      Slutzky et al. (2025), arXiv:2410.10473, Proposition 1.
    """
    return _velocity(require_ssm("model", model), omega_coefficients(model, training_set, targets))


def velocity_scale(
    model: DiagonalSSM, training_set: TrainingSet, targets: Float[AnyArray, " sample"]
) -> DiagonalSSM:
    r"""The sum of the absolute values of all terms of `flow_velocity`.

    Residuals enter as $|y_i| + \sum_{j,k} |c_j b_j a_j^{\kappa-k} x^{(i)}_k|$, so that the
    number stays the size of the terms where these cancel, near zero loss above all. Whatever
    the order of its sums, a double-precision gradient is right to a few $\epsilon$ of it.

    Args:
      model: the student.
      training_set: sequences and weights.
      targets: the labels.

    Returns:
      A number $\ge 0$ for each parameter.

    Raises:
      ValueError: as for `omega_coefficients`.

    Example:
      >>> from ssmbias.data import theorem1_training_set
      >>> from ssmbias.models import theorem1_student
      >>> student = theorem1_student(jnp.array([0.5, 0.0]))
      >>> velocity_scale(student, theorem1_training_set(4, 1.0), jnp.ones(2)).a.tolist()
      [2.34375, 1.5]

    References:
      Derivation in docs/theory.md (identities).
    """
    model, inputs, weights, targets = _checked(model, training_set, targets)
    model = DiagonalSSM(*(jnp.abs(entries) for entries in model))
    inputs = jnp.abs(inputs)
    outputs = jax.vmap(lambda sequence: apply(model, sequence))(inputs)
    return _velocity(model, _force(inputs, weights, jnp.abs(targets) + outputs))


def theorem1_velocity(
    a: Float[AnyArray, " state"], seq_len: int, strength: ScalarLike
) -> Float[Array, " state"]:
    r"""Gradient flow in the setting of Theorem 1, written out.

    With $S_m = \sum_i a_i^m$ and the loss $(\delta_1^2 + \rho\,\delta_2^2)/(1+\rho)$,
    $$\dot a_j = \frac{2}{1+\rho}\Bigl[(\kappa-1)(1-S_{\kappa-1})\,a_j^{\kappa-2}
                 + \rho\,(1-S_1)\Bigr].$$
    $\rho = 0$ is the clean flow, $\rho = 1$ the poisoned one of the paper (factor $2/n = 1$).

    Args:
      a: the diagonal of $A$, of any sign.
      seq_len: sequence length $\kappa \ge 4$.
      strength: poison strength $\rho \ge 0$; may be traced.

    Returns:
      The velocity of each entry; `nan` for a traced strength below 0.

    Raises:
      ValueError: an argument is out of range.

    Example:
      >>> theorem1_velocity(jnp.array([0.5, 0.0]), 4, strength=1.0).tolist()
      [1.15625, 0.5]

    References:
      Slutzky et al. (2025), arXiv:2410.10473, Section 3.
    """
    a = as_float64("a", a, ndim=1)
    seq_len = require_seq_len(seq_len, minimum=4, odd=False)
    rho = require_strength(strength)
    baseline = (seq_len - 1) * (1.0 - jnp.sum(a ** (seq_len - 1))) * a ** (seq_len - 2)
    return 2.0 / (1.0 + rho) * (baseline + rho * (1.0 - jnp.sum(a)))


def _checked(model, training_set, targets):
    model = require_ssm("model", model)
    inputs, weights = require_training_set(training_set)
    targets = require_targets(targets, weights)
    return model, inputs, weights, targets


def _force(inputs: Array, weights: Array, residuals: Array) -> Array:
    """ω from residuals; column l of the reversed inputs holds x_{κ-l}."""
    return 2.0 * ((weights * residuals) @ inputs[:, ::-1]) / jnp.sum(weights)


def _derivative(omega: Array) -> Array:
    """Coefficients of g' from those of g."""
    return jnp.arange(1, omega.shape[0], dtype=omega.dtype) * omega[1:]


def _velocity(model: DiagonalSSM, omega: Array) -> DiagonalSSM:
    g = jnp.polyval(omega[::-1], model.a)
    slope = jnp.polyval(_derivative(omega)[::-1], model.a)
    return DiagonalSSM(model.b * model.c * slope, model.c * g, model.b * g)
