r"""Gradient flow of a linear student for any trainable subset of (a, b, c), by diffrax.

The clock of the solver is s with ds = R(θ) dt, R a smooth bound of the loss's curvature
(`coordinates.curvature_scale`), and physical time is a state: a plateau of length 1e13 and a
transition of width 1e-1 then take steps of like size. The solver is Kvaerno5, implicit and
L-stable, because poison makes the flow stiff.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ssmbias.core.checks import is_concrete
from ssmbias.core.types import AnyArray, Array
from ssmbias.data import LagGram
from ssmbias.dynamics.flow import coordinates
from ssmbias.dynamics.flow.coordinates import GapFrame, GapState
from ssmbias.dynamics.flow.result import FlowConfig, FlowResult
from ssmbias.dynamics.flow.run import FlowProblem, FlowState, model_of, run_flow
from ssmbias.dynamics.inputs import as_log_gaps, as_save_times, require_statistics
from ssmbias.dynamics.trajectory import Outcome, Trajectory
from ssmbias.models import DiagonalSSM
from ssmbias.models.ssm import require_ssm

_RESOLVED = float(np.sqrt(np.finfo(np.float64).eps))


def gradient_flow(
    start: DiagonalSSM,
    data: LagGram,
    *,
    log_gaps: Float[AnyArray, " gap"] | None = None,
    save_times: Float[AnyArray, " time"] | None = None,
    config: FlowConfig | None = None,
) -> FlowResult:
    r"""Gradient flow $\dot\theta = -\nabla L(\theta)$ of a linear student.

    With $\omega = 2G(h^*-h)$ and $g(z) = \sum_l \omega_l z^l$ (lag Gram matrix $G$, responses
    $h^*$ and $h$), the trained ones among $\dot a_j = b_j c_j g'(a_j)$, $\dot b_j = c_j g(a_j)$,
    $\dot c_j = b_j g(a_j)$ are integrated until the loss is at most `loss_tol`, the gradient is
    at the rounding level of its own terms (a stall), the horizon is reached, or the steps are
    spent; the `Outcome` says which.

    Works under `jax.jit`, `jax.vmap` and `jax.grad`. Poison strength enters through `data`.

    Args:
      start: initial student, entries in any order.
      data: sufficient statistics of the training set (`ssmbias.data.lag_gram`).
      log_gaps: logarithms of the differences of consecutive entries of `start.a` in descending
        order, where these are too small to be stored; -inf is an exact tie. The smallest entry
        is taken from `start.a`. Only with log-gap coordinates (see `FlowConfig`).
      save_times: physical times at which states are saved, ascending.
      config: trained leaves, tolerances, budgets.

    Returns:
      The end of the run; arrays in the order of `start`.

    Raises:
      ValueError: shapes or values are wrong; entries are nearly tied and cannot be followed in
        the coordinates that the trained leaves allow; products b_j c_j differ where log-gaps
        were asked for.

    Example:
      >>> from ssmbias.data import theorem1_gram
      >>> from ssmbias.models import theorem1_student
      >>> student = theorem1_student(jnp.array([0.3, 0.2]))
      >>> run = gradient_flow(student, theorem1_gram(2, 5, 0.0))
      >>> bool(run.converged), f"{float(jnp.sum(run.model.a**4)):.10f}"
      (True, '1.0000000000')

    References:
      Slutzky et al. (2025), arXiv:2410.10473, Proposition 1; identities I1, I4 and I6 in
      docs/theory.md.
    """
    config = config or FlowConfig()
    start = require_ssm("start", start)
    data = require_statistics(data)
    times = None if save_times is None else as_save_times(save_times)
    order = jnp.argsort(-start.a)
    inverse = jnp.argsort(order)
    descending = DiagonalSSM(*(x[order] for x in start))
    if config.uses_gaps:
        frame, theta = _gap_coordinates(descending, log_gaps)
        near_tie = jnp.zeros((), bool)
    else:
        if log_gaps is not None:
            raise ValueError(
                "log_gaps: only usable where 'a' alone is trained and follow_gaps is not False; "
                f"trainable={config.trainable!r}, follow_gaps={config.follow_gaps!r}"
            )
        apart = _separations(descending)
        near_tie = jnp.any((apart > 0) & (apart < _RESOLVED))
        _refuse_near_ties(apart, config)
        frame = descending
        theta = {leaf: getattr(descending, leaf) for leaf in config.trainable}
    scale = jnp.max(jnp.stack([jnp.max(jnp.abs(getattr(descending, x))) for x in config.trainable]))
    atol = jnp.maximum(config.atol * scale, 1e-290)
    problem = FlowProblem(data, frame, atol)
    final, outcome, num_steps, saved = run_flow(
        problem, FlowState(theta, jnp.zeros(())), times, config
    )
    # Traced values could not be looked at on the way in.
    product = descending.b * descending.c
    valid = jnp.all(product == product[0]) if config.uses_gaps else ~near_tie
    outcome = jnp.where(valid, outcome, jnp.int32(Outcome.FAILED))
    model = model_of(final.theta, frame)
    trajectory = None
    if saved is not None:
        assert times is not None
        trajectory = _trajectory(saved, problem, times, final.time, inverse)
    return FlowResult(
        model=DiagonalSSM(*(x[inverse] for x in model)),
        loss=coordinates.loss(model, data),
        outcome=outcome,
        time=final.time,
        num_steps=num_steps,
        trajectory=trajectory,
    )


def _gap_coordinates(
    descending: DiagonalSSM, log_gaps: AnyArray | None
) -> tuple[GapFrame, GapState]:
    """Log-gap coordinates of a student whose products b_j c_j all agree."""
    product = descending.b * descending.c
    if is_concrete(product) and not bool(np.all(np.asarray(product) == np.asarray(product)[0])):
        raise ValueError(
            f"start: the products b_j c_j = {np.asarray(product)} differ, so entries may cross "
            "and log-gaps cannot be followed; pass FlowConfig(follow_gaps=False)"
        )
    num_gaps = descending.a.shape[0] - 1
    if log_gaps is None:
        logs = jnp.log(descending.a[:-1] - descending.a[1:])
    else:
        logs = as_log_gaps(log_gaps)
        if logs.shape != (num_gaps,):
            raise ValueError(f"log_gaps has shape {logs.shape}: expected ({num_gaps},)")
    frame = GapFrame(logs, descending.b, descending.c)
    return frame, GapState(descending.a[-1], jnp.ones(num_gaps))


def _separations(descending: DiagonalSSM) -> Float[Array, " gap"]:
    """How far neighbouring states are apart: the largest relative difference of their entries."""
    apart = []
    for leaf in descending:
        size = jnp.maximum(jnp.abs(leaf[:-1]), jnp.abs(leaf[1:]))
        apart.append(jnp.abs(leaf[:-1] - leaf[1:]) / jnp.maximum(size, 1e-290))
    return jnp.max(jnp.stack(apart), axis=0)


def _refuse_near_ties(apart: Float[Array, " gap"], config: FlowConfig) -> None:
    """Refuse starts in which two states differ by less than half of a double's digits.

    Rounding perturbs a gap by eps relative to the entry, and the flow amplifies both alike: a
    relative gap below sqrt(eps) = 1.5e-8 would be known to fewer than eight digits at the end.
    States that agree exactly stay together and are fine.
    """
    if not is_concrete(apart):
        return
    distance = np.asarray(apart)
    close = np.flatnonzero((distance > 0) & (distance < _RESOLVED))
    if close.size:
        j = int(close[0])
        raise ValueError(
            f"start: entries {j + 1} and {j + 2} in descending order differ by "
            f"{distance[j]:.1e} relative, less than {_RESOLVED:.1e}, and trainable="
            f"{config.trainable!r} cannot follow log-gaps; train 'a' alone with equal products "
            "b_j c_j, tie the entries exactly, or move them further apart"
        )


def _trajectory(
    saved: FlowState, problem: FlowProblem, times: Array, end: Array, inverse: Array
) -> Trajectory:
    """Observables at the saved states, in the order of the start."""
    frame = problem.frame

    def observe(theta: Any) -> tuple[DiagonalSSM, Array, Array, Array]:
        model = model_of(theta, frame)
        gamma = coordinates.force(model, problem.data).gamma
        gaps = model.a[:-1] - model.a[1:]
        if isinstance(frame, GapFrame):
            gaps = coordinates.gaps(theta, frame)
        return model, coordinates.loss(model, problem.data), gamma, gaps

    model, loss, gamma, gaps = jax.vmap(observe)(saved.theta)
    a, b, c = (x[:, inverse] for x in model)
    return Trajectory(times, loss, a, b, c, gamma, gaps, times <= end)
