"""What is read from the results of `run_arms`, whether they come from memory or from a file."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from ssmbias.poison.arms.arm import Words, from_json
from ssmbias.poison.arms.registry import find_arm
from ssmbias.poison.comparisons import Difference, compare

RESAMPLING = 0
"""Resampling is fixed: the same results give the same report."""


def words_of(results: xr.Dataset) -> dict[str, Words]:
    """The words of every arm in the results: as saved with them, or those of the package."""
    saved = from_json(str(results.attrs["arms"])) if "arms" in results.attrs else {}
    found = {}
    for name in (str(arm) for arm in results["arm"].values):
        arm = find_arm(name)
        found[name] = saved.get(name) or (Words(name, name) if arm is None else arm.words)
    return found


def compare_arms(
    results: xr.Dataset, treated: str, control: str, quantity: str, *, confidence: float = 0.95
) -> Difference:
    """`compare` two arms of the results by name; outcome 0 is usable."""
    one, other = results.sel(arm=treated), results.sel(arm=control)
    return compare(
        one[quantity].values,
        other[quantity].values,
        (one["outcome"].values == 0) & (other["outcome"].values == 0),
        seed=RESAMPLING,
        confidence=confidence,
    )


def require_results(results: Any, quantity: str = "test_accuracy") -> None:
    """Refuse what is not the result of `run_arms`, or was judged by seeds that chose a setting.

    Args:
      results: to be looked at.
      quantity: an accuracy that is needed.

    Raises:
      ValueError: says what is missing, or names the seeds.
    """
    if not isinstance(results, xr.Dataset):
        raise ValueError(f"results={type(results).__name__}: pass the Dataset of run_arms")
    needed = (quantity, "train_accuracy", "outcome")
    missing = [name for name in needed if name not in results]
    missing += [f"coordinate {name}" for name in ("arm", "seed") if name not in results.coords]
    missing += ["attribute chance"] * ("chance" not in results.attrs)
    if missing:
        raise ValueError(f"results: {', '.join(missing)} missing; pass the Dataset of run_arms")
    for name in needed:
        if set(results[name].dims) != {"arm", "seed"}:
            raise ValueError(f"results[{name!r}] has dims {results[name].dims}: expected arm, seed")
    for name in ("arm", "seed"):
        values = results[name].values
        if len(np.unique(values)) < len(values):
            raise ValueError(f"results: some {name} occurs twice; each must be there once")
    # An attribute of one entry may have been read back as a number.
    tuning = np.atleast_1d(np.asarray(results.attrs.get("tuning_seeds", []))).astype(np.int64)
    both = sorted({int(s) for s in tuning} & {int(s) for s in results["seed"].values})
    if both:
        raise ValueError(
            f"seeds {both} chose a setting (tuning_seeds) and cannot judge it: leave them out, as "
            "in results.sel(seed=[...]), or run other seeds"
        )


def usable_values(results: xr.Dataset, arm: str, name: str) -> np.ndarray:
    """The values of one arm over its seeds with outcome 0, in double precision."""
    chosen = results.sel(arm=arm)
    usable = chosen["outcome"].values == 0
    # Seeds come first whatever further dims there are.
    values = chosen[name].transpose("seed", ...).values
    return np.asarray(values, dtype=np.float64)[usable]
