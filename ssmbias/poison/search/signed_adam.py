"""The search for perturbations: signed Adam under a projection, and its restarts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Int

from ssmbias.core.types import Array
from ssmbias.poison.batch import Batch, LossFn, Params, Relabel, relabelled
from ssmbias.poison.search.groups import Groups, count_groups
from ssmbias.poison.search.matching_config import MatchingConfig
from ssmbias.poison.search.objective import objective_to
from ssmbias.poison.search.perturbation import Bounds, project


class Brewed(NamedTuple):
    r"""What `brew` found.

    Attributes:
      delta: the kept perturbation $\delta$.
      objective: mean objective over groups of the perturbation that every restart ended with (or,
        with `keep="best"`, of its best one), without the penalty.
      history: the same before every update of the kept restart.
      kept: index of the kept restart; its objective is not finite only if that of every
        restart is not.
    """

    delta: Float[Array, "num ..."]
    objective: Float[Array, " restart"]
    history: Float[Array, " step"]
    kept: Int[Array, ""]


class Attack(NamedTuple):
    """What stays the same in all restarts."""

    loss: LossFn
    params: Params
    poisons: Batch
    relabel: Relabel | None
    augment: Callable[[Array, Array], Array] | None
    groups: Groups
    goals: tuple[Params, ...]
    bounds: Bounds
    penalty: Array | None
    config: MatchingConfig


def each_group(function: Callable[..., Any], groups: tuple[Any, ...], at_once: int) -> Any:
    """`function` of every group, `at_once` of them in memory together."""
    num = jax.tree.leaves(groups)[0].shape[0]
    if num <= at_once:
        return jax.vmap(function)(*groups)
    return jax.lax.map(lambda one: function(*one), groups, batch_size=at_once)


def _value_and_slope(problem: Attack, delta: Array, key: Array) -> tuple[Array, Array]:
    """Mean objective over groups, and the slope of every group's own objective."""
    inputs, labels = problem.poisons
    labels = relabelled(problem.relabel, inputs + delta, labels)
    keys = None if problem.augment is None else jax.random.split(key, labels.shape[0])

    def objective(delta: Array, inputs: Array, labels: Array, keys: Any, goal: Params) -> Array:
        changed = inputs + delta
        if problem.augment is not None:
            changed = jax.vmap(problem.augment)(keys, changed)
        return objective_to(problem.loss, problem.params, Batch(changed, labels), goal)

    total, slope = jnp.zeros((), delta.dtype), jnp.zeros_like(delta)
    for block, goals in zip(problem.groups, problem.goals, strict=True):
        at = block.poisons
        values, slopes = each_group(
            jax.value_and_grad(objective),
            (delta[at], inputs[at], labels[at], None if keys is None else keys[at], goals),
            problem.config.groups_at_once,
        )
        total, slope = total + jnp.sum(values).astype(delta.dtype), slope.at[at].set(slopes)
    return total / count_groups(problem.groups), slope


def _search(problem: Attack, key: Array) -> tuple[Array, Array, Array]:
    """One restart: perturbation, its objective, and the objective before every update."""
    config, bounds, inputs = problem.config, problem.bounds, problem.poisons.inputs
    if config.init == "uniform":
        draw = jax.random.uniform(jax.random.fold_in(key, 0), inputs.shape, inputs.dtype, -1.0, 1.0)
    else:
        draw = jax.random.normal(jax.random.fold_in(key, 0), inputs.shape, inputs.dtype)
    delta = project(config.init_scale * config.budget * draw, bounds)
    adam = optax.adam(config.schedule)

    def step(carry: Any, index: Array) -> tuple[Any, Array]:
        delta, state, best = carry
        value, slope = _value_and_slope(problem, delta, jax.random.fold_in(key, index))
        if config.keep == "best":
            better = value < best[0]
            best = jax.tree.map(lambda a, b: jnp.where(better, a, b), (value, delta), best)
        if problem.penalty is not None:
            slope = slope + problem.penalty[None] * delta
        updates, state = adam.update(jnp.sign(slope), state)
        return (project(delta + updates, bounds), state, best), value

    # The rate is 0 in one more step, which gives the final objective: so the slope, much the
    # largest part, is compiled once only.
    turns = jnp.arange(1, config.steps + 2)
    best = (jnp.asarray(jnp.inf, delta.dtype), delta) if config.keep == "best" else ()
    (delta, _, best), values = jax.lax.scan(step, (delta, adam.init(delta), best), turns)
    value, delta = best or (values[-1], delta)
    return delta, value, values[:-1]


def best_restart(problem: Attack, key: Array) -> Brewed:
    """The restarts one after the other; only the best perturbation is held in memory."""

    def restart(best: Any, turn: tuple[Array, Array]) -> tuple[Any, Array]:
        index, key = turn
        found = _search(problem, key)
        # A restart that ended in nan loses against every other.
        score = jnp.where(jnp.isnan(found[1]), jnp.inf, found[1])
        better = (index == 0) | (score < best[0])
        new = (score, found[0], found[2], index)
        return jax.tree.map(lambda a, b: jnp.where(better, a, b), new, best), found[1]

    dtype = problem.poisons.inputs.dtype
    nothing = (
        jnp.zeros((), dtype),
        jnp.zeros_like(problem.poisons.inputs),
        jnp.zeros((problem.config.steps,), dtype),
        jnp.zeros((), jnp.int32),
    )
    num = problem.config.restarts
    turns = (jnp.arange(num, dtype=jnp.int32), jax.random.split(key, num))
    (_, delta, history, kept), objective = jax.lax.scan(restart, nothing, turns)
    return Brewed(delta, objective, history, kept)
