"""Running an experiment: arms and window positions, all seeds of an arm at once, resumable."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
import xarray as xr

from ssmbias.core.checks import require_int, require_x64
from ssmbias.poison import lanes
from ssmbias.poison.arms import (
    ARMS,
    BY_HAND,
    arm_weights,
    arms_of,
    last_window,
    require_arms,
    window_of,
)
from ssmbias.poison.batch import Batch
from ssmbias.poison.catalogue import find_experiment, model_of
from ssmbias.poison.settings import (
    DigitsTask,
    Experiment,
    PaperNetwork,
    changed,
    require_seeds,
)
from ssmbias.poison.units import Arrays, load_unit, save_unit, unit_path

Progress: TypeAlias = Callable[[int, int, str], None]
"""Called with units done, units in all, and what is under way."""

SEEDS_AT_ONCE = 32
"""Seeds of a unit: what a kill can cost, and what fits in the cache."""

_EXAMPLES = 4
_WEIGHTING = {"found": "none", "found_late": "late", "found_early": "early"}


class Run(NamedTuple):
    """What came of an experiment.

    Attributes:
      results: by arm and seed; see `run_arms`.
      scan: test_accuracy by window and seed, or `None` where no window was asked for.
      examples: some training sequences of the first seed, by arm; digits as images.
    """

    results: xr.Dataset
    scan: xr.Dataset | None
    examples: dict[str, np.ndarray]


def run_arms(
    experiment: str | Experiment = "f1",
    arms: Iterable[str] | None = None,
    seeds: Iterable[int] = range(20),
    **overrides: Any,
) -> xr.Dataset:
    """Train the arms of an experiment from the same starts and compare what they have learned.

    In every arm the same network is trained in the same way on the same base part; the arms differ
    in their extra sequences only (`ssmbias.poison.arms`). Labels are the teacher's, or those of
    the copied images; no arm changes one. All seeds of an arm run at once.

    Args:
      experiment: a name in `ssmbias.poison.catalogue.EXPERIMENTS`, or an `Experiment`.
      arms: names, from `ssmbias.poison.arms.ARMS`, or windows such as "window24", whose elements
        begin at position 24; `None`: those by hand that there are.
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
        arms = [arm for arm in arms_of(whole) if arm in BY_HAND]
    return run_experiment(whole, arms, seeds).results


def run_experiment(
    experiment: Experiment,
    arms: Iterable[str],
    seeds: Iterable[int],
    *,
    windows: Sequence[int] = (),
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Run:
    """Run arms and windows of poisons by hand, keeping every finished unit.

    Args:
      experiment: which.
      arms: names.
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
    names, chosen = require_arms(experiment, arms), require_seeds(seeds)
    starts = require_windows(experiment, windows)
    blocks = [chosen[i : i + SEEDS_AT_ONCE] for i in range(0, len(chosen), SEEDS_AT_ONCE)]
    # The random control has the size of the found poisons.
    needed = {*names} | ({"found"} if "random" in names else set())
    scanned = dict.fromkeys(_window(experiment, start) for start in starts)
    labels = [arm for arm in ARMS if arm in needed or arm in scanned]
    labels += [label for label in dict.fromkeys((*names, *scanned)) if label not in ARMS]
    tell = progress or (lambda done, total, text: None)
    total, parts = len(blocks) * len(labels), []
    for number, block in enumerate(blocks):
        work = _Block(experiment, block, folder)
        for label in labels:
            tell(number * len(labels) + labels.index(label), total, f"{label}, {len(block)} seeds")
            work.unit(label)
        parts.append(work.units)
    tell(total, total, "done")
    return _gathered(experiment, names, chosen, starts, parts)


class _Block:
    """A block of seeds: its units, and what they share."""

    def __init__(self, experiment: Experiment, seeds: tuple[int, ...], folder: Path | None) -> None:
        self.experiment, self.seeds, self.folder = experiment, seeds, folder
        self.units: dict[str, Arrays] = {}
        self._prepared: lanes.Prepared | None = None
        self._victim: Any = None

    @property
    def prepared(self) -> lanes.Prepared:
        """Data and starts, made when the first unit needs them."""
        if self._prepared is None:
            made = lanes.prepare(self.experiment, jnp.asarray(self.seeds))
            made = lanes.spread(made, len(self.seeds))
            self._prepared = made
            return made
        return self._prepared

    def unit(self, label: str) -> Arrays:
        """One arm or window: found in its file, or computed and kept."""
        if label not in self.units:
            path = self.folder and unit_path(self.folder, self.experiment, label, self.seeds)
            found = load_unit(path)
            self.units[label] = save_unit(path, self._compute(label)) if found is None else found
        return self.units[label]

    def _compute(self, label: str) -> Arrays:
        extra, kept = self._extra(label)
        params, loss = lanes.train_arm(self.experiment, self.prepared, label, extra)
        found = lanes.measure(self.experiment, params, self.prepared.problem)
        finite = np.isfinite(np.asarray(loss))
        fitted = np.asarray(found["train_accuracy"]) >= lanes.LEAST_FITTED
        if isinstance(self.experiment.network, PaperNetwork):
            kept["lag_force"] = lanes.forces(
                self.experiment,
                self.prepared.start,
                self.prepared.problem.train,
                extra,
                arm_weights(self.experiment, label),
            )
        example = self.prepared.problem.train if label == "base" else extra
        arrays = {
            **found,
            "final_loss": loss,
            "outcome": np.where(finite & fitted, 0, lanes.NOT_FITTED),
            "examples": example.inputs[0, :_EXAMPLES],
            "poison_norm": lanes.mean_norm(self.experiment, self.prepared, label, extra),
            **kept,
        }
        return {name: np.asarray(values) for name, values in arrays.items()}

    def _extra(self, label: str) -> tuple[Batch, dict[str, Any]]:
        """The extra sequences of an arm, and what else is to be kept of them."""
        prepared = self.prepared
        if label in prepared.by_hand:
            return prepared.by_hand[label], {}
        start = window_of(label)
        if start is not None:
            return lanes.at_window(self.experiment, prepared, jnp.asarray(start)), {}
        if label == "random":
            return lanes.randomly(self.experiment, prepared, self.unit("found")["delta"]), {}
        if self._victim is None:
            self._victim = lanes.victim(self.experiment, prepared)
        weighting = _WEIGHTING[label]
        extra, delta, objective = lanes.search(self.experiment, weighting, prepared, self._victim)
        return extra, {"delta": delta, "objective": objective}


def _window(experiment: Experiment, start: int) -> str:
    """The unit of a window; the first and the last one are arms."""
    if start == 0:
        return "early"
    return "late" if start == last_window(experiment) else f"window{start}"


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


def _gathered(
    experiment: Experiment,
    arms: tuple[str, ...],
    seeds: tuple[int, ...],
    windows: tuple[int, ...],
    parts: list[dict[str, Arrays]],
) -> Run:
    """One Dataset of all units."""
    length = experiment.task.seq_len

    def values(label: str, name: str) -> np.ndarray:
        missing = np.full(len(seeds), np.nan)
        if name not in parts[0][label]:
            return missing
        return np.concatenate([part[label][name] for part in parts])

    scalars = ("test", "long", "in_distribution", "train")
    names = [f"{name}_accuracy" for name in scalars]
    names += ["final_loss", "outcome", "teacher_cosine", "objective", "poison_norm"]
    data: dict[str, Any] = {
        name: (("arm", "seed"), np.stack([values(arm, name) for arm in arms])) for name in names
    }
    data["outcome"] = (("arm", "seed"), data["outcome"][1].astype(np.int32))
    shares = np.stack([values(arm, "input_share") for arm in arms])
    data["input_share"] = (("arm", "seed", "position"), shares)
    if "lag_force" in parts[0][arms[0]]:
        forces = np.stack([values(arm, "lag_force") for arm in arms])
        data["lag_force"] = (("arm", "seed", "lag"), forces)
    coords = {"arm": list(arms), "seed": list(seeds), "position": np.arange(length)}
    results = xr.Dataset(data, coords, _attributes(experiment))
    scan = None
    if windows:
        labels = [_window(experiment, start) for start in windows]
        found = np.stack([values(label, "test_accuracy") for label in labels])
        outcome = np.stack([values(label, "outcome") for label in labels])
        scan = xr.Dataset(
            {
                "test_accuracy": (("window", "seed"), found),
                "outcome": (("window", "seed"), outcome.astype(np.int32)),
            },
            {"window": list(windows), "seed": list(seeds)},
            _attributes(experiment) | {"width": experiment.poisons.width},
        )
    shown = {"base": "clean"} | {arm: arm for arm in arms if arm in ("late", "found", "random")}
    shape = (-1, 8, 8) if isinstance(experiment.task, DigitsTask) else (-1, length)
    examples = {
        name: parts[0][arm]["examples"].reshape(shape)
        for arm, name in shown.items()
        if arm in parts[0]
    }
    return Run(results, scan, examples)


def _attributes(experiment: Experiment) -> dict[str, Any]:
    return {
        "experiment": experiment.name,
        "title": experiment.title,
        "model": model_of(experiment),
        "chance": experiment.chance,
        "teacher": int(experiment.has_teacher),
        "num_last": experiment.poisons.width,
        "tuning_seeds": list(experiment.tuning_seeds),
        "settings": json.dumps(repr(experiment)),
        "ssmbias": importlib.metadata.version("ssmbias"),
    }


def require_windows(experiment: Experiment, windows: Sequence[int]) -> tuple[int, ...]:
    """Return window positions, or raise `ValueError`: one outside of the sequence; no teacher."""
    if len(windows) and "late" not in arms_of(experiment):
        raise ValueError(
            f"windows={list(windows)}: needs a teacher that labels new sequences; leave it empty"
        )
    last = last_window(experiment)
    return tuple(require_int("windows", start, minimum=0, maximum=last) for start in windows)
