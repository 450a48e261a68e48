"""From one run to the loop and back: lanes, chunks, and what a run is checked for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ssmbias.core.checks import as_float64, is_concrete
from ssmbias.core.lanes import in_chunks, over_lanes
from ssmbias.core.types import Array, ScalarLike
from ssmbias.dynamics.descent.config import DescentConfig
from ssmbias.dynamics.descent.loop import DescentProblem, DescentRun, Logging, Phases, run_phases

# Lanes in one loop on a CPU, by lane axis: so many linear students (-1) or small networks (0) stay
# in the second-level cache.
_CPU_CHUNK = {-1: 64, 0: 16}


class _Lanes(NamedTuple):
    """What the engine is given; every leaf has the lane axis of its problem."""

    params: Any
    optimizer_state: Any
    data: Any
    step_size: Array


def run_one(
    problem: DescentProblem,
    params: Any,
    data: Any,
    optimizer: optax.GradientTransformation,
    step_size: ScalarLike,
    optimizer_state: Any,
    config: DescentConfig,
) -> DescentRun:
    """One run through the engine, as a single lane."""
    if not (callable(getattr(optimizer, "init", None)) and hasattr(optimizer, "update")):
        raise ValueError(
            f"optimizer={optimizer!r}: expected an optax transformation, such as optax.sgd(1e-2)"
        )
    size = as_float64("step_size", step_size, ndim=0)
    if is_concrete(size) and not float(size) > 0:
        raise ValueError(f"step_size={float(size)!r}: must be greater than 0")
    # What cannot be inspected and cannot be used ends as FAILED after a step.
    size = jnp.where(size > 0, size, jnp.nan)
    if optimizer_state is None:
        optimizer_state = optimizer.init(params)
    else:
        _require_state_of(optimizer, optimizer_state, params)
    tolerances = [config.loss_tol] + [-np.inf] * (config.extra_steps > 0)
    budgets = [config.max_steps] + [config.extra_steps] * (config.extra_steps > 0)
    limits = Phases(jnp.asarray(tolerances, jnp.float64), jnp.asarray(budgets, jnp.int32))
    logging = Logging(config.log_every, config.log_offset, config.max_logs)
    axis = problem.lane_axis
    lanes = jax.tree.map(
        lambda x: jnp.expand_dims(_typed(x), axis if axis == 0 else jnp.ndim(x)),
        _Lanes(params, optimizer_state, data, size),
    )
    run = _engine(problem, optimizer, logging, config.lanes_per_chunk)(lanes, limits)
    return jax.tree.map(lambda x: jnp.take(x, 0, axis=axis), run)


def _typed(value: Any) -> Array:
    """An array of a definite type: one from a Python number would take on that of its partners."""
    array = jnp.asarray(value)
    return jax.lax.convert_element_type(array, array.dtype)


def _require_state_of(optimizer: optax.GradientTransformation, state: Any, params: Any) -> None:
    """Raise `ValueError` unless the state is one of this optimiser for these parameters."""
    expected = jax.eval_shape(optimizer.init, params)
    same = jax.tree.structure(state) == jax.tree.structure(expected)
    if not same or [jnp.shape(x) for x in jax.tree.leaves(state)] != [
        x.shape for x in jax.tree.leaves(expected)
    ]:
        raise ValueError(
            "optimizer_state: is not a state of this optimizer for these parameters; pass that of "
            "a result with the same optimizer, parameters and batch axes, or None to start anew"
        )


@functools.lru_cache(maxsize=256)
def _engine(
    problem: DescentProblem,
    optimizer: optax.GradientTransformation,
    logging: Logging,
    chunk: int | None,
) -> Callable[[_Lanes, Phases], DescentRun]:
    """The compiled engine for one set of static choices, with its batching rule.

    Results have the lanes on the axis of the problem, counted without the leading axes of phases
    and log entries.
    """
    axis = problem.lane_axis

    def run(lanes: _Lanes, limits: Phases) -> DescentRun:
        num_lanes = lanes.step_size.shape[0]
        size = chunk
        if size is None:
            size = _CPU_CHUNK[axis] if jax.default_backend() == "cpu" else max(1, num_lanes)

        def run_chunk(part: _Lanes) -> DescentRun:
            run = run_phases(problem, optimizer, *part, limits, logging)
            return _lanes_outside(run, axis, part.step_size.shape[0])

        # As many chunks as must be, all of the same size.
        size = -(-num_lanes // -(-num_lanes // size))
        return in_chunks(run_chunk, lanes, num_lanes, size, axis=axis)

    return jax.jit(over_lanes(run, axis=axis))


def _lanes_outside(run: DescentRun, axis: int, num_lanes: int) -> DescentRun:
    """Every leaf with its lane axis outermost (axis 0) or innermost (-1).

    The loop puts phases first, and in logs slots next; and a log's clock is shared by its lanes.
    """
    log = run.log
    num = jnp.broadcast_to(log.num[..., None], (*log.num.shape, num_lanes))
    step = jnp.broadcast_to(log.step[..., None], (*log.step.shape, num_lanes))
    value = log.value
    if axis == 0:
        num, step = jnp.moveaxis(num, -1, 0), jnp.moveaxis(step, -1, 0)
        value = jax.tree.map(lambda x: jnp.moveaxis(x, 2, 0), value)
        rest = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), run._replace(log=None))
    else:
        rest = run._replace(log=None)
    return rest._replace(log=log._replace(step=step, value=value, num=num))
