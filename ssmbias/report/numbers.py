"""Numbers as a paper prints them: four significant digits, intervals, powers of ten in LaTeX."""

from __future__ import annotations

import math
from typing import NamedTuple, TypeGuard

from ssmbias.report.tables import _number_in_latex


class Spread(NamedTuple):
    """A number with the ends of its interval; `None` or nan where there is none."""

    value: float | None
    low: float | None
    high: float | None


def format_number(value: float | None) -> str:
    """A computed number: four significant digits, a dash where there is none.

    Example:
      >>> [format_number(x) for x in (0.12, 16.6212, -0.0, 2.2e-5, 123456.0, None)]
      ['0.1200', '16.62', '0', '2.200e-05', '1.235e+05', '-']
    """
    if not _is_known(value):
        return "-"
    if value == 0:
        return "0"
    power = _exponent(value)
    return f"{value:.{3 - power}f}" if _is_plain(power) else f"{value:.3e}"


def format_reported(value: float | None) -> str:
    """A number that someone reported: the same without zeros at its end, which they may not mean.

    Example:
      >>> [format_reported(x) for x in (0.12, 16.62, 5.4e-4, 120.0, None)]
      ['0.12', '16.62', '5.4e-04', '120', '-']
    """
    mantissa, e, exponent = format_number(value).partition("e")
    return (mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa) + e + exponent


def format_spread(spread: Spread) -> str:
    """A number and its interval, each as `format_number` prints it.

    Example:
      >>> format_spread(Spread(0.25, 0.2, 3e-5)), format_spread(Spread(0.25, None, None))
      ('0.2500 [0.2000, 3.000e-05]', '0.2500')
    """
    value, low, high = map(format_number, spread)
    return value if low == high == "-" else f"{value} [{low}, {high}]"


def number_in_latex(text: str) -> str:
    r"""The text of a number as a formula.

    Example:
      >>> number_in_latex("2.2e-05"), number_in_latex("-")
      ('$2.2 \\times 10^{-5}$', '--')
    """
    return _number_in_latex(text)


def spread_in_latex(spread: Spread) -> str:
    r"""A number and its interval with one power of ten and the same decimals, if digits allow it.

    Four digits of the largest of the three; where that would leave less than two of the smallest
    one, each has a power of its own.

    Example:
      >>> spread_in_latex(Spread(2.5e-6, 2e-6, 3e-6))
      '$2.500\\,[2.000, 3.000] \\times 10^{-6}$'
      >>> spread_in_latex(Spread(0.25, 2e-6, 0.3))
      '$0.2500$\\,[$2.000 \\times 10^{-6}$, $0.3000$]'
    """
    if not _is_known(spread.value):
        return "--"
    value, low, high = (number_in_latex(format_number(x)) for x in spread)
    if low == high == "--":
        return value
    sizes = [abs(x) for x in spread if _is_known(x) and x != 0]
    if len(sizes) == 0:
        return f"$0\\,[{low.strip('$')}, {high.strip('$')}]$"
    if "--" in (low, high) or max(sizes) > 100 * min(sizes):
        return f"{value}\\,[{low}, {high}]"
    power = _exponent(max(sizes))
    factor = 0 if _is_plain(power) else power
    value, low, high = (
        f"{x / 10.0**factor:.{3 - power + factor}f}" for x in spread if _is_known(x)
    )
    times = f" \\times 10^{{{factor}}}" if factor else ""
    return f"${value}\\,[{low}, {high}]{times}$"


def _is_known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _exponent(value: float) -> int:
    """The power of ten of a number that is rounded to four digits."""
    return int(f"{value:.3e}".partition("e")[2])


def _is_plain(power: int) -> bool:
    """Whether numbers of this size are read more easily without a power of ten."""
    return -3 <= power <= 3
