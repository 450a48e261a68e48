r"""Prediction M1: where gradient flow ends on clean data, in closed form."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from ssmbias.core.checks import as_float64, is_concrete, require_int, require_seq_len
from ssmbias.core.types import AnyArray, Array, ScalarLike
from ssmbias.theory.leading_gap import SeparatedStart, separated_start

_NEWTON_STEPS = 16
"""Newton iterations. The most that 20000 random starts (d to 3000, lags to 40) took was 7."""

_SMALLEST, _LARGEST = 1e-290, 1e290
"""What a_1^(p-1) must lie between: it scales the conserved quantities."""


class CleanStart(NamedTuple):
    """A checked start: `valid` is false where traced entries are not supported."""

    start: SeparatedStart
    valid: Bool[Array, ""]


def clean_limit(
    a0: Float[AnyArray, " state"],
    seq_len: int,
    *,
    lag: int | None = None,
    log_gap: ScalarLike | None = None,
) -> Float[Array, " state"]:
    r"""Where gradient flow ends on the clean training set $\{e_1\}$ (closed form).

    With $B = C = 1$, a response of 1 to match at the single lag $m$ and $p = m - 1$, gradient
    flow is $\dot a_j = 2m(1 - S_m)\,a_j^p$, $S_m = \sum_j a_j^m$. All $a_i^{1-p} - a_j^{1-p}$
    are conserved, so that with $u = a_1^{1-p}$, $a_1$ the largest entry, the flow runs along
    $$a_j(u) = \bigl[a_j(0)^{1-p} - a_1(0)^{1-p} + u\bigr]^{-1/(p-1)}$$
    and ends at the one $u > 0$ where $S_m = 1$. Lag 2 scales the start, $a / \lVert a\rVert$;
    lag 1 shifts it, $a_j + (1 - S_1)/d$.

    Differentiable in `a0` and `log_gap`, also at ties and at zero entries.

    Args:
      a0: initial diagonal of $A$, float64. For lags of 3 and more, entries must be positive or
        zero (a zero entry stays zero), not all zero.
      seq_len: sequence length $\kappa \ge 4$.
      lag: the lag $m$ of the one training sequence, 1 to $\kappa-1$; `None` is $\kappa-1$, the
        first element of the sequence.
      log_gap: $\log(a_1 - a_2)$ of the two largest entries, for gaps that doubles cannot
        resolve: the largest entry is then $a_2 + e^{\text{log\_gap}}$ whatever `a0` holds.

    Returns:
      The limit, in the order of `a0`. Entries that cannot be inspected (under `jit` or `vmap`)
      and are not supported give `nan`.

    Raises:
      ValueError: an entry is negative, all are zero, the largest is so small or large that its
        power $\kappa-3$ leaves the range of doubles, or another argument is out of range.

    Example:
      >>> limit = clean_limit(jnp.array([0.02, 0.01]), seq_len=7)
      >>> [f"{x:.6f}" for x in limit]
      ['1.000000', '0.010163']

    References:
      Slutzky et al. (2025), arXiv:2410.10473, Section 3; derivation in docs/theory.md (M1).
    """
    a0 = _require_entries(a0)
    seq_len = require_seq_len(seq_len, minimum=4, odd=False)
    if lag is None:
        lag = seq_len - 1
    lag = require_int("lag", lag, minimum=1, maximum=seq_len - 1)
    if lag == 1:
        a = separated_start(a0, log_gap).a
        return a + (1.0 - jnp.sum(a)) / a.shape[0]
    if lag == 2:
        return _scaled_to_unit_norm(separated_start(a0, log_gap).a)
    (a, excess), valid = clean_start(a0, lag, log_gap)
    return jnp.where(valid, _limit(lag, a, excess), jnp.nan)


def clean_start(a0: Float[Array, " state"], lag: int, log_gap: ScalarLike | None) -> CleanStart:
    """Check a start of the clean flow at a lag of 3 or more.

    Args:
      a0: the entries.
      lag: the lag, at least 3.
      log_gap: as for `clean_limit`.

    Returns:
      The start, with harmless entries in place of unsupported ones if these are traced.

    Raises:
      ValueError: an entry that can be inspected is not supported.

    Example:
      >>> bool(clean_start(jnp.array([0.2, 0.0]), 6, None).valid)
      True
    """
    start = separated_start(a0, log_gap)
    scale = jnp.max(start.a) ** (lag - 2)
    nonnegative = jnp.all(start.a >= 0)
    in_range = (scale >= _SMALLEST) & (scale <= _LARGEST)
    if is_concrete(nonnegative):
        if not bool(nonnegative):
            raise ValueError(
                f"a0={np.asarray(a0)}: entries must be positive, or zero (a zero entry stays "
                "zero); the conserved quantities need one sign, so flip or drop negative ones"
            )
        if not bool(jnp.any(start.a > 0)):
            raise ValueError("a0: all entries are 0, where the clean flow never moves")
        if not bool(in_range):
            raise ValueError(
                f"a0: the largest entry {float(jnp.max(start.a)):g} to the power {lag - 2} is "
                f"outside [{_SMALLEST:g}, {_LARGEST:g}]; rescale a0 or shorten the sequence"
            )
    valid = nonnegative & in_range & jnp.all(jnp.isfinite(start.a))
    safe = SeparatedStart(jnp.where(valid, start.a, 1.0), jnp.where(valid, start.excess, 0.0))
    return CleanStart(safe, valid)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
@functools.partial(jax.jit, static_argnums=0)
def _limit(lag: int, a: Array, excess: Array) -> Array:
    """The limit of a valid start; `excess` is a_1 - a_j."""
    p = lag - 1
    # a_j(u) = a_j (offset_j + u a_j^(p-1))^(-1/(p-1)), offset_j = 1 - (a_j/a_1)^(p-1) >= 0. As
    # powers, the two terms of a nearly tied entry's offset would cancel: use its excess.
    offset = -jnp.expm1((p - 1) * jnp.log1p(-excess / jnp.max(a)))
    scale = a ** (p - 1)

    def entries(u):
        return a * (offset + u * scale) ** (-1.0 / (p - 1))

    def newton_step(_, u):
        # S^(-1/e), e = m/(p-1), is a power mean of the shifted conserved quantities: concave
        # and increasing in u. Newton's method from the left of its root is monotone.
        at_u = entries(u)
        power_sum = jnp.sum(at_u**lag)
        step = (power_sum ** (1.0 + (p - 1) / lag) - power_sum) / jnp.sum(at_u ** (2 * p))
        return jnp.clip(u + step, 1.0, upper)

    # At u = 1 the leading term alone is 1; at `upper` no term exceeds 1/d.
    upper = a.shape[0] ** ((p - 1) / lag)
    return entries(jax.lax.fori_loop(0, _NEWTON_STEPS, newton_step, jnp.ones_like(a[0])))


@_limit.defjvp
def _limit_jvp(lag, primals, tangents):
    """The implicit function theorem, in quantities that do not cancel at near-ties.

    With q_j = a_j^(1-p), A the limit and A_j^(1-p) = q_j - τ: dA_j = A_j^p (z_j - <z>), where
    z_j = -(dq_j - dq_1)/(p-1) and <z> is the mean with weights A^(2p), which keeps S_m = 1.
    """
    (a, excess), (da, dexcess) = primals, tangents
    p = lag - 1
    limit = _limit(lag, a, excess)
    log_ratio = jnp.log1p(-excess / jnp.max(a))  # log(a_j / a_1)
    offset = -jnp.expm1((p - 1) * log_ratio)
    # growth = A_j / a_j solves the same equation, and is 1 for entries that are zero.
    u = jnp.max(limit) ** (1 - p)
    growth = (offset + u * a ** (p - 1)) ** (-1.0 / (p - 1))
    moved = growth**p * (-jnp.expm1(p * log_ratio) * da - jnp.exp(p * log_ratio) * dexcess)
    mean = jnp.sum(limit**p * moved) / jnp.sum(limit ** (2 * p))
    return limit, moved - limit**p * mean


def _scaled_to_unit_norm(a: Float[Array, " state"]) -> Float[Array, " state"]:
    if is_concrete(a) and not bool(jnp.any(a != 0)):
        raise ValueError("a0: all entries are 0, where the clean flow never moves")
    largest = jnp.max(jnp.abs(a))
    scaled = a / jnp.where(largest == 0, jnp.nan, largest)  # squares of tiny entries underflow
    return scaled / jnp.sqrt(jnp.sum(scaled**2))


def _require_entries(a0: Float[AnyArray, " state"]) -> Float[Array, " state"]:
    a0 = as_float64("a0", a0, ndim=1)
    if a0.shape[0] == 0:
        raise ValueError("a0=[]: a start needs at least one entry")
    return a0
