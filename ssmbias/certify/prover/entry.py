"""Where trajectories enter the tube, and the clean flow's bound (docs/certificates.md).

Both are evaluated in plain float64 and widened a little: the checker computes its own.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ssmbias.certify.box import Box

# The checker's mesh may be coarser, and its sums are in another order.
_GROWTH_MARGIN = 1.02
_WIDEN = 1e-9
_FACTORS = (1.02, 1.1, 1.5, 2.0, 4.0, 8.0, 20.0)
_MESH = 400
_HORIZON = 20


class Entry(NamedTuple):
    """The entry box: bounds of (E, g, μ) when w = S_1 - 1 first reaches 0.

    Attributes:
      clock: lower and upper end of E.
      state: shape (2, d): lower and upper ends of g, w (both 0) and μ_3..μ_d.
    """

    clock: tuple[float, float]
    state: Float[np.ndarray, "2 state"]


def entry_box(box: Box, seq_len: int, strength: float) -> Entry | None:
    """Bounds at w = 0; `None` where the gaps cannot be bounded (docs/certificates.md, Phase 0).

    Args:
      box: the starts.
      seq_len: κ, odd, at least 5.
      strength: ρ > 0; with `inf` the flow jumps to w = 0 and leaves the gaps alone.
    """
    dim = box.state_dim
    low, high = (np.array(x) for x in box.gaps)
    spread = box.delta[1] + float(high.max())
    for factor in _FACTORS:
        growth = _growth(dim, seq_len, strength, factor * spread)
        if growth is not None and spread * _exp(growth[0]) < factor * spread * (1 - _WIDEN):
            break
    else:
        return None
    up, shape = _exp(growth[0]), _exp(growth[1])
    sum_low, sum_high = float(low.sum()), float(high.sum())
    state = np.zeros((2, dim))
    state[:, 0] = dim * box.delta[0] / sum_high / shape, dim * box.delta[1] / sum_low * shape
    state[0, 2:] = dim * low / (low + (sum_high - high)) / shape
    state[1, 2:] = dim * high / (high + (sum_low - low)) * shape
    state[0] *= 1 - _WIDEN
    state[1] *= 1 + _WIDEN
    if dim == 3:
        state[:, 2] = 3.0
    clock = (sum_low / dim * (1 - _WIDEN), up * sum_high / dim * (1 + _WIDEN))
    return Entry(clock, state)


def _growth(dim: int, seq_len: int, strength: float, spread: float) -> tuple[float, float] | None:
    """Γ0 and Γ1, if a_1 - a_d <= `spread` until w = 0; `None` where q may not be positive."""
    if math.isinf(strength):
        return 0.0, 0.0
    p = seq_len - 2
    mesh = np.append(np.geomspace(1.0, 1e-14, _MESH), 0.0)
    largest = (1 - mesh[1:]) / dim + spread
    q = (seq_len - 1) * (1 - dim * largest ** (seq_len - 1))
    if not np.all(q > 0):
        return None
    slope = strength * dim * mesh[1:] + q * dim * ((1 - mesh[:-1]) / dim) ** p
    times = (mesh[:-1] - mesh[1:]) / slope
    gaps = float(((seq_len - 1) * p * largest ** (p - 1) * times).sum())
    shape = float(((seq_len - 1) * p * (p - 1) * largest ** (p - 2) * spread * times).sum())
    return _GROWTH_MARGIN * gaps, _GROWTH_MARGIN * shape


def _exp(x: float) -> float:
    """An upper bound of e^x; the rational one for small x, as a checker without exp has it."""
    if x > 100:
        return math.inf
    return 1 / (1 - x) if x < 0.5 else math.exp(x) * (1 + _WIDEN)


def clean_bound(box: Box, seq_len: int) -> float:
    """An upper bound of the clean flow's error / d (docs/certificates.md, Clean flow)."""
    power = seq_len - 3
    a2, delta = box.a2[1], box.delta[0]
    # c = a^-power - a_1^-power, from the gaps: the entries themselves have lost their digits.
    others = np.append(0.0, np.array(box.gaps[0]))
    ratio = np.log1p(-(delta + others) / (a2 + delta))
    c = (a2 + delta) ** -power * np.expm1(-power * ratio)
    bound = (c + 1) ** (-1 / power)
    error = float(bound.sum())
    if seq_len - 1 < _HORIZON - 1:
        rest = 1 - float((bound ** (seq_len - 1)).sum())
        late = 1 - rest ** ((_HORIZON - 1) / (seq_len - 1)) if rest > 0 else 1.0
        error = max(error, late)
    return error * (1 + 1e-9) / box.state_dim
