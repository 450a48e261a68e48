"""What a simulation returns: outcome codes and saved trajectories."""

from __future__ import annotations

import enum
from typing import NamedTuple

from jaxtyping import Bool, Float

from ssmbias.core.types import Array


class Outcome(enum.IntEnum):
    """How a run ended; recorded in the result, never raised.

    ``CONVERGED``: the loss fell to the tolerance. ``STALLED``: the gradient is at the
    rounding level of its own terms while the loss is not (a critical point that is not a
    solution). ``HORIZON``: the requested physical time was reached first. ``MAX_STEPS``:
    the step budget was spent first. ``FAILED``: a value became non-finite or the step size
    underflowed. ``RUNNING`` never leaves a solver.
    """

    RUNNING = -1
    CONVERGED = 0
    STALLED = 1
    HORIZON = 2
    MAX_STEPS = 3
    FAILED = 4

    @property
    def explanation(self) -> str:
        """One line for a report."""
        return {
            Outcome.RUNNING: "still running",
            Outcome.CONVERGED: "the loss fell to the tolerance",
            Outcome.STALLED: "the gradient reached rounding level while the loss did not vanish",
            Outcome.HORIZON: "the time horizon was reached before the loss tolerance",
            Outcome.MAX_STEPS: "the step budget was spent before the loss tolerance",
            Outcome.FAILED: "a value became non-finite or the step size underflowed",
        }[self]


class Trajectory(NamedTuple):
    """States at the requested physical times.

    Attributes:
      time: physical time t of gradient flow dθ/dt = -∇L, in the units of 1/L'' (the loss is
        the weighted mean of squared residuals, so the clock is part of the loss).
      loss: training loss.
      a: diagonal of A.
      b: column B.
      c: row C.
      gamma: coefficients γ_l of the dynamical characterisation (Proposition 1), l = 0..κ-2.
      gaps: differences of consecutive entries of `a` in descending order of the start.
      reached: False where the run had ended before `time`; the final state is repeated there.
    """

    time: Float[Array, " time"]
    loss: Float[Array, " time"]
    a: Float[Array, "time state"]
    b: Float[Array, "time state"]
    c: Float[Array, "time state"]
    gamma: Float[Array, "time lag"]
    gaps: Float[Array, "time gap"]
    reached: Bool[Array, " time"]
