"""A run of a poison experiment, made up: everything that it may save."""

from __future__ import annotations

import numpy as np
import xarray as xr

NUM, LENGTH = 12, 16
MEANS = {
    "base": 0.90, "dup": 0.90, "noise": 0.88, "early": 0.93, "rpos": 0.91, "gen": 0.94,
    "late": 0.81, "random": 0.92, "found": 0.85, "found_late": 0.86, "found_early": 0.83,
}  # fmt: skip


def results(experiment: str = "f1", **changes: float) -> xr.Dataset:
    """Everything that a run may save, with one run that failed."""
    rng = np.random.default_rng(0)
    means = MEANS | changes
    dims, shape = ("arm", "seed"), (len(means), NUM)
    centre = np.array(list(means.values()))[:, None]
    share = np.exp(0.2 * rng.normal(size=(*shape, LENGTH)))
    share[list(means).index("late"), :, -2:] *= 40.0
    outcome = np.zeros(shape, np.int32)
    outcome[3, 5] = 1
    return xr.Dataset(
        {
            "test_accuracy": (dims, np.clip(centre + 0.02 * rng.normal(size=shape), 0, 1)),
            "long_accuracy": (dims, np.clip(centre - 0.05 + 0.02 * rng.normal(size=shape), 0, 1)),
            "train_accuracy": (dims, np.ones(shape)),
            "in_distribution_accuracy": (dims, np.full(shape, 0.98)),
            "final_loss": (dims, np.full(shape, 1e-3)),
            "outcome": (dims, outcome),
            "input_share": ((*dims, "position"), share / share.sum(axis=-1, keepdims=True)),
            "teacher_cosine": (dims, np.full(shape, 0.875)),
        },
        coords={"arm": list(means), "seed": 100 + np.arange(NUM)},
        attrs={
            "experiment": experiment,
            "title": "F1 <sign of the sum>",
            "chance": 0.5,
            "teacher": True,
            "tuning_seeds": np.array([0, 1]),
        },
    )


def window_scan() -> xr.Dataset:
    rng = np.random.default_rng(1)
    starts = np.array([0, 8, 12, 14])
    mean = np.array([0.9, 0.88, 0.82, 0.75])[:, None]
    values = mean + 0.01 * rng.normal(size=(4, NUM))
    outcome = np.zeros((4, NUM), int)
    outcome[1, 2] = 1
    values[1, 2] = 1e9
    dims = ("window", "seed")
    return xr.Dataset(
        {"test_accuracy": (dims, values), "outcome": (dims, outcome)},
        coords={"window": starts, "seed": 100 + np.arange(NUM)},
        attrs={"width": 2},
    )


EXAMPLES = {"clean": np.eye(5, LENGTH), "late": 0.05 * np.eye(3, LENGTH)[:, ::-1]}
