"""Networks of practice around S4D, LRU and Mamba-2 layers, as a flax module on one sequence.

Imported on its own (`ssmbias.models.networks.sequence`): flax is slow to import. The mathematics of
the layers is in `s4d`, `lru` and `mamba2`, without flax.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from ssmbias.core.checks import require_int
from ssmbias.core.types import Array
from ssmbias.models.networks.block import LAYER_PARAMS, LayerBlock, Seen
from ssmbias.models.networks.config import SequenceConfig
from ssmbias.models.networks.parts import (
    STEM_STRIDE,
    ConvStem,
    NetworkHead,
    compute_dtype,
    dense,
    layer_norm,
    param_dtype,
)


class SequenceNetwork(nn.Module):
    """Encoder, blocks around state space layers, pooling over time, head; for one example.

    Map over examples with `jax.vmap`. Dropout draws from the rng "dropout". The encoder
    "conv_stem" normalises over the batch: its running means are the collection "batch_stats", and
    in training mode the map over examples must be `jax.vmap(..., axis_name="batch")`.

    With pooling "last" only the last position is computed from the last layer on.

    Attributes:
      config: every choice; see `SequenceConfig`.

    Example:
      >>> import jax
      >>> from ssmbias.models.networks.config import f1_config
      >>> network = SequenceNetwork(f1_config())
      >>> variables = jax.jit(network.init)(jax.random.key(0), jnp.ones((32, 1)))
      >>> sorted(variables["params"])
      ['block_0', 'encoder', 'head']
      >>> jax.jit(jax.vmap(network.apply, (None, 0)))(variables, jnp.ones((5, 32, 1))).shape
      (5, 1)

    References:
      Slutzky et al. (2025), arXiv:2410.10473, experiments with SSM networks of practice.
    """

    config: SequenceConfig

    def __post_init__(self) -> None:
        """Refuse anything but a configuration."""
        if not isinstance(self.config, SequenceConfig):
            raise ValueError(f"config={self.config!r}: expected a SequenceConfig")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, inputs: Float[Array, "length features"], *, train: bool = False
    ) -> Float[Array, " outputs"]:
        """The outputs for one example.

        Args:
          inputs: a sequence (length, features), or an image (height, width, features) with the
            encoder "conv_stem".
          train: whether dropout and the statistics of the batch are used.

        Returns:
          `num_outputs` numbers in the dtype of the parameters.

        Raises:
          ValueError: inputs of another shape, or no floating-point numbers.
        """
        config = self.config
        _require_inputs(config, inputs)
        x = inputs.astype(compute_dtype(config))
        if config.encoder == "conv_stem":
            x = ConvStem(config, name="encoder")(x, train)
            seen = None
        else:
            encoder = dense(config, x.shape[-1], config.channels, "encoder", sd=config.encoder_sd)
            x, seen = self._encoded(encoder, x)
        last = config.pooling == "last"
        for i in range(config.num_layers):
            only_last = last and i == config.num_layers - 1
            x = LayerBlock(config, name=f"block_{i}")(x, train, only_last, seen)
        pooled = x[-1] if last else jnp.mean(x, axis=0)
        if config.final_norm:
            pooled = layer_norm(config, "norm")(pooled)
        return NetworkHead(config, name="head")(pooled).astype(param_dtype(config))

    def _encoded(self, encoder: nn.Dense, x: Array) -> tuple[Array, Seen | None]:
        """The encoded sequence; or its last row, where the layer can see through the encoder."""
        config = self.config
        only_last = config.pooling == "last" and config.num_layers == 1
        same_dtype = config.compute_dtype in (None, config.param_dtype)
        if not only_last or config.layer == "mamba2" or not same_dtype:
            return encoder(x), None
        row = encoder(x[-1:])
        weights = encoder.variables["params"]
        return row, Seen(x, weights["kernel"], weights["bias"])


def layer_params(config: SequenceConfig, params: Any, index: int = 0) -> Any:
    """The parameters of one state space layer of a network, as the layer's functions take them.

    Args:
      config: the network's configuration.
      params: the collection "params" of `SequenceNetwork(config).init`.
      index: which layer, from 0.

    Returns:
      An `LRUParams`, `S4DParams` or `Mamba2Params`.

    Raises:
      ValueError: there is no such layer.

    Example:
      >>> import jax
      >>> from ssmbias.models import lru
      >>> from ssmbias.models.networks.config import f1_config
      >>> network = SequenceNetwork(f1_config())
      >>> variables = jax.jit(network.init)(jax.random.key(0), jnp.ones((4, 1)))
      >>> lru.kernel(layer_params(f1_config(), variables["params"]), 6).shape
      (6, 8)
    """
    index = require_int("index", index, minimum=0, maximum=config.num_layers - 1)
    return LAYER_PARAMS[config.layer](**params[f"block_{index}"]["ssm"])


def _require_inputs(config: SequenceConfig, inputs: Any) -> None:
    dtype = getattr(inputs, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        got = type(inputs).__name__ if dtype is None else f"dtype {dtype}"
        raise ValueError(f"inputs has {got}: expected an array of real floating-point numbers")
    stem = config.encoder == "conv_stem"
    expected = "height, width" if stem else "length"
    shape = inputs.shape
    fits = len(shape) == 2 + stem and shape[-1] == config.features and min(shape) > 0
    if not fits:
        remedy = "; map over examples with jax.vmap" if len(shape) > 2 + stem else ""
        raise ValueError(
            f"inputs has shape {shape}: expected ({expected}, {config.features}){remedy}"
        )
    if stem and (shape[0] % STEM_STRIDE or shape[1] % STEM_STRIDE):
        raise ValueError(
            f"inputs has shape {shape}: height and width must be multiples of {STEM_STRIDE}"
        )
