r"""Gradient flow of a linear student for any trainable subset of (a, b, c), by diffrax.

The clock of the solver is s with ds = R(θ) dt, R a smooth bound of the loss's curvature
(`coordinates.curvature_scale`), and physical time is a state: a plateau of length 1e13 and a
transition of width 1e-1 then take steps of like size. The solver is Kvaerno5, implicit and
L-stable, because poison makes the flow stiff.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Bool, Float, Int

from ssmbias.core.checks import is_concrete, require_int
from ssmbias.core.display import displayed
from ssmbias.core.types import AnyArray, Array
from ssmbias.data import LagGram
from ssmbias.dynamics.flow import coordinates
from ssmbias.dynamics.flow.coordinates import GapFrame, GapState
from ssmbias.dynamics.inputs import as_log_gaps, as_save_times, require_statistics
from ssmbias.dynamics.trajectory import Outcome, Trajectory
from ssmbias.models import DiagonalSSM
from ssmbias.models.ssm import require_ssm

_EPS = float(np.finfo(np.float64).eps)
_LEAVES = ("a", "b", "c")
_RESOLVED = float(np.sqrt(_EPS))
_NO_HORIZON = 1e18
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


@dataclass(frozen=True)
class FlowConfig:
    """Static choices of `gradient_flow`.

    Attributes:
      trainable: which of "a", "b", "c" move; the others stay as they start.
      follow_gaps: integrate log-gaps instead of entries; possible where only "a" is trained and
        all products b_j c_j agree. `None` does so exactly when `trainable` is ("a",).
      rtol: relative tolerance of one step; for gaps it is relative to the gap itself.
      atol: absolute tolerance in units of the largest trained entry of the start.
      loss_tol: the run has converged when the loss is at most this.
      horizon: physical time at which the run is stopped at the latest.
      max_steps: number of steps after which the run is stopped.
      stiff: take the implicit solver, which strong poison, small starts and long times call for.
        Otherwise an explicit one (Tsit5), whose steps the largest curvature bounds, but which
        compiles several times faster.
    """

    trainable: tuple[str, ...] = ("a",)
    follow_gaps: bool | None = None
    rtol: float = 1e-12
    atol: float = 1e-12
    loss_tol: float = 1e-26
    horizon: float = _NO_HORIZON
    max_steps: int = 16_384
    stiff: bool = True

    def __post_init__(self) -> None:
        """Refuse contradictory or impossible choices."""
        unknown = [leaf for leaf in self.trainable if leaf not in _LEAVES]
        if (
            not isinstance(self.trainable, tuple)
            or unknown
            or not self.trainable
            or len(set(self.trainable)) != len(self.trainable)
        ):
            raise ValueError(
                f"trainable={self.trainable!r}: name some of 'a', 'b', 'c', each once, "
                "as a tuple such as ('a',)"
            )
        if self.follow_gaps and self.trainable != ("a",):
            raise ValueError(
                f"follow_gaps=True with trainable={self.trainable!r}: log-gaps close on "
                "themselves only where 'a' alone is trained; leave follow_gaps unset"
            )
        for name in ("rtol", "atol", "loss_tol", "horizon"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)!r}: must be greater than 0")
        require_int("max_steps", self.max_steps, minimum=1)

    @property
    def uses_gaps(self) -> bool:
        """Whether log-gaps are the coordinates."""
        return self.trainable == ("a",) if self.follow_gaps is None else self.follow_gaps


@displayed(outcome=Outcome)
class FlowResult(NamedTuple):
    """Where a flow ended, and why.

    Attributes:
      model: final student, entries in the order of the start.
      loss: final training loss.
      outcome: an `Outcome` code.
      time: physical time at the end.
      num_steps: steps of the solver, rejected ones included.
      trajectory: states at `save_times`, or `None`.
    """

    model: DiagonalSSM
    loss: Float[Array, ""]
    outcome: Int[Array, ""]
    time: Float[Array, ""]
    num_steps: Int[Array, ""]
    trajectory: Trajectory | None

    @property
    def converged(self) -> Bool[Array, "..."]:
        """Whether the run ended at the loss tolerance."""
        return self.outcome == Outcome.CONVERGED


class _Problem(NamedTuple):
    """What every callback of the solver sees: the data, and what does not move."""

    data: LagGram
    frame: GapFrame | DiagonalSSM
    atol: Array


class _State(NamedTuple):
    """Moving coordinates (gap coordinates, or the trained leaves by name) and physical time."""

    theta: Any
    time: Array


def _model(theta: Any, frame: GapFrame | DiagonalSSM) -> DiagonalSSM:
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


def _is_stalled(state: _State, problem: _Problem, trainable: tuple[str, ...]) -> Array:
    """Whether every coordinate's rate is at the rounding level of its own terms."""
    frame, data = problem.frame, problem.data
    model = _model(state.theta, frame)
    rate = _rate(model, frame, coordinates.force(model, data), trainable)
    magnitude = DiagonalSSM(*map(jnp.abs, model))
    sizes = jax.tree.map(lambda x: jnp.abs(x) if x.ndim else x, frame)
    if isinstance(frame, GapFrame):
        sizes = frame._replace(b=jnp.abs(frame.b), c=jnp.abs(frame.c))
    noise = _rate(magnitude, sizes, coordinates.force_rounding(model, data), trainable)
    quiet = jax.tree.map(lambda r, n: jnp.all(jnp.abs(r) <= jnp.abs(n)), rate, noise)
    return jnp.all(jnp.stack(jax.tree.leaves(quiet)))


def _solve(
    problem: _Problem, start: _State, config: FlowConfig, keep_steps: bool
) -> diffrax.Solution:
    """Run on the curvature clock until an event; the end and, if asked, all steps are saved."""
    trainable = config.trainable

    def field(s: Any, state: _State, problem: _Problem) -> _State:
        model = _model(state.theta, problem.frame)
        at = coordinates.force(model, problem.data)
        clock = coordinates.curvature_scale(model, at, problem.data, trainable)
        clock = jnp.maximum(clock, 1e-290)
        rate = _rate(model, problem.frame, at, trainable)
        return _State(jax.tree.map(lambda r: r / clock, rate), 1.0 / clock)

    def is_over(s: Any, state: _State, problem: _Problem, **_: Any) -> Array:
        loss = coordinates.loss(_model(state.theta, problem.frame), problem.data)
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


def _land(problem: _Problem, steps: _State, time: Array, end: Array, config: FlowConfig) -> _State:
    """The state at a physical time: from the last accepted step before it, integrate over.

    An accepted step is longer than what is left to go, so this costs a step or two and has the
    accuracy of the run itself, which interpolation between steps would not.
    """
    index = jnp.clip(jnp.searchsorted(steps.time, time, side="right") - 1, 0, None)
    left = jax.tree.map(lambda x: x[index], steps)
    duration = jnp.where(time < end, time - left.time, 0.0)
    trainable = config.trainable

    def field(x: Any, theta: Any, args: tuple[_Problem, Array]) -> Any:
        problem, duration = args
        model = _model(theta, problem.frame)
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
    return _State(theta, left.time + duration)


@functools.partial(jax.jit, static_argnames=("config",))
def _run(
    problem: _Problem, start: _State, save_times: Array | None, config: FlowConfig
) -> tuple[_State, Array, Array, _State | None]:
    """Final state, outcome, number of steps and the states at the saved times."""
    # All steps are kept (max_steps states for each run) only where states in between are wanted.
    keep_steps = save_times is not None or config.horizon < _NO_HORIZON
    solution = _solve(problem, start, config, keep_steps)
    assert solution.ys is not None
    final: _State = jax.tree.map(lambda x: x[-1], solution.ys[0])
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
    model = _model(final.theta, problem.frame)
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
    problem = _Problem(data, frame, atol)
    final, outcome, num_steps, saved = _run(problem, _State(theta, jnp.zeros(())), times, config)
    # Traced values could not be looked at on the way in.
    product = descending.b * descending.c
    valid = jnp.all(product == product[0]) if config.uses_gaps else ~near_tie
    outcome = jnp.where(valid, outcome, jnp.int32(Outcome.FAILED))
    model = _model(final.theta, frame)
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
    saved: _State, problem: _Problem, times: Array, end: Array, inverse: Array
) -> Trajectory:
    """Observables at the saved states, in the order of the start."""
    frame = problem.frame

    def observe(theta: Any) -> tuple[DiagonalSSM, Array, Array, Array]:
        model = _model(theta, frame)
        gamma = coordinates.force(model, problem.data).gamma
        gaps = model.a[:-1] - model.a[1:]
        if isinstance(frame, GapFrame):
            gaps = coordinates.gaps(theta, frame)
        return model, coordinates.loss(model, problem.data), gamma, gaps

    model, loss, gamma, gaps = jax.vmap(observe)(saved.theta)
    a, b, c = (x[:, inverse] for x in model)
    return Trajectory(times, loss, a, b, c, gamma, gaps, times <= end)
