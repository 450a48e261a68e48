"""Every choice of a sequence network in one frozen, hashable dataclass; presets of practice.

Light: flax is only needed by `ssmbias.models.networks.sequence`, which builds the network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ssmbias.core.checks import require_choice, require_int, require_number
from ssmbias.models.layers import lru, mamba2, s4d
from ssmbias.models.layers.scans import float_dtype

LAYERS = {"lru": lru, "s4d": s4d, "mamba2": mamba2}
"""The layers by name."""

ENCODERS = ("linear", "conv_stem")
BLOCKS = ("plain", "post_norm", "post_norm_inner")
ACTIVATIONS = ("gelu", "none")
POOLINGS = ("last", "mean")
HEAD_ACTIVATIONS = ("relu", "gelu")
DENSE_INITS = ("lecun", "torch")
COMPUTE_DTYPES = ("bfloat16", "float16", "float32", "float64")


@dataclass(frozen=True)
class SequenceConfig:
    r"""A network: encoder, blocks around state space layers, pooling over time, head.

    With the layer $S$, the activation $\sigma$ and $\mathrm{GLU}(x) = (W_1 x + b_1) \odot
    \mathrm{sigmoid}(W_2 x + b_2)$, the branch of a block is $f = \mathrm{GLU} \circ \sigma
    \circ S$.

    Attributes:
      layer: "lru", "s4d" or "mamba2".
      channels: width of the network.
      state_dim: `state_dim` of every layer.
      features: numbers per element of the input.
      num_outputs: length of the output.
      num_layers: number of blocks.
      layer_options: options of the layer's `init`, as pairs (name, value) or as a mapping.
      encoder: "linear", or "conv_stem" for images (height, width, features): 3×3 to 64 channels,
        then 4×4 with stride 4, each without bias and followed by batch norm and GELU; the grid
        becomes a sequence in raster order.
      encoder_sd: standard deviation of the linear encoder's normal initial weights, with biases
        at 0; `None` leaves them to `dense_init`.
      block: "plain" is $x + f(x)$; "post_norm" is $\mathrm{LN}(x + \mathrm{drop}(f(x)))$;
        "post_norm_inner" is $\mathrm{drop}(\mathrm{LN}(f(x) + x))$.
      activation: σ, "gelu" (exact) or "none".
      glu: whether there is a GLU.
      glu_bias: whether it has biases $b_1, b_2$.
      dropout: rate of drop(); a block "plain" has none.
      inner_dropout: whether there is dropout between σ and the GLU too.
      tied_dropout: whether a channel is dropped at all positions at once.
      final_norm: layer norm of the pooled vector before the head.
      pooling: "mean" over time, or "last" element; of the last layer only that one is computed.
      head_width: width of a hidden layer in the head; `None` for a linear head.
      head_activation: its activation, "relu" or "gelu".
      dense_init: "lecun" (normal, biases at 0) or "torch" (weights and biases uniform on
        $\pm 1/\sqrt{\text{fan-in}}$), for convolutions and dense layers.
      param_dtype: "float32" or "float64"; `None` is JAX's default.
      compute_dtype: dtype between the layers, such as "bfloat16"; `None` is that of the
        parameters. State space layers and norms compute in that of the parameters.

    Raises:
      ValueError: an unknown choice or an impossible size or rate; names the field.

    Example:
      >>> config = SequenceConfig("lru", channels=8, state_dim=16, features=1, num_outputs=1)
      >>> config.pooling, config.block
      ('mean', 'plain')
    """

    layer: str
    channels: int
    state_dim: int
    features: int
    num_outputs: int
    num_layers: int = 1
    layer_options: tuple[tuple[str, Any], ...] = ()
    encoder: str = "linear"
    encoder_sd: float | None = None
    block: str = "plain"
    activation: str = "gelu"
    glu: bool = True
    glu_bias: bool = True
    dropout: float = 0.0
    inner_dropout: bool = False
    tied_dropout: bool = False
    final_norm: bool = False
    pooling: str = "mean"
    head_width: int | None = None
    head_activation: str = "relu"
    dense_init: str = "lecun"
    param_dtype: str | None = None
    compute_dtype: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no network can be built from."""
        for name, choices in {
            "layer": tuple(LAYERS),
            "encoder": ENCODERS,
            "block": BLOCKS,
            "activation": ACTIVATIONS,
            "pooling": POOLINGS,
            "head_activation": HEAD_ACTIVATIONS,
            "dense_init": DENSE_INITS,
        }.items():
            require_choice(name, getattr(self, name), choices)
        for name in ("channels", "state_dim", "features", "num_outputs", "num_layers"):
            require_int(name, getattr(self, name), minimum=1)
        for name in ("glu", "glu_bias", "inner_dropout", "tied_dropout", "final_norm"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name}={getattr(self, name)!r}: expected True or False")
        if self.head_width is not None:
            require_int("head_width", self.head_width, minimum=1)
        if not 0 <= require_number("dropout", self.dropout) < 1:
            raise ValueError(f"dropout={self.dropout!r}: a rate lies in [0, 1)")
        if self.block == "plain" and self.dropout > 0 and not self.inner_dropout:
            raise ValueError(
                f"dropout={self.dropout!r}: a block 'plain' has none unless inner_dropout=True"
            )
        if self.encoder_sd is not None:
            if self.encoder != "linear":
                raise ValueError(f"encoder_sd={self.encoder_sd!r}: is for encoder='linear'")
            if not require_number("encoder_sd", self.encoder_sd) > 0:
                raise ValueError(f"encoder_sd={self.encoder_sd!r}: must be greater than 0")
        if self.param_dtype is not None:
            object.__setattr__(
                self, "param_dtype", float_dtype("param_dtype", self.param_dtype).name
            )
        if self.compute_dtype is not None:
            require_choice("compute_dtype", self.compute_dtype, COMPUTE_DTYPES)
        object.__setattr__(self, "layer_options", self._checked_options())

    def _checked_options(self) -> tuple[tuple[str, Any], ...]:
        """The layer's options as sorted pairs, checked by the layer itself."""
        given: Any = self.layer_options
        try:
            pairs = given.items() if isinstance(given, Mapping) else given
            options = {str(name): value for name, value in pairs}
        except (TypeError, ValueError) as err:
            raise ValueError(f"layer_options={given!r}: expected pairs (name, value)") from err
        if "dtype" in options:
            raise ValueError("layer_options: dtype is not one of them; set param_dtype")
        LAYERS[self.layer].check_options(self.channels, self.state_dim, **options)
        return tuple(sorted(options.items()))


def f1_config(**changes: Any) -> SequenceConfig:
    r"""A small network on which poison in the last elements bites: one LRU layer, scalar input.

    8 channels, 16 modes of radius up to 0.999 and phase up to π/100, B and C a tenth of their
    standard size, D = 0 at the start; encoder weights $N(0, 0.3^2)$; GELU, GLU, residual; readout
    at the last step; an MLP of width 16; no norm, no dropout, one output.

    Args:
      **changes: fields of `SequenceConfig` to set otherwise; another `layer` needs other
        `layer_options`.

    Returns:
      The configuration.

    Raises:
      ValueError: an impossible value.
      TypeError: an unknown field.

    Example:
      >>> f1_config(num_layers=2).num_layers
      2

    References:
      Slutzky et al. (2025), arXiv:2410.10473: poison in the last elements of a sequence.
    """
    options = {
        "r_max": 0.999,
        "max_phase": math.pi / 100,
        "b_scale": 0.1,
        "c_scale": 0.1,
        "d_scale": 0.0,
    }
    defaults: dict[str, Any] = {
        "layer": "lru",
        "channels": 8,
        "state_dim": 16,
        "features": 1,
        "num_outputs": 1,
        "layer_options": options,
        "encoder_sd": 0.3,
        "pooling": "last",
        "head_width": 16,
    }
    return SequenceConfig(**(defaults | changes))


def cifar_config(layer: str, **changes: Any) -> SequenceConfig:
    """The published networks for CIFAR-10: 4 layers of 128 channels, mean over time, 10 outputs.

    "s4d" and "lru" take sequences of 3 features (1024 elements), "mamba2" images (32, 32, 3).
    Where the published description leaves it open: the layer norm before Mamba-2's head acts
    after the mean over time, and dense layers start as PyTorch's do.

    Args:
      layer: "s4d", "lru" or "mamba2".
      **changes: fields of `SequenceConfig` to set otherwise.

    Returns:
      The configuration.

    Raises:
      ValueError: an unknown layer, or an impossible value.
      TypeError: an unknown field.

    Example:
      >>> cifar_config("s4d").layer_options, cifar_config("mamba2").encoder
      ((), 'conv_stem')

    References:
      Slutzky et al. (2025), arXiv:2410.10473, experiments on CIFAR-10.
    """
    require_choice("layer", layer, tuple(LAYERS))
    defaults: dict[str, Any] = {
        "layer": layer,
        "channels": 128,
        "state_dim": 64,
        "features": 3,
        "num_outputs": 10,
        "num_layers": 4,
        "block": "post_norm",
        "dropout": 0.1,
        "dense_init": "torch",
    }
    if layer == "s4d":
        defaults |= {"inner_dropout": True, "tied_dropout": True}
    elif layer == "lru":
        defaults |= {"activation": "none", "glu_bias": False}
    else:
        defaults |= {"state_dim": 16, "encoder": "conv_stem", "block": "post_norm_inner"}
        defaults |= {"activation": "none", "glu": False, "final_norm": True}
    return SequenceConfig(**(defaults | changes))
