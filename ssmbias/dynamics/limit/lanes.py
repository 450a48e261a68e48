"""The loop of the limit engine: lanes that finish are filled again from a queue.

A vmapped loop runs until its slowest lane ends. Here a fixed number of lanes steps together; every
few steps the lanes that have finished hand in their result and take the next point of the queue,
on the device, without leaving the compiled loop.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from ssmbias.core.types import Array
from ssmbias.dynamics.limit import dop853
from ssmbias.dynamics.limit.step import Phase, Position, Survey, entries, survey, trial_step
from ssmbias.dynamics.theorem1.step import integer_power
from ssmbias.dynamics.trajectory import Outcome

_TINY = float(np.finfo(np.float64).tiny)
_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 6.0
# RISE ends here: its clock stops where F balances the growth of the entries.
_RISE_END = 0.99
_SMALLEST_RISE = 5e-3
# A lane takes to the manifold when it is off by less than the error that a step may make (steps
# at the border of stability keep it off by about a third of that), and when the manifold itself is
# known ten times better. It is left when known ten times worse.
_ENTER, _LEAVE = 0.1, 1.0
# LAND begins when S_{κ-1} has reached a tenth: before, dq/ds = -1 would be no clock.
_LAND_BEGIN = 0.9
# ... nor where the residual that it counts hardly moves: next to a tie of all entries.
_SLOWEST_CLOCK = 0.05
# Room for rounding, and for drift within the tolerance, beyond the limit.
_PAST = 1e-8
# Steps between two looks at who has finished: a few per cent of a run.
_STEPS_PER_ROUND = 4


class Queue(NamedTuple):
    """Points to run, in descending order of entries; the first `count` of them."""

    a0: Float[Array, "state point"]
    log_gap: Float[Array, " point"]
    strength: Float[Array, " point"]
    count: Int[Array, ""]


class Limits(NamedTuple):
    """Tolerances and budgets; traced, so that changing one compiles nothing anew."""

    rtol: Float[Array, ""]
    loss_tol: Float[Array, ""]
    max_steps: Int[Array, ""]


class QueuedLanes(NamedTuple):
    """State of every lane; `slot` is the point it works on, or the number of points if none."""

    position: Position
    log_gap: Float[Array, " lane"]
    strength: Float[Array, " lane"]
    phase: Int[Array, " lane"]
    step_size: Float[Array, " lane"]
    rejected: Bool[Array, " lane"]
    num_steps: Int[Array, " lane"]
    num_rejected: Int[Array, " lane"]
    outcome: Int[Array, " lane"]
    slot: Int[Array, " lane"]


class Results(NamedTuple):
    """What lanes handed in, one column a point."""

    a: Float[Array, "state point"]
    growth: Float[Array, " point"]
    outcome: Int[Array, " point"]
    num_steps: Int[Array, " point"]
    num_rejected: Int[Array, " point"]


def _begin(a0: Array, log_gap: Array, strength: Array, slot: Array, busy: Array) -> QueuedLanes:
    """Lanes at their start; those that are not `busy` have nothing to do."""
    zero = jnp.zeros_like(slot)
    total = a0[1:].sum(0) + a0[1] + jnp.exp(log_gap)
    rises = total < _RISE_END
    clean = strength == 0
    phase = jnp.where(clean, Phase.SLOW, jnp.where(rises, Phase.RISE, Phase.SETTLE))
    # A hundredth of the way to 1, or of the shortest time scale: the control lengthens it.
    size = jnp.where(phase == Phase.RISE, 1e-2 * jnp.abs(total), 1e-2)
    return QueuedLanes(
        position=Position(a0[1:], jnp.zeros_like(strength)),
        log_gap=log_gap,
        strength=strength,
        phase=phase.astype(slot.dtype),
        step_size=size,
        rejected=jnp.zeros(slot.shape, bool),
        num_steps=zero,
        num_rejected=zero,
        outcome=jnp.where(busy, int(Outcome.RUNNING), int(Outcome.FAILED)).astype(slot.dtype),
        slot=slot,
    )


def _choose_phase(lanes: QueuedLanes, at: Survey, seq_len: int, rtol: Array) -> tuple[Array, Array]:
    """The phase for the next step, and the step size to begin with where it changes."""
    poisoned = lanes.strength > 0
    slow, largest = at.slow.attracts, jnp.abs(at.a).max(0)
    known, off = at.uncertainty / largest, jnp.abs(at.offset) / largest
    on_manifold = lanes.phase >= Phase.SLOW
    settled = (
        (lanes.phase == Phase.SETTLE)
        & slow
        & (at.excess * at.q >= 0)
        & (known < _ENTER * rtol)
        & (off < rtol)
    )
    lost = on_manifold & poisoned & ~(slow & (known < _LEAVE * rtol))
    risen = (lanes.phase == Phase.RISE) & (at.excess > _RISE_END - 1.0)
    phase = jnp.where(settled, Phase.SLOW, lanes.phase)
    phase = jnp.where(lost | risen, Phase.SETTLE, phase)
    # The slower of the two residuals makes the better clock for the end.
    sum_last = poisoned & (lanes.strength * at.a.shape[0] < (seq_len - 1.0) ** 2 * at.sums.s_2p)
    s = at.sums
    runs = jnp.where(sum_last, -(s.s_p + at.a.shape[0] * at.slow.phi), at.descent)
    runs = runs > _SLOWEST_CLOCK * jnp.where(sum_last, s.s_p, (seq_len - 1.0) ** 2 * s.s_2p)
    lands = (phase == Phase.SLOW) & (at.q < _LAND_BEGIN * (seq_len - 1.0)) & runs
    phase = jnp.where(lands, jnp.where(sum_last, Phase.LAND_SUM, Phase.LAND), phase)
    phase = phase.astype(lanes.phase.dtype)
    size = jnp.where(phase == Phase.LAND, 0.1 * at.q, 0.1 * at.excess)
    # Where S_1 comes to 1 from below, q < 0 and τ runs backwards: so do the clocks that follow it.
    size = jnp.where(phase == Phase.SLOW, 0.2 * _sign(at.q), size)
    size = jnp.where(phase < Phase.SLOW, 0.2, size)
    return phase, jnp.where(phase == lanes.phase, lanes.step_size, size)


def _step(lanes: QueuedLanes, limits: Limits, seq_len: int) -> QueuedLanes:
    """One trial step of every running lane."""
    at = survey(lanes.position, lanes.log_gap, lanes.strength, seq_len)
    k = seq_len - 1.0
    running = lanes.outcome == Outcome.RUNNING
    first, second = at.q / k, jnp.where(lanes.strength > 0, at.excess, 0.0)
    converged = (first * first <= limits.loss_tol) & (second * second <= limits.loss_tol)
    usable = jnp.isfinite(at.q) & jnp.isfinite(at.force) & (jnp.abs(lanes.step_size) > _TINY)
    outcome = jnp.where(
        lanes.num_steps >= limits.max_steps, int(Outcome.MAX_STEPS), int(Outcome.RUNNING)
    )
    outcome = jnp.where(converged, int(Outcome.CONVERGED), outcome)
    outcome = jnp.where(usable, outcome, int(Outcome.FAILED)).astype(lanes.outcome.dtype)
    outcome = jnp.where(running, outcome, lanes.outcome)
    active = running & (outcome == Outcome.RUNNING)

    phase, size = _choose_phase(lanes, at, seq_len, limits.rtol)
    phase = jnp.where(active, phase, lanes.phase)
    size = jnp.where(active, size, lanes.step_size)
    to_end = jnp.where(phase == Phase.LAND, at.q, at.excess)
    lands = (phase >= Phase.LAND) & (jnp.abs(size) >= jnp.abs(to_end))
    ceiling = jnp.maximum(-at.excess, _SMALLEST_RISE)
    trial_size = jnp.where(phase == Phase.RISE, jnp.minimum(size, ceiling), size)
    trial_size = jnp.where(lands, to_end, trial_size)
    trial = trial_step(
        at,
        lanes.position,
        phase,
        trial_size,
        lanes.log_gap,
        lanes.strength,
        seq_len,
        limits.rtol,
    )
    # On the manifold the field goes on smoothly beyond the limit; the flow does not.
    on_manifold = phase >= Phase.SLOW
    past = (1.0 - _last_power_sum(trial.a, seq_len)) * _sign(at.q) < -_PAST
    past = past | ((lanes.strength > 0) & ((trial.a.sum(0) - 1.0) * _sign(at.excess) < -_PAST))
    beyond = on_manifold & ~lands & past
    error = jnp.where(beyond, 1e3, trial.error)
    accept = active & (error <= 1.0)  # false for nan
    # What the state had drifted off the manifold is put right; the shift is neutral there.
    tail = trial.position.tail + jnp.where(on_manifold, at.offset, 0.0)[None]
    factor = jnp.where(
        jnp.isfinite(error),
        _SAFETY * jnp.maximum(error, 1e-10) ** (-1.0 / dop853.ERROR_ORDER),
        0.0,
    )
    # Right after a rejection the size is not raised: at the border of stability it would bounce.
    most = jnp.where(lanes.rejected | ~accept, 1.0, _GROW)
    new_size = trial_size * jnp.clip(factor, _SHRINK, most)
    step = active.astype(lanes.num_steps.dtype)
    miss = (active & ~accept).astype(lanes.num_steps.dtype)
    return lanes._replace(
        position=Position(
            jnp.where(accept[None], tail, lanes.position.tail),
            jnp.where(accept, trial.position.growth, lanes.position.growth),
        ),
        phase=phase,
        step_size=jnp.where(active, new_size, lanes.step_size),
        rejected=active & ~accept,
        num_steps=lanes.num_steps + step,
        num_rejected=lanes.num_rejected + miss,
        outcome=jnp.where(accept & lands, int(Outcome.CONVERGED), outcome).astype(outcome.dtype),
    )


def _sign(x: Array) -> Array:
    """1 or -1, never 0."""
    return jnp.where(x < 0, -1.0, 1.0)


def _last_power_sum(a: Array, seq_len: int) -> Array:
    """S_{κ-1}."""
    return integer_power(a, seq_len - 1).sum(0)


class _Loop(NamedTuple):
    """QueuedLanes, the next point of the queue, what was handed in, and the rounds so far."""

    lanes: QueuedLanes
    head: Int[Array, ""]
    results: Results
    rounds: Int[Array, ""]


def _refill(loop: _Loop, queue: Queue) -> _Loop:
    """Hand in what has finished and take new points."""
    num_points = queue.strength.shape[0]
    lanes, out = loop.lanes, loop.results
    done = (lanes.outcome != Outcome.RUNNING) & (lanes.slot < num_points)
    where = jnp.where(done, lanes.slot, num_points)
    out = Results(
        a=out.a.at[:, where].set(entries(lanes.position, lanes.log_gap), mode="drop"),
        growth=out.growth.at[where].set(lanes.position.growth, mode="drop"),
        outcome=out.outcome.at[where].set(lanes.outcome, mode="drop"),
        num_steps=out.num_steps.at[where].set(lanes.num_steps, mode="drop"),
        num_rejected=out.num_rejected.at[where].set(lanes.num_rejected, mode="drop"),
    )
    free = lanes.outcome != Outcome.RUNNING
    rank = jnp.cumsum(free.astype(loop.head.dtype)) - 1
    point = loop.head + rank
    takes = free & (point < queue.count)
    index = jnp.where(takes, point, 0)
    fresh = _begin(
        queue.a0[:, index],
        queue.log_gap[index],
        queue.strength[index],
        jnp.where(takes, point, num_points).astype(lanes.slot.dtype),
        takes,
    )

    def pick(new: Array, old: Array) -> Array:
        return jnp.where(free if new.ndim == 1 else free[None], new, old)

    lanes = jax.tree.map(pick, fresh, lanes)
    head = jnp.minimum(loop.head + free.sum(dtype=loop.head.dtype), queue.count)
    return _Loop(lanes, head, out, loop.rounds)


def run_queue(
    queue: Queue, limits: Limits, seq_len: int, num_lanes: int
) -> tuple[Results, Float[Array, ""]]:
    """Run every point of the queue; also the number of lane-steps spent, idle ones included."""
    state_dim, num_points = queue.a0.shape
    count = jnp.zeros(num_points, jnp.int32)
    results = Results(
        a=jnp.full((state_dim, num_points), jnp.nan),
        growth=jnp.full(num_points, jnp.nan),
        outcome=jnp.full(num_points, int(Outcome.RUNNING), jnp.int32),
        num_steps=count,
        num_rejected=count,
    )
    idle = jnp.full(num_lanes, num_points, jnp.int32)
    lanes = _begin(
        jnp.full((state_dim, num_lanes), 1.0 / (2.0 * state_dim)),
        jnp.zeros(num_lanes),
        jnp.zeros(num_lanes),
        idle,
        jnp.zeros(num_lanes, bool),
    )
    zero = jnp.zeros((), jnp.int32)
    loop = _refill(_Loop(lanes, zero, results, zero), queue)

    def body(loop: _Loop) -> _Loop:
        lanes = jax.lax.fori_loop(
            0, _STEPS_PER_ROUND, lambda _, lanes: _step(lanes, limits, seq_len), loop.lanes
        )
        loop = loop._replace(lanes=lanes, rounds=loop.rounds + 1)
        done = (lanes.outcome != Outcome.RUNNING) & (lanes.slot < num_points)
        return jax.lax.cond(jnp.any(done), lambda x: _refill(x, queue), lambda x: x, loop)

    loop = jax.lax.while_loop(lambda loop: jnp.any(loop.lanes.slot < num_points), body, loop)
    # As a float: a large queue of an accelerator would leave the range of int32.
    return loop.results, loop.rounds.astype(jnp.float64) * (_STEPS_PER_ROUND * num_lanes)
