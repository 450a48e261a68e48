"""The door of both Theorem 1 engines: one start, checked, in descending order."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from ssmbias.core.checks import as_float64, is_concrete, require_nonnegative
from ssmbias.core.types import AnyArray, Array, ScalarLike
from ssmbias.dynamics.inputs import as_log_gaps


class Theorem1Start(NamedTuple):
    """One start of the flow of Theorem 1 as the engines take it.

    Attributes:
      order: indices that sort the start, largest entry first.
      descending: the start in that order; nan where the start cannot be used.
      strength: poison strength.
      log_gap: logarithm of the difference of the two largest entries.
    """

    order: Int[Array, " state"]
    descending: Float[Array, " state"]
    strength: Float[Array, ""]
    log_gap: Float[Array, ""]


def theorem1_start(
    a0: Float[AnyArray, " state"], strength: ScalarLike, log_gap: ScalarLike | None
) -> Theorem1Start:
    """Check a start, and sort it.

    Raises:
      ValueError: as for `ssmbias.dynamics.simulate_theorem1`.
    """
    a0 = as_float64("a0", a0, ndim=1)
    if a0.shape[0] < 2:
        raise ValueError(f"a0 has {a0.shape[0]} entries: state_dim must be at least 2")
    rho = as_float64("strength", strength, ndim=0)
    require_nonnegative("strength", rho)
    order = jnp.argsort(-a0)
    descending = a0[order]
    require_no_near_tie(descending)
    # What cannot be inspected and cannot be used fails through its start.
    usable = (rho >= 0) & jnp.isfinite(rho) & ~jnp.any(is_near_tie(descending))
    descending = jnp.where(usable, descending, jnp.nan)
    rho = jnp.where(usable, rho, 0.0)
    if log_gap is None:
        gap = jnp.log(descending[0] - descending[1])
    else:
        gap = as_log_gaps(log_gap, ndim=0, name="log_gap")
    return Theorem1Start(order, descending, rho, gap)


def require_no_near_tie(descending: Float[Array, " state"]) -> None:
    """Raise `ValueError` if entries below the top pair are nearly tied, where they can be seen."""
    if not is_concrete(descending):
        return
    close = np.flatnonzero(np.asarray(is_near_tie(descending)))
    if close.size:
        raise ValueError(
            f"a0: entries {close[0] + 2} and {close[0] + 3} in descending order are nearly "
            "tied with the largest; only one log-gap is followed here. Use "
            "ssmbias.dynamics.gradient_flow, which follows all, or tie them exactly"
        )


def is_near_tie(descending: Float[Array, " state"]) -> Bool[Array, " gap"]:
    """Pairs below the top one that are nearly tied with each other and with the largest entry.

    Only the top pair has a log-gap. Rounding perturbs other gaps by eps relative to the entries;
    where a_3 leaves the plateau together with a_2 the flow amplifies both alike, so that a relative
    gap below 1e-6 would cost the 1e-9 that is promised (measured: T9, a_2 - a_3 = 1e-9 a_1: 3e-7).
    """
    scale = jnp.max(jnp.abs(descending))
    gap = descending[1:-1] - descending[2:]
    return (gap > 0) & (gap < 1e-6 * scale) & (descending[0] - descending[2:] < 1e-3 * scale)
