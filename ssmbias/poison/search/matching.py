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
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Shaped

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
from ssmbias.poison.search.groups import Groups, check_groups, equal_groups
from ssmbias.poison.search.matching_config import MatchingConfig
from ssmbias.poison.search.objective import goal_of
from ssmbias.poison.search.perturbation import perturbation_bounds
from ssmbias.poison.search.signed_adam import Attack, Brewed, best_restart, each_group
from ssmbias.poison.search.weighting import position_weights


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
      groups: which poisons go with which targets (`ssmbias.poison.search.groups`).
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
        return goal_of(loss, params, Batch(*targets[:2]), *targets[2:])

    known = (*targets, *(() if target_labels is None else (target_labels,)))
    problem = Attack(
        loss=loss,
        params=params,
        poisons=poisons,
        relabel=relabel,
        augment=augment,
        groups=groups,
        goals=tuple(
            each_group(goal, tuple(x[block.targets] for x in known), config.groups_at_once)
            for block in groups
        ),
        bounds=bounds,
        penalty=None if penalty is None else 2 * jnp.asarray(penalty, poisons.inputs.dtype),
        config=config,
    )
    return best_restart(problem, key)


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
