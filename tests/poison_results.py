"""Results of poison experiments with given accuracies, for tests of what is concluded."""

from __future__ import annotations

import numpy as np
import xarray as xr

# Accuracies like those of the measured experiment: late far below, generic data best.
BY_HAND = {
    "base": 0.90, "dup": 0.90, "noise": 0.88, "early": 0.93, "rpos": 0.91, "gen": 0.94,
    "late": 0.81,
}  # fmt: skip
FOUND = {
    "base": 0.94, "dup": 0.94, "random": 0.945, "found": 0.89, "found_late": 0.88,
    "found_early": 0.92,
}  # fmt: skip


def dataset(means: dict[str, float], num: int = 20, sd: float = 0.02, seed: int = 0) -> xr.Dataset:
    """Arms with these means, independent over arms and seeds."""
    rng = np.random.default_rng(seed)
    values = np.array(list(means.values()))[:, None] + sd * rng.normal(size=(len(means), num))
    return from_accuracies(list(means), np.clip(values, 0.0, 1.0))


def from_accuracies(arms: list[str], values: np.ndarray) -> xr.Dataset:
    dims = ("arm", "seed")
    return xr.Dataset(
        {
            "test_accuracy": (dims, values),
            "train_accuracy": (dims, np.ones_like(values)),
            "outcome": (dims, np.zeros(values.shape, np.int32)),
        },
        coords={"arm": arms, "seed": 100 + np.arange(values.shape[1])},
        attrs={"chance": 0.5, "experiment": "f1"},
    )
