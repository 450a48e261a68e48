r"""How far two sides of an identity are apart, in units in which rounding is a few epsilon.

A residual divides the difference of the two sides by the sum of the absolute values of all
terms that were added up on the way to them, down to the outputs and labels of the training
sequences (`velocity_scale`). Sums in different orders then differ by a few
$\epsilon = 2.2\cdot10^{-16}$, at most $\epsilon$ times the number of roundings in sequence, about
$d + n + 2\kappa$; also near zero loss, where the terms cancel and a relative difference would
mean nothing. There a wrong formula passes as well, with a residual of the size of that
cancellation: check an identity all along a flow, never at its end alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Float

from ssmbias.core.checks import as_float64, require_choice, require_nonnegative, require_seq_len
from ssmbias.core.types import AnyArray, Array, ScalarLike
from ssmbias.data.sequences import TrainingSet, require_strength
from ssmbias.models.ssm import DiagonalSSM, require_ssm
from ssmbias.theory.identities import flow_velocity, theorem1_velocity, velocity_scale
from ssmbias.theory.invariants import balancedness, balancedness_rate, energy_rate, log_gap_rate


def relative_residual(
    measured: Float[AnyArray, "*shape"],
    predicted: Float[AnyArray, "*shape"],
    scale: Float[AnyArray, "*shape"],
) -> Float[Array, ""]:
    r"""The largest $|\text{measured} - \text{predicted}| / \text{scale}$ of all entries.

    Args:
      measured: one side of an identity.
      predicted: the other side.
      scale: sums of the absolute values of the terms, $\ge 0$.

    Returns:
      The residual. Entries without any term count 0 if the sides are equal, else `inf`; a `nan`
      stays one.

    Raises:
      ValueError: shapes differ, or a scale is negative.

    Example:
      >>> one = jnp.array([1.0, 0.0])
      >>> float(relative_residual(one, 1.5 * one, 2.0 * one))
      0.25

    References:
      Derivation in docs/theory.md (identities).
    """
    measured = as_float64("measured", measured)
    predicted = as_float64("predicted", predicted)
    scale = as_float64("scale", scale)
    require_nonnegative("scale", scale)
    if not measured.shape == predicted.shape == scale.shape:
        raise ValueError(
            f"measured, predicted, scale have shapes {measured.shape}, {predicted.shape}, "
            f"{scale.shape}: give arrays of one shape"
        )
    difference = jnp.abs(measured - predicted)
    ratio = difference / jnp.where(scale > 0, scale, 1.0)
    empty = jnp.where(difference > 0, jnp.inf, difference)
    return jnp.max(jnp.where(scale == 0, empty, ratio), initial=0.0)


def characterization_residual(
    model: DiagonalSSM,
    training_set: TrainingSet,
    targets: Float[AnyArray, " sample"],
    velocity: DiagonalSSM,
    trainable: Sequence[str] = ("a", "b", "c"),
) -> Float[Array, ""]:
    r"""How far a velocity is from the one that Proposition 1 states (I1).

    Args:
      model: the student.
      training_set: sequences and weights.
      targets: the labels.
      velocity: what a simulation moves with, or $-\nabla L$ by automatic differentiation.
      trainable: which of "a", "b", "c" to compare.

    Returns:
      The residual; at rounding level a few $\epsilon$.

    Raises:
      ValueError: a malformed argument, or `trainable` is empty or names something else.

    Example:
      >>> from ssmbias.data import theorem1_training_set
      >>> from ssmbias.metrics import sample_loss
      >>> from ssmbias.models import theorem1_student
      >>> student = theorem1_student(jnp.array([0.5, 0.3]))
      >>> data, ones = theorem1_training_set(7, 1.0), jnp.ones(2)
      >>> gradient = jax.grad(sample_loss)(student, data, ones)
      >>> velocity = DiagonalSSM(-gradient.a, -gradient.b, -gradient.c)
      >>> bool(characterization_residual(student, data, ones, velocity) < 1e-14)
      True

    References:
      Slutzky et al. (2025), arXiv:2410.10473, Proposition 1.
    """
    velocity = require_ssm("velocity", velocity)
    names = [require_choice("trainable", name, DiagonalSSM._fields) for name in trainable]
    if not names:
        raise ValueError("trainable=(): name at least one of a, b, c")
    predicted = flow_velocity(model, training_set, targets)
    scale = velocity_scale(model, training_set, targets)
    return jnp.max(
        jnp.stack(
            [
                relative_residual(getattr(velocity, n), getattr(predicted, n), getattr(scale, n))
                for n in names
            ]
        )
    )


def theorem1_residual(
    a: Float[AnyArray, " state"],
    seq_len: int,
    strength: ScalarLike,
    velocity: Float[AnyArray, " state"],
) -> Float[Array, ""]:
    r"""How far a velocity is from the flow of Theorem 1 as it is displayed (I1).

    Args:
      a: the diagonal of $A$.
      seq_len: sequence length $\kappa \ge 4$.
      strength: poison strength $\rho \ge 0$.
      velocity: what a simulation moves $a$ with, in physical time.

    Returns:
      The residual; at rounding level a few $\epsilon$.

    Raises:
      ValueError: an argument is out of range.

    Example:
      >>> a = jnp.array([0.5, 0.0])
      >>> float(theorem1_residual(a, 4, 1.0, jnp.array([1.15625, 0.5])))
      0.0

    References:
      Slutzky et al. (2025), arXiv:2410.10473, Section 3.
    """
    predicted = theorem1_velocity(a, seq_len, strength)
    power = require_seq_len(seq_len, minimum=4, odd=False) - 2
    size = jnp.abs(as_float64("a", a, ndim=1))
    rho = require_strength(strength)
    baseline = (power + 1) * (1.0 + jnp.sum(size ** (power + 1))) * size**power
    scale = 2.0 / (1.0 + rho) * (baseline + rho * (1.0 + jnp.sum(size)))
    return relative_residual(velocity, predicted, scale)


def balancedness_residual(
    model: DiagonalSSM, velocity: DiagonalSSM, scale: DiagonalSSM
) -> Float[Array, ""]:
    r"""How far a velocity is from conserving $b_j^2 - c_j^2$ (I3), at one point.

    Args:
      model: the student.
      velocity: the velocity of its parameters, $b$ and $c$ both trained.
      scale: `velocity_scale` there.

    Returns:
      The residual, of $2(b_j\dot b_j - c_j\dot c_j)$ against 0.

    Raises:
      ValueError: a malformed argument.

    Example:
      >>> one = DiagonalSSM(jnp.ones(1), jnp.ones(1), jnp.ones(1))
      >>> float(balancedness_residual(one, one, one))
      0.0

    References:
      Derivation in docs/theory.md (I3).
    """
    rate = balancedness_rate(model, velocity)
    model, scale = require_ssm("model", model), require_ssm("scale", scale)
    terms = 2.0 * (jnp.abs(model.b) * scale.b + jnp.abs(model.c) * scale.c)
    return relative_residual(rate, jnp.zeros_like(rate), terms)


def balancedness_drift(model: DiagonalSSM, start: DiagonalSSM) -> Float[Array, ""]:
    r"""How far $b_j^2 - c_j^2$ has moved since the start (I3), along a trajectory.

    Unlike the other residuals, this one is at the level of the solver's tolerance.

    Args:
      model: the student now.
      start: the student at the start.

    Returns:
      The largest change, relative to $b_j^2 + c_j^2$ now and at the start, added.

    Raises:
      ValueError: a malformed model.

    Example:
      >>> start = DiagonalSSM(jnp.ones(1), jnp.array([2.0]), jnp.array([1.0]))
      >>> float(balancedness_drift(start._replace(c=jnp.array([2.0])), start))
      0.23076923076923078

    References:
      Derivation in docs/theory.md (I3).
    """
    model, start = require_ssm("model", model), require_ssm("start", start)
    scale = model.b**2 + model.c**2 + start.b**2 + start.c**2
    return relative_residual(balancedness(model), balancedness(start), scale)


def energy_residual(
    loss_rate: ScalarLike, velocity: DiagonalSSM, scale: DiagonalSSM
) -> Float[Array, ""]:
    r"""How far the rate of the loss is from $-\lVert\nabla L\rVert^2$ (I5).

    Args:
      loss_rate: the derivative of the loss along the velocity, for instance from `jax.jvp`.
      velocity: the velocity; entries of fixed parameters must be 0.
      scale: `velocity_scale` there.

    Returns:
      The residual, relative to $\sum_\theta \text{scale}_\theta\,|\dot\theta|$.

    Raises:
      ValueError: a malformed argument.

    Example:
      >>> one = DiagonalSSM(jnp.ones(1), jnp.ones(1), jnp.ones(1))
      >>> float(energy_residual(-3.0, one, one))
      0.0

    References:
      Derivation in docs/theory.md (I5).
    """
    velocity, scale = require_ssm("velocity", velocity), require_ssm("scale", scale)
    terms = [jnp.sum(s * jnp.abs(v)) for s, v in zip(scale, velocity, strict=True)]
    return relative_residual(
        as_float64("loss_rate", loss_rate, ndim=0), energy_rate(velocity), jnp.sum(jnp.stack(terms))
    )


def log_gap_residual(
    a: Float[AnyArray, " state"],
    gamma: Float[AnyArray, " lag"],
    velocity: Float[AnyArray, " state"],
    scale: Float[AnyArray, " state"],
) -> Float[Array, ""]:
    r"""How far neighbouring entries are from one scalar equation with $B = C = 1$ (I4).

    The gap of neighbours $i, j$ in descending order must move with
    $\dot a_i - \dot a_j = (a_i - a_j)\,r_{ij}$, $r_{ij}$ its `log_gap_rate`. Gaps that doubles do
    not resolve add nothing here: compare their rate with a simulated log-gap.

    Args:
      a: the diagonal of $A$.
      gamma: coefficients from `gamma_coefficients`.
      velocity: the velocities of `a`.
      scale: the entries `a` of `velocity_scale`.

    Returns:
      The residual, relative to the sum of the two scales.

    Raises:
      ValueError: shapes differ, or there are fewer than 2 entries.

    Example:
      >>> a, gamma = jnp.array([0.5, 0.25]), jnp.array([7.0, 2.0, 1.0])
      >>> velocity = 7.0 + 2.0 * a + a**2
      >>> float(log_gap_residual(a, gamma, velocity, velocity))
      0.0

    References:
      Derivation in docs/theory.md (I4).
    """
    a = as_float64("a", a, ndim=1)
    velocity = as_float64("velocity", velocity, ndim=1)
    scale = as_float64("scale", scale, ndim=1)
    if not a.shape == velocity.shape == scale.shape or a.shape[0] < 2:
        raise ValueError(
            f"a, velocity, scale have lengths {a.shape[0]}, {velocity.shape[0]}, "
            f"{scale.shape[0]}: give at least 2 entries, as many of each"
        )
    order = jnp.argsort(a, descending=True)
    a, velocity, scale = a[order], velocity[order], scale[order]
    rates = jax.vmap(lambda high, low: log_gap_rate(high, low, gamma))(a[:-1], a[1:])
    return relative_residual(
        velocity[:-1] - velocity[1:], (a[:-1] - a[1:]) * rates, scale[:-1] + scale[1:]
    )
