"""Theorem 1's setting as a subject, and the two settings of the paper's tables."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from ssmbias.core.checks import require_int, require_number, require_seq_len
from ssmbias.core.types import AnyArray
from ssmbias.data import labels, theorem1_training_set
from ssmbias.dynamics import (
    Outcome,
    Theorem1Config,
    Theorem1Result,
    Trajectory,
    simulate_theorem1,
)
from ssmbias.evidence import Bench, Count, Premise
from ssmbias.models import reference_start, theorem1_student, theorem1_teacher
from ssmbias.subjects.accuracy import Twice
from ssmbias.subjects.states import States

NUM_TIMES = 201
"""Saved times of a run, one number for all claims: the engine is compiled once for each."""

_FIRST_TIME = 1e-3

DEFAULT_STRENGTHS = (0.0, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 10**1.5, 1e2, 10**2.5, 1e3)
"""ρ in decades, with half decades where the law in 1/ρ is fitted."""

# Every claim keeps all of its trajectories: about 3 MB a seed at ten strengths.
_MOST_SEEDS = 4096


@dataclass(frozen=True)
class Theorem1:
    """Starts and strengths in the setting of Theorem 1: a alone is trained, on e_1 and ρ e_{κ-1}.

    Attributes:
      name: label in tables.
      seq_len: sequence length κ, odd and at least 5.
      state_dim: the student's dimension d.
      init_scale: starts are uniform on (0, init_scale).
      gap: difference of the two largest entries of a start.
      first_seed: seeds are first_seed, first_seed + 1, ...
      horizon: number of lags H over which the generalisation error is taken.
      num_seeds: number of starts.
      strengths: poison strengths ρ that claims about ρ look at.

    Raises:
      ValueError: Theorem 1 does not speak of such a setting.

    Example:
      >>> Theorem1("mine", 9, 12, init_scale=1e-3, gap=1e-8, num_seeds=4).first_seed
      0
    """

    name: str
    seq_len: int
    state_dim: int
    init_scale: float
    gap: float
    first_seed: int = 0
    horizon: int = 20
    num_seeds: int = 16
    strengths: tuple[float, ...] = DEFAULT_STRENGTHS

    def __post_init__(self) -> None:
        """Refuse what Theorem 1 does not speak of."""
        require_seq_len(self.seq_len, minimum=5, odd=True)
        require_int("state_dim", self.state_dim, minimum=2)
        require_int("first_seed", self.first_seed, minimum=0)
        require_int("horizon", self.horizon, minimum=2)
        object.__setattr__(self, "init_scale", require_number("init_scale", self.init_scale))
        object.__setattr__(self, "gap", require_number("gap", self.gap))
        if not 0 < self.init_scale < 1:
            raise ValueError(
                f"init_scale={self.init_scale!r}: must lie in (0, 1); the paper uses 1e-3 and 5e-3"
            )
        if not 0 <= self.gap < self.init_scale:
            raise ValueError(
                f"gap={self.gap!r}: must be 0 or greater and smaller than init_scale="
                f"{self.init_scale!r}, the scale of the entries that it separates"
            )
        require_int("num_seeds", self.num_seeds, minimum=1, maximum=_MOST_SEEDS)
        if not self.strengths:
            raise ValueError("strength=[]: give at least one poison strength, such as strength=1")
        for strength in self.strengths:
            require_number("strength", strength)
            if not strength >= 0 or math.isinf(strength):
                raise ValueError(
                    f"strength={strength!r}: a poison strength is a finite number >= 0 "
                    "(0 is the clean set)"
                )

    def states(self, bench: Bench) -> States:
        """All saved states of all seeds and strengths, as `HasStates` asks for."""
        return theorem1_states(self, bench)


SETTINGS = {
    "t7": Theorem1("t7", 7, 10, 1e-3, 0.05 * math.exp(-15.0), first_seed=242),
    "t9": Theorem1("t9", 9, 20, 5e-3, 0.05 * math.exp(-10.0 * math.log10(200.0)), first_seed=342),
}
"""The two settings of the paper's Tables 1 and 3; the first seed is the paper's."""


def starts(subject: Theorem1) -> tuple[np.ndarray, np.ndarray]:
    """Initial diagonals [seed, state], descending, and log-gaps of the top pair [seed]."""
    found = [
        reference_start(subject.first_seed + i, subject.state_dim, subject.init_scale, subject.gap)
        for i in range(subject.num_seeds)
    ]
    return np.stack([x.a for x in found]), np.array([x.log_gap for x in found])


def simulate(
    subject: Theorem1,
    start: tuple[AnyArray, AnyArray],
    strengths: tuple[float, ...],
    rtol: float,
    *,
    save_times: AnyArray | None = None,
) -> Theorem1Result:
    """Runs from each start [run] at each strength.

    Args:
      subject: the setting.
      start: diagonals [run, state] and log-gaps [run].
      strengths: ρ.
      rtol: tolerance of one step.
      save_times: [run, strength, time].
    """
    config = Theorem1Config(rtol=rtol)
    seq_len = subject.seq_len

    def one(a0, log_gap, strength, times):
        return simulate_theorem1(
            a0, seq_len, strength, log_gap=log_gap, save_times=times, config=config
        )

    times_axis = None if save_times is None else 0
    over_strength = jax.vmap(one, in_axes=(None, None, 0, times_axis))
    over_start = jax.vmap(over_strength, in_axes=(0, 0, None, times_axis))
    # Not jitted here: the engine inside is, and is compiled once for all tolerances.
    a0, log_gap = start
    return over_start(jnp.asarray(a0), jnp.asarray(log_gap), jnp.asarray(strengths), save_times)


def simulate_twice(
    subject: Theorem1,
    start: tuple[AnyArray, AnyArray],
    strengths: tuple[float, ...],
    rtol: float,
    *,
    save_times: AnyArray | None = None,
    name: str = "run",
    first: int = 1,
) -> Twice:
    """Runs at two tolerances; messages call them `name` `first`, `first` + 1, ..."""
    result = simulate(subject, start, strengths, rtol, save_times=save_times)
    tight = simulate(subject, start, strengths, rtol / 10, save_times=save_times)
    outcomes = np.maximum(np.asarray(result.outcome), np.asarray(tight.outcome))
    bad = np.argwhere(outcomes != Outcome.CONVERGED)
    reason = ""
    if len(bad):
        run, column = bad[0]
        why = Outcome(int(outcomes[run, column])).explanation
        reason = f"{name} {first + run}, ρ = {strengths[column]:g}: {why}"
    return Twice(result, tight, Count(outcomes.size, len(bad), reason))


def limits(subject: Theorem1, bench: Bench, strengths: tuple[float, ...]) -> Twice:
    """Limits of all seeds at the given strengths."""
    return bench.once(
        f"limits {strengths}",
        lambda: simulate_twice(
            subject,
            starts(subject),
            strengths,
            bench.rtol,
            name="seed",
            first=subject.first_seed,
        ),
    )


def path(subject: Theorem1, bench: Bench, strength: float) -> Trajectory:
    """States of all seeds [seed, time, ...] up to each run's end.

    Half of the times are log-spaced from the start, half from the end backwards: a clean
    flow does all that it does within a billionth of its time.
    """

    def make() -> Trajectory:
        end = np.asarray(limits(subject, bench, (strength,)).result.time)[:, 0]
        end = np.maximum(end, 2 * _FIRST_TIME)
        forward = np.geomspace(_FIRST_TIME, end, NUM_TIMES // 2, axis=-1)
        back = np.geomspace(1e-12, 0.5, NUM_TIMES - NUM_TIMES // 2)
        times = np.sort(np.concatenate([forward, end[:, None] * (1.0 - back)], axis=-1))
        result = simulate(
            subject, starts(subject), (strength,), bench.rtol, save_times=times[:, None]
        )
        assert result.trajectory is not None
        return jax.tree.map(lambda x: x[:, 0], result.trajectory)

    return bench.once(f"path {strength}", make)


def theorem1_states(subject: Theorem1, bench: Bench) -> States:
    """All saved states of all seeds and strengths, made once."""
    return bench.once("states", lambda: _states(subject, bench))


def _states(subject: Theorem1, bench: Bench) -> States:
    teacher = theorem1_teacher(subject.state_dim)
    diagonals, strengths, losses = [], [], []
    count = Count(0)
    for strength in subject.strengths:
        trajectory = path(subject, bench, strength)
        states = np.asarray(trajectory.a).reshape(-1, subject.state_dim)
        diagonals.append(states)
        strengths.append(np.full(len(states), strength))
        losses.append(np.asarray(trajectory.loss))
        count = count + limits(subject, bench, (strength,)).count
    rho = jnp.asarray(np.concatenate(strengths))
    training_set = jax.vmap(lambda r: theorem1_training_set(subject.seq_len, r))(rho)
    return States(
        label="Theorem 1 flows",
        model=jax.vmap(theorem1_student)(jnp.asarray(np.concatenate(diagonals))),
        training_set=training_set,
        targets=jax.vmap(lambda x: labels(teacher, x))(training_set.inputs),
        teacher=teacher,
        trainable=("a",),
        losses=tuple(losses),
        count=count,
    )


def _all_positive(subject: Theorem1, runs: object) -> bool:
    return bool(np.all(starts(subject)[0] > 0))


POSITIVE = Premise("all entries are positive", _all_positive)
"""Premise of the closed forms of the clean flow."""
