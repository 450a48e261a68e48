r"""Flows that stop at a level of the loss, and the time at which they pass it.

Time and loss scale with the lag Gram matrix: on $G/s$ the flow visits the same states, with $1/s$
of the loss and $s$ times the time. A level thus enters through the data of a run and not through
the configuration of its solver, so that runs to all levels share one compiled loop. For the same
reason students have `NUM_STATES` states and data `num_lags` lags in both settings of the paper.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ssmbias.core.types import AnyArray, Array
from ssmbias.data import LagGram
from ssmbias.dynamics import (
    FlowConfig,
    FlowResult,
    Outcome,
    Theorem1Config,
    gradient_flow,
    simulate_theorem1,
)
from ssmbias.evidence import Count
from ssmbias.models import DiagonalSSM, paper_teacher

NUM_STATES = 4
"""States of the free students. Where laws depend on d at all, it is through their prefactors."""

LEVEL_RTOL = 1e-12
"""Tolerance of one step of the free flows."""

_MOST_STEPS = 16_384
_MOST_LAGS = 9  # of the settings T7 and T9
_LANDING_STEPS = 32


class LevelRuns(NamedTuple):
    """Ends of runs, [lane, ...]: after the first step that takes the loss to the level or below.

    Attributes:
      model: the student there.
      loss: its loss.
      time: physical time.
      num_steps: steps of the solver.
      count: how many ended otherwise, and why.
    """

    model: DiagonalSSM
    loss: Float[Array, " lane"]
    time: Float[Array, " lane"]
    num_steps: Int[Array, " lane"]
    count: Count


def num_lags(seq_len: int) -> int:
    """Lags of the free flows' data; those from κ on are never excited."""
    return max(_MOST_LAGS, seq_len)


def teacher_response(num_lags: int) -> np.ndarray:
    """The response 0.99^l + 0.8^l that the free flows are trained to, positive at every lag."""
    return np.sum(np.asarray(paper_teacher(2).a) ** np.arange(num_lags)[:, None], axis=1)


def random_students(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Students with a uniform on (0.1, 1) and normal b and c, [leaf, *shape, state].

    The first state has positive b and c and is thus driven away from zero, whatever the signs of
    the others: a student none of whose states is driven ends at a = 0 with its loss unchanged.
    """
    a = rng.uniform(0.1, 1.0, (*shape, NUM_STATES))
    b, c = rng.normal(size=(2, *shape, NUM_STATES))
    b[..., 0], c[..., 0] = np.abs(b[..., 0]), np.abs(c[..., 0])
    return np.stack([a, b, c])


def as_models(leaves: Float[np.ndarray, "leaf ..."]) -> DiagonalSSM:
    """Students from their leaves a, b, c."""
    return DiagonalSSM(*(jnp.asarray(x) for x in leaves))


def as_data(
    gram: Float[np.ndarray, "lane lag lag"], response: Float[np.ndarray, " lag"]
) -> LagGram:
    """Lag Gram matrices with one response for all."""
    responses = np.broadcast_to(response, (len(gram), len(response)))
    return LagGram(jnp.asarray(gram), jnp.asarray(responses))


def flows_to_level(
    start: DiagonalSSM,
    data: LagGram,
    level: Float[AnyArray, " lane"],
    trainable: tuple[str, ...],
) -> LevelRuns:
    """Free flows until the loss is at most `level`, lane by lane."""
    levels = jnp.asarray(level)
    end = _free_flow(trainable)(start, data, levels)
    count = _count(end.outcome, "flow")
    return LevelRuns(end.model, end.loss * levels, end.time / levels, end.num_steps, count)


@functools.cache
def _free_flow(trainable: tuple[str, ...]) -> Callable:
    config = FlowConfig(
        trainable=trainable,
        follow_gaps=False,
        rtol=LEVEL_RTOL,
        atol=LEVEL_RTOL,
        loss_tol=1.0,
        max_steps=_MOST_STEPS,
        stiff=False,
    )

    def one(start: DiagonalSSM, data: LagGram, level: Array) -> FlowResult:
        return gradient_flow(start, data._replace(gram=data.gram / level), config=config)

    return jax.jit(jax.vmap(one))


def theorem1_to_level(
    seq_len: int,
    a0: Float[AnyArray, "lane state"],
    log_gap: Float[AnyArray, " lane"],
    strength: float,
    level: float,
    rtol: float,
) -> tuple[LevelRuns, np.ndarray]:
    """Flows of Theorem 1 until both squared residuals are at most `level`, and their log-gaps."""
    config = Theorem1Config(rtol=rtol, loss_tol=level)

    def one(a0, log_gap, strength):
        return simulate_theorem1(a0, seq_len, strength, log_gap=log_gap, config=config)

    # Mapped like the limits of Theorem 1's subjects, whose compiled engine serves here as well.
    over_strength = jax.vmap(one, in_axes=(None, None, 0))
    over_start = jax.vmap(over_strength, in_axes=(0, 0, None))
    end = over_start(jnp.asarray(a0), jnp.asarray(log_gap), jnp.asarray((strength,)))
    count = _count(end.outcome, f"ρ = {strength:g}, start")
    # Sliced in NumPy, which has nothing to compile.
    a, loss, time, steps, gap = (
        np.asarray(x)[:, 0] for x in (end.a, end.loss, end.time, end.num_steps, end.log_gap)
    )
    model = as_models(np.stack([a, np.ones_like(a), np.ones_like(a)]))
    return LevelRuns(model, jnp.asarray(loss), jnp.asarray(time), jnp.asarray(steps), count), gap


def time_at_level(
    ends: LevelRuns,
    data: LagGram,
    level: Float[AnyArray, " lane"],
    trainable: tuple[str, ...],
) -> np.ndarray:
    r"""When the loss passed the level, which lies within the last step of each run.

    Back along the flow with the loss as the independent variable, $\mathrm d\theta/\mathrm dL =
    -\dot\theta/\lVert\dot\theta\rVert^2$ and $\mathrm dt/\mathrm dL =
    -\lVert\dot\theta\rVert^{-2}$ (I5), by the classical Runge-Kutta method: no event has to be
    located. In NumPy, since a few thousand small products are not worth a compilation.
    """
    gram, target = np.asarray(data.gram), np.asarray(data.response)
    lag = np.arange(target.shape[-1])

    def rate(state: list[np.ndarray]) -> list[np.ndarray]:
        a, b, c, _ = state
        powers = a[:, None, :] ** lag[:, None]
        error = target - np.einsum("nlj,nj->nl", powers, b * c)
        omega = 2.0 * np.einsum("nlm,nm->nl", gram, error)
        slope = np.einsum("nl,nlj->nj", lag[1:] * omega[:, 1:], powers[:, :-1])
        value = np.einsum("nl,nlj->nj", omega, powers)
        velocity = {"a": b * c * slope, "b": c * value, "c": b * value}
        moving = [v * (name in trainable) for name, v in velocity.items()]
        square = np.sum(np.stack(moving) ** 2, axis=(0, 2))
        return [-v / square[:, None] for v in moving] + [-1.0 / square]

    state = [np.asarray(x) for x in (*ends.model, ends.time)]
    start = state[3]
    state[3] = np.zeros_like(start)  # the last step may be far below the spacing of the time
    step = (level - np.asarray(ends.loss)) / _LANDING_STEPS
    steps = [step[:, None]] * 3 + [step]

    def moved(by: float, slopes: list[np.ndarray]) -> list[np.ndarray]:
        return [x + by * h * k for x, h, k in zip(state, steps, slopes, strict=True)]

    with np.errstate(all="ignore"):  # runs that failed on the way give nan
        for _ in range(_LANDING_STEPS):
            k1 = rate(state)
            k2 = rate(moved(0.5, k1))
            k3 = rate(moved(0.5, k2))
            k4 = rate(moved(1.0, k3))
            stages = zip(k1, k2, k3, k4, strict=True)
            state = moved(1.0 / 6.0, [p + 2 * q + 2 * r + s for p, q, r, s in stages])
    return start + state[3]


def _count(outcome: Array, what: str) -> Count:
    """How many runs there are, and why the first one failed that did not reach its level."""
    codes = np.asarray(outcome).reshape(-1)
    bad = np.flatnonzero(codes != Outcome.CONVERGED)
    if not bad.size:
        return Count(codes.size)
    why = Outcome(int(codes[bad[0]])).explanation
    return Count(codes.size, bad.size, f"{what} {bad[0] + 1}: {why}")
