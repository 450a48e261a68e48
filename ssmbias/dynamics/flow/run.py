r"""One flow by diffrax: the field on the curvature clock, when it is over, and saved times."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import optimistix as optx

from ssmbias.core.types import Array
from ssmbias.data import LagGram
from ssmbias.dynamics.flow import coordinates
from ssmbias.dynamics.flow.coordinates import GapFrame
from ssmbias.dynamics.flow.result import NO_HORIZON, FlowConfig
from ssmbias.dynamics.trajectory import Outcome
from ssmbias.models import DiagonalSSM

# Chord iterations with a Jacobian for each step. Diffrax's default (one Jacobian for the whole
# step, few iterations) gives up at these tolerances and halves the step twenty times as often.
_SOLVER = diffrax.Kvaerno5(root_finder=diffrax.with_stepsize_controller_tols(optx.Chord)())
# Landings repeat part of a step of the run, often a stiff one. The Cauchy criterion asks that an
# iteration change nothing beyond the tolerance, which for a stiff step is below rounding, and
# can then reject step after step. The rate of convergence is a criterion that can be met.
_LANDING_SOLVER = diffrax.Kvaerno5(
    root_finder=diffrax.with_stepsize_controller_tols(optx.Chord)(cauchy_termination=False)
)
_EXPLICIT_SOLVER = diffrax.Tsit5()


class FlowProblem(NamedTuple):
    """What every callback of the solver sees: the data, and what does not move."""

    data: LagGram
    frame: GapFrame | DiagonalSSM
    atol: Array


class FlowState(NamedTuple):
    """Moving coordinates (gap coordinates, or the trained leaves by name) and physical time."""

    theta: Any
    time: Array


def model_of(theta: Any, frame: GapFrame | DiagonalSSM) -> DiagonalSSM:
    """The student at some coordinates."""
    if isinstance(frame, GapFrame):
        return DiagonalSSM(coordinates.entries(theta, frame), frame.b, frame.c)
    return frame._replace(**theta)


def _rate(
    model: DiagonalSSM,
    frame: GapFrame | DiagonalSSM,
    at: coordinates.Force,
    trainable: tuple[str, ...],
) -> Any:
    """dθ/dt in the moving coordinates under a force."""
    if isinstance(frame, GapFrame):
        return coordinates.gap_velocity(model.a, frame, at)
    return coordinates.velocity(model, at, trainable)


def _is_stalled(state: FlowState, problem: FlowProblem, trainable: tuple[str, ...]) -> Array:
    """Whether every coordinate's rate is at the rounding level of its own terms."""
    frame, data = problem.frame, problem.data
    model = model_of(state.theta, frame)
    rate = _rate(model, frame, coordinates.force(model, data), trainable)
    magnitude = DiagonalSSM(*map(jnp.abs, model))
    sizes = jax.tree.map(lambda x: jnp.abs(x) if x.ndim else x, frame)
    if isinstance(frame, GapFrame):
        sizes = frame._replace(b=jnp.abs(frame.b), c=jnp.abs(frame.c))
    noise = _rate(magnitude, sizes, coordinates.force_rounding(model, data), trainable)
    quiet = jax.tree.map(lambda r, n: jnp.all(jnp.abs(r) <= jnp.abs(n)), rate, noise)
    return jnp.all(jnp.stack(jax.tree.leaves(quiet)))


def _solve(
    problem: FlowProblem, start: FlowState, config: FlowConfig, keep_steps: bool
) -> diffrax.Solution:
    """Run on the curvature clock until an event; the end and, if asked, all steps are saved."""
    trainable = config.trainable

    def field(s: Any, state: FlowState, problem: FlowProblem) -> FlowState:
        model = model_of(state.theta, problem.frame)
        at = coordinates.force(model, problem.data)
        clock = coordinates.curvature_scale(model, at, problem.data, trainable)
        clock = jnp.maximum(clock, 1e-290)
        rate = _rate(model, problem.frame, at, trainable)
        return FlowState(jax.tree.map(lambda r: r / clock, rate), 1.0 / clock)

    def is_over(s: Any, state: FlowState, problem: FlowProblem, **_: Any) -> Array:
        loss = coordinates.loss(model_of(state.theta, problem.frame), problem.data)
        over = (loss <= config.loss_tol) | ~jnp.isfinite(loss) | (state.time >= config.horizon)
        return over | _is_stalled(state, problem, trainable)

    return diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        _SOLVER if config.stiff else _EXPLICIT_SOLVER,
        t0=0.0,
        t1=1e300,
        dt0=1e-3,
        y0=start,
        args=problem,
        saveat=diffrax.SaveAt(
            subs=[diffrax.SubSaveAt(t1=True)]
            + [diffrax.SubSaveAt(t0=True, steps=True)] * keep_steps
        ),
        stepsize_controller=diffrax.PIDController(rtol=config.rtol, atol=problem.atol),
        event=diffrax.Event(is_over),
        max_steps=config.max_steps,
        throw=False,
    )


def _land(
    problem: FlowProblem, steps: FlowState, time: Array, end: Array, config: FlowConfig
) -> FlowState:
    """The state at a physical time: from the last accepted step before it, integrate over.

    An accepted step is longer than what is left to go, so this costs a step or two and has the
    accuracy of the run itself, which interpolation between steps would not.
    """
    index = jnp.clip(jnp.searchsorted(steps.time, time, side="right") - 1, 0, None)
    left = jax.tree.map(lambda x: x[index], steps)
    duration = jnp.where(time < end, time - left.time, 0.0)
    trainable = config.trainable

    def field(x: Any, theta: Any, args: tuple[FlowProblem, Array]) -> Any:
        problem, duration = args
        model = model_of(theta, problem.frame)
        rate = _rate(model, problem.frame, coordinates.force(model, problem.data), trainable)
        return jax.tree.map(lambda r: r * duration, rate)

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        _LANDING_SOLVER if config.stiff else _EXPLICIT_SOLVER,
        t0=0.0,
        t1=1.0,
        dt0=1.0,
        y0=left.theta,
        args=(problem, duration),
        stepsize_controller=diffrax.PIDController(rtol=config.rtol, atol=problem.atol),
        max_steps=256,
        throw=False,
    )
    assert solution.ys is not None
    landed = solution.result == diffrax.RESULTS.successful
    theta = jax.tree.map(lambda x: jnp.where(landed, x[-1], jnp.nan), solution.ys)
    return FlowState(theta, left.time + duration)


@functools.partial(jax.jit, static_argnames=("config",))
def run_flow(
    problem: FlowProblem, start: FlowState, save_times: Array | None, config: FlowConfig
) -> tuple[FlowState, Array, Array, FlowState | None]:
    """Final state, outcome, number of steps and the states at the saved times."""
    # All steps are kept (max_steps states for each run) only where states in between are wanted.
    keep_steps = save_times is not None or config.horizon < NO_HORIZON
    solution = _solve(problem, start, config, keep_steps)
    assert solution.ys is not None
    final: FlowState = jax.tree.map(lambda x: x[-1], solution.ys[0])
    end = final.time
    landed = None
    if keep_steps:
        # One batch of landings for the saved times and the horizon: one solver to compile.
        wanted = jnp.minimum(end, config.horizon)[None]
        if save_times is not None:
            wanted = jnp.concatenate([jnp.minimum(save_times, wanted), wanted])
        steps = solution.ys[1]
        land = jax.vmap(lambda time: _land(problem, steps, time, end, config))
        landed = land(wanted)
        late = end > config.horizon
        final = jax.tree.map(lambda x, y: jnp.where(late, x[-1], y), landed, final)
    model = model_of(final.theta, problem.frame)
    loss = coordinates.loss(model, problem.data)
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves((final, loss))]))
    spent = solution.result == diffrax.RESULTS.max_steps_reached
    ended = solution.result == diffrax.RESULTS.event_occurred
    outcome = jnp.where(spent, int(Outcome.MAX_STEPS), int(Outcome.FAILED))
    outcome = jnp.where(ended, int(Outcome.STALLED), outcome)
    outcome = jnp.where(ended & (end >= config.horizon), int(Outcome.HORIZON), outcome)
    outcome = jnp.where(ended & (loss <= config.loss_tol), int(Outcome.CONVERGED), outcome)
    outcome = jnp.where(finite, outcome, int(Outcome.FAILED)).astype(jnp.int32)
    saved = None
    if save_times is not None:
        # Beyond the end the final state is repeated.
        beyond = save_times >= final.time
        saved = jax.tree.map(
            lambda x, y: jnp.where(beyond.reshape(-1, *(1,) * (y.ndim - 1)), y, x[:-1]),
            landed,
            jax.tree.map(lambda y: y[None], final),
        )
    return final, outcome, solution.stats["num_steps"], saved
