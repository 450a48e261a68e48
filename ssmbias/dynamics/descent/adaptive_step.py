"""The adaptive step of the paper's standalone experiments, as an optax transformation."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Int

from ssmbias.core.checks import require_number
from ssmbias.core.types import Array


class AdaptiveStepState(NamedTuple):
    """Number of updates so far and the running mean of gradient norms, without bias correction."""

    count: Int[Array, ""]
    mean_norm: Float[Array, ""]


def adaptive_step(
    base_step: float = 0.01, *, decay: float = 0.8, soft: float = 1e-6
) -> optax.GradientTransformationExtraArgs:
    r"""Gradient descent whose step shrinks with a running mean of gradient norms ("sgd*").

    With $G_k$ the sum of the norms of the parameters' gradients at step $k = 0, 1, \dots$,
    $$v_k = \beta v_{k-1} + (1-\beta) G_k, \qquad
      \eta_k = \frac{\eta}{\sqrt{v_k / (1-\beta^{k+1})} + \epsilon}, \qquad
      \theta_{k+1} = \theta_k - \eta_k \nabla L(\theta_k).$$
    Late in training $G \to 0$ and the step grows as $G^{-1/2}$ until the iterate oscillates:
    runs at a constant $\eta$ need not converge.

    Args:
      base_step: $\eta > 0$.
      decay: $\beta \in [0, 1)$.
      soft: $\epsilon > 0$, which bounds the step where gradients vanish.

    Returns:
      The transformation. Its `update` takes `gradient_norm=`, a value for $G_k$ in place of the
      sum over the leaves of the gradient: the paper's code counts the off-diagonal entries of
      $\partial L/\partial A$, which are not trained, as well.

    Raises:
      ValueError: a number is out of range.

    Example:
      >>> optimizer = adaptive_step(0.1)
      >>> gradient = {"a": jnp.array([4.0, 0.0])}
      >>> update, _ = optimizer.update(gradient, optimizer.init(gradient))
      >>> [round(float(x), 6) for x in update["a"]]
      [-0.2, -0.0]

    References:
      Slutzky et al. (2025), arXiv:2410.10473, experiments, and their published code.
    """
    base_step = require_number("base_step", base_step)
    decay = require_number("decay", decay)
    soft = require_number("soft", soft)
    if not base_step > 0:
        raise ValueError(f"base_step={base_step!r}: must be greater than 0")
    if not 0 <= decay < 1:
        raise ValueError(f"decay={decay!r}: must lie in [0, 1); the paper takes 0.8")
    if not soft > 0:
        raise ValueError(f"soft={soft!r}: must be greater than 0; the paper takes 1e-6")

    def init(params: Any) -> AdaptiveStepState:
        dtype = jnp.result_type(*jax.tree.leaves(params))
        return AdaptiveStepState(jnp.zeros((), jnp.int32), jnp.zeros((), dtype))

    def update(
        updates: Any,
        state: Any,
        params: Any = None,
        *,
        gradient_norm: Array | None = None,
        **_: Any,
    ) -> tuple[Any, AdaptiveStepState]:
        dtype = state.mean_norm.dtype
        if gradient_norm is None:
            gradient_norm = sum_of_norms(updates)
        mean = decay * state.mean_norm + (1.0 - decay) * jnp.asarray(gradient_norm, dtype)
        count = state.count + 1
        correction = 1.0 - jnp.asarray(decay, dtype) ** count.astype(dtype)
        step = base_step / (jnp.sqrt(mean / correction) + soft)
        scaled = jax.tree.map(lambda g: -step.astype(g.dtype) * g, updates)
        return scaled, AdaptiveStepState(count, mean)

    return optax.GradientTransformationExtraArgs(init, update)


def sum_of_norms(gradient: Any) -> Float[Array, ""]:
    """The sum of the Euclidean norms of a gradient's leaves."""
    norms = [jnp.sqrt(jnp.sum(leaf * leaf)) for leaf in jax.tree.leaves(gradient)]
    return jnp.sum(jnp.stack(norms))
