r"""Prediction M3 in formulas: exponents, the second entry, and the lines of a phase diagram.

All of them follow from the passage of two nearly tied entries, $\Delta = a_1 - a_2 \ll a_1$: the
second has the time $\Delta/(\rho + \rho_0)$ still to go when the first has run away.
"""

from __future__ import annotations

from jaxtyping import Float

from ssmbias.core.checks import (
    as_float64,
    require_int,
    require_nonnegative,
    require_positive,
    require_seq_len,
)
from ssmbias.core.types import AnyArray, Array


def passage_exponent(seq_len: int) -> float:
    r"""The exponent $1/(\kappa-3)$ with which $a_j$ at the end of passage grows in $\rho/\Delta_j$.

    Args:
      seq_len: sequence length $\kappa \ge 5$, odd.

    Returns:
      The exponent.

    Raises:
      ValueError: `seq_len` is out of range.

    Example:
      >>> [passage_exponent(seq_len) for seq_len in (5, 7)]
      [0.5, 0.25]

    References:
      Derivation in docs/theory.md (M3).
    """
    return 1.0 / (require_seq_len(seq_len, minimum=5, odd=True) - 3)


def passage_error_exponent(seq_len: int) -> float:
    r"""The exponent $2/(\kappa-3)$ of the generalisation error in $\rho/\Delta$.

    Twice that of the entries: after the drift $S_1 = 1$, and what remains is of second order,
    $S_2 - 1 \approx \sum_{j\ge2} a_j^2$.

    Args:
      seq_len: sequence length $\kappa \ge 5$, odd.

    Returns:
      The exponent.

    Raises:
      ValueError: `seq_len` is out of range.

    Example:
      >>> [passage_error_exponent(seq_len) for seq_len in (5, 7)]
      [1.0, 0.5]

    References:
      Derivation in docs/theory.md (M3).
    """
    return 2.0 * passage_exponent(seq_len)


def passage_onset(largest: Float[AnyArray, "..."] | float, seq_len: int) -> Float[Array, "..."]:
    r"""The strength $\rho_0 = (\kappa-1)\,a_1^{\kappa-2}$ from which on weak poison matters.

    There poison drives the largest entry of the start as much as the baseline does. Well below
    it, passage ends where the clean flow does.

    Args:
      largest: largest entry $a_1 > 0$ of the start, or the scale of the start.
      seq_len: sequence length $\kappa \ge 5$, odd.

    Returns:
      The strength, in the shape of `largest`.

    Raises:
      ValueError: an argument is out of range.

    Example:
      >>> f"{passage_onset(0.01, 5):.1e}"
      '4.0e-06'

    References:
      Derivation in docs/theory.md (M3).
    """
    power = require_seq_len(seq_len, minimum=5, odd=True) - 2
    largest = as_float64("largest", largest)
    require_positive("largest", largest)
    return (power + 1) * largest**power


def passage_second_entry(
    ratio: Float[AnyArray, "..."] | float, seq_len: int
) -> Float[Array, "..."]:
    r"""The second entry at the end of passage to leading order, a power law in the ratio $r$.

    $$a_2 \approx \left(\frac{r}{(\kappa-1)(\kappa-3)}\right)^{1/(\kappa-3)},
      \qquad r = \frac{\rho + \rho_0}{\Delta},$$
    for $\Delta \ll a_1$ and $(\rho/(\kappa-1))^{1/(\kappa-2)} \ll a_2 \ll 1$. At $\rho = 0$ it is
    the second entry of the clean limit (M1), from $\rho \gg \rho_0$ on only $\rho/\Delta$ counts.

    Args:
      ratio: $r \ge 0$, strength plus `passage_onset`, over the leading gap.
      seq_len: sequence length $\kappa \ge 5$, odd.

    Returns:
      The entry, in the shape of `ratio`.

    Raises:
      ValueError: an argument is out of range.

    Example:
      >>> f"{passage_second_entry(0.08, 5):.2f}"
      '0.10'

    References:
      Derivation in docs/theory.md (M3).
    """
    exponent = passage_exponent(seq_len)
    ratio = as_float64("ratio", ratio)
    require_nonnegative("ratio", ratio)
    return (ratio / ((seq_len - 1) * (seq_len - 3))) ** exponent


def passage_ratio(
    error: Float[AnyArray, "..."] | float, seq_len: int, state_dim: int
) -> Float[Array, "..."]:
    r"""The ratio $(\rho+\rho_0)/\Delta$ at which the error, divided by $d$, is at a given level.

    $$r = (\kappa-1)(\kappa-3)
      \left(\frac{d(d-1)}{d-2}\,\varepsilon\right)^{(\kappa-3)/2}.$$
    A straight line of slope 1 in a diagram of $\log\rho$ over $\log\Delta$, above the onset. To
    leading order in the second entry, the other ones being negligible.

    Args:
      error: level $\varepsilon \ge 0$ of the normalised generalisation error, small against $1/d$.
      seq_len: sequence length $\kappa \ge 5$, odd.
      state_dim: dimension $d \ge 3$. With two entries, $S_1 = S_{\kappa-1} = 1$ leaves no error.

    Returns:
      The ratio, in the shape of `error`.

    Raises:
      ValueError: an argument is out of range.

    Example:
      >>> ratio = passage_ratio(1e-3, seq_len=5, state_dim=10)
      >>> f"{ratio:.3f}", f"{passage_second_entry(ratio, 5):.3f}"
      ('0.090', '0.106')

    References:
      Derivation in docs/theory.md (M3).
    """
    exponent = passage_error_exponent(seq_len)
    dim = require_int("state_dim", state_dim, minimum=3)
    error = as_float64("error", error)
    require_nonnegative("error", error)
    square = dim * (dim - 1) / (dim - 2) * error
    return (seq_len - 1) * (seq_len - 3) * square ** (1.0 / exponent)
