"""The starts of a grid's points, by THEORY's reference initialisation."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from ssmbias.dynamics.theorem1.start import is_near_tie
from ssmbias.dynamics.trajectory import Outcome
from ssmbias.models import reference_start

NO_START = max(Outcome) + 1
"""Outcome of a point whose draw leaves no room for its gap or ties further entries: not run."""

OUTCOMES = {outcome.value: outcome.name.lower() for outcome in Outcome if outcome >= 0} | {
    NO_START: "no_start"
}
"""Names of the codes that a finished point may have."""


class Starts(NamedTuple):
    """Starts of consecutive points.

    Attributes:
      a0: diagonals in descending order; nan where there is no start.
      log_gap: log(a_1 - a_2).
      usable: whether there is a start.
    """

    a0: Float[np.ndarray, "point state"]
    log_gap: Float[np.ndarray, " point"]
    usable: Bool[np.ndarray, " point"]


def starts_of(points: dict[str, np.ndarray], state_dim: int) -> Starts:
    """Draw the starts of points as `Grid.points` lists them; each different one once.

    Args:
      points: arrays `seed`, `gap` and `init_scale`.
      state_dim: number of states.

    Example:
      >>> one = np.array([1e-3])
      >>> starts_of({"seed": np.array([3]), "gap": 0.5 * one, "init_scale": one}, 3).usable
      array([False])
    """
    keys = np.rec.fromarrays([points["seed"], points["init_scale"], points["gap"]])
    different, index = np.unique(keys, return_inverse=True)
    a0 = np.full((different.size, state_dim), np.nan)
    log_gap = np.zeros(different.size)
    for i, (seed, scale, gap) in enumerate(different.tolist()):
        try:
            start = reference_start(seed, state_dim, scale, gap)
        except ValueError:
            continue
        a0[i], log_gap[i] = start.a, start.log_gap
    # Draws with further near ties, which no engine here can follow, count as no start.
    tied = np.asarray(jax.vmap(is_near_tie)(jnp.asarray(a0))).any(1)
    usable = ~np.isnan(a0[:, 0]) & ~tied
    index = index.reshape(-1)
    return Starts(a0[index], log_gap[index], usable[index])
