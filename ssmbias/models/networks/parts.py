"""Parts of a sequence network: linear maps, norms, the convolutional stem, the head."""

from __future__ import annotations

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssmbias.core.types import Array
from ssmbias.models.layers.scans import float_dtype
from ssmbias.models.networks.config import SequenceConfig

# Those of PyTorch, with which the published networks were trained.
NORM_EPS = 1e-5
"""Added to a variance before its root is taken."""

_BATCH_MOMENTUM = 0.9
_STEM_CHANNELS = 64
STEM_STRIDE = 4
"""Side of a patch of the stem, in pixels."""


class ConvStem(nn.Module):
    """An image to a sequence of tokens: one per patch of 4×4 pixels, in raster order."""

    config: SequenceConfig

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """The tokens of an image."""
        config = self.config
        # Running means in single precision, unless everything is in double precision.
        double = param_dtype(config) == compute_dtype(config) == jnp.float64
        for i, (width, size, stride) in enumerate(
            ((_STEM_CHANNELS, 3, 1), (config.channels, STEM_STRIDE, STEM_STRIDE))
        ):
            x = nn.Conv(
                width,
                (size, size),
                strides=stride,
                padding="SAME" if stride == 1 else "VALID",
                use_bias=False,
                kernel_init=kernel_init(config),
                dtype=compute_dtype(config),
                param_dtype=param_dtype(config),
                name=f"conv_{i}",
            )(x)
            x = nn.BatchNorm(
                use_running_average=not train,
                momentum=_BATCH_MOMENTUM,
                epsilon=NORM_EPS,
                dtype=compute_dtype(config),
                param_dtype=param_dtype(config),
                axis_name="batch",
                force_float32_reductions=not double,
                name=f"norm_{i}",
            )(x)
            x = jax.nn.gelu(x, approximate=False)
        return x.reshape(-1, config.channels)


class NetworkHead(nn.Module):
    """A linear map, or an MLP with one hidden layer."""

    config: SequenceConfig

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """The outputs for one pooled row."""
        config = self.config
        if config.head_width is not None:
            x = dense(config, x.shape[-1], config.head_width, "hidden")(x)
            x = jax.nn.relu(x) if config.head_activation == "relu" else jax.nn.gelu(x, False)
        return dense(config, x.shape[-1], config.num_outputs, "out")(x)


def param_dtype(config: SequenceConfig) -> Any:
    """The dtype of parameters."""
    return float_dtype("param_dtype", config.param_dtype)


def compute_dtype(config: SequenceConfig) -> Any:
    """The dtype that a network computes in."""
    return jnp.dtype(config.compute_dtype or param_dtype(config))


def kernel_init(config: SequenceConfig) -> Any:
    """How matrices start."""
    if config.dense_init == "torch":
        # Variance 1/(3 fan-in): uniform on ±1/sqrt(fan-in).
        return nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
    return nn.initializers.lecun_normal()


def dense(
    config: SequenceConfig,
    fan_in: int,
    width: int,
    name: str,
    *,
    bias: bool = True,
    sd: float | None = None,
) -> nn.Dense:
    """A linear map."""

    def uniform(key: Array, shape: Any, dtype: Any) -> Array:
        bound = 1 / math.sqrt(fan_in)
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    torch = config.dense_init == "torch" and sd is None
    return nn.Dense(
        width,
        use_bias=bias,
        kernel_init=kernel_init(config) if sd is None else nn.initializers.normal(sd),
        bias_init=uniform if torch else nn.initializers.zeros,
        dtype=compute_dtype(config),
        param_dtype=param_dtype(config),
        name=name,
    )


def layer_norm(config: SequenceConfig, name: str) -> nn.LayerNorm:
    """A norm over channels."""
    return nn.LayerNorm(
        epsilon=NORM_EPS,
        dtype=compute_dtype(config),
        param_dtype=param_dtype(config),
        name=name,
    )
