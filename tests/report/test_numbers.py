"""Numbers keep their digits, in text and in LaTeX."""

from __future__ import annotations

import numpy as np
import pytest

from ssmbias.report.numbers import Spread, format_number, format_reported, spread_in_latex


def test_numbers_keep_four_digits() -> None:
    rng = np.random.default_rng(0)
    for value in rng.normal(size=200) * 10.0 ** rng.integers(-30, 30, 200):
        # Half a unit of the fourth digit of a mantissa of at least 1.
        assert float(format_number(value)) == pytest.approx(value, rel=0.5e-3)
    assert [format_number(x) for x in (9.99996, 9999.6, 0.00099999)] == [
        "10.00",
        "1.000e+04",
        "0.001000",
    ]
    assert format_reported(100.0) == "100"
    assert format_reported(np.nan) == "-"


@pytest.mark.parametrize(
    ("spread", "expected"),
    [
        ((0.0, 0.0, 0.0), "$0\\,[0, 0]$"),
        ((0.0, 0.0, 0.2059), "$0.0000\\,[0.0000, 0.2059]$"),
        ((-1.5, -2.25, None), "$-1.500$\\,[$-2.250$, --]"),
        ((0.5, np.nan, np.nan), "$0.5000$"),
        ((None, 0.1, 0.2), "--"),
        ((2e4, 1e4, 1.5e5), "$0.200\\,[0.100, 1.500] \\times 10^{5}$"),
    ],
)
def test_intervals_in_latex(spread: tuple[float | None, ...], expected: str) -> None:
    assert spread_in_latex(Spread(*spread)) == expected
