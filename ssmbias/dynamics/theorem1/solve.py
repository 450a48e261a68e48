r"""Gradient flow in the setting of Theorem 1, fast for one run and for thousands.

The engine works on lanes, independent runs laid out along the last axis, in chunks that fit
a CPU's cache. `simulate_theorem1` is written for one run; under `jax.vmap`, nested or not, a
batching rule hands all runs to the engine as lanes, so that no speed is lost.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap
from jaxtyping import Bool, Float, Int

from ssmbias.core.checks import (
    as_float64,
    is_concrete,
    require_int,
    require_nonnegative,
    require_seq_len,
)
from ssmbias.core.display import displayed
from ssmbias.core.types import AnyArray, Array, ScalarLike
from ssmbias.dynamics.inputs import as_log_gaps, as_save_times
from ssmbias.dynamics.theorem1.lanes import (
    Lanes,
    Limits,
    Problem,
    advance,
    initial_lanes,
    residuals,
)
from ssmbias.dynamics.theorem1.step import field
from ssmbias.dynamics.trajectory import Outcome, Trajectory

# 64 lanes of ten entries keep a step's forty-odd arrays in a CPU core's second-level cache;
# measured best among 16..512 (benchmarks/theorem1.py). Accelerators want all lanes at once.
_CPU_CHUNK = 64


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


class _EngineInput(NamedTuple):
    """Starts in descending order, log-gaps of the top pair, strengths and physical save times."""

    a0: Float[Array, "state lane"]
    log_gap: Float[Array, " lane"]
    strength: Float[Array, " lane"]
    save_times: Float[Array, "time lane"]


class _EngineOutput(NamedTuple):
    """Final lanes and, for each saved time, the state there (lanes last in every leaf)."""

    lanes: Lanes
    saved_a: Float[Array, "time state lane"]
    saved_growth: Float[Array, "time lane"]
    saved_time: Float[Array, "time lane"]


def _run_chunk(runs: _EngineInput, limits: Limits, seq_len: int) -> _EngineOutput:
    """All lanes of one chunk through every saved time to the horizon."""
    problem = Problem(runs.log_gap, runs.strength)
    stretch = 2.0 / (1.0 + runs.strength)

    def visit(lanes: Lanes, time: Array) -> tuple[Lanes, tuple[Array, Array, Array]]:
        lanes = advance(lanes, problem, time * stretch, seq_len, limits)
        return lanes, (lanes.a, lanes.growth, lanes.stretched_time)

    lanes = initial_lanes(runs.a0, problem, seq_len)
    lanes, saved = jax.lax.scan(visit, lanes, jnp.minimum(runs.save_times, limits.horizon))
    lanes = advance(lanes, problem, limits.horizon * stretch, seq_len, limits)
    running = lanes.outcome == Outcome.RUNNING
    lanes = lanes._replace(outcome=jnp.where(running, int(Outcome.HORIZON), lanes.outcome))
    return _EngineOutput(lanes, *saved)


@functools.lru_cache(maxsize=256)
def _engine(seq_len: int, lanes_per_chunk: int | None) -> Callable[..., _EngineOutput]:
    """The compiled engine for one set of static choices, with its batching rule."""

    @custom_vmap
    def run(runs: _EngineInput, limits: Limits) -> _EngineOutput:
        return _run_in_chunks(runs, limits, seq_len, lanes_per_chunk)

    @run.def_vmap
    def _fold_into_lanes(axis_size, in_batched, runs, limits):  # pyright: ignore[reportUnusedFunction]
        def fold(x: Array, batched: bool) -> Array:
            if batched:
                x = jnp.moveaxis(x, 0, -2)
            else:
                x = jnp.broadcast_to(x[..., None, :], (*x.shape[:-1], axis_size, x.shape[-1]))
            return x.reshape(*x.shape[:-2], axis_size * x.shape[-1])

        def unfold(x: Array) -> Array:
            x = x.reshape(*x.shape[:-1], axis_size, x.shape[-1] // axis_size)
            return jnp.moveaxis(x, -2, 0)

        out = jax.tree.map(unfold, run(jax.tree.map(fold, runs, in_batched[0]), limits))
        return out, jax.tree.map(lambda _: True, out)

    return jax.jit(run)


def _run_in_chunks(
    runs: _EngineInput, limits: Limits, seq_len: int, chunk: int | None
) -> _EngineOutput:
    """Split lanes into chunks of like cost, which run one after another."""
    num_lanes = runs.strength.shape[0]
    if chunk is None:
        chunk = _CPU_CHUNK if jax.default_backend() == "cpu" else max(1, num_lanes)
    if num_lanes <= chunk:
        return _run_chunk(runs, limits, seq_len)
    # A chunk lasts as long as its slowest lane, and the number of steps depends first on the
    # strength: neighbours in strength share a chunk. The last chunk is filled with repeats.
    order = jnp.argsort(runs.strength)
    num_chunks = -(-num_lanes // chunk)
    index = order[jnp.minimum(jnp.arange(num_chunks * chunk), num_lanes - 1)]

    def split(x: Array) -> Array:
        x = jnp.take(x, index, axis=-1)
        return jnp.moveaxis(x.reshape(*x.shape[:-1], num_chunks, chunk), -2, 0)

    inverse = jnp.argsort(order)

    def join(x: Array) -> Array:
        x = jnp.moveaxis(x, 0, -2)
        x = x.reshape(*x.shape[:-2], num_chunks * chunk)
        return jnp.take(x, inverse, axis=-1)

    out = jax.lax.map(lambda part: _run_chunk(part, limits, seq_len), jax.tree.map(split, runs))
    return jax.tree.map(join, out)


def simulate_theorem1(
    a0: Float[AnyArray, " state"],
    seq_len: int,
    strength: ScalarLike = 1.0,
    *,
    log_gap: ScalarLike | None = None,
    save_times: Float[AnyArray, " time"] | None = None,
    config: Theorem1Config | None = None,
) -> Theorem1Result:
    r"""Gradient flow of the diagonal of $A$ in the setting of Theorem 1.

    With $B = C^\top = 1$ fixed, $S_m = \sum_i a_i^m$ and the loss
    $L = ((1-S_{\kappa-1})^2 + \rho (1-S_1)^2)/(1+\rho)$, the flow $\dot a = -\nabla L$ is
    $$\dot a_j = \tfrac{2}{1+\rho}\left[(\kappa-1)(1-S_{\kappa-1})\,a_j^{\kappa-2}
    + \rho\,(1-S_1)\right].$$
    It is integrated by Rodas5P with the log-gap of the two largest entries as one more state,
    so that ties far below the spacing of floating-point numbers are followed.

    Works under `jax.jit` and under (nested) `jax.vmap` over `a0`, `strength`, `log_gap` and
    `save_times`; mapped runs share one loop in cache-sized chunks. For derivatives use
    `ssmbias.dynamics.gradient_flow`.

    Args:
      a0: initial diagonal, float64, in any order, at least two entries.
      seq_len: sequence length $\kappa$, odd and at least 5.
      strength: poison strength $\rho \ge 0$; 0 is the clean set.
      log_gap: $\log(a_1 - a_2)$ for the two largest entries, where their difference is
        too small to be stored; the largest entry then starts at the second largest plus
        exp(log_gap). `None` takes the exact difference of the stored numbers; an exact tie
        stays a tie for ever.
      save_times: physical times $\ge 0$, ascending, at which states are saved.
      config: tolerances and budgets.

    Returns:
      The end of the run and its `Outcome`; entries in the order of `a0`.

    Raises:
      ValueError: a wrong shape, dtype or value, or entries below the top pair that are nearly
        tied; what and why is in the message. Values that are being traced cannot be
        inspected: such runs end as `Outcome.FAILED`.

    Example:
      >>> a0 = np.array([8.4e-4, 8.39e-4, 5e-4, 1e-4])
      >>> run = simulate_theorem1(a0, seq_len=7, strength=0.0)
      >>> bool(run.converged), f"{float(run.a[0]):.6f}"
      (True, '1.000000')

    References:
      Slutzky et al. (2025), arXiv:2410.10473, Theorem 1; Steinebach (2023), BIT 63:27.
    """
    seq_len = require_seq_len(seq_len, minimum=5, odd=True)
    a0 = as_float64("a0", a0, ndim=1)
    if a0.shape[0] < 2:
        raise ValueError(f"a0 has {a0.shape[0]} entries: state_dim must be at least 2")
    rho = as_float64("strength", strength, ndim=0)
    require_nonnegative("strength", rho)
    order = jnp.argsort(-a0)
    descending = a0[order]
    require_no_near_tie(descending)
    # What cannot be inspected and cannot be used fails through its start.
    usable = (rho >= 0) & jnp.isfinite(rho) & ~jnp.any(is_near_tie(descending))
    descending = jnp.where(usable, descending, jnp.nan)
    rho = jnp.where(usable, rho, 0.0)
    if log_gap is None:
        gap = jnp.log(descending[0] - descending[1])
    else:
        gap = as_log_gaps(log_gap, ndim=0, name="log_gap")
    times = jnp.zeros(0) if save_times is None else as_save_times(save_times)
    config = config or Theorem1Config()
    limits = Limits(
        rtol=jnp.float64(config.rtol),
        loss_tol=jnp.float64(config.loss_tol),
        max_steps=jnp.int32(config.max_steps),
        horizon=jnp.float64(config.horizon),
    )
    out = _engine(seq_len, config.lanes_per_chunk)(
        _EngineInput(descending[:, None], gap[None], rho[None], times[:, None]), limits
    )
    lanes = jax.tree.map(lambda x: x[..., 0], out.lanes)
    inverse = jnp.argsort(order)
    end = field(lanes.a[:, None], rho[None], seq_len)
    first, second = (x[0] for x in residuals(end, rho[None]))
    trajectory = None
    if save_times is not None:
        trajectory = _trajectory(out, gap, rho, times, inverse, seq_len)
    return Theorem1Result(
        a=lanes.a[inverse],
        loss=(first**2 + rho * second**2) / (1.0 + rho),
        outcome=lanes.outcome,
        time=jnp.where(
            lanes.outcome == Outcome.HORIZON,
            limits.horizon,  # exactly: the way to the solver's clock and back rounds
            lanes.stretched_time * (1.0 + rho) / 2.0,
        ),
        log_gap=gap + lanes.growth,
        num_steps=lanes.num_steps,
        num_rejected=lanes.num_rejected,
        trajectory=trajectory,
    )


def require_no_near_tie(descending: Float[Array, " state"]) -> None:
    """Raise `ValueError` if entries below the top pair are nearly tied, where they can be seen."""
    if not is_concrete(descending):
        return
    close = np.flatnonzero(np.asarray(is_near_tie(descending)))
    if close.size:
        raise ValueError(
            f"a0: entries {close[0] + 2} and {close[0] + 3} in descending order are nearly "
            "tied with the largest; only one log-gap is followed here. Use "
            "ssmbias.dynamics.gradient_flow, which follows all, or tie them exactly"
        )


def is_near_tie(descending: Float[Array, " state"]) -> Bool[Array, " gap"]:
    """Pairs below the top one that are nearly tied with each other and with the largest entry.

    Only the top pair has a log-gap. Rounding perturbs other gaps by eps relative to the entries;
    where a_3 leaves the plateau together with a_2 the flow amplifies both alike, so that a relative
    gap below 1e-6 would cost the 1e-9 that is promised (measured: T9, a_2 - a_3 = 1e-9 a_1: 3e-7).
    """
    scale = jnp.max(jnp.abs(descending))
    gap = descending[1:-1] - descending[2:]
    return (gap > 0) & (gap < 1e-6 * scale) & (descending[0] - descending[2:] < 1e-3 * scale)


def _trajectory(
    out: _EngineOutput,
    log_gap: Array,
    rho: Array,
    times: Array,
    inverse: Array,
    seq_len: int,
) -> Trajectory:
    """Saved states with loss, γ coefficients and gaps (those below the top pair by subtraction)."""
    a, growth, saved = (x[..., 0] for x in (out.saved_a, out.saved_growth, out.saved_time))
    state_dim = a.shape[1]
    at = field(a.T, jnp.broadcast_to(rho, times.shape), seq_len)
    first, second = residuals(at, jnp.broadcast_to(rho, times.shape))
    weight = 2.0 / (1.0 + rho)
    gamma = jnp.zeros((times.shape[0], seq_len - 1))
    gamma = gamma.at[:, 0].set(weight * rho * second)
    gamma = gamma.at[:, seq_len - 2].add(weight * (seq_len - 1.0) * first)
    gaps = a[:, :-1] - a[:, 1:]
    gaps = gaps.at[:, 0].set(jnp.exp(log_gap + growth))
    ones = jnp.ones((times.shape[0], state_dim))
    return Trajectory(
        time=times,
        loss=(first**2 + rho * second**2) / (1.0 + rho),
        a=a[:, inverse],
        b=ones,
        c=ones,
        gamma=gamma,
        gaps=gaps,
        # The same product as in the engine, so that equality is equality.
        reached=(saved >= times * weight),
    )
