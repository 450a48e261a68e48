"""Running an experiment: arms and window positions, block after block of seeds, resumable."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from ssmbias.core.checks import require_int, require_x64
from ssmbias.poison.arms.arm import Arm
from ssmbias.poison.arms.elements import last_window
from ssmbias.poison.arms.registry import (
    all_arms,
    arms_by_hand,
    arms_of,
    find_arm,
    require_arms,
    with_needed,
)
from ssmbias.poison.catalogue import find_experiment
from ssmbias.poison.changes import changed, require_seeds
from ssmbias.poison.settings import Experiment
from ssmbias.poison.training.at_once import AtOnce
from ssmbias.poison.training.gathered import Run, gathered, small
from ssmbias.poison.training.one_by_one import OneByOne
from ssmbias.poison.training.teller import Progress, Teller
from ssmbias.poison.training.units import Arrays, UnitStore


def run_arms(
    experiment: str | Experiment = "f1",
    arms: Iterable[str | Arm] | None = None,
    seeds: Iterable[int] = range(20),
    **overrides: Any,
) -> xr.Dataset:
    """Train the arms of an experiment from the same starts and compare what they have learned.

    In every arm the same network is trained in the same way on the same base part; the arms differ
    in their extra sequences only (`ssmbias.poison.arms`). Labels are the teacher's, or those of
    the copied images; no arm changes one. All seeds of an arm run at once.

    Args:
      experiment: a name in `ssmbias.poison.catalogue.EXPERIMENTS`, or an `Experiment`.
      arms: names (`ssmbias.poison.arms.registry.all_arms`), windows such as "window24", whose
        elements begin at position 24, or an `Arm` of your own; `None`: all by hand that there are.
      seeds: of starts, data and poisons.
      **overrides: fields of the experiment's parts to set otherwise, such as `scale=0.02`.

    Returns:
      Dims arm and seed, and position. test_accuracy: on generic sequences of the training length;
      long_accuracy: of twice the length (nan without a teacher); in_distribution_accuracy: on
      sequences as the training data; train_accuracy: on the base part; final_loss; outcome: 0, or
      1 where a run does not fit its base part or is not finite; input_share: share of a position
      in the squared gradient of the output by the input; teacher_cosine: of that gradient with the
      teacher's; objective: of gradient matching (nan in other arms); poison_norm: mean l2 norm of
      what distinguishes an extra sequence from its carrier; lag_force: of the network of
      the paper's theory, the coefficients of I2 at the start of training (with dim lag).

    Raises:
      ValueError: an unknown experiment, arm or setting, a seed twice, or an impossible value.

    Example:
      >>> found = run_arms("f1", ["dup", "late"], [0], steps=2, num_test=8)
      >>> dict(found.test_accuracy.sizes)
      {'arm': 2, 'seed': 1}

    References:
      Slutzky et al. (2025), arXiv:2410.10473; the controls are ours.
    """
    whole = experiment if isinstance(experiment, Experiment) else find_experiment(experiment)
    require_x64("run_arms")
    whole = changed(whole, overrides)
    if arms is None:
        arms = arms_by_hand(whole)
    return run_experiment(whole, arms, seeds).results


def run_experiment(
    experiment: Experiment,
    arms: Iterable[str | Arm],
    seeds: Iterable[int],
    *,
    windows: Sequence[int] = (),
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Run:
    """Run arms and windows of poisons by hand, keeping every finished unit.

    Args:
      experiment: which.
      arms: names, or arms of your own.
      seeds: integers.
      windows: positions, from 0, at which to place the elements of the poisons by hand.
      folder: where units are kept and found again; `None` keeps none.
      progress: told how far it is.

    Returns:
      Results, scan and examples.

    Raises:
      ValueError: as `run_arms`, or a window outside of the sequence.
    """
    require_x64("run_experiment")
    wanted, chosen = require_arms(experiment, arms), require_seeds(seeds)
    starts = require_windows(experiment, windows)
    scanned = {start: _window(experiment, start) for start in starts}
    to_run = with_needed(experiment, (*wanted, *scanned.values()))
    kind = AtOnce if experiment.training.at_once else OneByOne
    size = kind.seeds_at_once
    blocks = [chosen[i : i + size] for i in range(0, len(chosen), size)]
    turns = {arm.name: kind.turns(experiment, arm) for arm in to_run}
    teller = Teller(len(blocks) * sum(turns.values()), progress)
    store = None if folder is None else UnitStore(folder, experiment, to_run)
    parts = []
    for block in blocks:
        work = _Block(experiment, to_run, block, store, teller)
        for arm in to_run:
            begin = teller.done
            work.unit(arm.name)
            teller.done = begin + turns[arm.name]
        # Perturbations stay in their files: those of many seeds would fill the host.
        parts.append({name: small(arrays) for name, arrays in work.units.items()})
    teller.say("done")
    return gathered(experiment, wanted, chosen, scanned, parts, kind.scalars)


class _Block:
    """A block of seeds: the arrays of its arms, found in their files, or computed and kept."""

    def __init__(
        self,
        experiment: Experiment,
        arms: tuple[Arm, ...],
        seeds: tuple[int, ...],
        store: UnitStore | None,
        teller: Teller,
    ) -> None:
        self.seeds, self.store, self.teller = seeds, store, teller
        self.arms = {arm.name: arm for arm in arms}
        self.units: dict[str, Arrays] = {}
        if experiment.training.at_once:
            own = tuple(arm for arm in arms if arm.by_hand is not None and arm not in all_arms())
            self._bench: Any = AtOnce(experiment, seeds, self.unit, own, teller)
        else:
            states = None if store is None else functools.partial(store.states, seeds=seeds)
            self._bench = OneByOne(experiment, seeds, self.unit, states, teller)

    def unit(self, name: str) -> Arrays:
        """The arrays of one arm."""
        if name not in self.units:
            arm = self.arms[name]
            found = None if self.store is None else self.store.find(arm, self.seeds)
            if found is None:
                found = self._bench.compute(arm)
                if self.store is not None:
                    self.store.keep(arm, self.seeds, found)
            self.units[name] = found
        return self.units[name]


def _window(experiment: Experiment, start: int) -> Arm:
    """The arm of a window; the first and the last one are early and late."""
    last = last_window(experiment)
    name = {0: "early", last: "late"}.get(start, f"window{start}")
    found = find_arm(name)
    assert found is not None
    return found


def scan_windows(experiment: Experiment) -> tuple[int, ...]:
    """Window positions for a scan: the more of them, the closer to the end.

    Example:
      >>> scan_windows(find_experiment("f1"))
      (0, 8, 16, 20, 24, 26, 28, 29, 30)
    """
    if not experiment.has_teacher:
        return ()
    length, last = experiment.task.seq_len, last_window(experiment)
    parts = [length * eighth // 32 for eighth in (0, 8, 16, 20, 24, 26, 28)]
    return tuple(sorted(start for start in {*parts, last - 1, last} if 0 <= start <= last))


def require_windows(experiment: Experiment, windows: Sequence[int]) -> tuple[int, ...]:
    """Return window positions, or raise `ValueError`: one outside of the sequence; no teacher."""
    if len(windows) and "late" not in arms_of(experiment):
        raise ValueError(
            f"windows={list(windows)}: needs a teacher that labels new sequences; leave it empty"
        )
    last = last_window(experiment)
    return tuple(require_int("windows", start, minimum=0, maximum=last) for start in windows)
