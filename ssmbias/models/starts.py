"""Initial diagonals with two nearly tied leading entries."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ssmbias.core.checks import (
    as_float64,
    is_concrete,
    require_int,
    require_nonnegative,
    require_positive,
)
from ssmbias.core.types import AnyArray, Array, ScalarLike

_STORED_GAP_RTOL = 1e-6
"""How closely a_1 - a_2, as stored, must match the gap asked for to be taken as the gap."""


class Start(NamedTuple):
    r"""An initial diagonal and the logarithm of its leading gap.

    `a` is in descending order. `log_gap` is $\log(a_1 - a_2)$: of the stored doubles where
    these resolve the gap, else of the gap asked for, which then survives only here (`a[0]`
    and `a[1]` may be equal as doubles). It is `-inf` for an exact tie.

    Example:
      >>> start = reference_start(242, state_dim=10, init_scale=1e-3, gap=0.05e-20)
      >>> bool(start.a[0] == start.a[1]), round(start.log_gap, 4)
      (True, -49.0474)
    """

    a: Float[AnyArray, " state"]
    log_gap: ScalarLike


def reference_start(seed: int, state_dim: int, init_scale: float, gap: float) -> Start:
    r"""The start of the paper's Theorem 1 experiments, to the last bit.

    Uniform numbers from NumPy's `RandomState(seed)` times `init_scale`, sorted descending;
    then the second entry is replaced by the first minus `gap`.

    Args:
      seed: seed of the legacy NumPy generator, 0 to $2^{32}-1$.
      state_dim: number of states $d \ge 2$.
      init_scale: upper end of the uniform distribution, positive.
      gap: $a_1 - a_2 \ge 0$; 0 ties the two exactly. Gaps below the spacing of doubles are
        kept in `log_gap`.

    Returns:
      A `Start` whose `a` is a NumPy array and whose `log_gap` is a `float`.

    Raises:
      ValueError: a number is out of range, or the gap would take the second entry to zero or
        below the third one.

    Example:
      >>> start = reference_start(242, state_dim=10, init_scale=1e-3, gap=0.05 * math.exp(-15))
      >>> float(start.a[0]), round(start.log_gap, 4)
      (0.0008398421491762683, -17.9957)

    References:
      Slutzky et al. (2025), arXiv:2410.10473, Theorem 1 and its experiments.
    """
    seed = require_int("seed", seed, minimum=0, maximum=2**32 - 1)
    state_dim = require_int("state_dim", state_dim, minimum=2)
    init_scale, gap = (float(x) for x in _scale_and_gap(init_scale, gap))
    # The legacy stream is what the published runs drew from.
    draws = np.random.RandomState(seed).rand(state_dim)
    a = np.sort(draws * init_scale)[::-1].copy()
    _require_room(a, gap)
    a[1] = a[0] - gap
    stored = float(a[0] - a[1])
    if gap == 0.0:
        return Start(a, -math.inf)
    resolved = abs(stored - gap) <= _STORED_GAP_RTOL * gap
    return Start(a, math.log(stored if resolved else gap))


def random_start(key: jax.Array, state_dim: int, init_scale: ScalarLike, gap: ScalarLike) -> Start:
    r"""A start like `reference_start`, drawn from a JAX key and traceable throughout.

    Args:
      key: a JAX random key; map over keys with `jax.vmap`.
      state_dim: number of states $d \ge 2$.
      init_scale: upper end of the uniform distribution, positive; may be traced.
      gap: $a_1 - a_2 \ge 0$; may be traced.

    Returns:
      A `Start` of JAX arrays. Where numbers cannot be inspected (under `jit` or `vmap`) a draw
      that leaves no room for the gap comes back as `nan`.

    Raises:
      ValueError: as for `reference_start`, as far as the numbers can be inspected.

    Example:
      >>> keys = jax.random.split(jax.random.key(0), 3)
      >>> starts = jax.vmap(lambda key: random_start(key, 4, 1e-3, 1e-12))(keys)
      >>> starts.a.shape, bool(jnp.allclose(starts.log_gap, math.log(1e-12), atol=1e-6))
      ((3, 4), True)
    """
    state_dim = require_int("state_dim", state_dim, minimum=2)
    scale, gap_ = _scale_and_gap(init_scale, gap)
    draws = jax.random.uniform(key, (state_dim,), jnp.float64)
    a = jnp.sort(draws * scale, descending=True)
    if is_concrete(a) and is_concrete(gap_):
        _require_room(np.asarray(a), float(gap_))
    second = a[0] - gap_
    floor = a[2] if state_dim > 2 else jnp.zeros_like(second)
    fits = (scale > 0) & (gap_ >= 0) & (second > 0) & (second >= floor)
    stored = a[0] - second
    resolved = jnp.abs(stored - gap_) <= _STORED_GAP_RTOL * gap_
    log_gap = jnp.log(jnp.where(resolved, stored, gap_))
    return Start(jnp.where(fits, a.at[1].set(second), jnp.nan), jnp.where(fits, log_gap, jnp.nan))


def _scale_and_gap(
    init_scale: ScalarLike, gap: ScalarLike
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    scale = as_float64("init_scale", init_scale, ndim=0)
    require_positive("init_scale", scale)
    gap_ = as_float64("gap", gap, ndim=0)
    require_nonnegative("gap", gap_)
    return scale, gap_


def _require_room(a: np.ndarray, gap: float) -> None:
    """Raise `ValueError` if a_1 - gap would not be the second entry of a positive start."""
    if not a[0] - gap > 0:
        raise ValueError(
            f"gap={gap:g}: the largest entry is {a[0]:g} and a_1 - gap must stay positive; "
            "take a smaller gap or a larger init_scale"
        )
    if a.size > 2 and a[0] - gap < a[2]:
        raise ValueError(
            f"gap={gap:g}: a_1 - gap = {a[0] - gap:g} would fall below the third entry "
            f"{a[2]:g}, so that other entries were nearly tied; take gap <= {a[0] - a[2]:g} "
            "or another seed"
        )
