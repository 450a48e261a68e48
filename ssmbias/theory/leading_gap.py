r"""Starts whose two leading entries may be closer together than doubles can tell.

Everywhere in the package, a start is an array and, optionally, the logarithm of its leading
gap. If the logarithm is given, every entry but the largest is taken as stored, and the largest
is the second largest plus $e^{\text{log\_gap}}$.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ssmbias.core.checks import as_float64, is_concrete
from ssmbias.core.types import Array, ScalarLike


class SeparatedStart(NamedTuple):
    """Entries beside their distances from the largest one.

    Attributes:
      a: the entries, in the order given.
      excess: how far the largest entry is above each of them; exact where the difference of
        the stored doubles would not be.
    """

    a: Float[Array, " state"]
    excess: Float[Array, " state"]


def leading_gap(a0: Float[Array, " state"], log_gap: ScalarLike) -> Float[Array, ""]:
    r"""Return $e^{\text{log\_gap}}$ as a float64 scalar, or say what is wrong with it.

    Args:
      a0: the entries it belongs to.
      log_gap: logarithm of the gap; `-inf` is an exact tie.

    Returns:
      The gap, possibly 0.

    Raises:
      ValueError: there are fewer than two entries, or the number is `nan` or too large.

    Example:
      >>> float(leading_gap(jnp.array([0.5, 0.5]), -float("inf")))
      0.0
    """
    if a0.shape[0] < 2:
        raise ValueError(f"log_gap={log_gap!r}: a0 has {a0.shape[0]} entries, a gap needs 2")
    if is_concrete(log_gap) and np.ndim(log_gap) == 0 and np.isneginf(np.asarray(log_gap)):
        return jnp.zeros((), jnp.float64)
    gap = jnp.exp(as_float64("log_gap", log_gap, ndim=0))
    if is_concrete(gap) and not np.isfinite(np.asarray(gap)):
        raise ValueError(f"log_gap={log_gap!r}: its exponential overflows; pass log(a_1 - a_2)")
    return gap


def separated_start(a0: Float[Array, " state"], log_gap: ScalarLike | None) -> SeparatedStart:
    r"""Distances of all entries from the largest, resolved as far as `log_gap` allows.

    Args:
      a0: the entries, at least one, in any order.
      log_gap: logarithm of the leading gap; `None` takes all entries as stored.

    Returns:
      The entries (the largest one replaced if `log_gap` is given) and the distances.

    Raises:
      ValueError: as for `leading_gap`.

    Example:
      >>> start = separated_start(jnp.array([0.25, 0.5, 0.5]), log_gap=-60.0)
      >>> bool(start.a[1] == start.a[2]), f"{start.excess[2]:.3e}"
      (True, '8.757e-27')
    """
    # Entries are picked by index, not by `max`, whose derivative at a tie would be shared out.
    top = jnp.argmax(a0)
    if log_gap is None:
        return SeparatedStart(a0, a0[top] - a0)
    index = jnp.arange(a0.shape[0])
    gap = leading_gap(a0, log_gap)
    runner_up = jnp.argmax(jnp.where(index == top, -jnp.inf, a0))
    second = a0[runner_up]
    # The runner-up's excess is the gap by definition, not (second - second) + gap: reverse-mode
    # derivatives would otherwise be differences of large numbers.
    excess = jnp.where(index == runner_up, gap, (second - a0) + gap)
    return SeparatedStart(
        jnp.where(index == top, second + gap, a0), jnp.where(index == top, 0.0, excess)
    )
