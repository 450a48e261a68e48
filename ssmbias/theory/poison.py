r"""Predictions M2 and M4: where poisoned gradient flow ends."""

from __future__ import annotations

import functools
import math

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ssmbias.core.checks import as_float64, is_concrete, require_int, require_seq_len
from ssmbias.core.types import AnyArray, Array, ScalarLike
from ssmbias.theory.leading_gap import leading_gap

_TOLERANCE = 1e-13
"""Local error in log-gaps, which is a relative error of the gaps."""

_FIRST_STEP = 1e-2
"""Of the whole range; the step is then controlled by the error."""

_MAX_STEPS = 4096
"""About 100 are taken from the reference starts, 250 from gaps of 1e-150."""


def strong_poison_limit(
    a0: Float[AnyArray, " state"], seq_len: int, *, log_gap: ScalarLike | None = None
) -> Float[Array, " state"]:
    r"""Where the poisoned flow of Theorem 1 ends as the strength $\rho\to\infty$.

    The flow first jumps to $x_j = a_j - \operatorname{mean}(a) + 1/d$, on the plane $S_1 = 1$,
    and then follows $\dot x_j = (\kappa-1)(1-S_{\kappa-1})(x_j^p - \operatorname{mean}(x^p))$,
    $p = \kappa-2$, until $S_{\kappa-1} = 1$. The limit at a finite strength differs from this
    one by $O(1/\rho)$.

    Only the gaps $\Delta_k$ between neighbours matter. Their logarithms are what is integrated,
    $\mathrm d\log\Delta_k/\mathrm ds = \sum_{m=0}^{p-1} x_k^m x_{k+1}^{p-1-m}$, so that a gap of
    any size is followed to full relative precision and equal entries stay equal.

    Differentiable in `a0` and `log_gap` in reverse mode (`jax.grad`), not in forward mode.

    Args:
      a0: initial diagonal of $A$, at least 2 entries of any sign, not all equal.
      seq_len: sequence length $\kappa \ge 5$, odd.
      log_gap: $\log(a_1 - a_2)$ of the two largest entries, for gaps that doubles cannot
        resolve: the largest entry is then $a_2 + e^{\text{log\_gap}}$ whatever `a0` holds.

    Returns:
      The limit, in the order of `a0`, with $S_1 = S_{\kappa-1} = 1$. Entries that cannot be
      inspected (under `jit` or `vmap`) and are all equal give `nan`.

    Raises:
      ValueError: all entries are equal (they stay equal, and the loss never reaches 0), or an
        argument is out of range.

    Example:
      >>> limit = strong_poison_limit(jnp.array([0.02, 0.01, 0.005]), seq_len=7)
      >>> bool(jnp.isclose(jnp.sum(limit), 1.0)), bool(jnp.isclose(jnp.sum(limit**6), 1.0))
      (True, True)

    References:
      Slutzky et al. (2025), arXiv:2410.10473, Theorem 1; derivation in docs/theory.md (M2).
    """
    a0 = as_float64("a0", a0, ndim=1)
    seq_len = require_seq_len(seq_len, minimum=5, odd=True)
    if a0.shape[0] < 2:
        raise ValueError(f"a0 has {a0.shape[0]} entries: poison needs at least 2 to tie")
    order = jnp.argsort(a0, descending=True)
    ordered = a0[order]
    gaps = ordered[:-1] - ordered[1:]
    if log_gap is not None:
        gaps = gaps.at[0].set(leading_gap(a0, log_gap))
    valid = jnp.any(gaps > 0) & jnp.all(jnp.isfinite(gaps))
    if is_concrete(valid) and not bool(valid):
        raise ValueError(
            f"a0={np.asarray(a0)}, log_gap={log_gap}: all entries are equal, stay equal, and never "
            "reach zero loss; give at least two different ones"
        )
    limit = _on_plane(seq_len, jnp.where(valid, gaps, 1.0))
    return jnp.where(valid, limit[jnp.argsort(order)], jnp.nan)


def tied_limit(state_dim: int, seq_len: int, multiplicity: int) -> tuple[float, float]:
    r"""Where poisoned flow ends if the $m$ largest entries are equal, and so are the others.

    The limit is $\alpha$ ($m$ times) and $\beta$ ($d-m$ times), $\alpha > \beta$, with
    $$m\alpha + (d-m)\beta = 1, \qquad m\alpha^{\kappa-1} + (d-m)\beta^{\kappa-1} = 1.$$
    For $m = 1$ this is $(1, 0)$, a student that generalises; for $m \ge 2$ it does not.

    Args:
      state_dim: number of states $d \ge 2$.
      seq_len: sequence length $\kappa \ge 5$, odd.
      multiplicity: the number $m$ of equal largest entries, 1 to $d-1$.

    Returns:
      $(\alpha, \beta)$, as Python floats.

    Raises:
      ValueError: an argument is out of range or not an integer.

    Example:
      >>> tied_limit(state_dim=10, seq_len=7, multiplicity=1)
      (1.0, 0.0)
      >>> alpha, beta = tied_limit(10, 7, 2)
      >>> f"{alpha:.6f} {beta:.6f}"
      '0.890898 -0.097724'

    References:
      Slutzky et al. (2025), arXiv:2410.10473, Theorem 1 (reference trajectory); derivation in
      docs/theory.md (M4).
    """
    state_dim = require_int("state_dim", state_dim, minimum=2)
    power = require_seq_len(seq_len, minimum=5, odd=True) - 1
    m = require_int("multiplicity", multiplicity, minimum=1, maximum=state_dim - 1)
    if m == 1:
        return 1.0, 0.0
    rest = state_dim - m
    # m α^(κ-1) + (d-m) β^(κ-1) is convex in α, with its minimum at the tie α = 1/d: Newton from
    # the right, where m α^(κ-1) = 1, falls monotonically onto the root.
    alpha = m ** (-1.0 / power)
    while True:
        beta = (1.0 - m * alpha) / rest
        excess = math.fsum([m * alpha**power, rest * beta**power, -1.0])
        following = alpha - excess / (power * m * (alpha ** (power - 1) - beta ** (power - 1)))
        if following >= alpha:
            return alpha, beta
        alpha = following


def _divided_difference(x: Array, y: Array, power: int) -> Array:
    """(x^power - y^power) / (x - y), expanded: no cancellation, and finite at x = y."""
    total, y_power = jnp.ones_like(x), jnp.ones_like(y)
    for _ in range(power - 1):
        y_power = y_power * y
        total = total * x + y_power
    return total


@functools.lru_cache(maxsize=64)
def _from_gaps(state_dim: int) -> np.ndarray:
    """The matrix that turns neighbours' differences into entries of mean zero."""
    index = np.arange(state_dim)
    below = (index[None, 1:] > index[:, None]).astype(np.float64)
    return below - index[None, 1:] / state_dim


def _log_excess(centred: Array, power_sum: int) -> Array:
    """Logarithm of S - d^(1-m), by which S_m on the plane S_1 = 1 exceeds its least value.

    x^m - c^m - m c^(m-1) (x - c) = (x - c)^2 Σ_k (k+1) c^k x^(m-2-k), c = 1/d, summed over the
    entries: for nearly equal entries the direct difference would lose all its digits.
    """
    centre = 1.0 / centred.shape[0]
    x = centre + centred
    total = jnp.zeros_like(x)
    for k in range(power_sum - 1):
        total = total * x + (k + 1) * centre**k
    # Scaled, because the square of a tiny gap underflows.
    scale = jnp.max(jnp.abs(centred))
    return jnp.log(jnp.sum((centred / scale) ** 2 * total)) + 2.0 * jnp.log(scale)


@functools.partial(jax.jit, static_argnums=0)
def _on_plane(seq_len: int, gaps: Array) -> Array:
    """The limit, in descending order, from the gaps of the start.

    The independent variable is η = log(S_{κ-1} - d^{2-κ}). S grows along the flow,
    dS/ds = (κ-1) Σ (x^p - mean x^p)^2, so that the end, S = 1, is known beforehand and no event
    has to be found; and near the start every log-gap grows like η/2, however small the gaps.
    A start with S > 1 runs backwards to the same surface.
    """
    power = seq_len - 2
    state_dim = gaps.shape[0] + 1
    to_entries = jnp.asarray(_from_gaps(state_dim))

    def growth_rates(log_growth, eta):
        """d(log gaps)/dη."""
        grown = gaps * jnp.exp(log_growth)
        x = 1.0 / state_dim + to_entries @ grown
        rates = _divided_difference(x[:-1], x[1:], power)
        # x^p - mean(x^p) from its own neighbours' differences.
        speed = to_entries @ (grown * rates)
        scale = jnp.max(jnp.abs(speed))
        log_square = jnp.log(jnp.sum((speed / scale) ** 2)) + 2.0 * jnp.log(scale)
        return rates * jnp.exp(eta - log_square) / (seq_len - 1)

    start = _log_excess(to_entries @ gaps, seq_len - 1)
    end = math.log1p(-(float(state_dim) ** (2 - seq_len)))

    def field(part, log_growth, _):
        return (end - start) * growth_rates(log_growth, start + part * (end - start))

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        diffrax.Dopri8(),
        t0=0.0,
        t1=1.0,
        dt0=_FIRST_STEP,
        y0=jnp.zeros_like(gaps),
        stepsize_controller=diffrax.PIDController(rtol=_TOLERANCE, atol=_TOLERANCE),
        max_steps=_MAX_STEPS,
        throw=False,
    )
    assert solution.ys is not None
    log_growth = solution.ys[-1]
    # One Newton step along the flow takes the accumulated error out of S = 1.
    reached = _log_excess(to_entries @ (gaps * jnp.exp(log_growth)), seq_len - 1)
    log_growth = log_growth + growth_rates(log_growth, end) * (end - reached)
    x = 1.0 / state_dim + to_entries @ (gaps * jnp.exp(log_growth))
    return jnp.where(solution.result == diffrax.RESULTS.successful, x, jnp.nan)
