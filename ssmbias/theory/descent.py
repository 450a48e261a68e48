r"""Prediction M7: what gradient descent adds to gradient flow, and how far it still has to go.

Descent with step $\eta$, $\theta_{k+1} = \theta_k - \eta\nabla L(\theta_k)$, is Euler's method for
the flow. Its first-order difference from the flow is known: to second order in $\eta$ it is the
flow of the loss $L + \frac{\eta}{4}\lVert\nabla L\rVert^2$. Some statements about the flow have an
exact counterpart (balancedness shrinks by a known factor at each step), others one that is better
by an order (the energy).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ssmbias.core.checks import (
    as_float64,
    require_choice,
    require_int,
    require_nonnegative,
    require_positive,
)
from ssmbias.core.types import AnyArray, Array, ScalarLike
from ssmbias.data.lag_gram import LagGram, gram_loss
from ssmbias.data.sequences import TrainingSet
from ssmbias.models.ssm import DiagonalSSM, impulse_response, require_ssm
from ssmbias.theory.identities import omega_coefficients
from ssmbias.theory.invariants import energy_rate

_State = tuple[DiagonalSSM, DiagonalSSM]
_STAGES = np.array([[0.0, 1 / 6], [0.5, 1 / 3], [0.5, 1 / 3], [1.0, 1 / 6]])
"""The classical method: how far along the last rate a stage looks, and the weight of its own."""


class DescentExpansion(NamedTuple):
    r"""Descent to first order in its step, $\theta_k = \theta(t) + \eta\,e(t)$ at $t = \eta k$.

    Attributes:
      time: physical times, evenly spaced from 0.
      flow: the flow $\theta(t)$.
      correction: the difference $e(t)$ per unit of step, 0 at the start.
    """

    time: Float[Array, " time"]
    flow: DiagonalSSM
    correction: DiagonalSSM


def descent_expansion(
    start: DiagonalSSM,
    data: LagGram,
    duration: ScalarLike,
    *,
    num_steps: int = 512,
    trainable: Sequence[str] = ("a", "b", "c"),
) -> DescentExpansion:
    r"""Where descent is at equal time, to first order in its step.

    $$\theta_k = \theta(\eta k) + \eta\,e(\eta k) + O(\eta^2), \qquad
      \dot e = -\nabla^2L(\theta)\,\bigl(e + \tfrac12\nabla L(\theta)\bigr), \qquad e(0) = 0,$$
    along the flow $\dot\theta = -\nabla L$. Both are integrated together by the classical
    Runge-Kutta method of order four, whose step $h$ must resolve the flow: with $H$ the largest
    eigenvalue of $\nabla^2L$ on the way the error is of the order of $(hH)^4/120$, relative to
    the distance covered.

    Args:
      start: the student at the start.
      data: sufficient statistics of the training set.
      duration: physical time $t$ at the end, $> 0$; may be traced.
      num_steps: number of Runge-Kutta steps.
      trainable: which of "a", "b", "c" descend.

    Returns:
      Flow and correction at `num_steps + 1` times.

    Raises:
      ValueError: a malformed argument, or `trainable` is empty or names something else.

    Example:
      >>> from ssmbias.data import theorem1_gram
      >>> from ssmbias.models import theorem1_student
      >>> start, data = theorem1_student(jnp.array([0.5, 0.2])), theorem1_gram(2, 5, 1.0)
      >>> path = descent_expansion(start, data, 0.5, num_steps=32, trainable=("a",))
      >>> from ssmbias.theory import theorem1_velocity
      >>> descent, step = start.a, 0.5 / 100
      >>> for _ in range(100):
      ...     descent = descent + step * theorem1_velocity(descent, 5, 1.0)
      >>> difference = (descent - path.flow.a[-1]) / step
      >>> bool(jnp.allclose(difference, path.correction.a[-1], rtol=0.05))
      True

    References:
      Barrett and Dherin (2021), arXiv:2009.11162; derivation in docs/theory.md (M7).
    """
    start = require_ssm("start", start)
    duration = as_float64("duration", duration, ndim=0)
    require_positive("duration", duration)
    num_steps = require_int("num_steps", num_steps, minimum=1)
    names = [require_choice("trainable", name, DiagonalSSM._fields) for name in trainable]
    if not names:
        raise ValueError("trainable=(): name at least one of a, b, c")
    step = duration / num_steps

    def loss(model: DiagonalSSM) -> Array:
        return gram_loss(impulse_response(model, data.response.shape[0]), data)

    def velocity(model: DiagonalSSM) -> DiagonalSSM:
        slope = jax.grad(loss)(model)
        still = jnp.zeros_like(start.a)
        return DiagonalSSM(*(-getattr(slope, n) if n in names else still for n in slope._fields))

    def rates(state: _State) -> _State:
        model, correction = state
        speed, derivative = jax.linearize(velocity, model)
        return speed, derivative(_plus(correction, -0.5, speed))

    def runge_kutta(state: _State, _: None) -> tuple[_State, _State]:
        def stage(carry: tuple[_State, _State], coefficients: Array) -> tuple[Any, None]:
            last, mean = carry
            reach, weight = coefficients
            rate = rates(_plus(state, reach * step, last))
            return (rate, _plus(mean, weight, rate)), None

        zero = jax.tree.map(jnp.zeros_like, state)
        # A loop, so that the rates are compiled once and not for each of the four stages.
        (_, mean), _ = jax.lax.scan(stage, (zero, zero), jnp.asarray(_STAGES))
        state = _plus(state, step, mean)
        return state, state

    zero = jax.tree.map(jnp.zeros_like, start)
    _, later = jax.lax.scan(runge_kutta, (start, zero), None, length=num_steps)
    flow, correction = jax.tree.map(
        lambda x, y: jnp.concatenate([x[None], y]), (start, zero), later
    )
    return DescentExpansion(step * jnp.arange(num_steps + 1.0), flow, correction)


def balancedness_factor(
    model: DiagonalSSM,
    training_set: TrainingSet,
    targets: Float[AnyArray, " sample"],
    step_size: ScalarLike,
) -> Float[Array, " state"]:
    r"""The factor by which a step of descent multiplies $b_j^2 - c_j^2$, exactly.

    With $g(z) = \sum_l\omega_l z^l$ as in Proposition 1,
    $$b_j^2 - c_j^2 \;\to\; \bigl(1 - \eta^2 g(a_j)^2\bigr)\,\bigl(b_j^2 - c_j^2\bigr).$$
    What the flow conserves, descent with $\eta\,|g(a_j)| < \sqrt2$ brings closer to 0; over a
    given time the change is of first order in $\eta$.

    Args:
      model: the student before the step, with $b$ and $c$ both trained.
      training_set: sequences and weights.
      targets: the labels.
      step_size: the step $\eta > 0$.

    Returns:
      One number a state.

    Raises:
      ValueError: a malformed model or training set, not one target a sequence, or a step that
        is not positive.

    Example:
      >>> from ssmbias.data import theorem1_training_set
      >>> model = DiagonalSSM(jnp.array([0.5]), jnp.array([2.0]), jnp.array([1.0]))
      >>> balancedness_factor(model, theorem1_training_set(4, 1.0), jnp.ones(2), 0.5).tolist()
      [0.997802734375]

    References:
      Derivation in docs/theory.md (I3).
    """
    step_size = as_float64("step_size", step_size, ndim=0)
    require_positive("step_size", step_size)
    omega = omega_coefficients(model, training_set, targets)
    return 1.0 - (step_size * jnp.polyval(omega[::-1], require_ssm("model", model).a)) ** 2


def descent_energy_rate(velocity: DiagonalSSM, next_velocity: DiagonalSSM) -> Float[Array, ""]:
    r"""The loss's change over a step of descent, per unit of time, to second order in the step.

    $$\frac{L(\theta_{k+1}) - L(\theta_k)}{\eta}
      = -\tfrac34\lVert\nabla L(\theta_k)\rVert^2 - \tfrac14\lVert\nabla L(\theta_{k+1})\rVert^2
        + O(\eta^2).$$
    The first term alone, with the factor 1, is right to first order (I5).

    Args:
      velocity: $-\nabla L$ before the step; entries of fixed parameters must be 0.
      next_velocity: the same after it.

    Returns:
      A number $\le 0$.

    Raises:
      ValueError: a malformed velocity.

    Example:
      >>> ones, zeros = jnp.ones(2), jnp.zeros(2)
      >>> before = DiagonalSSM(2.0 * ones, zeros, zeros)
      >>> float(descent_energy_rate(before, DiagonalSSM(ones, zeros, zeros)))
      -6.5

    References:
      Derivation in docs/theory.md (I5).
    """
    return 0.75 * energy_rate(velocity) + 0.25 * energy_rate(next_velocity)


def distance_bound(loss: ScalarLike, rate: ScalarLike) -> Float[Array, ""]:
    r"""How far the flow can be from its end at most, $\sqrt{2L/\lambda}$.

    $\lambda$ is the smallest eigenvalue of the tangent kernel on what is left of the path, so
    that $\lVert\nabla L\rVert^2 \ge 2\lambda L$ there. It bounds the length of that path, hence
    $\lVert\theta(\infty) - \theta(t)\rVert$. The constant cannot be improved: with one training
    sequence the two become equal near the end.

    Args:
      loss: the loss $L \ge 0$ now.
      rate: $\lambda \ge 0$, as from `local_rate`.

    Returns:
      The bound; `inf` for a rate of 0.

    Raises:
      ValueError: a number is negative or not finite.

    Example:
      >>> float(distance_bound(0.02, 4.0))
      0.1

    References:
      Derivation in docs/theory.md (M7).
    """
    loss = as_float64("loss", loss, ndim=0)
    rate = as_float64("rate", rate, ndim=0)
    require_nonnegative("loss", loss)
    require_nonnegative("rate", rate)
    bound = jnp.sqrt(2.0 * loss / jnp.where(rate > 0, rate, 1.0))
    return jnp.where(rate > 0, bound, jnp.inf)


def _plus(tree, factor, other):
    """Add a multiple of one tree to another, leaf by leaf."""
    return jax.tree.map(lambda x, y: x + factor * y, tree, other)
