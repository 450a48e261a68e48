"""Runs at two tolerances, and what their difference says about the solver's error."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ssmbias.dynamics import Theorem1Result
from ssmbias.evidence import Count

# The solver's error is proportional to its tolerance (order five, error per step): the change
# on tightening it tenfold is 9/10 of the error. Twice that covers departures from proportionality;
# the largest change over all runs of a subject is used for each of them.
_ERROR_FACTOR = 2.0
# Rounding accumulates over up to 2e3 steps of eight stages: a random walk of 1.6e4 x eps/2 each.
_ROUNDING = 1e-13
COARSEST_TOLERANCE = 1e-7
"""A tolerance above this proves too little: the rows are then inconclusive."""


class Twice(NamedTuple):
    """Runs at two tolerances: what is compared, and how well it is known.

    Attributes:
      result: simulation at the configured tolerance, [run, strength, ...].
      tight: the same at a tenth of it.
      count: how they ended; a run counts as converged if it did so at both tolerances.
    """

    result: Theorem1Result
    tight: Theorem1Result
    count: Count

    @property
    def a(self) -> np.ndarray:
        """Final diagonals, [run, strength, state]."""
        return np.asarray(self.result.a)

    def relative_error(self) -> float:
        """Largest relative change of an entry on tightening the tolerance tenfold."""
        tight = np.asarray(self.tight.a)
        return float(np.max(np.abs(self.a - tight) / np.maximum(np.abs(tight), 1e-300)))

    def absolute_error(self) -> float:
        """Largest absolute change of an entry on tightening the tolerance tenfold."""
        return float(np.max(np.abs(self.a - np.asarray(self.tight.a))))


def solver_tolerance(change: float) -> float:
    """The tolerance of a comparison with a simulation whose measured change is `change`."""
    return _ERROR_FACTOR * change + _ROUNDING


SOLVER_DERIVATION = (
    "twice the largest change of the simulation when its own tolerance is tightened tenfold, "
    "plus 1e-13 for rounding"
)
