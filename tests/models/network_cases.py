"""Small sequence networks of every layer."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import erf

from ssmbias.models.networks.config import SequenceConfig, cifar_config, f1_config
from ssmbias.models.networks.sequence import SequenceNetwork

# Small shapes, many programs: compile them with little optimisation.
COMPILER = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
jit = functools.partial(jax.jit, compiler_options=COMPILER)
SMALL: dict[str, Any] = {"channels": 4, "state_dim": 6, "num_layers": 2, "num_outputs": 3}
CONFIGS = {
    "f1": f1_config(),
    "two": f1_config(num_layers=2, head_activation="gelu"),
    "s4d": cifar_config("s4d", **SMALL),
    "lru": cifar_config("lru", **SMALL),
    "mamba2": cifar_config("mamba2", **SMALL, encoder="linear", layer_options={"head_dim": 2}),
    "stem": cifar_config("mamba2", **SMALL | {"num_layers": 1}, layer_options={"head_dim": 2}),
}
LENGTH = 9


def inputs(config: SequenceConfig, count: int | None = None) -> np.ndarray:
    shape = (8, 12, 3) if config.encoder == "conv_stem" else (LENGTH, config.features)
    return np.random.default_rng(0).normal(size=(count,) * (count is not None) + shape)


@functools.cache
def built(name: str) -> tuple[SequenceNetwork, Any]:
    network = SequenceNetwork(CONFIGS[name])
    return network, jit(network.init)(jax.random.key(1), inputs(CONFIGS[name]))


def gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + erf(x / math.sqrt(2))) / 2


def count(config: SequenceConfig) -> int:
    image = config.encoder == "conv_stem"
    x = jax.ShapeDtypeStruct((32, 32, 3) if image else (1024, 3), jnp.float32)
    variables = jax.eval_shape(SequenceNetwork(config).init, jax.random.key(0), x)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))
