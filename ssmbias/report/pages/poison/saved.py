"""What is read from the saved Dataset of a poison experiment, and what is said of its arms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import xarray as xr

from ssmbias.statistics.paired import interval_of_mean

WORDS = "arms"
"""The attribute that holds the words of the arms, as JSON: `role` and `profiled` of each."""

ROLES: Mapping[str, str] = {
    "base": "baseline",
    "dup": "baseline",
    "late": "attack",
    "found": "attack",
    "found_late": "attack",
}
"""Roles of arms where the results do not say; others are controls."""

_PROFILED = ("dup", "late", "found", "found_late")

# Resampling is fixed: the same results give the same report.
_SEED = 0


class Compared(Protocol):
    """Paired differences of one arm to another, in points."""

    @property
    def points(self) -> Any:
        """Mean with its interval."""
        ...

    @property
    def p_value(self) -> float:
        """Two-sided, not corrected."""
        ...

    def is_lower(self, level: float) -> bool:
        """Whether it was shown to be lower."""
        ...

    def is_higher(self, level: float) -> bool:
        """Whether it was shown to be higher."""
        ...


class Judged(Protocol):
    """What was shown about one attack."""

    @property
    def attack(self) -> str:
        """The arm."""
        ...

    @property
    def differences(self) -> Mapping[str, Any]:
        """Attack - control, by control; named as the columns of a `ControlRow`."""
        ...

    @property
    def sentence(self) -> str:
        """The verdict with its numbers."""
        ...

    @property
    def generic(self) -> Any:
        """Attack - gen; `None` without that arm."""
        ...

    @property
    def level(self) -> float:
        """Of the corrected p values."""
        ...

    @property
    def quantity(self) -> str:
        """The accuracy that was judged."""
        ...


class MeanInterval(NamedTuple):
    """A mean with its interval; nan ends where there is none."""

    mean: float
    low: float
    high: float


def arms_of(results: xr.Dataset) -> list[str]:
    """The names of the arms."""
    return [str(arm) for arm in results["arm"].values]


def experiment_of(results: xr.Dataset) -> str:
    """The name of the experiment."""
    return str(results.attrs.get("experiment") or "poison")


def roles_of(results: xr.Dataset) -> dict[str, str]:
    """The role of each arm: "baseline", "attack", or something else."""
    words = _words(results)
    return {
        arm: str(words.get(arm, {}).get("role") or ROLES.get(arm, "control"))
        for arm in arms_of(results)
    }


def profiled_arms(results: xr.Dataset) -> list[str]:
    """The arms whose sensitivity is shown, in a fixed order."""
    words, arms = _words(results), arms_of(results)
    if words:
        return [arm for arm in arms if words.get(arm, {}).get("profiled")]
    return [arm for arm in _PROFILED if arm in arms]


def _words(results: xr.Dataset) -> dict[str, dict[str, Any]]:
    saved = results.attrs.get(WORDS)
    return json.loads(saved) if saved else {}


def usable_values(results: xr.Dataset, arm: str, name: str) -> np.ndarray:
    """The values of one arm over its seeds with outcome 0, in double precision."""
    chosen = results.sel(arm=arm)
    # Seeds come first whatever further dims there are.
    values = chosen[name].transpose("seed", ...).values
    return np.asarray(values, dtype=np.float64)[chosen["outcome"].values == 0]


def mean_interval(values: np.ndarray) -> MeanInterval:
    """The mean with its interval, resampled by a fixed seed."""
    mean, low, high, *_ = interval_of_mean(values, seed=_SEED)
    return MeanInterval(mean, low, high)


def require_scan(scan: xr.Dataset) -> None:
    """Refuse a scan without accuracies over windows and seeds."""
    if "test_accuracy" not in scan or set(scan["test_accuracy"].dims) != {"window", "seed"}:
        raise ValueError("scan: pass a Dataset with test_accuracy over window and seed")
