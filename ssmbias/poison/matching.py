r"""Gradient matching: perturbations whose training step is a step against the targets.

For every group $g$ the objective is

$$ 1 - \cos\Bigl(\nabla_\theta \tfrac1{|P_g|}\sum_{i\in P_g}\ell(\theta; x_i+\delta_i, y_i),\;
   -\nabla_\theta \tfrac1{|T_g|}\sum_{j\in T_g}\ell(\theta; x_j, y_j)\Bigr) $$

with the parameters $\theta$ of the clean network, all of them in one vector, poisons $P_g$ and
targets $T_g$: descent on the poison's loss shall ascend the targets'. The labels $y_i$ are never
the attacker's: they are the given ones, or the teacher's label of the perturbed input.

No network is known here, only the loss of one example. Everything runs under `jit` and `vmap`.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Bool, Float, Int, Shaped

from ssmbias.core.types import AnyArray, Array
from ssmbias.poison.batch import (
    Batch,
    LossFn,
    Params,
    Relabel,
    check_batch,
    check_labels,
    check_loss,
    check_same_examples,
    relabelled,
)
from ssmbias.poison.groups import Groups, check_groups, count_groups, equal_groups
from ssmbias.poison.matching_config import MatchingConfig
from ssmbias.poison.perturbation import Bounds, perturbation_bounds, project
from ssmbias.poison.weighting import position_weights


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


class _Problem(NamedTuple):
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


def per_example_gradients(loss: LossFn, params: Params, batch: Batch) -> Params:
    r"""$\nabla_\theta\ell$ of every example by itself, by `vmap`.

    Args:
      loss: of one example.
      params: $\theta$.
      batch: the examples.

    Returns:
      A tree like `params` with a leading axis of examples.

    Example:
      >>> loss = lambda w, x, y: (w @ x - y) ** 2
      >>> batch = Batch(jnp.eye(2), jnp.array([1.0, -1.0]))
      >>> per_example_gradients(loss, jnp.ones(2), batch).tolist()
      [[0.0, 0.0], [0.0, 4.0]]
    """
    return jax.vmap(jax.grad(loss), in_axes=(None, 0, 0))(params, *batch)


def mean_gradient(loss: LossFn, params: Params, batch: Batch) -> Params:
    r"""The mean of `per_example_gradients`, as one gradient of the mean loss (much cheaper).

    Example:
      >>> loss = lambda w, x, y: (w @ x - y) ** 2
      >>> mean_gradient(loss, jnp.zeros(2), Batch(jnp.eye(2), jnp.array([1.0, -1.0]))).tolist()
      [-1.0, 1.0]
    """

    def mean_loss(params: Params) -> Array:
        return jnp.mean(jax.vmap(loss, in_axes=(None, 0, 0))(params, *batch))

    return jax.grad(mean_loss)(params)


def matching_objective(
    loss: LossFn,
    params: Params,
    poisons: Batch,
    targets: Batch,
    target_labels: Shaped[AnyArray, " num"] | None = None,
) -> Float[Array, ""]:
    r"""The objective of one group, from 0 (training ascends the targets' loss) to 2.

    Args:
      loss: of one example.
      params: $\theta$.
      poisons: the perturbed examples with the labels that they are trained on.
      targets: the targets with their true labels.
      target_labels: makes it a targeted attack: $\cos$ is taken with $+\nabla_\theta$ of the loss
        of the targets with these labels, which training on the poison shall then descend.

    Returns:
      The objective; 1 where a gradient is zero.

    Example:
      >>> loss = lambda w, x, y: (w @ x - y) ** 2
      >>> data = Batch(jnp.eye(2), jnp.array([1.0, -1.0]))
      >>> float(matching_objective(loss, jnp.zeros(2), data, data).round(12))
      2.0
    """
    goal = _goal(loss, params, targets, target_labels)
    return _objective(loss, params, poisons, goal)


def brew(
    key: Array,
    loss: LossFn,
    params: Params,
    poisons: Batch,
    targets: Batch,
    config: MatchingConfig,
    *,
    target_labels: Shaped[AnyArray, " num"] | None = None,
    support: Bool[AnyArray, "..."] | None = None,
    relabel: Relabel | None = None,
    groups: Groups | None = None,
    augment: Callable[[Array, Array], Array] | None = None,
    penalty: Float[AnyArray, "..."] | None = None,
) -> Brewed:
    r"""Search perturbations by signed Adam: Adam fed with the sign of the slope.

    The slope of $\delta_i$ is that of its own group's objective plus that of the penalty of
    `config.weighting`; so neither depends on the number of groups. After every update $\delta$ is
    projected on budget, box and support. All arrays may be traced; whoever calls it twice wraps
    it in `jax.jit`, and `jax.vmap` over key, parameters and data runs many seeds at once.

    Args:
      key: a JAX random key, of the starts (and of `augment`).
      loss: of one example; it should not be random (no dropout).
      params: of the clean network; they stay fixed.
      poisons: the examples to perturb with their true labels. Zero inputs and a budget make
        $\delta$ the whole sequence.
      targets: the targets with their true labels; keep them out of the data that judge.
      config: the static choices.
      target_labels: labels that the targets shall get; `None` only raises their loss.
      support: True where $\delta$ may differ from zero: the shape of one input, or of all.
      relabel: the teacher, from all inputs to all labels: the label of a perturbed input is then
        the teacher's at every step, and no slope passes through it. `None` keeps the labels.
      groups: which poisons go with which targets (`ssmbias.poison.groups`).
      penalty: $\lambda$ times the weights of the elements of one input, instead of those that
        `config` names; it may be traced, so that one compiled search serves several weightings.
      augment: `(key, one input) -> one input`, random and differentiable, applied to
        perturbed inputs before the loss.

    Returns:
      The perturbation of the best restart, and how the search went. No labels: see `poisoned`.

    Raises:
      ValueError: an argument contradicts another or is out of range.

    Example:
      >>> loss = lambda w, x, y: jnp.logaddexp(0.0, -y * (w @ x))
      >>> x = jnp.array([[1.0, 0.2], [-0.3, 1.0]])
      >>> batch = Batch(x, jnp.array([1.0, -1.0]))
      >>> config = MatchingConfig(budget=0.5, steps=20, restarts=2)
      >>> params = jnp.array([1.0, 0.5])
      >>> search = jax.jit(lambda key: brew(key, loss, params, batch, batch, config))
      >>> found = search(jax.random.key(0))
      >>> bool(found.objective[found.kept] < found.history[0])
      True

    References:
      Geiping et al. (2021), Witches' Brew, arXiv:2009.02276; Slutzky et al. (2025),
      arXiv:2410.10473, experiments (clean-label poisoning of real SSM networks).
    """
    poisons = check_batch("poisons", poisons, config.num_classes)
    targets = check_batch("targets", targets, config.num_classes)
    check_same_examples(poisons, targets)
    check_loss(loss, params, poisons)
    num = poisons.labels.shape[0]
    if target_labels is not None:
        target_labels = jnp.asarray(target_labels)
        if target_labels.shape != targets.labels.shape:
            raise ValueError(
                f"target_labels has shape {target_labels.shape}: expected {targets.labels.shape}"
            )
        check_labels("target_labels", target_labels, config.num_classes)
    if groups is None:
        groups = equal_groups(targets.labels.shape[0], num, config.num_groups)
    check_groups(groups, targets.labels.shape[0], num)
    if penalty is None:
        weights = position_weights(config.weighting, poisons.inputs.shape[1:], config.image)
        penalty = None if weights is None else config.weighting_strength * weights
    bounds = perturbation_bounds(poisons.inputs, config, support)
    jax.eval_shape(functools.partial(relabelled, relabel), *poisons)

    def goal(*targets: Array) -> Params:
        return _goal(loss, params, Batch(*targets[:2]), *targets[2:])

    known = (*targets, *(() if target_labels is None else (target_labels,)))
    problem = _Problem(
        loss=loss,
        params=params,
        poisons=poisons,
        relabel=relabel,
        augment=augment,
        groups=groups,
        goals=tuple(
            _each_group(goal, tuple(x[block.targets] for x in known), config.groups_at_once)
            for block in groups
        ),
        bounds=bounds,
        penalty=None if penalty is None else 2 * jnp.asarray(penalty, poisons.inputs.dtype),
        config=config,
    )
    return _best_restart(problem, key)


def poisoned(brewed: Brewed, poisons: Batch, relabel: Relabel | None = None) -> Batch:
    r"""The examples to train on: `poisons` with the perturbation, and honest labels.

    Args:
      brewed: what `brew` found for these poisons.
      poisons: the unperturbed examples.
      relabel: the teacher that `brew` was given. `None` returns the given labels untouched.

    Returns:
      Perturbed inputs with the given labels, or with the teacher's labels of these inputs.

    Raises:
      ValueError: shapes differ, or the teacher's labels have another shape or dtype.

    Example:
      >>> found = Brewed(jnp.array([[0.5]]), jnp.zeros(1), jnp.zeros(1), jnp.array(0))
      >>> poisoned(found, Batch(jnp.array([[1.0]]), jnp.array([3])))
      Batch(inputs=Array([[1.5]], dtype=float64), labels=Array([3], dtype=int64))
    """
    poisons = check_batch("poisons", poisons)
    if brewed.delta.shape != poisons.inputs.shape:
        raise ValueError(
            f"delta has shape {brewed.delta.shape} and poisons.inputs {poisons.inputs.shape}: "
            "pass the examples that were brewed, one seed at a time (or under jax.vmap)"
        )
    inputs = poisons.inputs + brewed.delta
    return Batch(inputs, relabelled(relabel, inputs, poisons.labels))


def _goal(loss: LossFn, params: Params, targets: Batch, labels: Any = None) -> Params:
    """The direction, of length 1, that the poison's gradient shall have."""
    if labels is None:
        return jax.tree.map(jnp.negative, _unit(mean_gradient(loss, params, targets)))
    return _unit(mean_gradient(loss, params, Batch(targets.inputs, jnp.asarray(labels))))


def _objective(loss: LossFn, params: Params, poisons: Batch, goal: Params) -> Array:
    return 1 - _dot(_unit(mean_gradient(loss, params, poisons)), goal)


def _dot(left: Params, right: Params) -> Array:
    """The real inner product of two trees."""
    products = jax.tree.map(lambda a, b: jnp.real(jnp.vdot(a, b)), left, right)
    return functools.reduce(operator.add, jax.tree.leaves(products))


def _unit(tree: Params) -> Params:
    """The tree over its length; a zero tree stays zero, with finite derivatives.

    Gradients of examples that are fitted well are so small that their squares underflow. So they
    are first divided by the largest entry, which changes neither the result nor its derivative.
    """
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(tree)]))
    largest = jax.lax.stop_gradient(jnp.where(largest == 0, 1, largest))
    tree = jax.tree.map(lambda leaf: leaf / largest, tree)
    square = _dot(tree, tree)
    length = jnp.sqrt(jnp.where(square == 0, 1, square))
    return jax.tree.map(lambda leaf: leaf / length, tree)


def _each_group(function: Callable[..., Any], groups: tuple[Any, ...], at_once: int) -> Any:
    """`function` of every group, `at_once` of them in memory together."""
    num = jax.tree.leaves(groups)[0].shape[0]
    if num <= at_once:
        return jax.vmap(function)(*groups)
    return jax.lax.map(lambda one: function(*one), groups, batch_size=at_once)


def _value_and_slope(problem: _Problem, delta: Array, key: Array) -> tuple[Array, Array]:
    """Mean objective over groups, and the slope of every group's own objective."""
    inputs, labels = problem.poisons
    labels = relabelled(problem.relabel, inputs + delta, labels)
    keys = None if problem.augment is None else jax.random.split(key, labels.shape[0])

    def objective(delta: Array, inputs: Array, labels: Array, keys: Any, goal: Params) -> Array:
        changed = inputs + delta
        if problem.augment is not None:
            changed = jax.vmap(problem.augment)(keys, changed)
        return _objective(problem.loss, problem.params, Batch(changed, labels), goal)

    total, slope = jnp.zeros((), delta.dtype), jnp.zeros_like(delta)
    for block, goals in zip(problem.groups, problem.goals, strict=True):
        at = block.poisons
        values, slopes = _each_group(
            jax.value_and_grad(objective),
            (delta[at], inputs[at], labels[at], None if keys is None else keys[at], goals),
            problem.config.groups_at_once,
        )
        total, slope = total + jnp.sum(values).astype(delta.dtype), slope.at[at].set(slopes)
    return total / count_groups(problem.groups), slope


def _search(problem: _Problem, key: Array) -> tuple[Array, Array, Array]:
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


def _best_restart(problem: _Problem, key: Array) -> Brewed:
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
