"""A replay of one of the paper's own runs as arrays and plain values, for tables and figures."""

from __future__ import annotations

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssmbias.dynamics import Outcome
from ssmbias.metrics import effective_rank
from ssmbias.paper.replay import ReplayResult, replay


def replay_arrays(path: str) -> dict[str, np.ndarray]:
    """Replay an exported run; `summary` holds its plain values as JSON."""
    result = replay(path)
    rank = jax.vmap(effective_rank)(jnp.asarray(result.a_logged, jnp.float64))
    arrays = {
        "a": result.a_logged,
        "step": result.steps_logged,
        "gamma0": result.gamma_logged[:, 0],
        "rank": np.asarray(rank),
        "summary": np.array(json.dumps(replay_summary(result))),
    }
    reference = result.reference
    if reference["a_logged"] is not None:
        gammas = np.concatenate([reference["run_p1_gammas"], reference["run_p2_gammas"]])
        arrays |= {
            "original_a": reference["a_logged"],
            "original_gamma0": gammas[:, 0],
            "original_step": reference["steps_logged"],
            "original_eps": np.array(reference["steps_to_eps"]),
        }
    return arrays


def replay_summary(result: ReplayResult) -> dict[str, Any]:
    """The plain values of a replay, for tables."""
    double = {
        name: float(np.ravel(getattr(result.double, name))[0])
        for name in ("steps_to_eps", "train_loss", "test_error")
    }
    return {
        "name": result.name,
        "steps_to_eps": result.steps_to_eps,
        "train_loss": result.train_loss,
        "test_error": result.test_error,
        "outcome": Outcome(result.outcome).name.lower(),
        "double": double,
        "verdict": result.verdict.value,
        "reason": result.reason,
        "comparisons": [
            {k: (bool(v) if isinstance(v, np.bool_) else v) for k, v in row._asdict().items()}
            for row in result.comparisons
        ],
    }
