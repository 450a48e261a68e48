r"""Gradient descent with any optax optimiser: linear students by the closed gradient, and any loss.

Both functions are written for one run. Under `jax.vmap`, nested or not, a batching rule hands
all runs to one loop as lanes (`descent_loop`), in chunks that fit a CPU's cache and stop on their
own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.custom_batching import custom_vmap
from jaxtyping import Bool, Float, Int

from ssmbias.core.checks import as_float64, is_concrete, require_int, require_number
from ssmbias.core.display import displayed
from ssmbias.core.types import Array, ScalarLike
from ssmbias.data import LagGram, gram_loss
from ssmbias.dynamics.descent import linear_gradient
from ssmbias.dynamics.descent.loop import Gradient, Logging, Phases, Problem, Run, run_phases
from ssmbias.dynamics.inputs import require_statistics
from ssmbias.dynamics.trajectory import Outcome
from ssmbias.models import DiagonalSSM, impulse_response
from ssmbias.models.ssm import require_ssm

_LEAVES = ("a", "b", "c")
# Lanes in one loop on a CPU, by lane axis: so many linear students (-1) or small networks (0) stay
# in the second-level cache.
_CPU_CHUNK = {-1: 64, 0: 16}


@dataclass(frozen=True)
class DescentConfig:
    """Static choices of gradient descent.

    Attributes:
      loss_tol: the first phase ends when the loss is at most this ("eps" in the paper).
      max_steps: number of updates after which the first phase ends at the latest.
      extra_steps: updates of a second phase, for runs whose first phase ended at `loss_tol`; the
        optimiser's state is carried over.
      log_every: updates between two entries of the log.
      log_offset: updates before the first entry; the paper's code logs after 1, 101, 201, ...
      max_logs: entries in the log of a phase. A phase that needs more keeps every other one,
        as often as the slowest run of its chunk has to. Every slot is room for a student, used or
        not: 63 kB a run at 256 slots and 10 states, so take fewer for tens of thousands of runs.
      trainable: which of "a", "b", "c" move (linear students only).
      full_gradient_norm: whether the norm that `adaptive_step` sees is that of the paper's code,
        which counts the off-diagonal entries of dL/dA, and dL/dB and dL/dC also where these are
        not trained (linear students only; other optimisers do not look at it).
      lanes_per_chunk: runs that share a loop under `jax.vmap`; `None` for 64 (`descend`: 16) on a
        CPU and all elsewhere.
    """

    loss_tol: float = 1e-2
    max_steps: int = 1_000_000
    extra_steps: int = 0
    log_every: int = 100
    log_offset: int = 0
    max_logs: int = 256
    trainable: tuple[str, ...] = _LEAVES
    full_gradient_norm: bool = False
    lanes_per_chunk: int | None = None

    def __post_init__(self) -> None:
        """Refuse contradictory or impossible choices."""
        if not require_number("loss_tol", self.loss_tol) >= 0:
            raise ValueError(f"loss_tol={self.loss_tol!r}: must be 0 or greater")
        # Step numbers are 32-bit, and the next entry of a log may be due at twice the present one.
        largest = 1_000_000_000
        require_int("max_steps", self.max_steps, minimum=1, maximum=largest)
        require_int("extra_steps", self.extra_steps, minimum=0, maximum=largest)
        require_int("log_every", self.log_every, minimum=1, maximum=1_000_000)
        require_int("log_offset", self.log_offset, minimum=0, maximum=self.log_every - 1)
        require_int("max_logs", self.max_logs, minimum=2, maximum=100_000)
        if self.lanes_per_chunk is not None:
            require_int("lanes_per_chunk", self.lanes_per_chunk, minimum=1)
        names = self.trainable
        if (
            not isinstance(names, tuple)
            or not names
            or len(set(names)) != len(names)
            or not set(names) <= set(_LEAVES)
        ):
            raise ValueError(
                f"trainable={names!r}: name some of 'a', 'b', 'c', each once, as a tuple "
                "such as ('a',)"
            )


class DescentLog(NamedTuple):
    """States on the way, slots first.

    Attributes:
      step: number of updates of the phase before the entry.
      loss: training loss there.
      value: the student (linear students), or what `observe` returned.
      recorded: False in slots that were not filled, and in those that a run did not reach; the
        latter repeat its end.
    """

    step: Int[Array, " log"]
    loss: Float[Array, " log"]
    value: Any
    recorded: Bool[Array, " log"]


@displayed(outcome=Outcome)
class DescentResult(NamedTuple):
    """Where descent ended, and why.

    Attributes:
      model: the student, or the parameters, at the very end.
      loss: training loss there.
      outcome: an `Outcome` code: CONVERGED if the first phase ended at the loss tolerance,
        MAX_STEPS if its budget was spent, FAILED if a number ceased to be finite in either phase.
      steps_to_tol: updates in the first phase.
      num_steps: updates in both phases.
      optimizer_state: the optimiser's state at the end.
      log: log of the first phase.
      extra_log: log of the second phase, its steps counted from 0 again; `None` without one.
    """

    model: Any
    loss: Float[Array, ""]
    outcome: Int[Array, ""]
    steps_to_tol: Int[Array, ""]
    num_steps: Int[Array, ""]
    optimizer_state: Any
    log: DescentLog
    extra_log: DescentLog | None

    @property
    def converged(self) -> Bool[Array, "..."]:
        """Whether the first phase ended at the loss tolerance."""
        return self.outcome == Outcome.CONVERGED


class _Lanes(NamedTuple):
    """What the engine is given; every leaf has the lane axis of its problem."""

    params: Any
    optimizer_state: Any
    data: Any
    step_size: Array


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
    config = _require_config(config)
    if not isinstance(start, DiagonalSSM):
        raise ValueError(f"start={start!r}: expected a ssmbias.models.DiagonalSSM(a, b, c)")
    start = require_ssm("start", start)
    data = require_statistics(data)
    problem = _linear_problem(config.trainable, config.full_gradient_norm)
    params = {name: getattr(start, name) for name in config.trainable}
    fixed = DiagonalSSM(*_untrained(start, config.trainable))
    run = _descend(problem, params, (fixed, data), optimizer, step_size, optimizer_state, config)
    return _result(run, config, lambda theta: _merge(theta, fixed))


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
    problem: Problem,
    params: Any,
    data: Any,
    optimizer: optax.GradientTransformation,
    *,
    step_size: ScalarLike = 1.0,
    optimizer_state: Any = None,
    config: DescentConfig | None = None,
) -> DescentResult:
    """`descend` for a problem with a gradient or a projection of its own (`general_problem`)."""
    config = _require_config(config)
    run = _descend(problem, params, data, optimizer, step_size, optimizer_state, config)
    return _result(run, config, lambda theta: theta)


@functools.lru_cache(maxsize=256)
def general_problem(
    loss: Callable[[Any, Any], Array],
    observe: Callable[[Any, Any], Any] | None = None,
    gradient: Callable[[Any, Any], Gradient] | None = None,
    project: Callable[[Any], Any] | None = None,
) -> Problem:
    """The loop's view of functions of one run: lanes first, as matrix products want them."""

    def by_autodiff(params: Any, data: Any) -> Gradient:
        return Gradient(*jax.value_and_grad(loss)(params, data))

    def observed(params: Any, data: Any) -> tuple[Any, Array]:
        return (params if observe is None else observe(params, data)), loss(params, data)

    return Problem(
        gradient=jax.vmap(gradient or by_autodiff),
        loss=jax.vmap(loss),
        loss_of_one=loss,
        observe=jax.vmap(observed),
        project=project and jax.vmap(project),
        lane_axis=0,
    )


@functools.lru_cache(maxsize=64)
def _linear_problem(trainable: tuple[str, ...], full_norm: bool) -> Problem:
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

    return Problem(
        gradient=gradient,
        loss=loss,
        loss_of_one=loss_of_one,
        observe=lambda params, data: (_merge(params, data[0]), loss(params, data)),
    )


def _untrained(model: DiagonalSSM, trainable: tuple[str, ...]) -> list[Any]:
    """The leaves that stay; `None` in place of the others."""
    return [None if name in trainable else getattr(model, name) for name in _LEAVES]


def _merge(params: dict[str, Array], fixed: DiagonalSSM) -> DiagonalSSM:
    leaves: list[Any] = [params.get(name, getattr(fixed, name)) for name in _LEAVES]
    return DiagonalSSM(*leaves)


def _descend(
    problem: Problem,
    params: Any,
    data: Any,
    optimizer: optax.GradientTransformation,
    step_size: ScalarLike,
    optimizer_state: Any,
    config: DescentConfig,
) -> Run:
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


def _require_config(config: Any) -> DescentConfig:
    if config is not None and not isinstance(config, DescentConfig):
        raise ValueError(f"config={config!r}: expected a DescentConfig, or None for the defaults")
    return config or DescentConfig()


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
    problem: Problem,
    optimizer: optax.GradientTransformation,
    logging: Logging,
    chunk: int | None,
) -> Callable[[_Lanes, Phases], Any]:
    """The compiled engine for one set of static choices, with its batching rule.

    Results have the lanes on the axis of the problem, counted without the leading axes of phases
    and log entries.
    """
    axis = problem.lane_axis

    @custom_vmap
    def run(lanes: _Lanes, limits: Phases) -> Run:
        return _in_chunks(problem, optimizer, logging, chunk, lanes, limits)

    @run.def_vmap
    def _fold_into_lanes(axis_size, in_batched, lanes, limits):  # pyright: ignore[reportUnusedFunction]
        def fold(x: Array, batched: bool) -> Array:
            if not batched:
                x = jnp.broadcast_to(x[None], (axis_size, *x.shape))
            if axis == 0:
                return x.reshape(axis_size * x.shape[1], *x.shape[2:])
            x = jnp.moveaxis(x, 0, -2)
            return x.reshape(*x.shape[:-2], -1)

        def unfold(x: Array) -> Array:
            if axis == 0:
                return x.reshape(axis_size, x.shape[0] // axis_size, *x.shape[1:])
            x = x.reshape(*x.shape[:-1], axis_size, x.shape[-1] // axis_size)
            return jnp.moveaxis(x, -2, 0)

        if any(jax.tree.leaves(in_batched[1])):
            raise NotImplementedError("limits are static choices: they are not mapped over")
        out = run(jax.tree.map(fold, lanes, in_batched[0]), limits)
        return jax.tree.map(unfold, out), jax.tree.map(lambda _: True, out)

    return jax.jit(run)


def _in_chunks(
    problem: Problem,
    optimizer: optax.GradientTransformation,
    logging: Logging,
    chunk: int | None,
    lanes: _Lanes,
    limits: Phases,
) -> Run:
    """Split the lanes into chunks, which run one after another."""
    axis = problem.lane_axis
    num_lanes = lanes.step_size.shape[0]
    if chunk is None:
        chunk = _CPU_CHUNK[axis] if jax.default_backend() == "cpu" else max(1, num_lanes)

    def run_chunk(part: _Lanes) -> Run:
        run = run_phases(problem, optimizer, *part, limits, logging)
        return _lanes_outside(run, axis, part.step_size.shape[0])

    if num_lanes <= chunk:
        return run_chunk(lanes)
    num_chunks = -(-num_lanes // chunk)
    # Chunks of equal size, of which the last is filled with repeats.
    chunk = -(-num_lanes // num_chunks)
    index = jnp.minimum(jnp.arange(num_chunks * chunk), num_lanes - 1)

    def split(x: Array) -> Array:
        x = jnp.take(x, index, axis=axis)
        if axis == 0:
            return x.reshape(num_chunks, chunk, *x.shape[1:])
        return jnp.moveaxis(x.reshape(*x.shape[:-1], num_chunks, chunk), -2, 0)

    def join(x: Array) -> Array:
        if axis == 0:
            return x.reshape(num_chunks * chunk, *x.shape[2:])[:num_lanes]
        x = jnp.moveaxis(x, 0, -2)
        return x.reshape(*x.shape[:-2], num_chunks * chunk)[..., :num_lanes]

    return jax.tree.map(join, jax.lax.map(run_chunk, jax.tree.map(split, lanes)))


def _lanes_outside(run: Run, axis: int, num_lanes: int) -> Run:
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


def _result(run: Run, config: DescentConfig, as_model: Callable[[Any], Any]) -> DescentResult:
    """The last phase's end, the first phase's outcome; leaves have a leading phase axis."""
    last = jax.tree.map(lambda x: x[-1], run._replace(log=None))
    failed = jnp.any(run.outcome == Outcome.FAILED)
    logs = [
        _log(jax.tree.map(lambda x, phase=phase: x[phase], run.log), run.steps[phase])
        for phase in range(1 + (config.extra_steps > 0))
    ]
    if len(logs) > 1:  # of a run that has not got there, the second phase has no entry
        entered = run.outcome[0] == Outcome.CONVERGED
        logs[1] = logs[1]._replace(recorded=logs[1].recorded & entered)
    return DescentResult(
        model=as_model(last.params),
        loss=last.loss,
        outcome=jnp.where(failed, jnp.int32(Outcome.FAILED), run.outcome[0]),
        steps_to_tol=run.steps[0],
        num_steps=jnp.sum(run.steps),
        optimizer_state=last.optimizer_state,
        log=logs[0],
        extra_log=logs[1] if len(logs) > 1 else None,
    )


def _log(log: Any, steps: Array) -> DescentLog:
    value, loss = log.value
    filled = jnp.arange(log.step.shape[0]) < log.num
    return DescentLog(log.step, loss, value, filled & (log.step <= steps))
