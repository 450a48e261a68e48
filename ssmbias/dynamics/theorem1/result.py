"""The static choices of the Theorem 1 engine, and what a run ends with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Bool, Float, Int

from ssmbias.core.checks import require_int
from ssmbias.core.display import displayed
from ssmbias.core.types import Array
from ssmbias.dynamics.trajectory import Outcome, Trajectory


@dataclass(frozen=True)
class Theorem1Config:
    """Static choices of the Theorem 1 engine.

    Attributes:
      rtol: tolerance of one step, relative to the largest entry, and absolute for log-gaps.
      loss_tol: a run has converged when the square of every trained residual is at most this
        (so the loss is as well, whatever the weights).
      horizon: physical time at which a run is stopped at the latest.
      max_steps: number of trial steps after which a run is stopped.
      lanes_per_chunk: lanes that step together; `None` chooses by the backend.
    """

    rtol: float = 1e-10
    loss_tol: float = 1e-26
    horizon: float = float("inf")
    max_steps: int = 20_000
    lanes_per_chunk: int | None = None

    def __post_init__(self) -> None:
        """Refuse values with which no run could succeed."""
        if not 1e-14 <= self.rtol <= 1e-2:
            raise ValueError(f"rtol={self.rtol!r}: must lie in [1e-14, 1e-2]")
        if not self.loss_tol >= 1e-30:
            raise ValueError(
                f"loss_tol={self.loss_tol!r}: must be at least 1e-30, where rounding begins"
            )
        if not self.horizon > 0:
            raise ValueError(f"horizon={self.horizon!r}: must be greater than 0")
        require_int("max_steps", self.max_steps, minimum=1)
        if self.lanes_per_chunk is not None:
            require_int("lanes_per_chunk", self.lanes_per_chunk, minimum=1)


@displayed(outcome=Outcome)
class Theorem1Result(NamedTuple):
    """Where a run ended, and why.

    Attributes:
      a: final diagonal of A in the order of the start.
      loss: final training loss (δ_1² + ρ δ_2²)/(1+ρ).
      outcome: an `Outcome` code.
      time: physical time at the end.
      log_gap: final log(a_1 - a_2) of the two largest entries.
      num_steps: trial steps; `num_rejected` of them were repeated with a smaller size.
      trajectory: states at `save_times`, or `None`.
    """

    a: Float[Array, " state"]
    loss: Float[Array, ""]
    outcome: Int[Array, ""]
    time: Float[Array, ""]
    log_gap: Float[Array, ""]
    num_steps: Int[Array, ""]
    num_rejected: Int[Array, ""]
    trajectory: Trajectory | None

    @property
    def converged(self) -> Bool[Array, "..."]:
        """Whether the run ended at the loss tolerance."""
        return self.outcome == Outcome.CONVERGED
