"""Networks of practice around S4D, LRU and Mamba-2 layers, as a flax module on one sequence.

Imported on its own (`ssmbias.models.networks.sequence`): flax is slow to import. The mathematics of
the layers is in `s4d`, `lru` and `mamba2`, without flax.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from ssmbias.core.checks import require_int
from ssmbias.core.types import Array
from ssmbias.models.layers.lru import LRUParams
from ssmbias.models.layers.mamba2 import Mamba2Params
from ssmbias.models.layers.s4d import S4DParams
from ssmbias.models.layers.scans import float_dtype
from ssmbias.models.networks.config import LAYERS, SequenceConfig

# Those of PyTorch, with which the published networks were trained.
_NORM_EPS = 1e-5
_BATCH_MOMENTUM = 0.9
_STEM_CHANNELS = 64
_STEM_STRIDE = 4

_SHORT = 64
"""Up to this length a product with a matrix is quicker than FFTs (measured on a CPU)."""

_PARAMS: dict[str, Any] = {"lru": LRUParams, "s4d": S4DParams, "mamba2": Mamba2Params}


class SequenceNetwork(nn.Module):
    """Encoder, blocks around state space layers, pooling over time, head; for one example.

    Map over examples with `jax.vmap`. Dropout draws from the rng "dropout". The encoder
    "conv_stem" normalises over the batch: its running means are the collection "batch_stats", and
    in training mode the map over examples must be `jax.vmap(..., axis_name="batch")`.

    With pooling "last" only the last position is computed from the last layer on.

    Attributes:
      config: every choice; see `SequenceConfig`.

    Example:
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
        x = inputs.astype(_compute_dtype(config))
        if config.encoder == "conv_stem":
            x = _ConvStem(config, name="encoder")(x, train)
            seen = None
        else:
            encoder = _dense(config, x.shape[-1], config.channels, "encoder", sd=config.encoder_sd)
            x, seen = self._encoded(encoder, x)
        last = config.pooling == "last"
        for i in range(config.num_layers):
            only_last = last and i == config.num_layers - 1
            x = _Block(config, name=f"block_{i}")(x, train, only_last, seen)
        pooled = x[-1] if last else jnp.mean(x, axis=0)
        if config.final_norm:
            pooled = _layer_norm(config, "norm")(pooled)
        return _Head(config, name="head")(pooled).astype(_param_dtype(config))

    def _encoded(self, encoder: nn.Dense, x: Array) -> tuple[Array, _Seen | None]:
        """The encoded sequence; or its last row, where the layer can see through the encoder."""
        config = self.config
        only_last = config.pooling == "last" and config.num_layers == 1
        same_dtype = config.compute_dtype in (None, config.param_dtype)
        if not only_last or config.layer == "mamba2" or not same_dtype:
            return encoder(x), None
        row = encoder(x[-1:])
        weights = encoder.variables["params"]
        return row, _Seen(x, weights["kernel"], weights["bias"])


class _Seen(NamedTuple):
    """A sequence before a linear encoder, and the encoder."""

    inputs: Array
    kernel: Array
    bias: Array


class _Block(nn.Module):
    """A layer with its branch, residual, dropout and norm; one row out if `only_last`."""

    config: SequenceConfig

    @nn.compact
    def __call__(self, x: Array, train: bool, only_last: bool, seen: _Seen | None = None) -> Array:
        config = self.config
        module, dtype = LAYERS[config.layer], _param_dtype(config)

        def draw(key: Array) -> dict[str, Array]:
            options = dict(config.layer_options)
            drawn = module.init(key, config.channels, config.state_dim, **options, dtype=dtype)
            return {name: leaf for name, leaf in drawn._asdict().items() if leaf is not None}

        params = _PARAMS[config.layer](**self.param("ssm", draw))
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
            both = _dense(config, width, 2 * width, "glu", bias=config.glu_bias)(branch)
            branch = both[..., :width] * jax.nn.sigmoid(both[..., width:])
        if config.block == "plain":
            return x + branch
        norm = _layer_norm(config, "norm")
        if config.block == "post_norm":
            return norm(x + drop(branch))
        return drop(norm(x + branch))


class _ConvStem(nn.Module):
    """An image to a sequence of tokens: one per patch of 4×4 pixels, in raster order."""

    config: SequenceConfig

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        config = self.config
        # Running means in single precision, unless everything is in double precision.
        double = _param_dtype(config) == _compute_dtype(config) == jnp.float64
        for i, (width, size, stride) in enumerate(
            ((_STEM_CHANNELS, 3, 1), (config.channels, _STEM_STRIDE, _STEM_STRIDE))
        ):
            x = nn.Conv(
                width,
                (size, size),
                strides=stride,
                padding="SAME" if stride == 1 else "VALID",
                use_bias=False,
                kernel_init=_kernel_init(config),
                dtype=_compute_dtype(config),
                param_dtype=_param_dtype(config),
                name=f"conv_{i}",
            )(x)
            x = nn.BatchNorm(
                use_running_average=not train,
                momentum=_BATCH_MOMENTUM,
                epsilon=_NORM_EPS,
                dtype=_compute_dtype(config),
                param_dtype=_param_dtype(config),
                axis_name="batch",
                force_float32_reductions=not double,
                name=f"norm_{i}",
            )(x)
            x = jax.nn.gelu(x, approximate=False)
        return x.reshape(-1, config.channels)


class _Head(nn.Module):
    """A linear map, or an MLP with one hidden layer."""

    config: SequenceConfig

    @nn.compact
    def __call__(self, x: Array) -> Array:
        config = self.config
        if config.head_width is not None:
            x = _dense(config, x.shape[-1], config.head_width, "hidden")(x)
            x = jax.nn.relu(x) if config.head_activation == "relu" else jax.nn.gelu(x, False)
        return _dense(config, x.shape[-1], config.num_outputs, "out")(x)


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
      >>> from ssmbias.models import lru
      >>> from ssmbias.models.networks.config import f1_config
      >>> network = SequenceNetwork(f1_config())
      >>> variables = jax.jit(network.init)(jax.random.key(0), jnp.ones((4, 1)))
      >>> lru.kernel(layer_params(f1_config(), variables["params"]), 6).shape
      (6, 8)
    """
    index = require_int("index", index, minimum=0, maximum=config.num_layers - 1)
    return _PARAMS[config.layer](**params[f"block_{index}"]["ssm"])


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
    if stem and (shape[0] % _STEM_STRIDE or shape[1] % _STEM_STRIDE):
        raise ValueError(
            f"inputs has shape {shape}: height and width must be multiples of {_STEM_STRIDE}"
        )


def _param_dtype(config: SequenceConfig) -> Any:
    return float_dtype("param_dtype", config.param_dtype)


def _compute_dtype(config: SequenceConfig) -> Any:
    return jnp.dtype(config.compute_dtype or _param_dtype(config))


def _kernel_init(config: SequenceConfig) -> Any:
    if config.dense_init == "torch":
        # Variance 1/(3 fan-in): uniform on ±1/sqrt(fan-in).
        return nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
    return nn.initializers.lecun_normal()


def _dense(
    config: SequenceConfig,
    fan_in: int,
    width: int,
    name: str,
    *,
    bias: bool = True,
    sd: float | None = None,
) -> nn.Dense:
    def uniform(key: Array, shape: Any, dtype: Any) -> Array:
        bound = 1 / math.sqrt(fan_in)
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    torch = config.dense_init == "torch" and sd is None
    return nn.Dense(
        width,
        use_bias=bias,
        kernel_init=_kernel_init(config) if sd is None else nn.initializers.normal(sd),
        bias_init=uniform if torch else nn.initializers.zeros,
        dtype=_compute_dtype(config),
        param_dtype=_param_dtype(config),
        name=name,
    )


def _layer_norm(config: SequenceConfig, name: str) -> nn.LayerNorm:
    return nn.LayerNorm(
        epsilon=_NORM_EPS,
        dtype=_compute_dtype(config),
        param_dtype=_param_dtype(config),
        name=name,
    )
