r"""Gradient flow in the setting of Theorem 1, fast for one run and for thousands.

The engine works on lanes, independent runs laid out along the last axis, in chunks that fit
a CPU's cache. `simulate_theorem1` is written for one run; under `jax.vmap`, nested or not, the
engine's batching rule takes all runs as lanes, so that no speed is lost.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Float

from ssmbias.core.checks import require_seq_len
from ssmbias.core.types import AnyArray, Array, ScalarLike
from ssmbias.dynamics.inputs import as_save_times
from ssmbias.dynamics.theorem1.engine import EngineInput, EngineOutput, engine
from ssmbias.dynamics.theorem1.lanes import FlowLimits, residuals
from ssmbias.dynamics.theorem1.result import Theorem1Config, Theorem1Result
from ssmbias.dynamics.theorem1.start import theorem1_start
from ssmbias.dynamics.theorem1.step import field
from ssmbias.dynamics.trajectory import Outcome, Trajectory


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
      >>> a0 = jnp.array([8.4e-4, 8.39e-4, 5e-4, 1e-4])
      >>> run = simulate_theorem1(a0, seq_len=7, strength=0.0)
      >>> bool(run.converged), f"{float(run.a[0]):.6f}"
      (True, '1.000000')

    References:
      Slutzky et al. (2025), arXiv:2410.10473, Theorem 1; Steinebach (2023), BIT 63:27.
    """
    seq_len = require_seq_len(seq_len, minimum=5, odd=True)
    start = theorem1_start(a0, strength, log_gap)
    rho, gap = start.strength, start.log_gap
    times = jnp.zeros(0) if save_times is None else as_save_times(save_times)
    config = config or Theorem1Config()
    limits = FlowLimits(
        rtol=jnp.float64(config.rtol),
        loss_tol=jnp.float64(config.loss_tol),
        max_steps=jnp.int32(config.max_steps),
        horizon=jnp.float64(config.horizon),
    )
    out = engine(seq_len, config.lanes_per_chunk)(
        EngineInput(start.descending[:, None], gap[None], rho[None], times[:, None]), limits
    )
    lanes = jax.tree.map(lambda x: x[..., 0], out.lanes)
    inverse = jnp.argsort(start.order)
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


def _trajectory(
    out: EngineOutput,
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
