"""I2: Proposition 1 with a network on top, along the training of the whole."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssmbias.core.types import Array
from ssmbias.data import TrainingSet, baseline_sequences, combine, special_sequences
from ssmbias.dynamics import DescentConfig, Outcome, descend, keras_adam
from ssmbias.evidence.evidence import Claim, Evidence, Kind, Runs, judge
from ssmbias.models import DiagonalSSM
from ssmbias.subjects.laboratory import Laboratory
from ssmbias.theory import head_omega, head_velocity, relative_residual

_EPS = float(np.finfo(np.float64).eps)
_WIDTH = 8
_NUM_BASELINE, _NUM_SPECIAL = 8, 8
_MOST_SEEDS = 4
_STEPS, _EVERY = 400, 20


@functools.lru_cache(maxsize=4)
def _module(state_dim: int) -> Any:
    # Imported when asked for: flax takes longer to import than the rest of the package.
    from ssmbias.models.networks.paper import SSMNetwork  # noqa: PLC0415

    return SSMNetwork(state_dim, (_WIDTH, _WIDTH), sd_a=0.3, sd_bc=0.5, sd_head=0.5)


@functools.lru_cache(maxsize=4)
def _loss(state_dim: int) -> Any:
    module = _module(state_dim)

    def loss(params: Any, data: tuple[TrainingSet, Array]) -> Array:
        training_set, targets = data
        residuals = targets - module.apply(params, training_set.inputs)
        return jnp.sum(training_set.weights * residuals**2) / jnp.sum(training_set.weights)

    return loss


@functools.lru_cache(maxsize=1)
def _optimizer() -> Any:
    return keras_adam(0.01)


def _train(lab: Laboratory) -> tuple[Any, tuple[TrainingSet, Array], Runs]:
    """States [seed, log, ...] of networks under Adam, and the data [seed, ...]."""
    from ssmbias.models.networks.paper import SSMNetwork, paper_network_teacher  # noqa: PLC0415

    s = lab.setting
    teacher, teacher_params = SSMNetwork(1, (_WIDTH, _WIDTH)), paper_network_teacher(_WIDTH)

    def problem(key: Array) -> tuple[Any, tuple[TrainingSet, Array]]:
        key_start, key_baseline, key_special = jax.random.split(key, 3)
        training_set = combine(
            baseline_sequences(key_baseline, _NUM_BASELINE, s.seq_len, range(s.seq_len - 3)),
            special_sequences(key_special, _NUM_SPECIAL, s.seq_len, (s.seq_len - 2,)),
            1.0,
        )
        params = _module(s.state_dim).init(key_start, training_set.inputs)
        return params, (training_set, teacher.apply(teacher_params, training_set.inputs))  # pyright: ignore

    seeds = s.first_seed + np.arange(min(lab.num_seeds, _MOST_SEEDS))
    params, data = jax.jit(jax.vmap(lambda seed: problem(jax.random.key(seed))))(seeds)
    config = DescentConfig(loss_tol=0.0, max_steps=_STEPS, log_every=_EVERY)
    run = jax.vmap(lambda p, d: descend(_loss(s.state_dim), p, d, _optimizer(), config=config))(
        params, data
    )
    num = int(np.sum(run.log.recorded[0]))
    failed = np.asarray(run.outcome) == Outcome.FAILED
    reason = Outcome.FAILED.explanation if failed.any() else ""
    states = jax.tree.map(lambda x: x[:, :num], run.log.value)
    return states, data, Runs(failed.size, int(failed.sum()), reason)


@functools.lru_cache(maxsize=4)
def _residuals(state_dim: int) -> Any:
    """Residuals at all states [seed, log], compiled once for check and control."""
    module, loss = _module(state_dim), _loss(state_dim)

    def residual(params: Any, data: tuple[TrainingSet, Array], control: Array) -> Array:
        training_set, targets = data
        gradient = jax.grad(loss)(params, data)["params"]
        measured = DiagonalSSM(*(-gradient[leaf] for leaf in DiagonalSSM._fields))
        leaves = params["params"]
        model = DiagonalSSM(leaves["a"], leaves["b"], leaves["c"])
        z = module.apply(params, training_set.inputs, method="ssm_output")
        slopes = module.apply(params, z, method="head_slope")
        output = module.apply(params, z, method="head")
        # The control forgets the head's slope.
        used = jnp.where(control, jnp.ones_like(slopes), slopes)
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


def check(lab: Laboratory, control: bool) -> list[Evidence]:
    """Compare the formula with automatic differentiation through SSM and network."""
    states, data, runs = lab.once("network_states", lambda: _train(lab))
    over_states = _residuals(lab.setting.state_dim)
    residuals = np.asarray(over_states(states, data, jnp.asarray(control)))
    largest = float(np.max(residuals))
    # As for I1, plus two layers of the head forwards and backwards, each sum of `width` terms.
    samples = _NUM_BASELINE + _NUM_SPECIAL
    terms = lab.setting.state_dim + samples + 2 * lab.setting.seq_len + 6 * _WIDTH
    tolerance = 2.0 * _EPS * terms
    verdict, reason = judge(largest, tolerance, (), runs)
    return [
        Evidence(
            claim="I2",
            setting=lab.setting.name,
            kind=Kind.IDENTITY,
            quantity=f"networks under Adam, {residuals.size} states",
            predicted=0.0,
            measured=largest,
            residual=largest,
            tolerance=tolerance,
            derivation="2 eps (d + n + 2κ + 6m): rounding of both sides through SSM and head, "
            "relative to the sum of the absolute values of all terms",
            verdict=verdict,
            reason=reason,
            runs=runs,
        )
    ]


CLAIMS = (
    Claim(
        id="I2",
        title="Dynamical characterisation with a network on top",
        statement=r"\dot a_j = b_j c_j \sum_{l=0}^{\kappa-2} \gamma_l a_j^l, \quad "
        r"\gamma_l = \frac{2(l+1)}{\sum_i w_i} \sum_i w_i \delta_i \xi_i x^{(i)}_{\kappa-l-1}, "
        r"\quad \xi_i = N'(z_i)",
        kind=Kind.IDENTITY,
        assumptions=(),
        reference="Slutzky et al. (2025), arXiv:2410.10473, Proposition 1",
        control="residuals without the slope of the network",
        check=check,
    ),
)
