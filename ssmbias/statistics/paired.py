r"""Statistics over seeds: intervals of means, and clean against poisoned runs in pairs.

Intervals of means are BCa bootstrap intervals (bias-corrected and accelerated), which need no
normality and follow skewed errors. They are a little narrow for few seeds: over normal data the
95 % interval covers about 84 % of the time with 5 values, 92 % with 16 and 94 % with 64. An
effect size has the interval of the noncentral t distribution, a fraction that of Clopper and
Pearson. A verdict is about one experiment; it is not corrected for looking at several.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ssmbias.core.checks import require_int, require_number

MIN_PAIRS = 8
"""Fewer usable pairs than this are inconclusive."""

LEAST_FRACTION = 0.5
"""And so is a smaller fraction of all pairs: what is left out may have been selected."""

VERDICTS = ("poison hurts", "poison helps", "no difference found", "inconclusive")

_NUM_RESAMPLES = 9_999
# Values of size 1 that differ by less differ by rounding: their spread says nothing.
_ROUNDING = 1e-14
# Beyond this t the noncentral t distribution is its scale alone, to 1e-4 of the interval's width
# with up to 1e4 pairs, and SciPy's series for it ends in nan.
_LARGE_T = 1e4


class Interval(NamedTuple):
    """A mean with its interval; nan where undefined (no value; the interval of one value).

    Attributes:
      mean: of the values.
      low, high: ends of the confidence interval of the mean.
      median: of the values.
      num: how many values.
    """

    mean: float
    low: float
    high: float
    median: float
    num: int


class Estimate(NamedTuple):
    """A number with its confidence interval; nan where undefined."""

    value: float
    low: float
    high: float


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


def interval_of_mean(
    values: Float[np.ndarray, " seed"], *, seed: int, confidence: float = 0.95
) -> Interval:
    """Mean and median of some values, with the BCa bootstrap interval of the mean.

    Args:
      values: finite numbers, one a seed. None at all give nan and `num` 0.
      seed: of the resampling; the same seed gives the same interval.
      confidence: level of the interval.

    Returns:
      The interval. Its ends are the mean itself where all values are equal, and nan for a single
      value, which says nothing about spread.

    Raises:
      ValueError: a value is not finite, the array has not one axis, or an argument is out of
        range.

    Example:
      >>> interval_of_mean([0.25, 0.25, 0.25], seed=0)
      Interval(mean=0.25, low=0.25, high=0.25, median=0.25, num=3)
      >>> found = interval_of_mean(np.arange(20.0), seed=0)
      >>> found.low < found.mean == 9.5 < found.high
      True

    References:
      Efron (1987), Better bootstrap confidence intervals, JASA 82, 171-185.
    """
    array = _numbers("values", values)
    if not np.isfinite(array).all():
        raise ValueError(
            f"values={array[~np.isfinite(array)][0]!r}: every value must be finite; leave out runs "
            "that did not end as required, and count them"
        )
    seed, confidence = _options(seed, confidence)
    num = len(array)
    if num == 0:
        return Interval(np.nan, np.nan, np.nan, np.nan, 0)
    if np.ptp(array) == 0.0:
        point = float(array[0])
        end = point if num > 1 else np.nan
        return Interval(point, end, end, point, num)
    from scipy.stats import bootstrap  # noqa: PLC0415  (slow to import, and needed only here)

    # The interval moves with shift and scale; its acceleration has cubes, which tiny losses
    # would underflow.
    centre = float(np.mean(array))
    scale = float(np.max(np.abs(array - centre)))
    found = bootstrap(
        ((array - centre) / scale,),
        np.mean,
        n_resamples=_NUM_RESAMPLES,
        batch=1_000,
        vectorized=True,
        confidence_level=confidence,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    low, high = centre + scale * float(found.low), centre + scale * float(found.high)
    return Interval(centre, low, high, float(np.median(array)), num)


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
    clean, poisoned = _numbers("clean", clean), _numbers("poisoned", poisoned)
    usable = np.asarray(usable)
    if usable.dtype != np.bool_:
        raise ValueError(f"usable has dtype {usable.dtype}: pass booleans, such as outcome == 0")
    if not clean.shape == poisoned.shape == usable.shape:
        raise ValueError(
            f"clean, poisoned and usable have shapes {clean.shape}, {poisoned.shape} and "
            f"{usable.shape}: pass one entry a seed in each"
        )
    for name, errors in (("clean", clean), ("poisoned", poisoned)):
        wrong = usable & ~(np.isfinite(errors) & (errors > 0))
        if wrong.any():
            index = int(np.flatnonzero(wrong)[0])
            raise ValueError(
                f"{name}[{index}]={errors[index]!r}: a usable error must be finite and positive; "
                "set usable to False where a run failed"
            )
    seed, confidence = _options(seed, confidence)
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


def effect_size(values: Float[np.ndarray, " seed"], confidence: float = 0.95) -> Estimate:
    r"""Cohen's d_z and the values of it that the observed t statistic does not contradict.

    With $n$ values, $d_z$ is their mean over their standard deviation and $t=d_z\sqrt n$ is
    noncentral t with parameter $\delta\sqrt n$; the ends are the $\delta$ that put $t$ at its upper
    and at its lower tail.

    Args:
      values: differences of pairs, finite, one a seed.
      confidence: level of the interval.

    Returns:
      The effect size; nan where the values do not differ, or with fewer than two.

    Raises:
      ValueError: a value is not finite, the array has not one axis, or `confidence` is not
        between 0 and 1.

    Example:
      >>> found = effect_size(np.array([1.0, 2.0, 3.0]))
      >>> found.value, bool(found.low < found.value < found.high)
      (2.0, True)

    References:
      Cohen (1988), Statistical power analysis for the behavioral sciences, section 2.3.
    """
    values = _numbers("values", values)
    if not np.isfinite(values).all():
        raise ValueError("values: every one must be finite; leave out pairs that failed")
    _, confidence = _options(0, confidence)
    num = len(values)
    spread = float(np.std(values, ddof=1)) if num > 1 else 0.0
    if spread < _ROUNDING * max(1.0, float(np.max(np.abs(values), initial=0.0))):
        return Estimate(np.nan, np.nan, np.nan)
    from scipy.optimize import brentq  # noqa: PLC0415
    from scipy.stats import chi2, nct, norm  # noqa: PLC0415

    value = float(np.mean(values)) / spread
    # By symmetry for t >= 0, where SciPy's distribution function is accurate.
    root, freedom = np.sqrt(num), num - 1
    t, tail = abs(value) * root, 0.5 * (1.0 - confidence)

    def scales(tail: float) -> np.ndarray:
        """T times quantiles of the estimated over the true standard deviation."""
        return t * np.sqrt(chi2.ppf([tail, 1.0 - tail], freedom) / freedom)

    if t > _LARGE_T:
        ends = scales(tail) / root
    else:
        # The parameter is distributed as t · scale + normal: far tails of both enclose the ends.
        bracket = scales(0.1 * tail) + norm.ppf([0.1 * tail, 1.0 - 0.1 * tail])
        ends = np.array(
            [
                brentq(lambda shift, at=at: nct.cdf(t, freedom, shift) - at, *bracket)
                for at in (1.0 - tail, tail)
            ]
        )
        ends = ends / root
    low, high = ends if value >= 0 else -ends[::-1]
    return Estimate(value, float(low), float(high))


def fraction_interval(successes: int, num: int, confidence: float = 0.95) -> Estimate:
    """A fraction with the interval of Clopper and Pearson, which is exact for independent trials.

    Args:
      successes: how many of the trials succeeded.
      num: trials; none at all give nan.
      confidence: level of the interval.

    Raises:
      ValueError: `successes` is not in 0..num, or `confidence` is not between 0 and 1.

    Example:
      >>> fraction_interval(20, 20).value, round(fraction_interval(20, 20).low, 3)
      (1.0, 0.832)

    References:
      Clopper & Pearson (1934), The use of confidence or fiducial limits illustrated in the case
      of the binomial, Biometrika 26, 404-413.
    """
    num = require_int("num", num, minimum=0)
    successes = require_int("successes", successes, minimum=0, maximum=num)
    _, confidence = _options(0, confidence)
    if num == 0:
        return Estimate(np.nan, np.nan, np.nan)
    from scipy.stats import binomtest  # noqa: PLC0415

    found = binomtest(successes, num).proportion_ci(confidence, method="exact")
    return Estimate(successes / num, float(found.low), float(found.high))


def _numbers(name: str, values: Any) -> np.ndarray:
    """A float64 vector, or a complaint."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as err:
        raise ValueError(f"{name}={values!r}: expected real numbers") from err
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}: pass one number a seed")
    return array


def _options(seed: Any, confidence: Any) -> tuple[int, float]:
    seed = require_int("seed", seed, minimum=0)
    confidence = require_number("confidence", confidence)
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence={confidence}: must lie between 0 and 1, such as 0.95")
    return seed, confidence
