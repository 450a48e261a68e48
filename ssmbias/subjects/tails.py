"""The end of training: slopes of the logarithm of the loss, and the rates predicted for them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ssmbias.data import TrainingSet
from ssmbias.evidence import Bench, Count
from ssmbias.subjects.levels import (
    LEVEL_RTOL,
    NUM_STATES,
    as_data,
    as_models,
    flows_to_level,
    num_lags,
    random_students,
    teacher_response,
    theorem1_to_level,
)
from ssmbias.subjects.theorem1 import Theorem1, limits, starts
from ssmbias.theory import LocalRate, local_rate

# Two windows of the tail: slopes are taken from each level to the next. What the slope is off
# falls like the residuals, the roots of the loss: thirtyfold from one window to the next.
_LEVELS = (1e-5, 1e-8, 1e-11)
# As many lanes as the escape times have, 84, whose compiled loop is used.
_NUM_STARTS, _STRENGTHS = 14, (0.0, 1.0)
# Steps must resolve residuals of 1e-5.
_THEOREM1_RTOL = 1e-12
_NEAR = 1e-2


@dataclass(frozen=True)
class Tails:
    """The ends of Theorem 1's flows and of flows of (a, b, c), clean and poisoned.

    Attributes:
      name: label in tables.
      theorem1: the setting; its κ is that of the free flows, and its first seed theirs.
    """

    name: str
    theorem1: Theorem1


class TailRates(NamedTuple):
    """Ends of runs at one strength.

    Attributes:
      label: which flows.
      rates: measured -(dL/dt) / 2L [run, window], the later window last.
      predicted: rate and eigenvalues at the limits [run].
      error: bound of the solver's part in the relative error of the later rate [run].
      count: simulations behind them.
    """

    label: str
    rates: Float[np.ndarray, "run window"]
    predicted: LocalRate
    error: Float[np.ndarray, " run"]
    count: Count


def tails(subject: Tails, bench: Bench) -> list[TailRates]:
    """Tails of Theorem 1's and of free flows, clean and poisoned, run once."""

    def make() -> list[TailRates]:
        setting = subject.theorem1
        theorem1 = [_theorem1(setting, bench.on(setting), rho) for rho in _STRENGTHS]
        return [*theorem1, *_free_flows(setting)]

    return bench.once("tails", make)


def _theorem1(s: Theorem1, bench: Bench, strength: float) -> TailRates:
    """Tails run anew from where each flow comes near its limit.

    The clock starts there: after a plateau of 1e10 a whole tail is no longer than a few spacings
    of doubles.
    """
    ends = limits(s, bench, (strength,))
    rtol = min(bench.rtol, _THEOREM1_RTOL)
    near, log_gap = theorem1_to_level(s.seq_len, *starts(s), strength, _NEAR, rtol)
    count = ends.count + near.count
    rates = []
    for tolerance, levels in ((rtol, _LEVELS), (max(rtol / 10, 1e-14), _LEVELS[1:])):
        losses, times = [], []
        for level in levels:
            end, _ = theorem1_to_level(s.seq_len, near.model.a, log_gap, strength, level, tolerance)
            losses.append(np.asarray(end.loss))
            times.append(np.asarray(end.time))
            count = count + end.count
        rates.append(_rates(np.stack(losses, 1), np.stack(times, 1)))
    with np.errstate(invalid="ignore"):
        error = 2.0 * np.abs(rates[0][:, -1] / rates[1][:, -1] - 1.0)
    ones = np.ones((s.num_seeds, s.state_dim))
    inputs = np.zeros((s.num_seeds, 2, s.seq_len))
    inputs[:, 0, 0] = inputs[:, 1, s.seq_len - 2] = 1.0  # e_1 and e_{κ-1}
    weights = np.repeat([[1.0, strength]], s.num_seeds, axis=0)
    predicted = _predict(np.stack([ends.a[:, 0], ones, ones]), inputs, weights, ("a",))
    return TailRates(f"Theorem 1, ρ = {strength:g}", rates[0], predicted, error, count)


def _free_flows(setting: Theorem1) -> list[TailRates]:
    """Flows of (a, b, c): a baseline sequence at lags 3..κ-1 and two special ones at lag 1.

    Three sequences excite two directions, so that the kernel is singular on purpose.
    """
    rng = np.random.default_rng(setting.first_seed)
    seq_len, size = setting.seq_len, num_lags(setting.seq_len)
    response = teacher_response(size)
    by_lag = np.zeros((_NUM_STARTS, 3, size))
    # Folded normal: no label is small by chance. Of norm 1: no lag is stiff by its number.
    by_lag[:, 0, 3:seq_len] = np.abs(rng.normal(size=(_NUM_STARTS, seq_len - 3)))
    by_lag[:, 0] /= np.linalg.norm(by_lag[:, 0], axis=-1, keepdims=True)
    by_lag[:, 1:, 1] = 1.0
    start = random_students(rng, (_NUM_STARTS,)) * np.array([0.9, 0.5, 0.5])[:, None, None]
    weights = np.array([[1.0, rho, rho] for rho in _STRENGTHS])
    gram = np.einsum("ri,nil,nim->nrlm", weights, by_lag, by_lag)
    gram = gram / weights.sum(axis=1)[:, None, None]
    level = np.einsum("l,nrlm,m->nr", response, gram, response)[..., None] * np.array(_LEVELS)

    lanes = (_NUM_STARTS, len(_STRENGTHS), len(_LEVELS))
    copies = len(_STRENGTHS) * len(_LEVELS)
    data = as_data(np.repeat(gram.reshape(-1, size, size), len(_LEVELS), axis=0), response)
    every = as_models(np.repeat(start, copies, axis=1))
    ends = flows_to_level(every, data, level.reshape(-1), ("a", "b", "c"))
    losses, times, steps = (
        np.asarray(x).reshape(lanes) for x in (ends.loss, ends.time, ends.num_steps)
    )
    limit = np.stack(ends.model).reshape(3, *lanes, NUM_STATES)[:, :, :, -1]
    count = ends.count if ends.count.unconverged else Count(_NUM_STARTS * len(_LEVELS))
    found = []
    for i, strength in enumerate(_STRENGTHS):
        model = limit[:, :, i]
        every_weight = np.repeat(weights[[i]], _NUM_STARTS, axis=0)
        predicted = _predict(model, by_lag[:, :, ::-1], every_weight, ("a", "b", "c"))
        # In the windows each step errs by rtol in the root mean square over 3d + 1 numbers,
        # relative to the largest; residuals by the root of half the kernel more; log L by twice
        # that relative to the residuals, of which the last ones are the smallest.
        largest = np.maximum(np.max(np.abs(model), axis=(0, 2)), 1.0)
        number = steps[:, i, -1] - steps[:, i, 0]
        slip = number * LEVEL_RTOL * np.sqrt(3 * NUM_STATES + 1) * largest
        slip = slip * np.sqrt(0.5 * np.asarray(predicted.eigenvalues)[:, 0])
        drop = np.log(losses[:, i, 1] / losses[:, i, 2])
        with np.errstate(divide="ignore", invalid="ignore"):
            error = 2.0 * slip / np.sqrt(losses[:, i, 2]) / drop
        rates = _rates(losses[:, i], times[:, i])
        label = f"free flows, ρ = {strength:g}"
        found.append(TailRates(label, rates, predicted, error, count))
    return found


def _rates(losses: np.ndarray, times: np.ndarray) -> np.ndarray:
    """-(dL/dt) / 2L from each level to the next [run, window]; nan where a run failed."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return -0.5 * np.diff(np.log(losses), axis=1) / np.diff(times, axis=1)


def _predict(
    model: Float[np.ndarray, "leaf run state"],
    inputs: Float[np.ndarray, "run sample seq"],
    weights: Float[np.ndarray, "run sample"],
    trainable: tuple[str, ...],
) -> LocalRate:
    """Rates at the limits, from the samples (the flows run on lag Gram matrices)."""
    data = TrainingSet(jnp.asarray(inputs), jnp.asarray(weights))
    return _prediction(trainable)(as_models(model), data)


@functools.cache
def _prediction(trainable: tuple[str, ...]) -> Callable:
    return jax.jit(jax.vmap(lambda model, data: local_rate(model, data, trainable)))
