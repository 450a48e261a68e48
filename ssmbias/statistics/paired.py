"""Clean against poisoned runs of the same seeds, in pairs.

A verdict is about one experiment; it is not corrected for looking at several.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ssmbias.statistics.intervals import (
    Estimate,
    Interval,
    checked_options,
    effect_size,
    fraction_interval,
    interval_of_mean,
    numbers_of,
)

MIN_PAIRS = 8
"""Fewer usable pairs than this are inconclusive."""

LEAST_FRACTION = 0.5
"""And so is a smaller fraction of all pairs: what is left out may have been selected."""

VERDICTS = ("poison hurts", "poison helps", "no difference found", "inconclusive")


class PairedComparison(NamedTuple):
    """Poisoned against clean test errors of the same seeds.

    Attributes:
      num_pairs: pairs that were compared.
      num_excluded: pairs left out, because one of their runs did not end as required.
      log_ratio: log10(poisoned / clean).
      effect_size: Cohen's d_z, the mean log ratio over its standard deviation; nan where the
        log ratios do not differ, or with one pair.
      fraction_hurt: the fraction of pairs with poisoned > clean.
      verdict: one of `VERDICTS`.
    """

    num_pairs: int
    num_excluded: int
    log_ratio: Interval
    effect_size: Estimate
    fraction_hurt: Estimate
    verdict: str

    def flat(self) -> dict[str, Any]:
        """Plain numbers by name, as `ssmbias.report.pages.experiments.PairRow` takes them."""
        return {
            "num_pairs": self.num_pairs,
            "num_excluded": self.num_excluded,
            "log_ratio": self.log_ratio.mean,
            "log_ratio_low": self.log_ratio.low,
            "log_ratio_high": self.log_ratio.high,
            "log_ratio_median": self.log_ratio.median,
            "effect_size": self.effect_size.value,
            "effect_size_low": self.effect_size.low,
            "effect_size_high": self.effect_size.high,
            "fraction_hurt": self.fraction_hurt.value,
            "fraction_hurt_low": self.fraction_hurt.low,
            "fraction_hurt_high": self.fraction_hurt.high,
            "verdict": self.verdict,
        }


def require_pairs(
    values: Mapping[str, Any],
    usable: Any,
    fits: Callable[[np.ndarray], np.ndarray],
    need: str,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Two vectors over the same seeds, and which pairs count; or what is wrong with them.

    Args:
      values: both vectors by name.
      usable: True where a pair counts. Other entries may be anything.
      fits: which values are possible.
      need: what `fits` asks for, in words.

    Returns:
      The vectors as float64, and `usable` as an array.

    Raises:
      ValueError: shapes differ, `usable` is not boolean, or a usable value does not fit.

    Example:
      >>> pair = {"clean": [0.1, 0.0], "poisoned": [0.2, 0.3]}
      >>> require_pairs(pair, [True, False], lambda x: x > 0, "must be positive")[1].tolist()
      [True, False]
    """
    vectors = [numbers_of(name, value) for name, value in values.items()]
    names, usable = list(values), np.asarray(usable)
    if usable.dtype != np.bool_:
        raise ValueError(f"usable has dtype {usable.dtype}: pass booleans, such as outcome == 0")
    shapes = [vector.shape for vector in vectors]
    if {*shapes} != {usable.shape}:
        raise ValueError(
            f"{', '.join(names)} and usable have shapes {', '.join(map(str, shapes))} and "
            f"{usable.shape}: pass one entry a seed in each"
        )
    for name, vector in zip(names, vectors, strict=True):
        wrong = usable & ~fits(vector)
        if wrong.any():
            index = int(np.flatnonzero(wrong)[0])
            raise ValueError(
                f"{name}[{index}]={vector[index]!r}: {need}; set usable to False where a run failed"
            )
    return vectors, usable


def compare_arms(
    clean: Float[np.ndarray, " seed"],
    poisoned: Float[np.ndarray, " seed"],
    usable: Bool[np.ndarray, " seed"],
    *,
    seed: int,
    confidence: float = 0.95,
) -> PairedComparison:
    r"""Whether poison hurts: paired test errors of the same seeds.

    With $x_i=\log_{10}(\text{poisoned}_i/\text{clean}_i)$ over the usable pairs the verdict is
    "poison hurts" if the whole interval of the mean of $x$ lies above 0, "poison helps" if it lies
    below, otherwise "no difference found"; with fewer than `MIN_PAIRS` pairs it is "inconclusive".

    Args:
      clean: test errors of the clean arm.
      poisoned: test errors of the poisoned arm, of the same seeds in the same order.
      usable: True where both runs of the pair ended as required. Other pairs are left out and
        counted; their errors may be anything.
      seed: of the resampling.
      confidence: level of all intervals.

    Returns:
      The comparison.

    Raises:
      ValueError: shapes differ, `usable` is not boolean, a usable error is not finite and
        positive, or an argument is out of range.

    Example:
      >>> clean = np.array([0.1, 0.2, 0.1, 0.3, 0.2, 0.1, 0.2, 0.3, np.nan])
      >>> poisoned = np.array([1.1, 2.3, 0.9, 2.8, 2.0, 1.2, 1.9, 3.1, 1.0])
      >>> found = compare_arms(clean, poisoned, np.isfinite(clean), seed=0)
      >>> found.verdict, found.num_pairs, found.num_excluded
      ('poison hurts', 8, 1)

    References:
      Cohen (1988), Statistical power analysis for the behavioral sciences, section 2.3 (d_z).
    """
    (clean, poisoned), usable = require_pairs(
        {"clean": clean, "poisoned": poisoned},
        usable,
        lambda errors: np.isfinite(errors) & (errors > 0),
        "a usable error must be finite and positive",
    )
    seed, confidence = checked_options(seed, confidence)
    clean, poisoned = clean[usable], poisoned[usable]
    log_ratio = np.log10(poisoned / clean)
    interval = interval_of_mean(log_ratio, seed=seed, confidence=confidence)
    if len(clean) < max(MIN_PAIRS, LEAST_FRACTION * len(usable)):
        verdict = "inconclusive"
    elif interval.low > 0:
        verdict = "poison hurts"
    elif interval.high < 0:
        verdict = "poison helps"
    else:
        verdict = "no difference found"
    return PairedComparison(
        num_pairs=len(clean),
        num_excluded=int(np.sum(~usable)),
        log_ratio=interval,
        effect_size=effect_size(log_ratio, confidence),
        fraction_hurt=fraction_interval(int(np.sum(poisoned > clean)), len(clean), confidence),
        verdict=verdict,
    )
