r"""Bound B1: by how much poison is proven to spoil generalisation."""

from __future__ import annotations

from jaxtyping import Float

from ssmbias.core.checks import as_float64, require_int, require_nonnegative, require_seq_len
from ssmbias.core.types import AnyArray, Array


def poison_bound(
    state_dim: int,
    seq_len: int,
    *,
    constant: float = 0.1,
    denominator_factor: float = 9.0,
    base: float = 0.6,
) -> float:
    r"""The error that Theorem 1 guarantees after training on poisoned data.

    From an open set of initialisations, gradient flow on clean data reaches zero loss and an
    error as small as asked for, while on poisoned data it reaches zero loss with an error of
    at least
    $$\min\Bigl\{0.1,\ \frac{1}{9d}\Bigr\}\,\bigl(1 - 0.6^{1/(\kappa-1)}\bigr).$$

    The three numbers are transcribed from the paper, not derived here: hence parameters. The
    bound is compared with the error divided by $\max_l |h^*_l| = d$, the smaller of the two
    common normalisations, so that the margin errs on the low side.

    Args:
      state_dim: number of states $d \ge 2$ of the student.
      seq_len: sequence length $\kappa \ge 7$, odd.
      constant: the 0.1 of the formula.
      denominator_factor: the 9 of the formula.
      base: the 0.6 of the formula, between 0 and 1, exclusive.

    Returns:
      The bound, as a Python float.

    Raises:
      ValueError: an argument is out of range.

    Example:
      >>> f"{poison_bound(state_dim=10, seq_len=7):.4e}"
      '9.0682e-04'

    References:
      Slutzky et al. (2025), arXiv:2410.10473, Theorem 1.
    """
    state_dim = require_int("state_dim", state_dim, minimum=2)
    seq_len = require_seq_len(seq_len, minimum=7, odd=True)
    if not 0 < constant < float("inf"):
        raise ValueError(f"constant={constant!r}: must be positive and finite")
    if not 0 < denominator_factor < float("inf"):
        raise ValueError(f"denominator_factor={denominator_factor!r}: must be positive and finite")
    if not 0 < base < 1:
        raise ValueError(f"base={base!r}: must lie between 0 and 1, exclusive")
    return min(constant, 1.0 / (denominator_factor * state_dim)) * (
        1.0 - base ** (1.0 / (seq_len - 1))
    )


def poison_margin(
    error: Float[AnyArray, "..."] | float,
    state_dim: int,
    seq_len: int,
    *,
    constant: float = 0.1,
    denominator_factor: float = 9.0,
    base: float = 0.6,
) -> Float[Array, "..."]:
    r"""How many times the guaranteed error a measured one is; the bound holds if it is $\ge 1$.

    Args:
      error: generalisation errors after training on poisoned data, divided by $d$, of any shape.
      state_dim: number of states $d$ of the student.
      seq_len: sequence length $\kappa$.
      constant: as for `poison_bound`.
      denominator_factor: as for `poison_bound`.
      base: as for `poison_bound`.

    Returns:
      `error / poison_bound(...)`, in the shape of `error`.

    Raises:
      ValueError: an error is negative, or as for `poison_bound`.

    Example:
      >>> f"{poison_margin(0.04918599, state_dim=10, seq_len=7):.2f}"
      '54.24'

    References:
      Slutzky et al. (2025), arXiv:2410.10473, Theorem 1.
    """
    error = as_float64("error", error)
    require_nonnegative("error", error)
    return error / poison_bound(
        state_dim,
        seq_len,
        constant=constant,
        denominator_factor=denominator_factor,
        base=base,
    )
