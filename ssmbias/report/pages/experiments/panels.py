"""What a column of a dynamics figure shows, as plain arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class DynamicsPanel:
    """One column of a dynamics figure; any array may be `None`.

    Attributes:
      title: such as "standalone, clean"; drawn in reds if it says "poisoned". Lines after the
        first are about the replay, and left out of the figure of many seeds.
      replay_step: updates before each entry [log], counted on through both phases.
      replay_a: a or |a| [log, state], in any order.
      replay_rank, replay_gamma0: effective rank and γ_0 there [log].
      original_step, original_a, original_gamma0: what the original recorded; its effective
        rank is computed from `original_a`.
      eps_step: updates until the training loss was at most eps.
      own_progress: progress of the library's own runs, 0..1 first phase, 1..2 second [progress].
      own_a: [seed, progress, state].
      own_rank, own_gamma0: [seed, progress].
      num_seeds: seeds that were run; own arrays may hold fewer, those that ended as required.
    """

    title: str
    replay_step: np.ndarray | None = None
    replay_a: np.ndarray | None = None
    replay_rank: np.ndarray | None = None
    replay_gamma0: np.ndarray | None = None
    original_step: np.ndarray | None = None
    original_a: np.ndarray | None = None
    original_gamma0: np.ndarray | None = None
    eps_step: int | None = None
    own_progress: np.ndarray | None = None
    own_a: np.ndarray | None = None
    own_rank: np.ndarray | None = None
    own_gamma0: np.ndarray | None = None
    num_seeds: int = 0

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        for source in ("replay", "original", "own"):
            grid_name = f"{source}_{'progress' if source == 'own' else 'step'}"
            grid = getattr(self, grid_name)
            if grid is None:
                continue
            if np.ndim(grid) != 1 or not len(grid) or np.any(np.diff(grid) < 0):
                raise ValueError(
                    f"{grid_name} of {self.title!r}: must be one axis that never decreases; where "
                    "the second phase counts anew, add the updates of the first"
                )
            for quantity, state in (("a", 1), ("rank", 0), ("gamma0", 0)):
                name = f"{source}_{quantity}"
                values = getattr(self, name, None)
                axes = (source == "own") + 1 + state
                if values is not None and (
                    np.ndim(values) != axes or np.shape(values)[source == "own"] != len(grid)
                ):
                    raise ValueError(
                        f"{name} of {self.title!r} has shape {np.shape(values)}: expected {axes} "
                        f"axes, and {len(grid)} entries as in {grid_name}"
                    )

    @property
    def has_replay(self) -> bool:
        """Whether a replay or an original is there to be drawn."""
        return self.replay_step is not None or self.original_step is not None

    @property
    def has_own(self) -> bool:
        """Whether runs of the library's own protocol are there to be drawn."""
        return self.own_progress is not None


def effective_rank(a: np.ndarray) -> np.ndarray:
    r"""Effective rank $\exp(-\sum_j r_j\log r_j)$ over the last axis, $r_j=|a_j|/\sum_i|a_i|$.

    Example:
      >>> effective_rank(np.array([[1.0, -1.0, 0.0], [3.0, 0.0, 0.0]])).tolist()
      [2.0, 1.0]
    """
    share = np.abs(a) / np.abs(a).sum(axis=-1, keepdims=True)
    return np.exp(-np.sum(share * np.log(np.where(share > 0, share, 1.0)), axis=-1))
