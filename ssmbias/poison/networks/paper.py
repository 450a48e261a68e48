r"""The network of the paper's theory, and which lags an arm drives in it (identity I2).

For the SSM of the theory inside a network, gradient flow moves its entries by one polynomial,
$\dot a_j = b_j c_j\, g'(a_j)$ with $g(z) = \sum_l \omega_l z^l$. For any loss
$\omega_l = \sum_i w_i f_i x^{(i)}_{\kappa-l} / \sum_i w_i$ with the force
$f_i = -\partial \ell_i / \partial z_i$ on the SSM's output $z_i$; for the squared error that is
twice residual times slope of the head, as in `ssmbias.theory.heads`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from ssmbias.core.checks import require_int, require_number
from ssmbias.core.types import Array
from ssmbias.data.sequences import TrainingSet
from ssmbias.poison.batch import Batch, Params
from ssmbias.theory.heads import head_omega

if TYPE_CHECKING:
    from ssmbias.models.networks.paper import SSMNetwork


@dataclass(frozen=True)
class PaperNetwork:
    """The SSM of the paper's theory inside a ReLU network without biases, for one feature.

    Attributes:
      state_dim: states of the diagonal SSM.
      hidden: widths of the hidden layers.
      sd_a, sd_bc, sd_head: standard deviations of the initial values of a, of b and c, and of the
        matrices, as in `ssmbias.models.networks.paper.SSMNetwork`.
    """

    state_dim: int = 10
    hidden: tuple[int, ...] = (15, 15)
    sd_a: float = 0.3
    sd_bc: float = 0.3
    sd_head: float = 0.3

    def __post_init__(self) -> None:
        """Refuse impossible shapes and scales."""
        require_int("state_dim", self.state_dim, minimum=1)
        for name in ("sd_a", "sd_bc", "sd_head"):
            if not require_number(name, getattr(self, name)) > 0:
                raise ValueError(f"{name}={getattr(self, name)!r}: must be greater than 0")
        if not isinstance(self.hidden, tuple | list):
            raise ValueError(f"hidden={self.hidden!r}: pass widths, such as [15,15]")
        for width in self.hidden:
            require_int("hidden", width, minimum=1)
        object.__setattr__(self, "hidden", tuple(self.hidden))

    @property
    def num_outputs(self) -> int:
        """One output."""
        return 1

    @property
    def features(self) -> int:
        """One feature."""
        return 1

    @property
    def layer(self) -> str:
        """The name of its kind, as a `SequenceConfig` has one."""
        return "paper"

    def check_task(self, task: Any) -> None:
        """Refuse tasks of more than two classes, and values, whose loss `lag_forces` lacks."""
        if task.num_classes is None:
            raise ValueError("output='value': the paper's network is for output=sign here")
        if task.num_classes > 2:
            raise ValueError("network: that of the paper has one output; take two classes")

    def init(self, key: Array, example: Array) -> Params:
        """Random parameters."""
        return network_of(self).init(key, example[:, 0][None])["params"]

    def apply(self, params: Params, inputs: Array) -> Array:
        """The output for one sequence."""
        return network_of(self).apply({"params": params}, inputs[:, 0][None])  # pyright: ignore[reportReturnType]

    def lag_forces(self, params: Params, batch: Batch, weights: Array) -> Array:
        """Which lags the training data drive: see the function of this name."""
        return lag_forces(self, params, batch, weights)


def lag_forces(
    config: PaperNetwork, params: Params, batch: Batch, weights: Float[Array, " sample"]
) -> Float[Array, " lag"]:
    r"""The coefficients $\omega_0, \dots, \omega_{\kappa-1}$ of I2 for the logistic loss.

    Args:
      config: the network.
      params: its parameters.
      batch: sequences of one feature, labels 0 or 1.
      weights: $w_i$ of their losses.

    Returns:
      One force a lag: which way, and how strongly, the training data push the impulse response.

    Example:
      >>> network = PaperNetwork()
      >>> late = Batch(jnp.zeros((1, 6, 1)).at[0, -1].set(1.0), jnp.array([1]))
      >>> params = network.init(jax.random.key(0), late.inputs[0])
      >>> forces = jax.jit(lag_forces, static_argnums=0)(network, params, late, jnp.ones(1))
      >>> jnp.flatnonzero(forces).tolist()
      [0]

    References:
      Slutzky et al. (2025), arXiv:2410.10473, Proposition 1 (with a network on top).
    """
    network = network_of(config)
    inputs = batch.inputs[:, :, 0]
    variables = {"params": params}
    outputs = network.apply(variables, inputs, method="ssm_output")

    def loss(z: Array, label: Array) -> Array:
        logit = network.apply(variables, z[None], method="head")[0]
        return jax.nn.softplus(jnp.where(label > 0, -logit, logit))

    force = -jax.vmap(jax.grad(loss))(outputs, batch.labels)
    return head_omega(TrainingSet(inputs, weights), 0.5 * force, jnp.ones_like(force))


@functools.cache
def network_of(config: PaperNetwork) -> SSMNetwork:
    """The flax module of a configuration."""
    from ssmbias.models.networks.paper import SSMNetwork  # noqa: PLC0415  (flax)

    return SSMNetwork(
        state_dim=config.state_dim,
        hidden=config.hidden,
        sd_a=config.sd_a,
        sd_bc=config.sd_bc,
        sd_head=config.sd_head,
    )
