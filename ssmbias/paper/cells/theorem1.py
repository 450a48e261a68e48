"""Theorem 1 over many seeds, for the paper's tables beside its experiments."""

from __future__ import annotations

import contextlib

import jax
import jax.numpy as jnp
import numpy as np

from ssmbias.dynamics import simulate_theorem1
from ssmbias.metrics import generalization_error
from ssmbias.models import reference_start
from ssmbias.subjects import SETTINGS

THEOREM1 = tuple(f"theorem1_{name}" for name in SETTINGS)
"""Names of these cells among those of the experiments."""


def theorem1_arrays(name: str, arm: int, num_seeds: int) -> dict[str, np.ndarray]:
    """Theorem 1's flow from uniform starts; it ends at convergence, so both ends agree.

    Args:
      name: one of `THEOREM1`.
      arm: 0 for clean (ρ = 0), 1 for poisoned (ρ = 1).
      num_seeds: how many seeds, the first ones whose start the setting allows.
    """
    setting = SETTINGS[name.removeprefix("theorem1_")]
    starts, seeds, seed = [], [], setting.first_seed
    while len(starts) < num_seeds:
        # Some seeds have their third entry within the gap: another pair would be tied.
        with contextlib.suppress(ValueError):
            starts.append(reference_start(seed, setting.state_dim, setting.init_scale, setting.gap))
            seeds.append(seed)
        seed += 1
    a0 = jnp.stack([jnp.asarray(start.a) for start in starts])
    log_gap = jnp.array([start.log_gap for start in starts])
    run = jax.vmap(lambda a, gap: simulate_theorem1(a, setting.seq_len, float(arm), log_gap=gap))(
        a0, log_gap
    )
    error = jax.vmap(lambda a: generalization_error(a, setting.horizon))(run.a)
    return {
        "seed": np.array(seeds),
        "outcome": np.asarray(run.outcome),
        "train_loss": np.asarray(run.loss),
        "test_error": np.asarray(error),
        "a": np.asarray(run.a),
        "converged_outcome": np.asarray(run.outcome),
        "converged_loss": np.asarray(run.loss),
        "converged_error": np.asarray(error),
    }
