r"""Gradient descent with any optax optimiser: linear students by the closed gradient, and any loss.

Both functions are written for one run. Under `jax.vmap`, nested or not, the engine's batching rule
hands all runs to one loop as lanes, in chunks that fit a CPU's cache and stop on their own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ssmbias.core.types import Array, ScalarLike
from ssmbias.data import LagGram, gram_loss
from ssmbias.dynamics.descent import linear_gradient
from ssmbias.dynamics.descent.config import DescentConfig, require_config
from ssmbias.dynamics.descent.engine import run_one
from ssmbias.dynamics.descent.loop import DescentProblem, Gradient
from ssmbias.dynamics.descent.result import DescentResult, result_of
from ssmbias.dynamics.inputs import require_statistics
from ssmbias.models import DiagonalSSM, impulse_response
from ssmbias.models.ssm import require_ssm


def gradient_descent(
    start: DiagonalSSM,
    data: LagGram,
    optimizer: optax.GradientTransformation,
    *,
    step_size: ScalarLike = 1.0,
    optimizer_state: Any = None,
    config: DescentConfig | None = None,
) -> DescentResult:
    r"""Full-batch gradient descent of a linear student.

    At each step $k$ the loss $L(\theta_k) = (h^*-h)^\top G (h^*-h)$ is looked at first: a run
    whose loss is at most `loss_tol` has ended. Otherwise
    $\theta_{k+1} = \theta_k + s\,u_k$ with the optimiser's update $u_k$ and the factor $s$.

    Works under `jax.jit` and under nested `jax.vmap` over everything but `optimizer` and
    `config`; mapped runs share one loop. It has no derivative: for that use `gradient_flow`.

    Args:
      start: initial student.
      data: sufficient statistics of the training set (`ssmbias.data.lag_gram`); the poison
        strength enters here.
      optimizer: any optax transformation, such as `optax.sgd(1e-2)`, `optax.adam(1e-2)` or
        `adaptive_step(1e-2)`. Make it once: another one is compiled anew.
      step_size: factor $s > 0$ of every update; may be traced, unlike the optimiser's own (a
        traced one that is not positive ends as FAILED).
      optimizer_state: state to go on from, as in a result; `None` to start anew.
      config: tolerances, budgets, logging.

    Returns:
      The end of the run and the log.

    Raises:
      ValueError: a malformed student or training set, a step size that is not positive, an
        optimiser that is not one or whose state is another's.

    Example:
      >>> import optax
      >>> from ssmbias.data import theorem1_gram
      >>> from ssmbias.models import theorem1_student
      >>> student = theorem1_student(jnp.array([0.3, 0.2]))
      >>> config = DescentConfig(loss_tol=1e-12, trainable=("a",))
      >>> run = gradient_descent(student, theorem1_gram(2, 5, 0.0), optax.sgd(0.05), config=config)
      >>> bool(run.converged), f"{float(jnp.sum(run.model.a**4)):.5f}"
      (True, '1.00000')

    References:
      Slutzky et al. (2025), arXiv:2410.10473, experiments; identities I1 and I6 in
      docs/theory.md.
    """
    config = require_config(config)
    if not isinstance(start, DiagonalSSM):
        raise ValueError(f"start={start!r}: expected a ssmbias.models.DiagonalSSM(a, b, c)")
    start = require_ssm("start", start)
    data = require_statistics(data)
    problem = _linear_problem(config.trainable, config.full_gradient_norm)
    params = {name: getattr(start, name) for name in config.trainable}
    fixed = DiagonalSSM(*_untrained(start, config.trainable))
    run = run_one(problem, params, (fixed, data), optimizer, step_size, optimizer_state, config)
    return result_of(run, config, lambda theta: _merge(theta, fixed))


def descend(
    loss: Callable[[Any, Any], Array],
    params: Any,
    data: Any,
    optimizer: optax.GradientTransformation,
    *,
    step_size: ScalarLike = 1.0,
    optimizer_state: Any = None,
    observe: Callable[[Any, Any], Any] | None = None,
    config: DescentConfig | None = None,
) -> DescentResult:
    """Full-batch gradient descent of any loss, by automatic differentiation.

    The same loop as `gradient_descent`: early stopping at `loss_tol`, two phases, a log, lanes
    under `jax.vmap`. Works in the precision of the parameters.

    Args:
      loss: (parameters, data) -> loss, for one run. Define it once, outside of loops: another
        function is compiled anew. What differs between runs belongs into `data`.
      params: pytree of arrays.
      data: pytree of arrays.
      optimizer: any optax transformation.
      step_size: factor of every update; may be traced.
      optimizer_state: state to go on from; `None` to start anew.
      observe: (parameters, data) -> pytree to be logged; `None` logs the parameters.
      config: tolerances, budgets, logging; `trainable` and `full_gradient_norm` do not apply.

    Returns:
      The end of the run and the log.

    Raises:
      ValueError: a step size that is not positive, an optimiser that is not one or whose state is
        another's, a loss that is no function, no parameters or integer ones.

    Example:
      >>> import optax
      >>> def loss(params, data):
      ...     return jnp.sum((params - data) ** 2)
      >>> config = DescentConfig(loss_tol=1e-8)
      >>> run = descend(loss, jnp.zeros(2), jnp.ones(2), optax.sgd(0.25), config=config)
      >>> int(run.steps_to_tol), float(run.loss) <= 1e-8
      (14, True)
    """
    for name, function in (("loss", loss), ("observe", observe)):
        if not callable(function) and not (name == "observe" and function is None):
            raise ValueError(f"{name}={function!r}: expected a function (parameters, data) -> ...")
    kinds = {jnp.result_type(leaf) for leaf in jax.tree.leaves(params)}
    if not kinds:
        raise ValueError("params: holds no array")
    for kind in kinds:
        if not jnp.issubdtype(kind, jnp.floating):
            raise ValueError(f"params: holds {kind}; convert every array to a floating-point type")
    value = jax.eval_shape(loss, params, data)
    if getattr(value, "shape", None) != () or not jnp.issubdtype(value.dtype, jnp.floating):
        raise ValueError(f"loss: returns {value}; it must be one floating-point number")
    return descend_problem(
        general_problem(loss, observe),
        params,
        data,
        optimizer,
        step_size=step_size,
        optimizer_state=optimizer_state,
        config=config,
    )


def descend_problem(
    problem: DescentProblem,
    params: Any,
    data: Any,
    optimizer: optax.GradientTransformation,
    *,
    step_size: ScalarLike = 1.0,
    optimizer_state: Any = None,
    config: DescentConfig | None = None,
) -> DescentResult:
    """`descend` for a problem with a gradient or a projection of its own (`general_problem`)."""
    config = require_config(config)
    run = run_one(problem, params, data, optimizer, step_size, optimizer_state, config)
    return result_of(run, config, lambda theta: theta)


@functools.lru_cache(maxsize=256)
def general_problem(
    loss: Callable[[Any, Any], Array],
    observe: Callable[[Any, Any], Any] | None = None,
    gradient: Callable[[Any, Any], Gradient] | None = None,
    project: Callable[[Any], Any] | None = None,
) -> DescentProblem:
    """The loop's view of functions of one run: lanes first, as matrix products want them."""

    def by_autodiff(params: Any, data: Any) -> Gradient:
        return Gradient(*jax.value_and_grad(loss)(params, data))

    def observed(params: Any, data: Any) -> tuple[Any, Array]:
        return (params if observe is None else observe(params, data)), loss(params, data)

    return DescentProblem(
        gradient=jax.vmap(gradient or by_autodiff),
        loss=jax.vmap(loss),
        loss_of_one=loss,
        observe=jax.vmap(observed),
        project=project and jax.vmap(project),
        lane_axis=0,
    )


@functools.lru_cache(maxsize=64)
def _linear_problem(trainable: tuple[str, ...], full_norm: bool) -> DescentProblem:
    def gradient(params: Any, data: Any) -> Gradient:
        fixed, gram = data
        return linear_gradient.gradient(_merge(params, fixed), gram, trainable, full_norm)

    def loss(params: Any, data: Any) -> Array:
        fixed, gram = data
        return linear_gradient.loss(_merge(params, fixed), gram)

    def loss_of_one(params: Any, data: Any) -> Array:
        # In plain operations, since line searches differentiate it.
        fixed, gram = data
        return gram_loss(impulse_response(_merge(params, fixed), gram.response.shape[0]), gram)

    return DescentProblem(
        gradient=gradient,
        loss=loss,
        loss_of_one=loss_of_one,
        observe=lambda params, data: (_merge(params, data[0]), loss(params, data)),
    )


def _untrained(model: DiagonalSSM, trainable: tuple[str, ...]) -> list[Any]:
    """The leaves that stay; `None` in place of the others."""
    return [None if name in trainable else getattr(model, name) for name in DiagonalSSM._fields]


def _merge(params: dict[str, Array], fixed: DiagonalSSM) -> DiagonalSSM:
    leaves: list[Any] = [params.get(name, getattr(fixed, name)) for name in DiagonalSSM._fields]
    return DiagonalSSM(*leaves)
