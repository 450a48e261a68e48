r"""Two arms over the same seeds: paired differences of accuracies, and p values for several.

All differences are in points, treated - control, so that harm is negative. A pair is usable if
both of its runs ended as required.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ssmbias.statistics.paired import (
    Estimate,
    Interval,
    effect_size,
    fraction_interval,
    interval_of_mean,
    require_pairs,
)

# Differences of accuracies that agree to this many decimals of a point are equal: what is left
# is rounding, 100 times 6e-8 in single and 1e-16 in double precision.
_DECIMALS = {True: 4, False: 10}
# Up to this many pairs all patterns of signs are looked at.
_MOST_SIGNS = 13


class Difference(NamedTuple):
    """Paired differences of one arm to a control, in points (treated - control).

    Attributes:
      num_pairs: pairs that were compared.
      num_excluded: pairs left out, because one of their runs did not end as required.
      points: mean of the differences with its BCa interval.
      effect_size: Cohen's d_z with the interval of the noncentral t distribution; nan where the
        differences are all equal, or with one pair.
      num_lower: pairs in which the treated run is the lower one.
      num_tied: pairs without a difference.
      fraction_lower: `num_lower` over all pairs, with the interval of Clopper and Pearson.
      p_value: of the paired t test, two-sided; never nan with a pair, see `note`.
      p_wilcoxon: of Wilcoxon's signed-rank test, two-sided, ties left out of it.
      p_corrected: `p_value` after Holm's correction for the number of controls; `p_value` itself
        where there is one comparison.
      note: what is unusual about the p values, in words; "" where nothing is.
    """

    num_pairs: int
    num_excluded: int
    points: Interval
    effect_size: Estimate
    num_lower: int
    num_tied: int
    fraction_lower: Estimate
    p_value: float
    p_wilcoxon: float
    p_corrected: float
    note: str

    def is_lower(self, level: float) -> bool:
        """Whether the treated arm was shown to be lower."""
        return self.points.mean < 0 and self.p_corrected < level

    def is_higher(self, level: float) -> bool:
        """Whether the treated arm was shown to be higher."""
        return self.points.mean > 0 and self.p_corrected < level


def compare(
    treated: Float[np.ndarray, " seed"],
    control: Float[np.ndarray, " seed"],
    usable: Bool[np.ndarray, " seed"],
    *,
    seed: int,
    confidence: float = 0.95,
) -> Difference:
    r"""One arm against a control over the same seeds.

    With $x_i=100\,(\text{treated}_i-\text{control}_i)$ over the $n$ usable pairs, the p value is
    that of $t=\bar x\sqrt n/s_x$ against Student's distribution with $n-1$ degrees of freedom,
    two-sided. Where all $x_i$ are equal $t$ is undefined, and the p value is that of the sign test:
    1 if they are 0, else $2^{1-n}$; `note` says so.

    Args:
      treated: accuracies in 0..1 of one arm.
      control: those of the other, of the same seeds in the same order.
      usable: True where both runs of the pair ended as required. Other pairs are left out and
        counted; their accuracies may be anything.
      seed: of the resampling.
      confidence: level of all intervals.

    Returns:
      The comparison; without a usable pair its numbers are nan.

    Raises:
      ValueError: shapes differ, `usable` is not boolean, a usable accuracy is not in 0..1, or an
        argument is out of range.

    Example:
      >>> control = np.array([0.91, 0.90, 0.88, 0.93, 0.90, 0.89, 0.92, 0.90])
      >>> treated = np.array([0.80, 0.82, 0.79, 0.85, 0.90, 0.77, 0.83, 0.81])
      >>> found = compare(treated, control, np.ones(8, bool), seed=0)
      >>> round(found.points.mean, 3), found.num_lower, found.num_tied, found.p_value < 0.001
      (-8.25, 7, 1, True)

    References:
      Student (1908), The probable error of a mean; Wilcoxon (1945), Individual comparisons by
      ranking methods; Cohen (1988), Statistical power analysis, section 2.3 (d_z).
    """
    single = any(np.asarray(x).dtype == np.float32 for x in (treated, control))
    treated, control = _accuracies("treated", treated), _accuracies("control", control)
    (treated, control), usable = require_pairs(
        {"treated": treated, "control": control},
        usable,
        lambda values: (values >= 0) & (values <= 1),
        "a usable accuracy must lie in 0..1",
    )
    points = np.round(100.0 * (treated[usable] - control[usable]), _DECIMALS[single])
    interval = interval_of_mean(points, seed=seed, confidence=confidence)
    num_lower = int(np.sum(points < 0))
    p_value, note = _t_test(points)
    return Difference(
        num_pairs=len(points),
        num_excluded=int(np.sum(~usable)),
        points=interval,
        effect_size=effect_size(points, confidence),
        num_lower=num_lower,
        num_tied=int(np.sum(points == 0)),
        fraction_lower=fraction_interval(num_lower, len(points), confidence),
        p_value=p_value,
        p_wilcoxon=_wilcoxon(points),
        p_corrected=p_value,
        note=note,
    )


def _t_test(points: np.ndarray) -> tuple[float, str]:
    """Two-sided p of the mean of differences, and what is unusual about it."""
    num = len(points)
    if num == 0:
        return math.nan, "no usable pair: nothing was tested"
    if num == 1:
        return 1.0, "one pair says nothing about chance: p is 1"
    if np.ptp(points) == 0:
        if points[0] == 0:
            return 1.0, "all pairs tie: p is 1"
        return 2.0 ** (1 - num), (
            "all pairs differ by the same amount, which leaves the t test undefined: p is that "
            "of the sign test"
        )
    from scipy.stats import ttest_1samp  # noqa: PLC0415  (slow to import, needed only here)

    found: Any = ttest_1samp(points, 0.0)
    return float(found.pvalue), ""


def _wilcoxon(points: np.ndarray) -> float:
    """Two-sided p of the signed ranks of what does not tie; 1 where everything ties."""
    moved = points[points != 0]
    if len(points) == 0:
        return math.nan
    if len(moved) == 0:
        return 1.0
    from scipy.stats import rankdata, wilcoxon  # noqa: PLC0415

    if len(moved) > _MOST_SIGNS:
        # Exact without ties up to 50 pairs, else normal with the correction for ties.
        found: Any = wilcoxon(moved)
        return float(found.pvalue)
    # All patterns of signs: exact with ties too. SciPy does the same, a thousand times slower.
    signs = 1 - 2 * ((np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved))) & 1)
    ranks = rankdata(np.abs(moved))  # whole or half numbers: sums are exact
    return float(np.mean(np.abs(signs @ ranks) >= np.abs(np.sign(moved) @ ranks)))


def holm(p_values: Sequence[float]) -> list[float]:
    r"""P values corrected for their number: one false finding in all is as rare as one in one was.

    With the $m$ values in ascending order $p_{(1)}\le p_{(2)}\le\dots$ the corrected ones are
    $\tilde p_{(k)}=\max_{j\le k}\min(1,(m-j+1)\,p_{(j)})$.

    Args:
      p_values: of the family of comparisons; nan (nothing was tested) stays nan and counts, as a
        test that was planned.

    Returns:
      The corrected values in the same order.

    Raises:
      ValueError: a value is not in 0..1.

    Example:
      >>> holm([0.01, 0.04, 0.03])
      [0.03, 0.06, 0.06]

    References:
      Holm (1979), A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6.
    """
    values = np.asarray(list(p_values), dtype=np.float64)
    if ((values < 0) | (values > 1)).any():
        raise ValueError(f"p_values={list(p_values)!r}: every one must lie in 0..1")
    order = np.argsort(values)  # nan comes last
    factors = len(values) - np.arange(len(values))
    corrected = np.empty_like(values)
    corrected[order] = np.maximum.accumulate(np.minimum(1.0, factors * values[order]))
    return corrected.tolist()


def _accuracies(name: str, values: Any) -> np.ndarray:
    """A float64 vector, or a complaint."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as err:
        raise ValueError(f"{name}={values!r}: expected accuracies in 0..1") from err
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}: pass one number a seed")
    return array
