r"""Where the flow of Theorem 1 ends, by the shortest way: the engine behind sweeps.

`simulate_theorem1` follows the flow in time. Here only its limit is asked for, so that every run
may choose its clock and, where the flow is stiff, its slow solution; about a hundred explicit
steps do for what takes a stiff method a thousand.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from ssmbias.core.checks import require_int, require_seq_len
from ssmbias.core.display import displayed
from ssmbias.core.lanes import over_lanes
from ssmbias.core.types import AnyArray, Array, ScalarLike
from ssmbias.dynamics.limit.lanes import Limits, Queue, run_queue
from ssmbias.dynamics.theorem1.start import theorem1_start
from ssmbias.dynamics.theorem1.step import integer_power
from ssmbias.dynamics.trajectory import Outcome

# Lanes that step together, powers of two. On a CPU: 128, as long as the fourteen arrays of a step
# stay in a core's cache, and no fewer than two vector registers are wide (benchmarks/sweep.py).
# Accelerators want many. Fewer points than lanes are stepped in as few as hold them.
_CPU_LANES, _FEWEST_CPU_LANES, _CPU_ENTRIES = 128, 16, 4096
_FEWEST_LANES = 8
_ACCELERATOR_ENTRIES = 1 << 20
# Largest residual that the last step may leave for Newton to remove: far above what a step within
# its tolerance leaves, far below what would show in the error.
_LARGEST_CLOSING = 1e-6
_NEWTON_STEPS = 3


@dataclass(frozen=True)
class LimitConfig:
    """Static choices of the limit engine.

    Attributes:
      rtol: tolerance of one step, relative to the largest entry (for gaps below the second entry:
        to the gap), absolute for the log-gap of the two largest entries.
      loss_tol: a run has converged when the square of every trained residual is at most this.
      max_steps: trial steps after which a run is given up.
      num_lanes: runs that step together; `None` chooses by the backend.
    """

    rtol: float = 3e-11
    loss_tol: float = 1e-26
    max_steps: int = 2_000
    num_lanes: int | None = None

    def __post_init__(self) -> None:
        """Refuse values with which no run could succeed."""
        if not 1e-12 <= self.rtol <= 1e-4:
            raise ValueError(f"rtol={self.rtol!r}: must lie in [1e-12, 1e-4]")
        if not self.loss_tol >= 1e-30:
            raise ValueError(
                f"loss_tol={self.loss_tol!r}: must be at least 1e-30, where rounding begins"
            )
        require_int("max_steps", self.max_steps, minimum=1)
        if self.num_lanes is not None:
            require_int("num_lanes", self.num_lanes, minimum=1)


@displayed(outcome=Outcome)
class LimitResult(NamedTuple):
    """Where a run ended, and why.

    Attributes:
      a: limit of the diagonal of A, in the order of the start.
      loss: training loss (δ_1² + ρ δ_2²)/(1+ρ) there.
      outcome: an `Outcome` code.
      log_gap: log(a_1 - a_2) of the two largest entries there.
      num_steps: trial steps; `num_rejected` of them were repeated with a smaller size.
    """

    a: Float[Array, " state"]
    loss: Float[Array, ""]
    outcome: Int[Array, ""]
    log_gap: Float[Array, ""]
    num_steps: Int[Array, ""]
    num_rejected: Int[Array, ""]

    @property
    def converged(self) -> Bool[Array, "..."]:
        """Whether the run ended at the loss tolerance."""
        return self.outcome == Outcome.CONVERGED


class Points(NamedTuple):
    """Runs as columns: starts in descending order, log-gaps of the top pair, strengths."""

    a0: Float[Array, "state point"]
    log_gap: Float[Array, " point"]
    strength: Float[Array, " point"]


class Ends(NamedTuple):
    """Ends of runs as columns, and the lane-steps that were spent on all of them."""

    a: Float[Array, "state point"]
    loss: Float[Array, " point"]
    outcome: Int[Array, " point"]
    log_gap: Float[Array, " point"]
    num_steps: Int[Array, " point"]
    num_rejected: Int[Array, " point"]
    lane_steps: Float[Array, ""]


def run_points(
    points: Points,
    count: Int[Array, ""],
    limits: Limits,
    seq_len: int,
    num_lanes: int,
) -> Ends:
    """The first `count` points, in lanes that are refilled; jit-able, for one device.

    The result of a point depends, to the last bit, neither on its place nor on what the other
    columns hold. Programs for other numbers of columns may differ in last bits, because XLA then
    fuses multiplications and additions otherwise (measured: 4e-14 of the largest entry).
    """
    queue = Queue(points.a0, points.log_gap, points.strength, count)
    found, spent = run_queue(queue, limits, seq_len, num_lanes)
    a, closing = _close(found.a, points.strength, seq_len)
    first, second = _residuals(a, points.strength, seq_len)
    worst = jnp.maximum(first * first, second * second)
    ended = found.outcome == Outcome.CONVERGED
    kept = ~ended | ((closing <= _LARGEST_CLOSING) & (worst <= limits.loss_tol))
    a = jnp.where(ended[None], a, found.a)
    first, second = _residuals(a, points.strength, seq_len)
    return Ends(
        a=a,
        loss=(first**2 + points.strength * second**2) / (1.0 + points.strength),
        outcome=jnp.where(kept, found.outcome, int(Outcome.FAILED)),
        log_gap=points.log_gap + found.growth,
        num_steps=found.num_steps,
        num_rejected=found.num_rejected,
        lane_steps=spent,
    )


def _residuals(a: Array, strength: Array, seq_len: int) -> tuple[Array, Array]:
    """1 - S_{κ-1} and 1 - S_1, the second one only where it is trained on."""
    first = 1.0 - integer_power(a, seq_len - 1).sum(0)
    return first, jnp.where(strength > 0, 1.0 - a.sum(0), 0.0)


def _close(a: Array, strength: Array, seq_len: int) -> tuple[Array, Array]:
    """Newton's method from the end of the last step onto zero loss, along the flow's directions.

    The remaining path of the flow lies in the span of (a_j^p) and, for poisoned data, (1): so does
    the correction, of the size of the residuals that it removes (the second value).
    """
    size = None
    poisoned = strength > 0
    for _ in range(_NEWTON_STEPS):
        first, second = _residuals(a, strength, seq_len)
        if size is None:
            size = jnp.maximum(jnp.abs(first), jnp.abs(second))
        slope = (seq_len - 1.0) * integer_power(a, seq_len - 2)
        m11, m12 = (slope * slope).sum(0), slope.sum(0)
        m22 = jnp.where(poisoned, float(a.shape[0]), 1.0)
        m12 = jnp.where(poisoned, m12, 0.0)
        det = m11 * m22 - m12 * m12
        by_first = (first * m22 - second * m12) / det
        by_second = jnp.where(poisoned, (second * m11 - first * m12) / det, 0.0)
        a = a + by_first[None] * slope + by_second[None]
    assert size is not None
    return a, size


def default_lanes(state_dim: int) -> int:
    """Lanes that suit the backend."""
    if jax.default_backend() == "cpu":
        return min(
            _CPU_LANES, max(_FEWEST_CPU_LANES, _floor_power_of_two(_CPU_ENTRIES // state_dim))
        )
    return max(_CPU_LANES, _floor_power_of_two(_ACCELERATOR_ENTRIES // state_dim))


def _floor_power_of_two(number: int) -> int:
    return 1 << max(0, number.bit_length() - 1)


def limits_of(config: LimitConfig) -> Limits:
    """Tolerances and budgets as traced numbers."""
    return Limits(
        rtol=jnp.float64(config.rtol),
        loss_tol=jnp.float64(config.loss_tol),
        max_steps=jnp.int32(config.max_steps),
    )


@functools.lru_cache(maxsize=256)
def _engine(seq_len: int, num_lanes: int) -> Callable[[Points, Limits], Ends]:
    """The compiled engine for one set of static choices, with its batching rule."""

    def run(points: Points, limits: Limits) -> Ends:
        number = points.strength.shape[0]
        lanes = min(num_lanes, max(_FEWEST_LANES, 2 * _floor_power_of_two(number - 1)))
        return run_points(points, jnp.int32(number), limits, seq_len, lanes)

    return jax.jit(over_lanes(run))


def theorem1_limit(
    a0: Float[AnyArray, " state"],
    seq_len: int,
    strength: ScalarLike = 1.0,
    *,
    log_gap: ScalarLike | None = None,
    config: LimitConfig | None = None,
) -> LimitResult:
    r"""Limit of the gradient flow of the diagonal of $A$ in the setting of Theorem 1.

    The flow is that of `simulate_theorem1`,
    $\dot a_j \propto (\kappa-1)(1-S_{\kappa-1})\,a_j^{\kappa-2} + \rho\,(1-S_1)$ with
    $S_m = \sum_i a_i^m$. It is integrated, not looked up, by an explicit method of order eight in
    clocks that keep it smooth; where one direction is stiff, that direction follows its slow
    solution, whose error is controlled together with that of the steps. Physical time is not kept.

    Works under `jax.jit` and (nested) `jax.vmap`; mapped runs share lanes that are refilled from
    a queue, so that none waits for the slowest.

    Args:
      a0: initial diagonal, float64, in any order, at least two entries. The engine is made
        for small starts, $S_1 < 1$; from others it may end with `Outcome.FAILED` or
        `Outcome.MAX_STEPS`, where `simulate_theorem1` goes on.
      seq_len: sequence length $\kappa$, odd and at least 5.
      strength: poison strength $\rho \ge 0$; 0 is the clean set.
      log_gap: $\log(a_1 - a_2)$ for the two largest entries, where their difference is
        too small to be stored; `None` takes the exact difference of the stored numbers.
      config: tolerances and budgets.

    Returns:
      The limit and its `Outcome`; entries in the order of `a0`.

    Raises:
      ValueError: as for `simulate_theorem1`.

    Example:
      >>> import numpy as np
      >>> run = theorem1_limit(np.array([8.4e-4, 8.39e-4, 5e-4, 1e-4]), seq_len=7, strength=0.0)
      >>> bool(run.converged), f"{float(run.a[0]):.6f}"
      (True, '1.000000')

    References:
      Slutzky et al. (2025), arXiv:2410.10473, Theorem 1; docs/theory.md, "The slow manifold".
    """
    seq_len = require_seq_len(seq_len, minimum=5, odd=True)
    start = theorem1_start(a0, strength, log_gap)
    config = config or LimitConfig()
    out = _engine(seq_len, config.num_lanes or default_lanes(start.order.size))(
        Points(start.descending[:, None], start.log_gap[None], start.strength[None]),
        limits_of(config),
    )
    return LimitResult(
        a=out.a[jnp.argsort(start.order), 0],
        loss=out.loss[0],
        outcome=out.outcome[0],
        log_gap=out.log_gap[0],
        num_steps=out.num_steps[0],
        num_rejected=out.num_rejected[0],
    )
