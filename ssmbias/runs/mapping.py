"""From a plain mapping, such as a configuration file gives, to checked values; strict about both.

Programs turn a configuration tree into a mapping of plain values, and each job's `from_mapping`
turns that into a frozen dataclass or into one line that says what is wrong.
"""

from __future__ import annotations

import dataclasses
import difflib
import numbers
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

T = TypeVar("T")
Reader = Callable[[str, Any], Any]
"""Turns a value into the one that a field takes, given the key; raises `ValueError`."""


def keys_of(
    mapping: Mapping[str, Any],
    defaults: Mapping[str, Any],
    *,
    aliases: Mapping[str, str] | None = None,
    shown: Iterable[str] | None = None,
    what: str = "key",
) -> dict[str, Any]:
    """The values of a mapping under the keys that are known, all of which must be there.

    Args:
      mapping: what was given.
      defaults: the keys, with the values that a message about a missing one names.
      aliases: other names of keys; where `setting` stands for `settings`, either may be given.
      shown: the keys that a message about an unknown one lists, if not those of `defaults`.
      what: what a key is called in messages.

    Returns:
      A value for each key of `defaults`, in that order.

    Raises:
      ValueError: a key is unknown, missing, or given twice under two names.

    Example:
      >>> keys_of(
      ...     {"setting": "t7", "seeds": 3},
      ...     {"settings": "t9", "seeds": 1},
      ...     aliases={"setting": "settings"},
      ... )
      {'settings': 't7', 'seeds': 3}
      >>> keys_of({"sed": 3}, {"seeds": 1})
      Traceback (most recent call last):
      ValueError: sed=3: unknown key; did you mean seeds? known are seeds
    """
    names = aliases or {}
    found: dict[str, Any] = {}
    for key, value in mapping.items():
        name = names.get(key, key)
        if name not in defaults:
            known = tuple(defaults if shown is None else shown)
            raise unknown(key, value, known, what, near=(*known, *names))
        if name in found:
            raise ValueError(f"{key}={value!r}: is another name of {name}; give one of them")
        found[name] = value
    for key, default in defaults.items():
        if key not in found:
            raise ValueError(f"{key}: missing; the default is {key}={default!r}")
    return {key: found[key] for key in defaults}


def from_mapping(
    kind: type[T],
    mapping: Mapping[str, Any],
    *,
    readers: Mapping[str, Reader] | None = None,
    aliases: Mapping[str, str] | None = None,
    what: str = "key",
) -> T:
    """Build a dataclass from plain values by the types of its fields.

    A field that is a tuple takes a list or one value, a float takes an integer, a dataclass takes
    a mapping. Fields that are left out keep their defaults. Types that are not plain are left to
    the dataclass itself.

    Args:
      kind: a dataclass.
      mapping: names of its fields with values.
      readers: for fields that take more than their type says, such as texts that describe numbers.
      aliases: other names of fields.
      what: what a field is called in messages.

    Returns:
      The dataclass, which has made its own checks.

    Raises:
      ValueError: a field is unknown or missing, or a value has the wrong type or is impossible.

    Example:
      >>> @dataclasses.dataclass(frozen=True)
      ... class Job:
      ...     seeds: tuple[int, ...]
      ...     scale: float = 0.5
      >>> from_mapping(Job, {"seeds": 3})
      Job(seeds=(3,), scale=0.5)
      >>> from_mapping(Job, {"seeds": "many"})
      Traceback (most recent call last):
      ValueError: seeds='many': expected integers, such as [1, 2]
    """
    fields = {f.name: f for f in dataclasses.fields(kind) if f.init}  # pyright: ignore[reportArgumentType]
    defaults = {name: default_of(f) for name, f in fields.items()}
    names = {(aliases or {}).get(key, key) for key in mapping}
    for name, default in defaults.items():
        if default is dataclasses.MISSING and name not in names:
            raise ValueError(f"{name}: missing; give a value, there is no default")
    # A default that was not given is left to the dataclass.
    given = keys_of(
        {k: v for k, v in defaults.items() if k not in names} | dict(mapping),
        defaults, aliases=aliases, what=what,
    )  # fmt: skip
    hints = typing.get_type_hints(kind)
    values = {}
    for name in fields:
        if name in names:
            reader = (readers or {}).get(name)
            value = given[name]
            values[name] = reader(name, value) if reader else as_type(name, value, hints[name])
    return kind(**values)


def default_of(field: dataclasses.Field[Any]) -> Any:
    """The default of a field, made if it is made by a function; `MISSING` if there is none."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def as_list(value: Any) -> list[Any]:
    """A list of one value or of several: text is one.

    Example:
      >>> as_list("t7"), as_list(("t7", "t9"))
      (['t7'], ['t7', 't9'])
    """
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return list(value)
    return [value]


def as_type(name: str, value: Any, hint: Any) -> Any:
    """A plain value as a type wants it, or `ValueError`.

    Knows numbers, text, bools, `Literal`, dataclasses, tuples of these, and unions with `None`
    and each other; other types take what they are given.

    Example:
      >>> as_type("scale", 1, float), as_type("names", "a", tuple[str, ...])
      (1.0, ('a',))
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        return _one_of(name, value, arguments)
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"{name}={value!r}: choose one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return _items(name, value, arguments[0])
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _dataclass(name, value, hint)
    if hint in _EXPECTED and not _fits(value, hint):
        raise ValueError(f"{name}={value!r}: expected {_EXPECTED[hint][0]}")
    convert = _CONVERTED.get(hint)
    return convert(value) if convert else value


def unknown(
    key: Any,
    value: Any,
    known: Iterable[str],
    what: str = "key",
    *,
    near: Iterable[str] = (),
) -> ValueError:
    """The error about a name that nobody knows, with the one that may have been meant."""
    known = tuple(known)
    close = close_name(str(key), (*known, *near))
    hint = f"did you mean {close}? " if close else ""
    return ValueError(f"{key}={value!r}: unknown {what}; {hint}known are {', '.join(known)}")


def close_name(
    name: str, known: Iterable[str], symbols: Mapping[str, str] | None = None
) -> str | None:
    """The name that was meant, if one of the known ones is close or stands for the same symbol.

    Example:
      >>> close_name("rho", ["strength"]), close_name("seeds", ["seed"]), close_name("x", ["seed"])
      ('strength', 'seed', None)
    """
    known = tuple(known)
    meant = (SYMBOLS if symbols is None else symbols).get(name.lower())
    if meant in known:
        return meant
    return next(iter(difflib.get_close_matches(name, known, n=1)), None)


SYMBOLS: Mapping[str, str] = {
    **dict.fromkeys(("rho", "ρ"), "strength"),
    **dict.fromkeys(("kappa", "κ"), "seq_len"),
}
"""What the paper's symbols are called in configurations."""

_EXPECTED: Mapping[Any, tuple[str, str]] = {
    bool: ("true or false", "true or false, such as [true, false]"),
    int: ("an integer", "integers, such as [1, 2]"),
    float: ("a number", "numbers, such as [0.5, 1]"),
    str: ("text", "names, such as [one, two]"),
    Path: ("a path", "paths"),
}
"""What a type expects, and what a list of it expects."""


_CONVERTED: Mapping[Any, Callable[[Any], Any]] = {int: int, float: float, Path: Path}


def _fits(value: Any, hint: Any) -> bool:
    is_bool = isinstance(value, bool)
    if hint is int:
        return isinstance(value, numbers.Integral) and not is_bool
    if hint is float:
        return isinstance(value, numbers.Real) and not is_bool
    return isinstance(value, str | Path) if hint is Path else isinstance(value, hint)


def _one_of(name: str, value: Any, hints: Sequence[Any]) -> Any:
    """A value as the first type of a union that takes it."""
    if value is None and type(None) in hints:
        return None
    others = [hint for hint in hints if hint is not type(None)]
    exact = [hint for hint in others if hint in _EXPECTED and type(value) is hint]
    for hint in (*exact, *others):
        try:
            return as_type(name, value, hint)
        except ValueError:
            if len(others) == 1:
                raise
    words = " or ".join(_EXPECTED[hint][0] for hint in others if hint in _EXPECTED)
    raise ValueError(f"{name}={value!r}: expected {words or 'another type of value'}")


def _items(name: str, value: Any, hint: Any) -> tuple[Any, ...]:
    try:
        return tuple(as_type(name, item, hint) for item in as_list(value))
    except ValueError:
        if hint not in _EXPECTED:
            raise
        raise ValueError(f"{name}={value!r}: expected {_EXPECTED[hint][1]}") from None


def _dataclass(name: str, value: Any, kind: type) -> Any:
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        known = ", ".join(f.name for f in dataclasses.fields(kind))
        raise ValueError(f"{name}={value!r}: expected a mapping with the keys {known}")
    try:
        return from_mapping(kind, value)
    except ValueError as err:
        raise ValueError(f"{name}.{err}") from err
