"""Enclosures of M1's limit against arbitrary precision and against the closed form in doubles."""

from __future__ import annotations

from fractions import Fraction

import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from ssmbias.certify import enclose_clean_limit
from ssmbias.theory import clean_limit

STARTS = {
    "spread": ([0.02, 0.013, 0.01, 0.004], 7),
    "near-tie": ([Fraction(1e-3) + Fraction(1e-19), 1e-3, 9e-4, 5e-4], 7),
    "tie": ([0.3, 0.3, 0.1], 5),
    "another order": ([1e-3, 2e-2, 1.9e-2], 9),
    "beyond the target": ([3.0, 2.0, 0.3], 4),
    "alone": ([0.3], 7),
}


def reference(start, seq_len) -> list[mpmath.mpf]:
    """The limit by a secant search of 80 digits in the largest entry, not in u."""
    with mpmath.workdps(80):
        p = seq_len - 2
        exact = [mpmath.mpf(x.numerator) / x.denominator for x in map(Fraction, start)]
        powers = [x ** (1 - p) for x in exact]

        def entries(leader):
            shift = leader ** (1 - p) - min(powers)
            return [(x + shift) ** (mpmath.mpf(1) / (1 - p)) for x in powers]

        def excess(leader):
            return mpmath.fsum(a ** (seq_len - 1) for a in entries(leader)) - 1

        bracket = (mpmath.mpf(len(start)) ** -1 / 2, 1)
        return entries(mpmath.findroot(excess, bracket, solver="anderson", tol=1e-70))


@pytest.mark.parametrize("name", STARTS)
def test_the_limit_is_enclosed_by_neighbouring_doubles(name) -> None:
    start, seq_len = STARTS[name]
    found, exact = enclose_clean_limit(start, seq_len), reference(start, seq_len)
    with mpmath.workdps(80):
        # The search stops at 1e-70; that far the ends may be off.
        for low, high, a in zip(found.lower, found.upper, exact, strict=True):
            assert low - mpmath.mpf("1e-60") <= a <= high + mpmath.mpf("1e-60")
            assert high - low <= 4 * np.spacing(high)
            # Control: an enclosure that is off by its own width does not hold the limit.
            assert not low + 2 * (high - low) <= a
            assert not a <= high - 2 * (high - low)
        sums = [abs(mpmath.fsum(a**lag for a in exact) - 1) for lag in range(1, 20)]
        error = max(sums) / len(start)
        assert found.error_lower - mpmath.mpf("1e-60") <= error <= found.error_upper
        assert found.error_upper - found.error_lower <= 4 * np.spacing(found.error_upper) + 1e-30


def test_the_closed_form_in_doubles_agrees() -> None:
    start, seq_len = STARTS["spread"]
    found = enclose_clean_limit(start, seq_len)
    # The closed form is good to some roundings of 1.1e-16.
    limit = np.asarray(clean_limit(jnp.array(start), seq_len))
    np.testing.assert_allclose(limit, found.lower, rtol=1e-15)


@pytest.mark.parametrize(
    ("start", "seq_len", "message"),
    [
        ([], 7, "start is empty"),
        ([0.1, 0.0], 7, r"start\[1\]=0.0: must be positive"),
        ([float("nan")], 7, r"start\[0\]=nan: must be positive and finite"),
        (["0.1"], 7, r"start\[0\]='0.1': expected a real number"),
        ([0.1], 3, "seq_len=3: expected an integer >= 4"),
    ],
)
def test_bad_input_is_named(start, seq_len, message) -> None:
    with pytest.raises(ValueError, match=message):
        enclose_clean_limit(start, seq_len)
