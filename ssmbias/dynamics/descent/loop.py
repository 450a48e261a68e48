"""The compiled loop of gradient descent: lanes that step together and stop on their own.

The loop knows nothing of models. It is given functions of all lanes at once, and carries
parameters and optimiser state through one phase after another. A lane that has stopped stays as
it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Bool, Float, Int

from ssmbias.core.types import Array
from ssmbias.dynamics.trajectory import Outcome


class Gradient(NamedTuple):
    """What a step needs: the loss where it is taken, the gradient, and its norm for the step size.

    `norm` is `None` for the sum of the norms of the leaves.
    """

    loss: Array
    gradient: Any
    norm: Array | None = None


@dataclass(frozen=True)
class DescentProblem:
    """Functions of all lanes at once.

    Attributes:
      lane_axis: the axis of every array along which lanes are laid out, -1 or 0.
      gradient: (parameters, data) -> `Gradient`.
      loss: (parameters, data) -> loss of each lane, for logs and for the test before a projection.
      loss_of_one: (parameters, data) -> loss of one lane without the lane axis, for optimisers
        that evaluate it themselves (line searches, Polyak's step).
      observe: (parameters, data) -> what is logged.
      project: applied to the parameters after a step, once the loss before it has been tested;
        `None` for no projection.
    """

    gradient: Callable[[Any, Any], Gradient]
    loss: Callable[[Any, Any], Array]
    loss_of_one: Callable[[Any, Any], Array]
    observe: Callable[[Any, Any], Any]
    project: Callable[[Any], Any] | None = None
    lane_axis: int = -1


@dataclass(frozen=True)
class Logging:
    """When states are logged: after `offset`, `offset + every`, ... updates of a phase.

    Where a phase outgrows `capacity` entries, every other one is dropped and `every` doubles.
    """

    every: int
    offset: int
    capacity: int


class Phases(NamedTuple):
    """Traced limits of each phase: it ends at a loss of `loss_tol`, or after `max_steps`."""

    loss_tol: Float[Array, " phase"]
    max_steps: Int[Array, " phase"]


class Log(NamedTuple):
    """What was logged, slots first: number of updates before the entry, and the observations.

    `num` slots are filled. Lanes that had stopped before an entry repeat their end.
    """

    step: Int[Array, " log"]
    value: Any
    num: Int[Array, ""]


class DescentRun(NamedTuple):
    """State of all lanes at the end of a phase; `steps` counts the phase's updates."""

    params: Any
    optimizer_state: Any
    loss: Float[Array, " lane"]
    outcome: Int[Array, " lane"]
    steps: Int[Array, " lane"]
    log: Log


class _Carry(NamedTuple):
    params: Any
    optimizer_state: Any
    at: Gradient  # at the parameters; carried, since XLA would compute it anew for each reader
    active: Bool[Array, " lane"]
    steps: Int[Array, " lane"]
    done: Int[Array, ""]  # updates of the phase so far, the same for all active lanes


def run_phases(
    problem: DescentProblem,
    optimizer: optax.GradientTransformation,
    params: Any,
    optimizer_state: Any,
    data: Any,
    step_size: Float[Array, " lane"],
    phases: Phases,
    logging: Logging,
) -> DescentRun:
    """All phases, one after another; every leaf of the result has a leading phase axis.

    A lane enters a phase if the one before ended at its tolerance, or had none (-inf) and ran its
    steps; the others repeat their end, with no further steps.
    """
    update = _batched_update(problem, optimizer)
    entered = jnp.ones(step_size.shape, bool)

    def phase(carry: tuple[Any, Any, Array], limits: Phases) -> tuple[Any, DescentRun]:
        params, state, entered = carry
        run = _run_phase(problem, update, params, state, data, step_size, entered, limits, logging)
        without_tolerance = jnp.isneginf(limits.loss_tol) & (run.outcome != Outcome.FAILED)
        passed = entered & ((run.outcome == Outcome.CONVERGED) | without_tolerance)
        return (run.params, run.optimizer_state, passed), run

    # A scan, so that the loop is compiled once for all phases.
    return jax.lax.scan(phase, (params, optimizer_state, entered), phases)[1]


def _batched_update(problem: DescentProblem, optimizer: optax.GradientTransformation) -> Callable:
    """The optimiser's update, over lanes."""
    extended = optax.with_extra_args_support(optimizer)

    def update(gradient: Gradient, state: Any, params: Any, data: Any, step_size: Array) -> Any:
        extra = {} if gradient.norm is None else {"gradient_norm": gradient.norm}
        updates, state = extended.update(
            gradient.gradient,
            state,
            params,
            value=gradient.loss,
            grad=gradient.gradient,
            value_fn=lambda params: problem.loss_of_one(params, data),
            **extra,
        )
        updates = jax.tree.map(lambda u, p: step_size.astype(p.dtype) * u, updates, params)
        return optax.apply_updates(params, updates), state

    axis = problem.lane_axis
    return jax.vmap(update, in_axes=axis, out_axes=axis)


def _run_phase(
    problem: DescentProblem,
    update: Callable,
    params: Any,
    state: Any,
    data: Any,
    step_size: Array,
    entered: Array,
    limits: Phases,
    logging: Logging,
) -> DescentRun:
    def look(params: Any, reached: Array | None) -> tuple[Gradient, Array]:
        """The gradient, and which lanes are to go on from here."""
        at = problem.gradient(params, data)
        if reached is None:
            reached = at.loss <= limits.loss_tol
        return at, jnp.isfinite(at.loss) & ~reached

    def step(carry: _Carry) -> _Carry:
        new, new_state = update(carry.at, carry.optimizer_state, carry.params, data, step_size)
        reached = None
        if problem.project is not None:
            reached = problem.loss(new, data) <= limits.loss_tol
            new = problem.project(new)
        new = _where(carry.active, new, carry.params, problem.lane_axis)
        at, going_on = look(new, reached)
        return _Carry(
            params=new,
            optimizer_state=_where(
                carry.active, new_state, carry.optimizer_state, problem.lane_axis
            ),
            at=at,
            active=carry.active & going_on,
            steps=carry.steps + carry.active.astype(jnp.int32),
            done=carry.done + 1,
        )

    def advance(carry: _Carry, number: Array) -> _Carry:
        """Up to `number` further steps, within the budget."""
        last = jnp.minimum(carry.done + number, limits.max_steps)
        return jax.lax.while_loop(lambda c: (c.done < last) & jnp.any(c.active), step, carry)

    def entry(carry: _Carry) -> Any:
        return problem.observe(carry.params, data)

    def record(lanes: _Carry, log: Log, every: Array) -> Log:
        """Log the present state if it is due, and if a lane has got here."""
        due = log.num * every + logging.offset
        arrived = (lanes.done == due) & jnp.any(lanes.steps == due)
        return jax.lax.cond(arrived, lambda log: _append(log, due, entry(lanes)), lambda x: x, log)

    def period(carry: tuple[_Carry, Log, Array]) -> tuple[_Carry, Log, Array]:
        """Log, then go on to the next entry."""
        lanes, log, every = carry
        log = record(lanes, log, every)
        full = log.num == logging.capacity
        log = jax.lax.cond(full, _thin, lambda x: x, log)
        every = jnp.where(full, 2 * every, every)
        return advance(lanes, log.num * every + logging.offset - lanes.done), log, every

    # With a projection, only steps are tested.
    never = None if problem.project is None else jnp.zeros(entered.shape, bool)
    at, going_on = look(params, never)
    start = _Carry(
        params=params,
        optimizer_state=state,
        at=at,
        active=entered & going_on,
        steps=jnp.zeros(entered.shape, jnp.int32),
        done=jnp.int32(0),
    )
    shapes = jax.eval_shape(entry, start)
    empty = Log(
        step=jnp.zeros(logging.capacity, jnp.int32),
        value=jax.tree.map(lambda s: jnp.zeros((logging.capacity, *s.shape), s.dtype), shapes),
        num=jnp.int32(0),
    )
    if logging.offset:
        start = advance(start, jnp.int32(logging.offset))
    end, log, every = jax.lax.while_loop(
        lambda c: (c[0].done < limits.max_steps) & jnp.any(c[0].active),
        period,
        (start, empty, jnp.int32(logging.every)),
    )
    log = record(end, log, every)
    loss = end.at.loss
    reached = entered & ~end.active
    outcome = jnp.where(reached, int(Outcome.CONVERGED), int(Outcome.MAX_STEPS))
    outcome = jnp.where(jnp.isfinite(loss), outcome, int(Outcome.FAILED)).astype(jnp.int32)
    return DescentRun(end.params, end.optimizer_state, loss, outcome, end.steps, log)


def _where(mask: Array, new: Any, old: Any, lane_axis: int) -> Any:
    """`new` in the lanes of the mask."""

    def choose(x: Array, y: Array) -> Array:
        others = (1,) * (x.ndim - 1)
        shape = (*others, *mask.shape) if lane_axis == -1 else (*mask.shape, *others)
        return jnp.where(mask.reshape(shape), x, y)

    return jax.tree.map(choose, new, old)


def _append(log: Log, step: Array, value: Any) -> Log:
    put = lambda array, x: jax.lax.dynamic_update_index_in_dim(array, x, log.num, 0)  # noqa: E731
    return Log(put(log.step, step), jax.tree.map(put, log.value, value), log.num + 1)


def _thin(log: Log) -> Log:
    """Keep every other entry, the first one included."""

    def keep(x: Array) -> Array:
        half = x[::2]
        return jnp.concatenate(
            [half, jnp.zeros((x.shape[0] - half.shape[0], *x.shape[1:]), x.dtype)]
        )

    return Log(keep(log.step), jax.tree.map(keep, log.value), (log.num + 1) // 2)
