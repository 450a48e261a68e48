"""The static choices of a gradient flow, and what it ends with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Bool, Float, Int

from ssmbias.core.checks import require_int
from ssmbias.core.display import displayed
from ssmbias.core.types import Array
from ssmbias.dynamics.inputs import require_trainable
from ssmbias.dynamics.trajectory import Outcome, Trajectory
from ssmbias.models import DiagonalSSM

NO_HORIZON = 1e18
"""A time that no flow reaches."""


@dataclass(frozen=True)
class FlowConfig:
    """Static choices of `gradient_flow`.

    Attributes:
      trainable: which of "a", "b", "c" move; the others stay as they start.
      follow_gaps: integrate log-gaps instead of entries; possible where only "a" is trained and
        all products b_j c_j agree. `None` does so exactly when `trainable` is ("a",).
      rtol: relative tolerance of one step; for gaps it is relative to the gap itself.
      atol: absolute tolerance in units of the largest trained entry of the start.
      loss_tol: the run has converged when the loss is at most this.
      horizon: physical time at which the run is stopped at the latest.
      max_steps: number of steps after which the run is stopped.
      stiff: take the implicit solver, which strong poison, small starts and long times call for.
        Otherwise an explicit one (Tsit5), whose steps the largest curvature bounds, but which
        compiles several times faster.
    """

    trainable: tuple[str, ...] = ("a",)
    follow_gaps: bool | None = None
    rtol: float = 1e-12
    atol: float = 1e-12
    loss_tol: float = 1e-26
    horizon: float = NO_HORIZON
    max_steps: int = 16_384
    stiff: bool = True

    def __post_init__(self) -> None:
        """Refuse contradictory or impossible choices."""
        require_trainable(self.trainable)
        if self.follow_gaps and self.trainable != ("a",):
            raise ValueError(
                f"follow_gaps=True with trainable={self.trainable!r}: log-gaps close on "
                "themselves only where 'a' alone is trained; leave follow_gaps unset"
            )
        for name in ("rtol", "atol", "loss_tol", "horizon"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)!r}: must be greater than 0")
        require_int("max_steps", self.max_steps, minimum=1)

    @property
    def uses_gaps(self) -> bool:
        """Whether log-gaps are the coordinates."""
        return self.trainable == ("a",) if self.follow_gaps is None else self.follow_gaps


@displayed(outcome=Outcome)
class FlowResult(NamedTuple):
    """Where a flow ended, and why.

    Attributes:
      model: final student, entries in the order of the start.
      loss: final training loss.
      outcome: an `Outcome` code.
      time: physical time at the end.
      num_steps: steps of the solver, rejected ones included.
      trajectory: states at `save_times`, or `None`.
    """

    model: DiagonalSSM
    loss: Float[Array, ""]
    outcome: Int[Array, ""]
    time: Float[Array, ""]
    num_steps: Int[Array, ""]
    trajectory: Trajectory | None

    @property
    def converged(self) -> Bool[Array, "..."]:
        """Whether the run ended at the loss tolerance."""
        return self.outcome == Outcome.CONVERGED
