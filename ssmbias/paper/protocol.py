"""The library's protocol: an experiment over many seeds, paired arms, at two ends of training.

Both arms of a seed share the start and the baseline sequences. Every run is followed to the
paper's stopping rule (training loss <= eps, then a fixed number of further steps) and from there
on to convergence (training loss <= 1e-12): a standalone SSM by gradient flow, whose time scales do
not matter to an implicit solver, a network by Adam with a decaying step and then by L-BFGS.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ssmbias.core.checks import require_int, require_x64
from ssmbias.data import LagGram, gram_omega
from ssmbias.dynamics import (
    DescentConfig,
    DescentResult,
    FlowConfig,
    adaptive_step,
    descend,
    gradient_descent,
    gradient_flow,
    keras_adam,
)
from ssmbias.metrics import effective_rank
from ssmbias.models import DiagonalSSM, impulse_response
from ssmbias.models.networks.paper import ssm_of
from ssmbias.paper import arms
from ssmbias.paper.settings import PaperExperiment, find_experiment, shortened

CONVERGED_LOSS = 1e-12
# Budgets of the first phase: the paper's, and for networks three times what the longest replay
# takes (31 687 steps). Some stay on the plateau near zero, where Adam's ε exceeds the gradient,
# longer than anyone would wait; they are recorded as not having reached eps.
MAX_STEPS = {"sgd*": 1_000_000, "adam": 100_000}
# After the paper's stopping rule: steps of Adam with a step that decays ten thousandfold, and after
# that of L-BFGS, which Adam's own noise does not keep from 1e-12.
_ADAM_TAIL, _LBFGS_TAIL = 30_000, 2_000
_FLOW_BATCH = 8
# Points of the dynamics kept for figures: progress 0..1 in the first phase, 1..2 in the second.
NUM_PROGRESS = 101
_MAX_LOGS = 4096

Arrays = dict[str, Any]


def experiment_arrays(
    name: str,
    arm: int,
    num_seeds: int,
    *,
    converge: bool = True,
    most_extra_steps: int | None = None,
) -> Arrays:
    """`run_arm` for a named experiment, whose second phase may be cut short."""
    experiment = find_experiment(name)
    if most_extra_steps is not None:
        experiment = shortened(experiment, most_extra_steps)
    return run_arm(experiment, arm, num_seeds, converge=converge)


def run_arm(
    experiment: PaperExperiment,
    arm: int,
    num_seeds: int,
    *,
    first_seed: int = 0,
    converge: bool = True,
) -> Arrays:
    r"""All seeds of one arm.

    Args:
      experiment: the setting.
      arm: 0 for clean (ρ = 0), 1 for poisoned (ρ = 1).
      num_seeds: seeds first_seed, first_seed + 1, ...
      first_seed: the first of them.
      converge: whether to go on to convergence after the paper's stopping rule.

    Returns:
      Arrays [seed, ...]: `steps_to_eps`, `outcome`, `train_loss`, `test_error`, `a` at the
      paper's stopping rule; `converged_loss`, `converged_error`, `converged_outcome` and
      `converged_a`; along training `path_step`, `path_rank`, `path_gamma0` [seed, progress] and
      `path_a` [seed, progress, state] (|a|, descending).

    Raises:
      ValueError: a number is out of range, or double precision is off.
    """
    require_x64("run_arm")
    arm = require_int("arm", arm, minimum=0, maximum=1)
    num_seeds = require_int("num_seeds", num_seeds, minimum=1)
    seeds = jnp.arange(first_seed, first_seed + num_seeds)
    run = _run_network if experiment.width else _run_linear
    return {k: np.asarray(v) for k, v in run(experiment, arm, seeds, converge).items()}


@functools.lru_cache(maxsize=8)
def _optimizer(name: str) -> optax.GradientTransformation:
    """With a step of 1: the experiment's own step is a traced factor."""
    return adaptive_step(1.0) if name == "sgd*" else keras_adam(1.0)


def _config(experiment: PaperExperiment, arm: int) -> DescentConfig:
    return DescentConfig(
        loss_tol=experiment.eps,
        max_steps=MAX_STEPS[experiment.optimizer],
        extra_steps=experiment.extra_steps[arm],
        log_every=25,
        max_logs=_MAX_LOGS,
        trainable=experiment.trainable,
        full_gradient_norm=experiment.optimizer == "sgd*",
        # Small: a seed that never reaches eps holds up its chunk for the whole budget.
        lanes_per_chunk=16,
    )


def _run_linear(experiment: PaperExperiment, arm: int, seeds: Any, converge: bool) -> Arrays:
    optimizer, config = _optimizer(experiment.optimizer), _config(experiment, arm)

    @jax.jit
    def problems(seed: Any) -> tuple[DiagonalSSM, LagGram]:
        key_start, key_data, _ = arms.split_key(seed)
        return arms.start(key_start, experiment), arms.linear_data(key_data, experiment, float(arm))

    starts, data = jax.vmap(problems)(seeds)
    step = experiment.steps[arm]
    run = jax.vmap(lambda s, d: gradient_descent(s, d, optimizer, step_size=step, config=config))(
        starts, data
    )
    error = jax.jit(jax.vmap(lambda model: arms.test_error(None, model, experiment)))  # pyright: ignore

    def observe(model: DiagonalSSM, gram: LagGram) -> dict[str, Any]:
        # γ_0 = ω_1 = 2 [G (h* - h)]_1.
        response = impulse_response(model, experiment.seq_len)
        return {"a": model.a, "gamma0": gram_omega(response, gram)[1]}

    over_log = jax.jit(jax.vmap(jax.vmap(observe, in_axes=(0, None))))
    observed = [over_log(log.value, data) for log in (run.log, run.extra_log) if log is not None]
    out = _at_stop(run, run.model.a, error(run.model)) | _paths(run, observed)
    if not converge:
        return out
    flow_config = FlowConfig(
        trainable=experiment.trainable,
        # Tightened a hundredfold, test errors change by less than 1 % (a test).
        rtol=1e-6,
        atol=1e-6,
        loss_tol=CONVERGED_LOSS,
        max_steps=1024,
    )
    # A few seeds at a time: all lanes of a batch wait for its slowest.
    flow = jax.jit(
        lambda models, grams: jax.lax.map(
            lambda x: gradient_flow(*x, config=flow_config), (models, grams), batch_size=_FLOW_BATCH
        )
    )(_finite(run.model, starts), data)
    return out | {
        "converged_loss": flow.loss,
        "converged_outcome": jnp.where(run.converged, flow.outcome, run.outcome),
        "converged_error": error(flow.model),
        "converged_a": flow.model.a,
    }


def _run_network(experiment: PaperExperiment, arm: int, seeds: Any, converge: bool) -> Arrays:
    optimizer, config = _optimizer(experiment.optimizer), _config(experiment, arm)
    loss, observe = arms.network_loss(experiment), arms.network_observer(experiment)

    @jax.jit
    def problems(seed: Any) -> tuple[Any, arms.NetworkData, Any]:
        key_start, key_data, key_test = arms.split_key(seed)
        data = arms.network_data(key_data, experiment, float(arm))
        return arms.network_start(key_start, experiment), data, key_test

    starts, data, test_keys = jax.vmap(problems)(seeds)
    step = experiment.steps[arm]
    run = jax.vmap(
        lambda p, d: descend(loss, p, d, optimizer, step_size=step, observe=observe, config=config)
    )(starts, data)

    @jax.jit
    def errors(params: Any) -> Any:  # one seed at a time: the test inputs are large
        return jax.lax.map(lambda x: arms.test_error(x[0], x[1], experiment), (test_keys, params))

    a = ssm_of(run.model).a
    out = _at_stop(run, a, errors(run.model))
    out |= _paths(run, [log.value for log in (run.log, run.extra_log) if log is not None])
    if not converge:
        return out
    # Adam goes on from its own state and step: a fresh one would kick every parameter by a step.
    schedule = jnp.zeros(len(seeds), jnp.int32)
    state = (run.optimizer_state, optax.ScaleByScheduleState(schedule))
    by_adam = _finish(experiment, _decaying_adam(), _ADAM_TAIL, run.model, data, step, state)
    end = _finish(experiment, _lbfgs(), _LBFGS_TAIL, by_adam.model, data, 1.0, None)
    return out | {
        "adam_loss": by_adam.loss,
        "adam_error": errors(by_adam.model),
        "converged_loss": end.loss,
        "converged_outcome": jnp.where(run.converged, end.outcome, run.outcome),
        "converged_error": errors(end.model),
        "converged_a": ssm_of(end.model).a,
    }


def _finish(
    experiment: PaperExperiment,
    optimizer: optax.GradientTransformation,
    budget: int,
    params: Any,
    data: arms.NetworkData,
    step_size: float,
    state: Any,
) -> DescentResult:
    """Further steps of an optimiser until the loss is at most `CONVERGED_LOSS`."""
    config = DescentConfig(loss_tol=CONVERGED_LOSS, max_steps=budget, log_every=budget, max_logs=2)
    loss, observe = arms.network_loss(experiment), arms.network_observer(experiment)

    def one(params: Any, data: arms.NetworkData, state: Any) -> DescentResult:
        return descend(
            loss,
            params,
            data,
            optimizer,
            step_size=step_size,
            optimizer_state=state,
            observe=observe,
            config=config,
        )

    return jax.vmap(one)(params, data, state)


@functools.lru_cache(maxsize=1)
def _decaying_adam() -> optax.GradientTransformation:
    """Adam whose step falls ten thousandfold over `_ADAM_TAIL` steps."""
    schedule = optax.exponential_decay(1.0, _ADAM_TAIL, 1e-4)
    return optax.chain(keras_adam(1.0), optax.scale_by_schedule(schedule))


@functools.lru_cache(maxsize=1)
def _lbfgs() -> optax.GradientTransformation:
    return optax.lbfgs()


def _finite(model: DiagonalSSM, fallback: DiagonalSSM) -> DiagonalSSM:
    """Runs that blew up start again, so that one of them does not stop the batch."""
    return jax.tree.map(lambda x, y: jnp.where(jnp.isfinite(x), x, y), model, fallback)


def _at_stop(run: DescentResult, a: Any, error: Any) -> Arrays:
    return {
        "steps_to_eps": run.steps_to_tol,
        "outcome": run.outcome,
        "train_loss": run.loss,
        "test_error": error,
        "a": a,
    }


def _paths(run: DescentResult, observed: list[dict[str, Any]]) -> Arrays:
    """The dynamics on a common grid of progress, the same number of points for every run.

    In the first phase progress is the fraction of the steps to eps, in the second one plus the
    fraction of its steps. Points are nearest entries of the log: nothing is interpolated.
    """
    grid = np.linspace(0.0, 1.0, NUM_PROGRESS)
    parts: dict[str, list[np.ndarray]] = {"path_a": [], "path_gamma0": [], "path_step": []}
    for log, values in zip((run.log, run.extra_log), observed, strict=True):
        assert log is not None
        step, recorded = np.asarray(log.step), np.asarray(log.recorded)
        rows = range(len(step))
        filled = [np.flatnonzero(r) if r.any() else np.array([0]) for r in recorded]
        index = [
            f[np.abs(step[i, f][None] - grid[:, None] * step[i, f[-1]]).argmin(1)]
            for i, f in zip(rows, filled, strict=True)
        ]
        a = np.sort(np.abs(np.asarray(values["a"])), axis=-1)[..., ::-1]
        parts["path_a"].append(np.stack([a[i, index[i]] for i in rows]))
        gamma0 = np.asarray(values["gamma0"])
        parts["path_gamma0"].append(np.stack([gamma0[i, index[i]] for i in rows]))
        parts["path_step"].append(np.stack([step[i, index[i]] for i in rows]))
    out = {name: np.concatenate(arrays, axis=1) for name, arrays in parts.items()}
    safe = np.where(np.isfinite(out["path_a"]) & (out["path_a"] > 0), out["path_a"], 1e-300)
    out["path_rank"] = np.asarray(jax.jit(jax.vmap(jax.vmap(effective_rank)))(safe))
    return out
