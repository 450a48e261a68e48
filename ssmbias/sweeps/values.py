r"""Values of an axis written as text: `logspace(-9, 3, 60)`, `range(64)`, `0 + 1e-3, 1`.

A small grammar, read by Python's own parser and never evaluated: numbers, lists of them, unions
by `+`, and calls of five generators with literal numbers. Generators round the same way on every
machine, so that two hosts that read the same text hold the same grid to the last bit.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable

MAX_VALUES = 1_000_000
"""How many values an axis may have; an oversight such as `range(10**9)` stops here."""

_MAX_TEXT = 100_000
_EXAMPLES = (
    "logspace(-9, 3, 60), geomspace(1e-9, 1e3, 60), linspace(0, 1, 5), range(64), arange(10, 74), "
    "'0 + logspace(-9, 3, 60)', or numbers separated by commas"
)

Number = int | float


def parse_values(text: str, name: str = "values") -> tuple[Number, ...]:
    """Read the values that a text describes, in their order.

    ``logspace(a, b, n)`` gives n powers of ten from 10^a to 10^b, ``geomspace(x, y, n)`` a
    geometric and ``linspace(x, y, n)`` an arithmetic sequence, all with both ends;
    ``range(stop)``, ``range(start, stop)`` and ``range(start, stop, step)`` integers without the
    end, under the name ``arange`` as well. ``+`` joins: ``0 + logspace(-9, 3, 60)``. So do commas.

    Args:
      text: what to read.
      name: the parameter's name, used in messages.

    Returns:
      The values; `int` where the text has integers, else `float`.

    Raises:
      ValueError: the text is not of this form, or describes more than `MAX_VALUES` values.

    Example:
      >>> parse_values("0 + logspace(-2, 1, 4)")
      (0, 0.01, 0.1, 1.0, 10.0)
      >>> parse_values("range(10, 13)")
      (10, 11, 12)
    """
    if len(text) > _MAX_TEXT:
        raise ValueError(
            f"{name}: a text of {len(text)} characters; pass so many values as an array"
        )
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        values = _values(tree)
    except (SyntaxError, RecursionError, MemoryError):
        raise ValueError(f"{name}={_short(text)}: cannot be read; write {_EXAMPLES}") from None
    except ValueError as err:
        raise ValueError(f"{name}={_short(text)}: {err}") from None
    return values


def _values(tree: ast.expr) -> tuple[Number, ...]:
    """The values of one expression; unions are followed to the left without recursion."""
    parts: list[tuple[Number, ...]] = []
    while isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Add):
        parts.append(_term(tree.right))
        tree = tree.left
    parts.append(_term(tree))
    if sum(map(len, parts)) > MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES} values; take fewer")
    return tuple(value for part in reversed(parts) for value in part)


def _term(tree: ast.expr) -> tuple[Number, ...]:
    if isinstance(tree, ast.List | ast.Tuple):
        return tuple(value for element in tree.elts for value in _values(element))
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Add):
        return _values(tree)  # in brackets
    if isinstance(tree, ast.Call):
        return _generated(tree)
    return (_number(tree),)


def _number(tree: ast.expr) -> Number:
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.UAdd | ast.USub):
        value = _number(tree.operand)
        return -value if isinstance(tree.op, ast.USub) else value
    if isinstance(tree, ast.Constant) and type(tree.value) in {int, float}:
        return tree.value  # pyright: ignore[reportReturnType]
    raise ValueError(f"{ast.unparse(tree)!r} is not a number; write {_EXAMPLES}")


def _generated(call: ast.Call) -> tuple[Number, ...]:
    function = call.func.id if isinstance(call.func, ast.Name) else ast.unparse(call.func)
    if function not in _GENERATORS:
        raise ValueError(f"unknown generator {function!r}; write {_EXAMPLES}")
    if call.keywords:
        raise ValueError(f"{function} takes numbers by position only, as in {_EXAMPLES}")
    return _GENERATORS[function](function, [_number(argument) for argument in call.args])


def _integers(function: str, args: list[Number]) -> tuple[int, ...]:
    if not 1 <= len(args) <= 3 or not all(isinstance(x, int) for x in args):
        raise ValueError(
            f"{function} takes one to three integers, as in {function}(64) or {function}(10, 74); "
            "for other numbers use linspace"
        )
    whole = range(*args)  # pyright: ignore[reportArgumentType, reportCallIssue]
    _require_few(len(whole))
    return tuple(whole)


def _spaced(function: str, args: list[Number]) -> tuple[float, ...]:
    if len(args) != 3 or not isinstance(args[2], int):
        raise ValueError(f"{function} takes start, stop and a whole number, as in {_EXAMPLES}")
    start, stop, count = float(args[0]), float(args[1]), int(args[2])
    if count < 1:
        raise ValueError(f"{function} is asked for {count} values; ask for one or more")
    _require_few(count)
    if count == 1 and start != stop:
        raise ValueError(f"{function} with one value cannot have both ends; write the number")
    return _SPACINGS[function](start, stop, count)


def _require_few(count: int) -> None:
    if count > MAX_VALUES:
        raise ValueError(f"{count} values, and an axis may have {MAX_VALUES}; take fewer")


def _linspace(start: float, stop: float, count: int) -> tuple[float, ...]:
    if count == 1:
        return (start,)
    span = stop - start
    inner = (start + span * k / (count - 1) for k in range(count - 1))
    return (*inner, stop)


def _logspace(start: float, stop: float, count: int) -> tuple[float, ...]:
    return tuple(_power_of_ten(x) for x in _linspace(start, stop, count))


def _power_of_ten(exponent: float) -> float:
    # Whole powers are read as text, which rounds correctly: 1e-3, and not its neighbour. The
    # others come from the C library; NumPy's vectorised power differs between processors.
    if exponent == math.floor(exponent) and abs(exponent) < 400:
        return float(f"1e{int(exponent)}")
    return math.pow(10.0, exponent)


def _geomspace(start: float, stop: float, count: int) -> tuple[float, ...]:
    if not (start > 0 and stop > 0):
        raise ValueError("geomspace needs a start and a stop greater than 0")
    if count == 1:
        return (start,)
    low, high = math.log(start), math.log(stop)
    inner = (math.exp(low + (high - low) * k / (count - 1)) for k in range(1, count - 1))
    return (start, *inner, stop)


_SPACINGS: dict[str, Callable[[float, float, int], tuple[float, ...]]] = {
    "linspace": _linspace,
    "logspace": _logspace,
    "geomspace": _geomspace,
}
_GENERATORS: dict[str, Callable[[str, list[Number]], tuple[Number, ...]]] = {
    "arange": _integers,
    "range": _integers,
    **dict.fromkeys(_SPACINGS, _spaced),
}


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
