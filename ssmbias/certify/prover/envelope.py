"""A tube and trajectories in few numbers, for a figure. Nothing here is a proof."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ssmbias.certify.prover.system import Slab
from ssmbias.certify.samples import Sample

__all__ = ["curves", "envelope", "shown_gaps"]

_KNOTS = 400
_STEPS = 300


def shown_gaps(state_dim: int) -> tuple[int, ...]:
    """The indices j of the μ_j that are kept: the first, a middle one and the last.

    Example:
      >>> shown_gaps(3), shown_gaps(10)
      ((3,), (3, 6, 10))
    """
    return tuple(sorted({3, (3 + state_dim) // 2, state_dim}))


def envelope(
    slabs: Sequence[Slab], columns: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The hull over all branches of a tube, at some of its knots.

    Args:
      slabs: of every branch.
      columns: of the state (g, w, μ_3, ..).

    Returns:
      E [knot], and the lower and the upper ends [knot, column].
    """
    span = np.array([slab.span for slab in slabs])
    columns = list(columns)
    start = np.array([slab.start[:, columns] for slab in slabs])
    end = np.array([slab.end[:, columns] for slab in slabs])
    knots = np.unique(span)
    knots = knots[np.unique(np.linspace(0, len(knots) - 1, _KNOTS).round().astype(int))]
    low, high = (np.empty((len(knots), len(columns))) for _ in range(2))
    for row, clock in enumerate(knots):
        here = (span[:, 0] <= clock) & (clock <= span[:, 1])
        part = (clock - span[here, :1]) / np.diff(span[here])
        box = start[here] + part[..., None] * (end[here] - start[here])
        low[row], high[row] = box[:, 0].min(axis=0), box[:, 1].max(axis=0)
    return knots, low, high


def curves(slabs: Sequence[Slab], samples: Sequence[Sample], state_dim: int) -> dict:
    """Arrays of a figure: the tube, and trajectories from the box.

    Args:
      slabs: the tube.
      samples: trajectories.
      state_dim: d.

    Returns:
      By name: gap_index; tube/E, tube/low, tube/high with the columns g, w and the μ_j of
      gap_index; for each sample number k, sample<k>/E and sample<k>/state with the same columns.
    """
    index = shown_gaps(state_dim)
    clock, low, high = envelope(slabs, [0, 1, *(j - 1 for j in index)])
    found = {
        "gap_index": np.array(index),
        "tube/E": clock,
        "tube/low": low,
        "tube/high": high,
    }
    for number, sample in enumerate(samples):
        last = len(sample.clock) - 1
        kept = np.unique(np.linspace(0, last, min(_STEPS, last + 1)).round().astype(int))
        mu = sample.mu[:, [j - 3 for j in index]]
        state = np.column_stack([sample.g, sample.w, mu])
        found[f"sample{number}/E"] = sample.clock[kept]
        found[f"sample{number}/state"] = state[kept]
    return found
