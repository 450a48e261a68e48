r"""Prediction M3 for all entries at once: the one number that the error depends on."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Float

from ssmbias.core.types import AnyArray, Array, ScalarLike
from ssmbias.theory.leading_gap import SeparatedStart
from ssmbias.theory.passage.start import passage_start
from ssmbias.theory.passage.time import (
    crossover,
    early,
    entries_at,
    time_lead,
    time_to_go,
)


def passage_similarity(
    a0: Float[AnyArray, " state"],
    seq_len: int,
    strength: ScalarLike,
    *,
    log_gap: ScalarLike | None = None,
) -> Float[Array, ""]:
    r"""The ratio $(\rho+\rho_0)/\Delta$ of the two nearly tied leaders that err like a start.

    Let $R_j$ be the time by which an entry lags behind the largest one, conserved during passage,
    and $a_j = T^{-1}(R_j)$ where it stands when that has run away. The drift takes the mean away,
    and two leaders with nothing beside them have the same mean square for
    $$r = (\kappa-1)(\kappa-3)\left[\frac{d-1}{d-2}
      \sum_{j\ge2} \bigl(a_j - \operatorname{mean}_{i\ge2} a_i\bigr)^2\right]^{(\kappa-3)/2} .$$
    If the second entry counts alone and is beyond the crossover, $T^{-1}$ is a power and
    $r = 1/R_2 \approx (\rho+\rho_0)/\Delta$. Errors of starts with any gaps collapse on one curve
    of $r$ for $\rho > 0$ and a small `passage_defect`.

    Args:
      a0: initial diagonal of $A$, at least 3 entries, positive or zero, with $S_{\kappa-1} < 1$.
      seq_len: sequence length $\kappa \ge 5$, odd.
      strength: poison strength $\rho \ge 0$; may be traced.
      log_gap: as for `passage_limit`.

    Returns:
      $r$; infinite for an exact tie, `nan` for traced arguments that are not supported.

    Raises:
      ValueError: `a0` has two entries, which leave no error, or as for `passage_limit`.

    Example:
      >>> a0 = jnp.array([0.01, 0.00999, 0.005, 0.002])
      >>> f"{passage_similarity(a0, 5, 1e-6):.3f}", f"{(1e-6 + 4e-6) / 1e-5:.3f}"
      ('0.479', '0.500')

    References:
      Derivation in docs/theory.md (M3).
    """
    start, valid, power, rho = passage_start(a0, seq_len, strength, log_gap, may_tie=True)
    if start.a.shape[0] < 3:
        raise ValueError("a0 has 2 entries, which S_1 = S_{κ-1} = 1 determines: take 3 or more")
    return jnp.where(valid, _similarity(power, start, rho), jnp.nan)


@functools.partial(jax.jit, static_argnums=0)
def _similarity(power: int, start: SeparatedStart, rho: Array) -> Array:
    lead = time_lead(power, rho, start)
    order = jnp.argsort(lead)[1:]
    lead, a = lead[order], start.a[order]
    least = lead[0]
    # Entries that never move count for nothing; of a tie there is nothing to be told.
    moves = jnp.isfinite(lead) & (least > 0)
    left = time_to_go(power, rho, jnp.max(start.a))
    spent = early(power, rho, jnp.minimum(a, crossover(power, rho)))[0] + left
    to_go = jnp.where(moves, lead, 1.0)
    second = jnp.where(moves, entries_at(power, rho, to_go, spent), 0.0)
    rest = second.shape[0]
    square = jnp.sum((second - jnp.mean(second)) ** 2) * rest / (rest - 1)
    ratio = (power + 1) * (power - 1) * square ** (0.5 * (power - 1))
    return jnp.where(least > 0, ratio, jnp.inf)
