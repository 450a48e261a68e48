"""From the arrays of all arms and seeds to one Dataset."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from ssmbias.poison.arms.arm import Arm, to_json
from ssmbias.poison.catalogue import model_of
from ssmbias.poison.settings import Experiment
from ssmbias.poison.training.settings import as_minibatches


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


def gathered(
    experiment: Experiment,
    arms: tuple[Arm, ...],
    seeds: tuple[int, ...],
    windows: Mapping[int, Arm],
    parts: Sequence[Mapping[str, Mapping[str, np.ndarray]]],
    always: Sequence[str],
) -> Run:
    """One Dataset of all units.

    Args:
      experiment: which.
      arms: those that were asked for.
      seeds: all of them.
      windows: the arm of each window of the scan.
      parts: of every block of seeds, the arrays by arm and name.
      always: quantities that are there in any case, nan where nothing gives them.

    Returns:
      Results, scan and examples.
    """
    names = [arm.name for arm in arms]

    def values(arm: str, name: str) -> np.ndarray:
        missing = np.full(len(seeds), np.nan)
        if name not in parts[0][arm]:
            return missing
        return np.concatenate([part[arm][name] for part in parts]).astype(np.float64)

    found = parts[0][names[0]]
    scalars = [*always, *(n for n in found if n.endswith("_accuracy") and n not in always)]
    data: dict[str, Any] = {
        name: (("arm", "seed"), np.stack([values(arm, name) for arm in names])) for name in scalars
    }
    outcome = np.stack([values(arm, "outcome") for arm in names])
    data["outcome"] = (("arm", "seed"), outcome.astype(np.int32))
    for name, dim in (("input_share", "position"), ("lag_force", "lag")):
        if name in found:
            data[name] = (("arm", "seed", dim), np.stack([values(arm, name) for arm in names]))
    coords: dict[str, Any] = {"arm": names, "seed": list(seeds)}
    if "input_share" in data:
        coords["position"] = np.arange(experiment.task.seq_len)
    results = xr.Dataset(data, coords, _attributes(experiment, arms))
    scan = None
    if windows:
        of_window = {
            name: np.stack([values(arm.name, name) for arm in windows.values()])
            for name in ("test_accuracy", "outcome")
        }
        scan = xr.Dataset(
            {
                "test_accuracy": (("window", "seed"), of_window["test_accuracy"]),
                "outcome": (("window", "seed"), of_window["outcome"].astype(np.int32)),
            },
            {"window": list(windows), "seed": list(seeds)},
            _attributes(experiment, arms) | {"width": experiment.poisons.width},
        )
    return Run(results, scan, _examples(experiment, arms, parts[0]))


def _examples(
    experiment: Experiment, arms: tuple[Arm, ...], part: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Some sequences of the first seed, those of training data first."""
    if part[arms[0].name]["examples"].ndim != 3:
        return {}
    shown = sorted((arm for arm in arms if arm.words.example), key=lambda arm: arm.adds)
    image = getattr(experiment.task, "image", None)
    found = {}
    for arm in shown:
        sequences = np.moveaxis(part[arm.name]["examples"], -1, 1)  # a curve for every feature
        shape = (-1, *image) if image else (-1, experiment.task.seq_len)
        found[arm.words.example] = sequences.reshape(shape)
    return found


def small(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What `gathered` reads of the arrays of an arm."""
    large = ("delta", "history", "objectives")
    return {name: array for name, array in arrays.items() if name not in large}


def _attributes(experiment: Experiment, arms: tuple[Arm, ...]) -> dict[str, Any]:
    task: Any = experiment.task
    more: dict[str, Any] = {}
    if not experiment.training.at_once:
        more["fitted"] = as_minibatches(experiment.training).least_fitted
    if hasattr(task, "uniform_share"):
        more["uniform_share"] = task.uniform_share
    return more | {
        "experiment": experiment.name,
        "title": experiment.title,
        "model": model_of(experiment),
        "chance": experiment.chance,
        "teacher": int(experiment.has_teacher),
        "num_last": getattr(task, "num_last", experiment.poisons.width),
        "tuning_seeds": list(experiment.tuning_seeds),
        "settings": json.dumps(repr(experiment)),
        "arms": to_json([arm.words for arm in arms]),
        "ssmbias": importlib.metadata.version("ssmbias"),
    }
