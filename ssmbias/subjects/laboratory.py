"""Simulations that several claims share, run once for each setting."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssmbias.config import Setting
from ssmbias.core.types import AnyArray
from ssmbias.dynamics import (
    Outcome,
    Theorem1Config,
    Theorem1Result,
    Trajectory,
    simulate_theorem1,
)
from ssmbias.evidence.evidence import Runs
from ssmbias.models import reference_start
from ssmbias.subjects.free_flows import FreeFlows, simulate_free_flows

# The solver's error is proportional to its tolerance (order five, error per step): the change
# on tightening it tenfold is 9/10 of the error. Twice that covers departures from proportionality;
# the largest change over all runs of a setting is used for each of them.
_ERROR_FACTOR = 2.0
# Rounding accumulates over up to 2e3 steps of eight stages: a random walk of 1.6e4 x eps/2 each.
_ROUNDING = 1e-13
# A tolerance above this proves too little: the runs are then reported as inconclusive.
COARSEST_TOLERANCE = 1e-7

# One number of saved times for all claims: the engine is compiled once for each.
NUM_TIMES = 201
_FIRST_TIME = 1e-3


class Twice(NamedTuple):
    """Runs at two tolerances: what is compared, and how well it is known.

    Attributes:
      result: simulation at the configured tolerance, [run, strength, ...].
      tight: the same at a tenth of it.
      runs: how they ended; a run counts as converged if it did so at both tolerances.
    """

    result: Theorem1Result
    tight: Theorem1Result
    runs: Runs

    @property
    def a(self) -> np.ndarray:
        """Final diagonals, [run, strength, state]."""
        return np.asarray(self.result.a)

    def relative_error(self) -> float:
        """Largest relative change of an entry on tightening the tolerance tenfold."""
        tight = np.asarray(self.tight.a)
        return float(np.max(np.abs(self.a - tight) / np.maximum(np.abs(tight), 1e-300)))

    def absolute_error(self) -> float:
        """Largest absolute change of an entry on tightening the tolerance tenfold."""
        return float(np.max(np.abs(self.a - np.asarray(self.tight.a))))


def solver_tolerance(change: float) -> float:
    """The tolerance of a comparison with a simulation whose measured change is `change`."""
    return _ERROR_FACTOR * change + _ROUNDING


SOLVER_DERIVATION = (
    "twice the largest change of the simulation when its own tolerance is tightened tenfold, "
    "plus 1e-13 for rounding"
)


class Laboratory:
    """Starts and simulations of one setting, made when first asked for and kept.

    Attributes:
      setting: the setting of Theorem 1.
      num_seeds: number of starts.
      strengths: poison strengths that claims about ρ look at.
      rtol: tolerance of the integrator.
    """

    def __init__(
        self, setting: Setting, num_seeds: int, strengths: tuple[float, ...], rtol: float
    ) -> None:
        self.setting = setting
        self.num_seeds = num_seeds
        self.strengths = strengths
        self.rtol = rtol
        self.arrays: dict[str, np.ndarray] = {}
        self._limits: dict[tuple[float, ...], Twice] = {}
        self._paths: dict[float, Trajectory] = {}
        self._kept: dict[str, Any] = {}

    def save(self, name: str, value: AnyArray | float) -> None:
        """Keep an array for figures, under `<setting>/<name>`."""
        self.arrays[f"{self.setting.name}/{name}"] = np.asarray(value)

    @functools.cached_property
    def starts(self) -> tuple[np.ndarray, np.ndarray]:
        """Initial diagonals [seed, state], descending, and log-gaps of the top pair [seed]."""
        s = self.setting
        starts = [
            reference_start(s.first_seed + i, s.state_dim, s.init_scale, s.gap)
            for i in range(self.num_seeds)
        ]
        return np.stack([x.a for x in starts]), np.array([x.log_gap for x in starts])

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` returns, made when first asked for under this name and kept."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    def simulate(
        self,
        a0: AnyArray,
        log_gap: AnyArray,
        strengths: tuple[float, ...],
        *,
        rtol: float | None = None,
        save_times: AnyArray | None = None,
    ) -> Theorem1Result:
        """Runs from each start [run] at each strength; `save_times` is [run, strength, time]."""
        config = Theorem1Config(rtol=rtol or self.rtol)
        seq_len = self.setting.seq_len

        def one(a0, log_gap, strength, times):
            return simulate_theorem1(
                a0, seq_len, strength, log_gap=log_gap, save_times=times, config=config
            )

        times_axis = None if save_times is None else 0
        over_strength = jax.vmap(one, in_axes=(None, None, 0, times_axis))
        over_start = jax.vmap(over_strength, in_axes=(0, 0, None, times_axis))
        # Not jitted here: the engine inside is, and is compiled once for all tolerances.
        return over_start(jnp.asarray(a0), jnp.asarray(log_gap), jnp.asarray(strengths), save_times)

    def simulate_twice(
        self,
        a0: AnyArray,
        log_gap: AnyArray,
        strengths: tuple[float, ...],
        *,
        save_times: AnyArray | None = None,
        name: str = "run",
        first: int = 1,
    ) -> Twice:
        """Runs at two tolerances; messages call them `name` `first`, `first` + 1, ..."""
        result = self.simulate(a0, log_gap, strengths, save_times=save_times)
        tight = self.simulate(a0, log_gap, strengths, save_times=save_times, rtol=self.rtol / 10)
        outcomes = np.maximum(np.asarray(result.outcome), np.asarray(tight.outcome))
        bad = np.argwhere(outcomes != Outcome.CONVERGED)
        reason = ""
        if len(bad):
            run, column = bad[0]
            why = Outcome(int(outcomes[run, column])).explanation
            reason = f"{name} {first + run}, ρ = {strengths[column]:g}: {why}"
        return Twice(result, tight, Runs(outcomes.size, len(bad), reason))

    def limits(self, strengths: tuple[float, ...]) -> Twice:
        """Limits of all seeds at the given strengths."""
        if strengths not in self._limits:
            self._limits[strengths] = self.simulate_twice(
                *self.starts, strengths, name="seed", first=self.setting.first_seed
            )
        return self._limits[strengths]

    def path(self, strength: float) -> Trajectory:
        """States of all seeds [seed, time, ...] up to each run's end.

        Half of the times are log-spaced from the start, half from the end backwards: a clean
        flow does all that it does within a billionth of its time.
        """
        if strength not in self._paths:
            end = np.asarray(self.limits((strength,)).result.time)[:, 0]
            end = np.maximum(end, 2 * _FIRST_TIME)
            forward = np.geomspace(_FIRST_TIME, end, NUM_TIMES // 2, axis=-1)
            back = np.geomspace(1e-12, 0.5, NUM_TIMES - NUM_TIMES // 2)
            times = np.sort(np.concatenate([forward, end[:, None] * (1.0 - back)], axis=-1))
            a0, log_gap = self.starts
            result = self.simulate(a0, log_gap, (strength,), save_times=times[:, None])
            assert result.trajectory is not None
            self._paths[strength] = jax.tree.map(lambda x: x[:, 0], result.trajectory)
        return self._paths[strength]

    @functools.cached_property
    def free_flows(self) -> FreeFlows:
        """Flows of (a, b, c) under random baseline and special sequences, two for each seed.

        They need not converge: identities hold on the way as well.
        """
        return simulate_free_flows(self.setting, self.num_seeds)
