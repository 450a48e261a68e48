"""Escape times of small starts over three decades of their scale, in both training modes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssmbias.data import LagGram
from ssmbias.evidence import Bench, Count
from ssmbias.models import DiagonalSSM
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
    time_at_level,
)
from ssmbias.subjects.theorem1 import Theorem1, starts
from ssmbias.theory import blowup_time, escape_exponent, escape_log_slope, first_lag, initial_force

SCALES = np.geomspace(10**-4.5, 10**-1.5, 7)
"""Scales α of the start. Corrections to the laws are of order α, so α stays well below 1."""

FIXED, FREE = ("a",), ("a", "b", "c")
"""The two training modes."""

FIXED_LAGS, FREE_LAGS = (1, 2, 3), (0, 1, 2, 3)
"""Smallest lags of the random data in each mode, on both sides of the logarithm."""

_NUM_STARTS, _NUM_SEQUENCES = 3, 8
# Escape is a fall of the loss by a tenth. Any level does; this one is passed as soon as
# the first lag responds, whatever the other lags of the data still lack.
_LEVEL = 0.9
_COARSEST_RTOL = 1e-10  # of Theorem 1's engine


@dataclass(frozen=True)
class Escapes:
    """Small starts over three decades of their scale, in both training modes.

    Attributes:
      name: label in tables.
      theorem1: the setting whose clean flow is looked at beside random data; its κ is that of the
        random data, and its first seed theirs.
    """

    name: str
    theorem1: Theorem1


class EscapeTimes(NamedTuple):
    """Escape times from the scaled starts of one training set or one family of them.

    Attributes:
      label: which flows.
      lag: the smallest lag that their data excite, read off the lag Gram matrix.
      trainable: the trained leaves, which have the scale α.
      times: physical times [start, scale].
      prefactor: predicted coefficient [start] of α^-k, or of log(1/α) for k = 0; nan for k < 0.
      force: initial force on that lag [start].
      error: bound of the relative error of the times.
      count: simulations behind them.
    """

    label: str
    lag: int
    trainable: tuple[str, ...]
    times: np.ndarray
    prefactor: np.ndarray
    force: np.ndarray
    error: float
    count: Count


def escapes(subject: Escapes, bench: Bench, trainable: tuple[str, ...]) -> list[EscapeTimes]:
    """Escapes by lag, run once for each training mode."""

    def make() -> list[EscapeTimes]:
        setting = subject.theorem1
        random = _random_data(setting, trainable, FIXED_LAGS if trainable == FIXED else FREE_LAGS)
        return [*random, _theorem1(setting, bench.rtol)] if trainable == FIXED else random

    return bench.once(f"escapes {trainable}", make)


def _random_data(
    setting: Theorem1, trainable: tuple[str, ...], lags: tuple[int, ...]
) -> list[EscapeTimes]:
    """Random sequences at all lags from the first one to κ-1, and random students.

    Entries of the sequences are folded normal: no two lags oppose each other, and the positive
    response of the teacher pulls at every lag.
    """
    rng = np.random.default_rng(setting.first_seed)
    size, seq_len = num_lags(setting.seq_len), setting.seq_len
    response = teacher_response(size)
    lanes = (len(lags), _NUM_STARTS, len(SCALES))
    inputs = np.abs(rng.normal(size=(*lanes[:2], _NUM_SEQUENCES, size)))
    lag = np.arange(size)
    excited = (lag >= np.array(lags)[:, None]) & (lag < seq_len)
    inputs = inputs * excited[:, None, None]
    gram = np.swapaxes(inputs, -1, -2) @ inputs / _NUM_SEQUENCES
    start = random_students(rng, lanes[:2])
    if trainable == FIXED:
        start[1:] = 1.0
    # One axis of lanes: lag, start, scale.
    scaled = np.repeat(start.reshape(3, -1, NUM_STATES), len(SCALES), axis=1)
    scaled[: len(trainable)] *= np.tile(SCALES, len(lags) * _NUM_STARTS)[:, None]
    every = np.repeat(gram.reshape(-1, size, size), len(SCALES), axis=0)
    data = as_data(every, response)
    # Of the loss at zero response; where lag 0 responds to fixed b and c, no data see it.
    level = _LEVEL * np.einsum("l,nlm,m->n", response, every, response)
    ends = flows_to_level(as_models(scaled), data, level, trainable)
    times = time_at_level(ends, data, level, trainable).reshape(lanes)
    steps = np.asarray(ends.num_steps).reshape(lanes)
    found = []
    sets = [as_data(g, response) for g in gram]
    read = [_first_lag(g[0], min(lags)) for g in gram]
    starts = [as_models(start[:, i]) for i in range(len(lags))]
    predicted = _predict(list(zip(starts, sets, read, strict=True)), trainable)
    for i, first in enumerate(read):
        # A step errs by rtol in the root mean square over the states, which may all sit in one
        # state; and the time goes like the power -k of the state that escapes.
        states = NUM_STATES * len(trainable) + 1
        exponent = abs(escape_exponent(first, trainable))
        error = (exponent + 1) * np.sqrt(states) * LEVEL_RTOL * float(steps[i].max())
        label = f"random data, lags >= {first}"
        count = ends.count if ends.count.unconverged else Count(times[i].size)
        found.append(EscapeTimes(label, first, trainable, times[i], *predicted[i], error, count))
    return found


def _theorem1(s: Theorem1, rtol: float) -> EscapeTimes:
    """The clean flow of Theorem 1 from the setting's starts, scaled: data at lag κ-1."""
    a0, log_gap = starts(s)
    gram = np.zeros((s.seq_len, s.seq_len))
    gram[-1, -1] = 1.0
    response = np.ones(s.seq_len)
    response[0] = s.state_dim
    data = as_data(np.repeat(gram[None], s.num_seeds, axis=0), response)
    level = np.full(s.num_seeds, _LEVEL)  # the loss is 1 at a = 0
    rtol = min(rtol, _COARSEST_RTOL)
    times, count, most_steps = [], Count(0), 0
    for factor in SCALES / s.init_scale:
        ends, _ = theorem1_to_level(
            s.seq_len, factor * a0, log_gap + np.log(factor), 0.0, _LEVEL, rtol
        )
        times.append(time_at_level(ends, data, level, FIXED))
        count = count + ends.count
        most_steps = max(most_steps, int(np.max(ends.num_steps)))
    lag = _first_lag(gram, 1)
    ones = np.ones_like(a0)
    start = as_models(np.stack([a0 / s.init_scale, ones, ones]))
    prefactor, force = _predict([(start, data, lag)], FIXED)[0]
    return EscapeTimes(
        f"Theorem 1, clean, lag {lag}",
        lag,
        FIXED,
        np.stack(times, axis=1),
        prefactor,
        force,
        # A step errs by rtol of the largest entry, of whose power -k the time is.
        (escape_exponent(lag, FIXED) + 1) * rtol * most_steps,
        count,
    )


def _first_lag(gram: np.ndarray, minimum: int) -> int:
    return first_lag(LagGram(jnp.asarray(gram), jnp.zeros(len(gram))), minimum=minimum)


def _predict(
    cases: list[tuple[DiagonalSSM, LagGram, int]], trainable: tuple[str, ...]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each (starts, data, lag): prefactors of the law and initial forces, [start]."""
    starts, data, lags = zip(*cases, strict=True)
    found = _prediction(lags, trainable)(starts, data)
    return [(np.asarray(prefactor), np.asarray(force)) for prefactor, force in found]


@functools.cache
def _prediction(lags: tuple[int, ...], trainable: tuple[str, ...]) -> Callable:
    def one(start: DiagonalSSM, data: LagGram, lag: int):
        exponent = escape_exponent(lag, trainable)
        force = initial_force(start, data, trainable)[lag]
        if exponent < 0:
            return jnp.nan * force, force
        law = blowup_time if exponent else escape_log_slope
        return law(start, data, lag, trainable), force

    def every(starts, data):
        return [
            jax.vmap(functools.partial(one, lag=lag))(*case)
            for lag, *case in zip(lags, starts, data, strict=True)
        ]

    return jax.jit(every)
