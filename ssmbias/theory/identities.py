r"""Identities I1, I3, I4, I5: what holds exactly at every point of every gradient flow.

Everything here is computed from the training sequences, not from their lag Gram matrix, so
that a simulation that runs on the latter is checked against something else. How far rounding
may take the two sides of an identity apart is in `ssmbias.theory.residuals`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Float

from ssmbias._checks import as_float64, require_nonnegative, require_seq_len
from ssmbias._types import AnyArray, Array, ScalarLike
from ssmbias.data.lag_gram import require_training_set
from ssmbias.data.sequences import TrainingSet
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
    r"""The coefficients $\gamma_l = (l+1)\,\omega_{l+1}$ of $\dot a_j = b_jc_j\sum_l\gamma_l a_j^l$.

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
      The velocity of each entry.

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
    rho = as_float64("strength", strength, ndim=0)
    require_nonnegative("strength", rho)
    baseline = (seq_len - 1) * (1.0 - jnp.sum(a ** (seq_len - 1))) * a ** (seq_len - 2)
    velocity = 2.0 / (1.0 + rho) * (baseline + rho * (1.0 - jnp.sum(a)))
    return jnp.where(rho >= 0, velocity, jnp.nan)


def _checked(model, training_set, targets):
    model = require_ssm("model", model)
    inputs, weights = require_training_set(training_set)
    targets = as_float64("targets", targets, ndim=1)
    if targets.shape != weights.shape:
        raise ValueError(
            f"targets has {targets.shape[0]} entries for {weights.shape[0]} sequences: "
            "take ssmbias.data.labels(teacher, training_set.inputs)"
        )
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
