r"""Which lags an arm drives: the coefficients of identity I2, where they are defined.

For the SSM of the theory inside a network, gradient flow moves its entries by one polynomial,
$\dot a_j = b_j c_j\, g'(a_j)$ with $g(z) = \sum_l \omega_l z^l$. For any loss
$\omega_l = \sum_i w_i f_i x^{(i)}_{\kappa-l} / \sum_i w_i$ with the force
$f_i = -\partial \ell_i / \partial z_i$ on the SSM's output $z_i$; for the squared error that is
twice residual times slope of the head, as in `ssmbias.theory.heads`.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Float

from ssmbias.core.types import Array
from ssmbias.data.sequences import TrainingSet
from ssmbias.models.networks.paper import SSMNetwork
from ssmbias.poison.batch import Batch, Params
from ssmbias.poison.settings import PaperNetwork
from ssmbias.theory.heads import head_omega


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
      >>> from ssmbias.poison.learner import learner_of
      >>> from ssmbias.poison.catalogue import find_experiment
      >>> one = find_experiment("f1_paper_network")
      >>> late = Batch(jnp.zeros((1, 6, 1)).at[0, -1].set(1.0), jnp.array([1]))
      >>> params = learner_of(one).init(jax.random.key(0), late.inputs[0])
      >>> forces = jax.jit(lag_forces, static_argnums=0)(one.network, params, late, jnp.ones(1))
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
    return SSMNetwork(
        state_dim=config.state_dim,
        hidden=config.hidden,
        sd_a=config.sd_a,
        sd_bc=config.sd_bc,
        sd_head=config.sd_head,
    )
