"""One run of `scripts/poison.py` as a frozen dataclass, from plain values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ssmbias.data.tasks.cifar10 import load_cifar10
from ssmbias.poison.arms.registry import arms_of, require_arms
from ssmbias.poison.catalogue import EXPERIMENTS, find_experiment
from ssmbias.poison.changes import changed, known_fields, require_seeds
from ssmbias.poison.cifar.settings import FullSettings
from ssmbias.poison.runner import require_windows, run_experiment, scan_windows
from ssmbias.poison.settings import Experiment
from ssmbias.poison.training.gathered import Run
from ssmbias.poison.training.teller import Progress
from ssmbias.poison.verdict import ATTACKS, controls_of
from ssmbias.runs.files import write_atomically
from ssmbias.sweeps.values import parse_values

ITSELF = ("experiment", "arms", "seeds", "windows")
"""Keys that say what to run; every other key changes a setting of the experiment."""


@dataclass(frozen=True)
class PoisonJob:
    """An experiment with its seeds, arms and window positions.

    Attributes:
      experiment: with all changes applied.
      arms: names, an attack among them.
      seeds: none of which chose a setting.
      windows: positions of the scan.
      as_published: whether no setting was changed, so that the documented verdict applies.
    """

    experiment: Experiment
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    windows: tuple[int, ...]
    as_published: bool

    def __post_init__(self) -> None:
        """Refuse what could not be judged, before anything is compiled."""
        require_arms(self.experiment, self.arms)
        require_windows(self.experiment, self.windows)
        require_seeds(self.seeds)
        if not set(self.arms) & set(ATTACKS):
            raise ValueError(
                f"arms={list(self.arms)}: none is an attack; add one of {', '.join(ATTACKS)}"
            )
        attacks = [arm for arm in self.arms if arm in ATTACKS]
        controls = sorted({name for attack in attacks for name in controls_of(attack)})
        if not set(self.arms) & set(controls):
            raise ValueError(
                f"arms={list(self.arms)}: nothing to compare {attacks[0]} with; add some of "
                f"{', '.join(controls)}"
            )
        tuning = sorted(set(self.seeds) & set(self.experiment.tuning_seeds))
        if tuning:
            raise ValueError(
                f"seeds={tuning}: chose a setting of {self.experiment.name} and cannot judge it; "
                "take others, such as range(20)"
            )


FULL = "cifar10"
"""The published experiment at full scale, which has settings of its own."""

# Names of `FullSettings` that other experiments have under another name.
_FULL_NAMES = {"restarts": "brew_restarts"}
FULL_KEYS = {
    _FULL_NAMES.get(field.name, field.name): field.name
    for field in dataclasses.fields(FullSettings)
    if field.name not in ("arms", "seeds")
}
"""Keys of that experiment, and the fields that they set."""

SETTINGS = tuple(
    sorted({name for one in EXPERIMENTS.values() for name in known_fields(one)} | {*FULL_KEYS})
)
"""Names of all settings of all experiments."""

DEFAULT_MAPPING: Mapping[str, Any] = {
    "experiment": "f1",
    "arms": None,
    "seeds": "range(20)",
    "windows": None,
    **dict.fromkeys(SETTINGS),
}
"""What `from_mapping` takes, with the defaults of scripts/poison.py."""


def from_mapping(mapping: Mapping[str, Any]) -> PoisonJob | FullSettings:
    """Build a job from plain values; `None` leaves a setting as the experiment has it.

    Args:
      mapping: the keys of `DEFAULT_MAPPING`, all of them.

    Returns:
      A checked job; the settings of a full run for the experiment `FULL`.

    Raises:
      ValueError: a key is unknown or missing, or a value is impossible.

    Example:
      >>> job = from_mapping({**DEFAULT_MAPPING, "seeds": "range(4)", "scale": 0.02})
      >>> job.seeds, job.experiment.poisons.scale
      ((0, 1, 2, 3), 0.02)
    """
    for key in mapping:
        if key not in DEFAULT_MAPPING:
            known = ", ".join((*ITSELF, *SETTINGS))
            raise ValueError(f"{key}={mapping[key]!r}: unknown key; known are {known}")
    for key, default in DEFAULT_MAPPING.items():
        if key not in mapping:
            raise ValueError(f"{key}: missing; the default is {key}={default!r}")
    overrides = {k: v for k, v in mapping.items() if k not in ITSELF and v is not None}
    if mapping["experiment"] == FULL:
        return _full(mapping, overrides)
    experiment = changed(find_experiment(str(mapping["experiment"])), overrides)
    arms, windows = mapping["arms"], mapping["windows"]
    return PoisonJob(
        experiment=experiment,
        arms=arms_of(experiment) if arms is None else _names(arms),
        seeds=_integers("seeds", mapping["seeds"]),
        windows=scan_windows(experiment) if windows is None else _integers("windows", windows),
        as_published=not overrides,
    )


def _full(mapping: Mapping[str, Any], overrides: Mapping[str, Any]) -> FullSettings:
    """The settings of a full run."""
    for name, value in (*overrides.items(), ("windows", mapping["windows"])):
        if name not in FULL_KEYS and value is not None:
            known = ", ".join(("arms", "seeds", *sorted(FULL_KEYS)))
            raise ValueError(
                f"{name}={value!r}: no setting of experiment={FULL}; known are {known}"
            )
    given = {FULL_KEYS[name]: value for name, value in overrides.items()}
    if mapping["arms"] is not None:
        given["arms"] = _names(mapping["arms"])
    settings = FullSettings(**given, seeds=_integers("seeds", mapping["seeds"]))
    load_cifar10(settings.data, num_train=1, num_test=1, verify=False)  # is there anything?
    return settings


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple) or not all(isinstance(x, str) for x in value):
        raise ValueError(f"arms={value!r}: expected a list of names, such as [dup,late]")
    return tuple(value)


def _integers(name: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, str):
        return tuple(parse_values(value, name))
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,)
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name}={value!r}: expected integers, such as range(20) or [0,1,2]")
    return tuple(value)


def run_job(job: PoisonJob, folder: Path, progress: Progress | None = None) -> Run:
    """Run a job, keep its units and write its results into a folder.

    Args:
      job: what to run.
      folder: which exists. Units of an earlier, interrupted run of the same job are used.
      progress: told how far it is.

    Returns:
      Results, scan and examples; also in results.nc, scan.nc and examples.npz (NetCDF 3, which
      `xarray.open_dataset` reads).
    """
    run = run_experiment(
        job.experiment,
        job.arms,
        job.seeds,
        windows=job.windows,
        folder=folder,
        progress=progress,
    )
    for name, data in (("results", run.results), ("scan", run.scan)):
        if data is not None:
            write_netcdf(folder / f"{name}.nc", data)
    write_atomically(folder / "examples.npz", lambda stream: np.savez(stream, **run.examples))  # pyright: ignore[reportArgumentType]
    return run


def write_netcdf(path: Path, data: xr.Dataset) -> None:
    """Write results as NetCDF 3, by SciPy, which has no 64-bit integers; the data are small."""
    small = {"seed": data["seed"].astype(np.int32)}
    small |= {name: data[name].astype(np.int32) for name in ("window", "position") if name in data}
    write_atomically(
        path, lambda stream: stream.write(data.assign_coords(small).to_netcdf(engine="scipy"))
    )


def expectations_met(job: PoisonJob, verdicts: Any) -> bool:
    """Whether every verdict is the documented one, where there is one.

    It is documented for seeds 0..19. A run with other seeds or settings, or one that is
    inconclusive, contradicts nothing.
    """
    documented = job.as_published and job.seeds == tuple(range(20))
    expected = dict(job.experiment.expected) if documented else {}
    for verdict in verdicts:
        wanted = expected.get(verdict.attack)
        if wanted and verdict.label not in (wanted, "inconclusive"):
            return False
    return True
