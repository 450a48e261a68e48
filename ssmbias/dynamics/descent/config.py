"""The static choices of gradient descent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ssmbias.core.checks import require_int, require_number
from ssmbias.dynamics.inputs import require_trainable
from ssmbias.models import DiagonalSSM


@dataclass(frozen=True)
class DescentConfig:
    """Static choices of gradient descent.

    Attributes:
      loss_tol: the first phase ends when the loss is at most this ("eps" in the paper).
      max_steps: number of updates after which the first phase ends at the latest.
      extra_steps: updates of a second phase, for runs whose first phase ended at `loss_tol`; the
        optimiser's state is carried over.
      log_every: updates between two entries of the log.
      log_offset: updates before the first entry; the paper's code logs after 1, 101, 201, ...
      max_logs: entries in the log of a phase. A phase that needs more keeps every other one,
        as often as the slowest run of its chunk has to. Every slot is room for a student, used or
        not: 63 kB a run at 256 slots and 10 states, so take fewer for tens of thousands of runs.
      trainable: which of "a", "b", "c" move (linear students only).
      full_gradient_norm: whether the norm that `adaptive_step` sees is that of the paper's code,
        which counts the off-diagonal entries of dL/dA, and dL/dB and dL/dC also where these are
        not trained (linear students only; other optimisers do not look at it).
      lanes_per_chunk: runs that share a loop under `jax.vmap`; `None` for 64 (`descend`: 16) on a
        CPU and all elsewhere.
    """

    loss_tol: float = 1e-2
    max_steps: int = 1_000_000
    extra_steps: int = 0
    log_every: int = 100
    log_offset: int = 0
    max_logs: int = 256
    trainable: tuple[str, ...] = DiagonalSSM._fields
    full_gradient_norm: bool = False
    lanes_per_chunk: int | None = None

    def __post_init__(self) -> None:
        """Refuse contradictory or impossible choices."""
        if not require_number("loss_tol", self.loss_tol) >= 0:
            raise ValueError(f"loss_tol={self.loss_tol!r}: must be 0 or greater")
        # Step numbers are 32-bit, and the next entry of a log may be due at twice the present one.
        largest = 1_000_000_000
        require_int("max_steps", self.max_steps, minimum=1, maximum=largest)
        require_int("extra_steps", self.extra_steps, minimum=0, maximum=largest)
        require_int("log_every", self.log_every, minimum=1, maximum=1_000_000)
        require_int("log_offset", self.log_offset, minimum=0, maximum=self.log_every - 1)
        require_int("max_logs", self.max_logs, minimum=2, maximum=100_000)
        if self.lanes_per_chunk is not None:
            require_int("lanes_per_chunk", self.lanes_per_chunk, minimum=1)
        require_trainable(self.trainable)


def require_config(config: Any) -> DescentConfig:
    """The configuration, or the default one; `ValueError` for anything else."""
    if config is not None and not isinstance(config, DescentConfig):
        raise ValueError(f"config={config!r}: expected a DescentConfig, or None for the defaults")
    return config or DescentConfig()
