r"""What theory says about every point of a phase diagram: M1, M2, M3 and the lines between them.

Nothing here is simulated. From the starts of a sweep's grid come the limits that M1 ($\rho = 0$),
M3 (weak poison) and M2 (strong poison) predict, the defect $D$ that tells how far M3 goes, and
$r = (\rho+\rho_0)/\Delta$, on which the error depends during passage.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ssmbias.core.types import AnyArray, Array
from ssmbias.metrics import generalization_error
from ssmbias.sweeps import Grid
from ssmbias.sweeps.starts import Starts, starts_of
from ssmbias.theory import (
    clean_limit,
    passage_defect,
    passage_limit,
    passage_onset,
    passage_similarity,
    strong_poison_limit,
    tied_limit,
)

PLATEAU_DEFECT = 1.0
"""Beyond this defect poison brings S_1 to 1 before anything escapes: from M3 to M2."""

_BATCH = 256  # starts that are predicted together
_LAW_SCALE, _LAW_SHARE, _LAW_POINTS = 1e-4, 1e-12, 60


class Predictions(NamedTuple):
    r"""Predicted errors of all points of a grid, [seed, strength, gap, scale] as 4-axis arrays.

    Attributes:
      largest: largest entry of the start; axes along which it is constant have length 1.
      ratio: $(\rho+\rho_0)/\Delta$.
      similarity: what becomes of it if all entries count.
      defect: the defect $D$ of the passage map.
      clean: error of M1's limit, of length 1 along the strengths.
      weak: error of M3's limit, which is M1's at strength 0.
      strong: error of M2's limit, of length 1 along the strengths.
      error: the piecewise prediction: `weak` up to `PLATEAU_DEFECT`, `strong` beyond.
    """

    largest: np.ndarray
    ratio: np.ndarray
    similarity: np.ndarray
    defect: np.ndarray
    clean: np.ndarray
    weak: np.ndarray
    strong: np.ndarray
    error: np.ndarray


def predict_errors(grid: Grid, horizon: int) -> Predictions:
    """Predict the error of every point of a grid; nan where the start is not one.

    Args:
      grid: axes seed, strength, relative gap and init scale, in this order.
      horizon: number of lags over which the error is taken.

    Returns:
      The predictions.

    Example:
      >>> from ssmbias.sweeps import make_grid
      >>> axes = {"seed": [1], "strength": [0.0, 1e-9], "relative_gap": 1e-3, "init_scale": 1e-3}
      >>> found = predict_errors(make_grid(axes, seq_len=7, state_dim=10), horizon=20)
      >>> found.error.shape, bool(found.error[0, 1, 0, 0] < found.error[0, 0, 0, 0])
      ((1, 2, 1, 1), True)
    """
    points, shape = grid.points(), grid.shape
    starts = starts_of(points, grid.state_dim)
    found = _each(_weak(grid.seq_len, horizon), starts, points["strength"])
    weak, defect, similarity = (x.reshape(shape) for x in found)
    # M1 and M2 do not depend on the strength.
    first = np.arange(grid.num_points).reshape(shape)[:, :1]
    chosen = Starts(*(x[first.ravel()] for x in starts))
    clean, strong = (x.reshape(first.shape) for x in _each(_ends(grid.seq_len, horizon), chosen))
    largest = starts.a0[:, 0].reshape(shape)[:, :1]
    onset = np.asarray(passage_onset(np.where(largest > 0, largest, 1.0), grid.seq_len))
    strength, gap = (points[name].reshape(shape) for name in ("strength", "gap"))
    return Predictions(
        largest=largest,
        ratio=np.where(largest > 0, (strength + onset) / gap, np.nan),
        similarity=similarity,
        defect=defect,
        clean=clean,
        weak=weak,
        strong=strong,
        error=np.where(defect <= PLATEAU_DEFECT, weak, strong),
    )


def two_leaders_error(
    ratio: Float[AnyArray, " point"], seq_len: int, state_dim: int, horizon: int
) -> np.ndarray:
    r"""Error of the passage map for two nearly tied leaders, the other entries being negligible.

    The curve on which diagrams of $\varepsilon$ over $r = (\rho+\rho_0)/\Delta$ collapse for
    $D \to 0$. A power law of exponent $2/(\kappa-3)$ for $r \ll 1$; for $r \to \infty$ it ends at
    the limit of an exact tie, M4.

    Args:
      ratio: $r > 0$.
      seq_len: sequence length $\kappa \ge 5$, odd.
      state_dim: number of states $d \ge 3$.
      horizon: number of lags over which the error is taken.

    Returns:
      The normalised error.

    Example:
      >>> error = two_leaders_error(np.array([1e-4, 1e-2, 1e6]), 7, 10, 20)
      >>> [f"{x:.2g}" for x in error], f"{tied_error(7, 10, 20):.2g}"
      (['0.00018', '0.0018', '0.078'], '0.078')
    """
    # So small a start that its gap is small against it, and poison so weak that only the drift
    # is left of it: r = ρ_0/Δ.
    scale = _LAW_SCALE * np.minimum(1.0, ratio.min()) ** (1.0 / (seq_len - 3))
    onset = float(passage_onset(scale, seq_len))
    gap = onset / ratio
    a0 = np.zeros((len(ratio), state_dim))
    a0[:, 0], a0[:, 1] = scale, scale - gap
    starts = Starts(a0, np.log(gap), np.ones(len(ratio), bool))
    return _each(_weak(seq_len, horizon), starts, np.full(len(ratio), _LAW_SHARE * onset))[0]


def tied_error(seq_len: int, state_dim: int, horizon: int) -> float:
    """Error of the limit M4 of two tied leaders: what near-ties lead to at worst.

    Args:
      seq_len: sequence length, odd and at least 5.
      state_dim: number of states, at least 3.
      horizon: number of lags over which the error is taken.
    """
    alpha, beta = tied_limit(state_dim, seq_len, 2)
    return float(generalization_error(jnp.array([alpha] * 2 + [beta] * (state_dim - 2)), horizon))


def law_ratios(ratio: np.ndarray) -> np.ndarray:
    """Abscissae for the curve of `two_leaders_error`, over the whole range of a diagram."""
    usable = ratio[np.isfinite(ratio) & (ratio > 0)]
    return np.geomspace(usable.min(), usable.max(), _LAW_POINTS)


def _each(function, starts: Starts, *more: np.ndarray) -> tuple[np.ndarray, ...]:
    """Errors start by start; those that are not usable are replaced, and come back as nan.

    All batches have one size, so that one compiled function serves every number of starts.
    """
    count = len(starts.usable)
    if not starts.usable.any():
        raise ValueError("grid: no point has a start; take smaller gaps or other seeds")
    index = np.where(starts.usable, np.arange(count), np.argmax(starts.usable))
    whole = (starts.a0[index], starts.log_gap[index], *more)
    parts = []
    for first in range(0, count, _BATCH):
        lanes = np.minimum(np.arange(first, first + _BATCH), count - 1)
        parts.append(function(*(x[lanes] for x in whole)))
    joined = (np.concatenate(x)[:count] for x in zip(*parts, strict=True))
    return tuple(np.where(starts.usable, x, np.nan) for x in joined)


@functools.cache
def _weak(seq_len: int, horizon: int):
    """Error of M3's limit, the defect, and the variable on which errors collapse."""

    def one(a0: Array, log_gap: Array, strength: Array) -> tuple[Array, ...]:
        limit = passage_limit(a0, seq_len, strength, log_gap=log_gap)
        defect = passage_defect(a0, seq_len, strength, log_gap=log_gap)
        similarity = passage_similarity(a0, seq_len, strength, log_gap=log_gap)
        return generalization_error(limit, horizon), defect, similarity

    return jax.jit(jax.vmap(one))


@functools.cache
def _ends(seq_len: int, horizon: int):
    """Errors of M1's and M2's limits."""

    def one(a0: Array, log_gap: Array) -> tuple[Array, Array]:
        limits = (f(a0, seq_len, log_gap=log_gap) for f in (clean_limit, strong_poison_limit))
        clean, strong = (generalization_error(limit, horizon) for limit in limits)
        return clean, strong

    return jax.jit(jax.vmap(one))
