r"""Groups of parameters and the optimiser that treats them differently.

The dynamics of S4D layers, $\log\Delta$, $\alpha$ and $\omega$, train with a small learning rate
and no weight decay; everything else, $C$ and $D$ among it, is one general group.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import optax

from ssmbias.core.checks import require_choice, require_number
from ssmbias.models.layers.s4d import SSM_LEAVES


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with two groups.

    Attributes:
      learning_rate: of the general group.
      weight_decay: of the general group; decoupled, multiplied by the learning rate.
      ssm_learning_rate: of the dynamics; `None` trains them with the general group.
      ssm_weight_decay: of the dynamics.
      beta1: weight of the past in the mean of gradients.
      beta2: weight of the past in the mean of their squares.
      eps: bounds the step where gradients vanish.

    Raises:
      ValueError: a rate that is negative, or not less than 1 for the weights of the past.

    Example:
      >>> OptimizerConfig(0.01).weight_decay
      0.01
    """

    learning_rate: float
    weight_decay: float = 0.01
    ssm_learning_rate: float | None = 0.001
    ssm_weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        """Refuse impossible rates."""
        for name in ("learning_rate", "ssm_learning_rate", "eps"):
            value = getattr(self, name)
            if value is None and name == "ssm_learning_rate":
                continue
            if not require_number(name, value) > 0:
                raise ValueError(f"{name}={value!r}: must be greater than 0")
        for name in ("weight_decay", "ssm_weight_decay"):
            if not require_number(name, getattr(self, name)) >= 0:
                raise ValueError(f"{name}={getattr(self, name)!r}: must be 0 or greater")
        for name in ("beta1", "beta2"):
            if not 0 <= require_number(name, getattr(self, name)) < 1:
                raise ValueError(f"{name}={getattr(self, name)!r}: must lie in [0, 1)")


def parameter_groups(params: Any) -> Any:
    """Label every parameter of a network, or of any tree that holds layers.

    Args:
      params: the parameters of a `SequenceNetwork`, with or without the level "params".

    Returns:
      The same tree with "ssm" or "general" in place of every array.

    Example:
      >>> parameter_groups({"block_0": {"ssm": {"log_dt": 0.0, "d": 0.0}}})
      {'block_0': {'ssm': {'d': 'general', 'log_dt': 'ssm'}}}
    """

    def label(path: tuple[Any, ...], _: Any) -> str:
        # The last key is a dictionary's or the name of a field.
        name = getattr(path[-1], "key", getattr(path[-1], "name", None)) if path else None
        return "ssm" if name in SSM_LEAVES else "general"

    return jax.tree_util.tree_map_with_path(label, params)


def optimizer(
    config: OptimizerConfig,
    schedule: Callable[[Any], Any] | None = None,
    groups: Callable[[Any], Any] | None = None,
) -> optax.GradientTransformation:
    """AdamW with a learning rate and weight decay for each group of parameters.

    Args:
      config: rates.
      schedule: from the number of updates so far to a factor of both learning rates, such as
        `optax.cosine_decay_schedule(1.0, steps, alpha=0.01)`; `None` keeps them constant.
      groups: from parameters to a tree of labels, "ssm" or "general"; `None` goes by names.

    Returns:
      An optax transformation for the parameters of a network.

    Raises:
      ValueError: `config` is no `OptimizerConfig`, or `schedule` no function.

    Example:
      >>> import jax.numpy as jnp
      >>> params = {"log_dt": jnp.ones(1), "w": jnp.ones(1)}
      >>> adamw = optimizer(OptimizerConfig(0.01, weight_decay=0.0))
      >>> updates, _ = adamw.update(params, adamw.init(params), params)
      >>> [round(float(updates[name][0]), 6) for name in ("log_dt", "w")]
      [-0.001, -0.01]

    References:
      Loshchilov & Hutter (2019), Decoupled weight decay regularization, arXiv:1711.05101.
    """
    if not isinstance(config, OptimizerConfig):
        raise ValueError(f"config={config!r}: expected an OptimizerConfig")
    if schedule is not None and not callable(schedule):
        raise ValueError(f"schedule={schedule!r}: expected a function of the step, or None")

    def adamw(rate: float, decay: float) -> optax.GradientTransformation:
        return optax.adamw(
            rate if schedule is None else _times(rate, schedule),
            b1=config.beta1,
            b2=config.beta2,
            eps=config.eps,
            weight_decay=decay,
        )

    general = adamw(config.learning_rate, config.weight_decay)
    if config.ssm_learning_rate is None:
        return general
    special = adamw(config.ssm_learning_rate, config.ssm_weight_decay)
    return optax.multi_transform({"general": general, "ssm": special}, groups or parameter_groups)


def _times(rate: float, schedule: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda step: rate * schedule(step)


def cifar_optimizer(layer: str) -> OptimizerConfig:
    """Rates with which the networks of `cifar_config` were trained.

    Args:
      layer: "s4d", "lru" or "mamba2".

    Returns:
      The configuration.

    Raises:
      ValueError: an unknown layer.

    Example:
      >>> cifar_optimizer("lru").learning_rate
      0.001

    References:
      Slutzky et al. (2025), arXiv:2410.10473, experiments on CIFAR-10.
    """
    rates = {"s4d": (0.01, 0.01), "lru": (0.001, 0.05), "mamba2": (0.003, 0.05)}
    return OptimizerConfig(*rates[require_choice("layer", layer, tuple(rates))])
