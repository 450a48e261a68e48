"""The door of the predictions about passage: one start, checked."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from ssmbias.core.checks import as_float64, is_concrete, require_nonnegative, require_seq_len
from ssmbias.core.types import AnyArray, Array, ScalarLike
from ssmbias.theory.clean import clean_start
from ssmbias.theory.leading_gap import SeparatedStart


def passage_start(
    a0: Float[AnyArray, " state"],
    seq_len: int,
    strength: ScalarLike,
    log_gap: ScalarLike | None,
    *,
    may_tie: bool = False,
) -> tuple[SeparatedStart, Bool[Array, ""], int, Float[Array, ""]]:
    r"""The checked start, whether it is supported, p and ρ; harmless numbers where it is not.

    Args:
      a0: initial diagonal of $A$.
      seq_len: sequence length $\kappa$.
      strength: poison strength $\rho$.
      log_gap: $\log(a_1 - a_2)$, or `None`.
      may_tie: whether all entries may be equal at $\rho > 0$.

    Raises:
      ValueError: as for `ssmbias.theory.passage_limit`.
    """
    a0 = as_float64("a0", a0, ndim=1)
    if a0.shape[0] < 2:
        raise ValueError(f"a0 has {a0.shape[0]} entries: poison needs at least 2 to tie")
    power = require_seq_len(seq_len, minimum=5, odd=True) - 2
    rho = as_float64("strength", strength, ndim=0)
    require_nonnegative("strength", rho)
    start, valid = clean_start(a0, power + 1, log_gap)
    power_sum = jnp.sum(start.a ** (power + 1))
    differ = may_tie | (rho == 0) | jnp.any(start.excess > 0)
    if is_concrete(power_sum) and is_concrete(valid):
        if not bool(power_sum < 1):
            raise ValueError(
                f"a0: S_{power + 1} = {float(power_sum):g} is not below 1, so that nothing is left "
                "of the passage; scale a0 down"
            )
        if is_concrete(differ) and not bool(differ):
            raise ValueError(
                f"a0={np.asarray(a0)}, log_gap={log_gap}: all entries are equal, stay equal, and "
                "never reach zero loss; give at least two different ones"
            )
    valid = valid & (power_sum < 1) & differ & (rho >= 0) & jnp.isfinite(rho)
    safe = SeparatedStart(
        jnp.where(valid, start.a, 0.5 / a0.shape[0]), jnp.where(valid, start.excess, 0.0)
    )
    return safe, valid, power, jnp.where(valid, rho, 0.0)
