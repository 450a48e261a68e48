"""I2: Proposition 1 with a network on top, along the training of the whole."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssmbias.core.types import Array
from ssmbias.data import TrainingSet
from ssmbias.evidence import Claim, Kind, Row
from ssmbias.models import DiagonalSSM
from ssmbias.subjects.paper_networks import (
    NUM_BASELINE,
    NUM_SPECIAL,
    WIDTH,
    NetworkRuns,
    PaperNetworks,
    network_loss,
    network_module,
    network_runs,
)
from ssmbias.theory import head_omega, head_velocity, relative_residual

_EPS = float(np.finfo(np.float64).eps)


@functools.lru_cache(maxsize=4)
def _residuals(state_dim: int) -> Any:
    """Residuals at all states [seed, log], compiled once for check and control."""
    module, loss = network_module(state_dim), network_loss(state_dim)

    def residual(params: Any, data: tuple[TrainingSet, Array], without_slope: Array) -> Array:
        training_set, targets = data
        gradient = jax.grad(loss)(params, data)["params"]
        measured = DiagonalSSM(*(-gradient[leaf] for leaf in DiagonalSSM._fields))
        leaves = params["params"]
        model = DiagonalSSM(leaves["a"], leaves["b"], leaves["c"])
        z = module.apply(params, training_set.inputs, method="ssm_output")
        slopes = module.apply(params, z, method="head_slope")
        output = module.apply(params, z, method="head")
        used = jnp.where(without_slope, jnp.ones_like(slopes), slopes)
        predicted = head_velocity(model, head_omega(training_set, targets - output, used))
        # Sizes of all terms: magnitudes through SSM, head and its slope.
        absolute = jax.tree.map(jnp.abs, params)
        inputs = jnp.abs(training_set.inputs)
        z_size = module.apply(absolute, inputs, method="ssm_output")
        size = jnp.abs(targets) + module.apply(absolute, z_size, method="head")
        slope_size = module.apply(absolute, jnp.ones_like(z_size), method="head_slope")
        scale = head_velocity(
            DiagonalSSM(*map(jnp.abs, model)),
            head_omega(training_set._replace(inputs=inputs), size, slope_size),
        )
        return jnp.max(
            jnp.stack([relative_residual(*x) for x in zip(measured, predicted, scale, strict=True)])
        )

    over_log = jax.vmap(residual, in_axes=(0, None, None))
    return jax.jit(jax.vmap(over_log, in_axes=(0, 0, None)))


def compare(subject: PaperNetworks, without_slope: bool, runs: NetworkRuns) -> Row:
    """Compare the formula with automatic differentiation through SSM and network."""
    over_states = _residuals(subject.state_dim)
    residuals = np.asarray(over_states(runs.states, runs.data, jnp.asarray(without_slope)))
    largest = float(np.max(residuals))
    # As for I1, plus two layers of the head forwards and backwards, each sum of `width` terms.
    samples = NUM_BASELINE + NUM_SPECIAL
    terms = subject.state_dim + samples + 2 * subject.seq_len + 6 * WIDTH
    return Row(
        quantity=f"networks under Adam, {residuals.size} states",
        predicted=0.0,
        measured=largest,
        residual=largest,
        tolerance=2.0 * _EPS * terms,
        derivation="2 eps (d + n + 2κ + 6m): rounding of both sides through SSM and head, "
        "relative to the sum of the absolute values of all terms",
        count=runs.count,
    )


CLAIMS = (
    Claim(
        id="I2",
        title="Dynamical characterisation with a network on top",
        statement=r"\dot a_j = b_j c_j \sum_{l=0}^{\kappa-2} \gamma_l a_j^l, \quad "
        r"\gamma_l = \frac{2(l+1)}{\sum_i w_i} \sum_i w_i \delta_i \xi_i x^{(i)}_{\kappa-l-1}, "
        r"\quad \xi_i = N'(z_i)",
        kind=Kind.IDENTITY,
        reference="Slutzky et al. (2025), arXiv:2410.10473, Proposition 1",
        subject=PaperNetworks,
        measure=network_runs,
        predict=lambda subject, runs: False,
        control="residuals without the slope of the network",
        wrong=lambda subject, runs: True,
        compare=compare,
        family="identities",
        cost=6.0,
    ),
)
