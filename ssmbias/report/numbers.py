"""Numbers as text, the same in every table: how many digits, how intervals and formulas look."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple, TypeGuard

from markupsafe import Markup, escape

from ssmbias.report.render import latex_cell

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?")


class Spread(NamedTuple):
    """A number with the ends of its interval; `None` or nan where there is none."""

    value: float | None
    low: float | None
    high: float | None


def format_value(value: float | None) -> str:
    """A predicted or measured value: seven significant digits, a dash where there is none.

    Example:
      >>> format_value(0.001184236716), format_value(4.1876e10), format_value(None)
      ('0.001184237', '4.1876e+10', '-')
    """
    return f"{value:.7g}" if _is_known(value) else "-"


def format_size(value: float | None) -> str:
    """A difference or a tolerance, of which the order of magnitude matters.

    Example:
      >>> format_size(3.24e-12), format_size(0.0), format_size(None)
      ('3.2e-12', '0', '-')
    """
    if not _is_known(value):
        return "-"
    return "0" if value == 0 else f"{value:.1e}"


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


def format_any(value: Any) -> str:
    """Any value of a cell: floats as `format_number`, a dash for nothing, text as it is.

    Example:
      >>> [format_any(x) for x in (0.12, 7, None, True, "t7", Spread(0.25, None, None))]
      ['0.1200', '7', '-', 'yes', 't7', '0.2500']
    """
    if isinstance(value, Spread):
        return format_spread(value)
    if value is None:
        return "-"
    if getattr(value, "dtype", None) is not None:  # a number of NumPy as Python's
        value = value.item()
    if isinstance(value, bool):
        return "yes" if value else "no"
    return format_number(value) if isinstance(value, float) else str(value)


def number_in_html(text: str) -> Markup:
    """The text of a number for a page: 3.2e-12 as 3.2 × 10⁻¹², with a true minus.

    Example:
      >>> str(number_in_html("-3.2e-12")), str(number_in_html("-"))
      ('−3.2 × 10<sup>−12</sup>', '–')
    """
    if text == "-":
        return Markup("–")
    mantissa, _, exponent = text.partition("e")
    if not exponent.lstrip("+-").isdigit():
        return Markup(escape(text).replace("-", "−"))
    power = str(int(exponent)).replace("-", "−")
    return Markup("{} × 10<sup>{}</sup>").format(mantissa.replace("-", "−"), power)


def number_in_latex(text: str) -> str:
    r"""The text of a number as a formula; other text is text.

    Example:
      >>> number_in_latex("2.2e-05"), number_in_latex("-"), number_in_latex("never")
      ('$2.2 \\times 10^{-5}$', '--', 'never')
    """
    if not _NUMBER.fullmatch(text):
        return latex_cell(text)
    mantissa, _, exponent = text.partition("e")
    return f"${mantissa} \\times 10^{{{int(exponent)}}}$" if exponent else f"${mantissa}$"


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
