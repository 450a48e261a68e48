"""The adaptive loop of the Theorem 1 engine: lanes that step, stop and wait on their own."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ssmbias.core.types import Array
from ssmbias.dynamics.theorem1 import rodas5p
from ssmbias.dynamics.theorem1.step import Field, field, trial_step
from ssmbias.dynamics.trajectory import Outcome

_EPS = float(np.finfo(np.float64).eps)
_TINY = float(np.finfo(np.float64).tiny)
# Classical controller settings: a safety factor, and bounds on one change of the step size.
_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 6.0


class FlowLanes(NamedTuple):
    """State of every lane; `stretched_time` is s with physical time t = (1+ρ)/2 s."""

    a: Float[Array, "state lane"]
    growth: Float[Array, " lane"]
    stretched_time: Float[Array, " lane"]
    step_size: Float[Array, " lane"]
    num_steps: Int[Array, " lane"]
    num_rejected: Int[Array, " lane"]
    outcome: Int[Array, " lane"]


class RunConstants(NamedTuple):
    """What stays fixed along a run."""

    log_gap: Float[Array, " lane"]
    strength: Float[Array, " lane"]


def with_top_entry(
    a: Float[Array, "state lane"], log_gap: Float[Array, " lane"]
) -> Float[Array, "state lane"]:
    """Rebuild a_1 = a_2 + exp(log_gap)."""
    return a.at[0].set(a[1] + jnp.exp(log_gap))


def initial_lanes(a0: Float[Array, "state lane"], problem: RunConstants, seq_len: int) -> FlowLanes:
    """Lanes at s = 0 with a first step well inside the fastest time scale."""
    state_dim, num_lanes = a0.shape
    a = with_top_entry(a0, problem.log_gap)
    largest = jnp.abs(a).max(0)
    rate = problem.strength * state_dim + (seq_len - 1.0) * (seq_len - 2.0) * largest ** (
        seq_len - 3
    )
    zero = jnp.zeros(num_lanes, jnp.int32)
    return FlowLanes(
        a=a,
        growth=jnp.zeros_like(largest),
        stretched_time=jnp.zeros_like(largest),
        step_size=1e-2 / jnp.maximum(rate, 1e-290),
        num_steps=zero,
        num_rejected=zero,
        outcome=jnp.full(num_lanes, int(Outcome.RUNNING), jnp.int32),
    )


def residuals(start: Field, strength: Array) -> tuple[Array, Array]:
    """Residuals 1 - S_{κ-1} and 1 - S_1, the second one only where it is trained on."""
    return 1.0 - start.s_last, jnp.where(strength > 0, 1.0 - start.s1, 0.0)


def _is_stalled(a: Array, start: Field, problem: RunConstants, seq_len: int) -> Array:
    """Whether the velocity is zero up to rounding at a point that is no solution.

    For odd p the velocity q a_j^p + ρ(1 - S_1) vanishes for all j at non-zero loss only when
    all entries coincide, or when all powers vanish and ρ does too. Small velocities alone prove
    nothing: on the plateau they are 1e-14 and below. A finite top gap always leaves the tie.
    """
    powers = jnp.abs(start.p).max(0)
    coincide = (start.p.max(0) - start.p.min(0) <= 8 * _EPS * powers) & jnp.isneginf(
        problem.log_gap
    )
    # Rounding of each term: q carries that of 1 - S_{κ-1}, the shift that of 1 - S_1; the
    # factor 4 covers the sums' own accumulation for state_dim up to thousands (pairwise).
    noise = (
        4
        * _EPS
        * (
            ((seq_len - 1.0) * (1.0 + jnp.abs(start.p * a).sum(0))) * powers
            + problem.strength * (1.0 + jnp.abs(a).sum(0))
        )
    )
    return (jnp.abs(start.velocity).max(0) <= noise) & (coincide | (powers == 0))


class FlowLimits(NamedTuple):
    """Tolerances and budgets; traced, so that changing one compiles nothing anew."""

    rtol: Float[Array, ""]
    loss_tol: Float[Array, ""]
    max_steps: Int[Array, ""]
    horizon: Float[Array, ""]


def advance(
    lanes: FlowLanes,
    problem: RunConstants,
    stop_time: Float[Array, " lane"],
    seq_len: int,
    limits: FlowLimits,
) -> FlowLanes:
    """Step every lane to `stop_time` (in s) or to its end, whichever is first.

    The error of a step is controlled relative to the largest entry of the lane, and absolutely
    for log-gaps, which is a relative control of the gap itself.
    """

    def needs_work(lanes: FlowLanes) -> Array:
        return (lanes.outcome == Outcome.RUNNING) & (lanes.stretched_time < stop_time)

    def body(lanes: FlowLanes) -> FlowLanes:
        start = field(lanes.a, problem.strength, seq_len)
        first, second = residuals(start, problem.strength)
        outcome = jnp.where(
            lanes.num_steps >= limits.max_steps, int(Outcome.MAX_STEPS), lanes.outcome
        )
        outcome = jnp.where(
            _is_stalled(lanes.a, start, problem, seq_len), int(Outcome.STALLED), outcome
        )
        converged = (first * first <= limits.loss_tol) & (second * second <= limits.loss_tol)
        outcome = jnp.where(converged, int(Outcome.CONVERGED), outcome)
        usable = jnp.isfinite(start.velocity).all(0) & (lanes.step_size > _TINY)
        outcome = jnp.where(usable, outcome, int(Outcome.FAILED))
        active = needs_work(lanes)
        outcome = jnp.where(active, outcome, lanes.outcome)
        active = active & (outcome == Outcome.RUNNING)

        remaining = stop_time - lanes.stretched_time
        clipped = lanes.step_size >= remaining
        # A lane that has stopped keeps a harmless positive step size.
        step_size = jnp.where(clipped & active, remaining, lanes.step_size)
        trial = trial_step(lanes.a, lanes.growth, start, step_size, problem.strength, seq_len)
        a = with_top_entry(trial.a, problem.log_gap + trial.growth)
        scale = jnp.maximum(jnp.abs(a).max(0), _TINY)
        error = jnp.maximum(jnp.abs(trial.a_error).max(0) / scale, jnp.abs(trial.growth_error))
        error = error / limits.rtol
        accept = active & (error <= 1.0)  # false for nan
        factor = jnp.where(
            jnp.isfinite(error),
            _SAFETY * jnp.maximum(error, 1e-12) ** (-1.0 / rodas5p.ERROR_ORDER),
            0.0,
        )
        new_size = step_size * jnp.clip(factor, _SHRINK, _GROW)
        # A step cut short to hit a saved time says little about the size to come.
        new_size = jnp.where(clipped & accept, jnp.maximum(new_size, lanes.step_size), new_size)
        time = jnp.where(clipped, stop_time, lanes.stretched_time + step_size)
        return FlowLanes(
            a=jnp.where(accept[None], a, lanes.a),
            growth=jnp.where(accept, trial.growth, lanes.growth),
            stretched_time=jnp.where(accept, time, lanes.stretched_time),
            step_size=jnp.where(active, new_size, lanes.step_size),
            num_steps=lanes.num_steps + active.astype(jnp.int32),
            num_rejected=lanes.num_rejected + (active & ~accept).astype(jnp.int32),
            outcome=outcome,
        )

    return jax.lax.while_loop(lambda lanes: jnp.any(needs_work(lanes)), body, lanes)
