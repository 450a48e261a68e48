"""A block of a sequence network: a state space layer with branch, residual, dropout and norm."""

from __future__ import annotations

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssmbias.core.types import Array
from ssmbias.models.layers.lru import LRUParams
from ssmbias.models.layers.mamba2 import Mamba2Params
from ssmbias.models.layers.s4d import S4DParams
from ssmbias.models.networks.config import LAYERS, SequenceConfig
from ssmbias.models.networks.parts import dense, layer_norm, param_dtype

_SHORT = 64
"""Up to this length a product with a matrix is quicker than FFTs (measured on a CPU)."""

LAYER_PARAMS: dict[str, Any] = {"lru": LRUParams, "s4d": S4DParams, "mamba2": Mamba2Params}
"""The class of each layer's parameters."""


class Seen(NamedTuple):
    """A sequence before a linear encoder, and the encoder."""

    inputs: Array
    kernel: Array
    bias: Array


class LayerBlock(nn.Module):
    """A layer with its branch, residual, dropout and norm; one row out if `only_last`."""

    config: SequenceConfig

    @nn.compact
    def __call__(self, x: Array, train: bool, only_last: bool, seen: Seen | None = None) -> Array:
        """The sequence after the block."""
        config = self.config
        module, dtype = LAYERS[config.layer], param_dtype(config)

        def draw(key: Array) -> dict[str, Array]:
            options = dict(config.layer_options)
            drawn = module.init(key, config.channels, config.state_dim, **options, dtype=dtype)
            return {name: leaf for name, leaf in drawn._asdict().items() if leaf is not None}

        params = LAYER_PARAMS[config.layer](**self.param("ssm", draw))
        if seen is not None:
            # Layer and encoder are linear: over time first, which has fewer features than channels.
            response = module.kernel(params, seen.inputs.shape[0])
            branch = jnp.sum((seen.inputs[::-1].T @ response) * seen.kernel, axis=0)
            branch = (branch + seen.bias * jnp.sum(response, axis=0) + params.d * x[-1])[None]
        elif only_last:
            branch = module.final(params, x)[None]
        elif config.layer != "mamba2" and x.shape[0] <= _SHORT:
            branch = module.apply(params, x, method="direct")
        else:
            branch = module.apply(params, x)
        x = x[-1:] if only_last else x

        def drop(y: Array) -> Array:
            tied = (0,) if config.tied_dropout else ()
            return nn.Dropout(config.dropout, broadcast_dims=tied, deterministic=not train)(y)

        if config.activation == "gelu":
            branch = jax.nn.gelu(branch, approximate=False)
        if config.inner_dropout:
            branch = drop(branch)
        if config.glu:
            width = config.channels
            both = dense(config, width, 2 * width, "glu", bias=config.glu_bias)(branch)
            branch = both[..., :width] * jax.nn.sigmoid(both[..., width:])
        if config.block == "plain":
            return x + branch
        norm = layer_norm(config, "norm")
        if config.block == "post_norm":
            return norm(x + drop(branch))
        return drop(norm(x + branch))
