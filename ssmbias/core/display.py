"""Results as short lists of names and values, for a notebook and for a terminal.

A result says itself what its fields are; here they only become text. Arrays are shown by their
entries if they are few, and otherwise by shape and range.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
from collections.abc import Callable, Iterable, Iterator
from html import escape
from typing import Any, TypeVar

import numpy as np

_Class = TypeVar("_Class", bound=type)

_MOST_ENTRIES = 6
_MOST_CHARACTERS = 500


def displayed(**codes: type[enum.IntEnum]) -> Callable[[_Class], _Class]:
    """Class decorator: named tuples and dataclasses that are shown as a list of their fields.

    `repr` and `str` give text, a notebook shows a table. Fields stay what they are, and so does
    the class as a pytree.

    Args:
      codes: fields that hold codes, and the enumerations that explain them.

    Example:
      >>> import typing
      >>> class Ended(enum.IntEnum):
      ...     WELL = 0
      >>> @displayed(outcome=Ended)
      ... class Result(typing.NamedTuple):
      ...     loss: float
      ...     outcome: int
      >>> Result(0.25, 0)
      Result
        loss     0.25
        outcome  well
    """

    def decorate(cls: _Class) -> _Class:
        def text(self: Any) -> str:
            pairs = list(_pairs(self, codes))
            width = max((len(name) for name, _ in pairs), default=0)
            return "\n".join([cls.__name__, *(f"  {name:<{width}}  {v}" for name, v in pairs)])

        def html(self: Any) -> str:
            rows = "".join(
                f'<tr><th style="text-align:left">{escape(name)}</th>'
                f'<td style="text-align:left">{escape(value)}</td></tr>'
                for name, value in _pairs(self, codes)
            )
            return f"<table><caption>{escape(cls.__name__)}</caption>{rows}</table>"

        for name, method in (("__repr__", text), ("__str__", text), ("_repr_html_", html)):
            setattr(cls, name, method)
        return cls

    return decorate


def describe(value: Any, code: type[enum.IntEnum] | None = None) -> str:
    r"""A value in a few words on one line.

    Args:
      value: anything.
      code: explains integers.

    Example:
      >>> describe(np.array([0.5, 0.25])), describe(np.linspace(0.0, 1.0, 9))
      ('[0.5, 0.25]', 'float64[9], 0 to 1')
      >>> describe(1e-12), describe(True), describe("two\nlines")
      ('1e-12', 'yes', 'two lines')
    """
    if value is None or (isinstance(value, str) and not value):
        text = "–"
    elif isinstance(value, enum.Enum):
        text = str(value.value)
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    elif hasattr(value, "shape") and hasattr(value, "dtype"):
        text = _array(value, code)
    elif code is not None:
        text = _word(value, code)
    elif isinstance(value, float):
        text = f"{value:.7g}"
    elif isinstance(value, tuple | list) and value and all(map(_is_number, value)):
        text = describe(np.asarray(value))
    elif isinstance(value, dict | tuple | list):
        text = f"{type(value).__name__} of {len(value)}"
    else:
        text = "".join(c for c in " ".join(str(value).split()) if c.isprintable())
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"


def _pairs(result: Any, codes: dict[str, type[enum.IntEnum]]) -> Iterator[tuple[str, str]]:
    """Names and values of the fields; those of parts with fields of their own follow as a.b."""
    for name, value in _fields(result):
        inner = list(_fields(value))
        if not inner:
            yield name, describe(value, codes.get(name))
        for part, entry in inner:
            yield f"{name}.{part}", describe(entry, codes.get(part))


def _fields(value: Any) -> Iterator[tuple[str, Any]]:
    names = getattr(value, "_fields", None)
    if isinstance(value, tuple) and names is not None:
        yield from zip(names, value, strict=True)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value) if f.repr)


def _array(value: Any, code: type[enum.IntEnum] | None) -> str:
    shape = ", ".join(map(str, value.shape))
    try:
        array = np.asarray(value)
    except Exception:  # traced, or a kind that NumPy does not know
        return f"{value.dtype}[{shape}]"
    if code is not None:
        found = collections.Counter(_word(entry, code) for entry in array.ravel().tolist())
        alone = array.ndim == 0
        return ", ".join(word if alone else f"{number} {word}" for word, number in found.items())
    if array.ndim == 0:
        return describe(array.item())
    if array.ndim == 1 and array.size <= _MOST_ENTRIES:
        return f"[{', '.join(describe(entry) for entry in array.tolist())}]"
    return f"{array.dtype}[{shape}]{_range(array)}"


def _range(array: np.ndarray) -> str:
    """Smallest and largest entry, and how many are no numbers."""
    finite = array[np.isfinite(array)] if array.dtype.kind in "fiu" else array[:0]
    if not finite.size:
        return ", nothing finite" if array.size and array.dtype.kind == "f" else ""
    missing = array.size - finite.size
    span = f", {describe(finite.min().item())} to {describe(finite.max().item())}"
    return f"{span}, {missing} not finite" if missing else span


def _word(value: Any, code: type[enum.IntEnum]) -> str:
    try:
        return code(int(value)).name.lower().replace("_", " ")
    except ValueError:
        return str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def listed(names: Iterable[str]) -> str:
    """Names as in a sentence.

    Example:
      >>> listed(["base", "dup", "rpos"])
      'base, dup and rpos'
    """
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else str(last)
