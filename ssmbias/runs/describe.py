"""Configurations as plain values, to the last bit, so that a digest tells any two of them apart."""

from __future__ import annotations

import copyreg
import dataclasses
import enum
import functools
import hashlib
import inspect
import json
import math
import sys
import types
import weakref
from collections.abc import Mapping, Set
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from ssmbias.runs.installed import is_installed, version_of
from ssmbias.runs.sources import PACKAGE, digest_of


def described(value: Any) -> Any:
    """A configuration as values that JSON has; different ones are different there.

    Dataclasses, named tuples and other objects count by their type and their parts (or, where
    Python sees no parts, by what `pickle` would make them anew from), arrays by their digest,
    functions by their name, their source, their defaults and what they have captured.
    Of a user's function, class or module, the source is the text of its file and of what that
    imports; where there is no file, as in a notebook, it is the compiled code, with all that the
    functions use and the classes hold. What other packages define counts by its name and their
    version.

    Args:
      value: a dataclass, plain value, array, function, type, or an object made of them.

    Raises:
      ValueError: a part of it is an object without parts, which nothing tells from another one.

    Example:
      >>> described({"scale": 0.5, "seeds": (1, 2), "limit": float("inf")})
      {'scale': 0.5, 'seeds': [1, 2], 'limit': {'float': 'inf'}}
      >>> described(np.zeros(2)) == described(np.zeros(3))
      False
    """
    return _described(value, ())


def _described(value: Any, above: tuple[int, ...]) -> Any:  # noqa: PLR0911  (a table of types)
    if isinstance(value, enum.Enum):
        return {"enum": f"{_name(type(value))}.{value.name}"}
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": str(float(value))}
    if isinstance(value, complex):
        return {"complex": [repr(value.real), repr(value.imag)]}
    if isinstance(value, bytes):
        return {"bytes": hashlib.sha256(value).hexdigest()}
    if isinstance(value, PurePath | np.dtype | range):
        return {type(value).__name__: str(value)}
    if isinstance(value, type):
        return _type(value, above)
    if id(value) in above:
        return {"above": len(above) - above.index(id(value))}
    above = (*above, id(value))
    if isinstance(value, types.ModuleType):
        return _module(value)
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return _array(value, above)
    if callable(value):
        found = _callable(value, above)
        if found is not None:
            return found
    return _made_of_parts(value, above)


def _made_of_parts(value: Any, above: tuple[int, ...]) -> Any:
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            return {key: _described(item, above) for key, item in value.items()}
        items = ([_described(key, above), _described(item, above)] for key, item in value.items())
        return {"mapping": sorted(items, key=json.dumps)}
    if isinstance(value, Set):
        return {"set": sorted((_described(item, above) for item in value), key=json.dumps)}
    if isinstance(value, list | tuple):
        items = [_described(item, above) for item in value]
        return {"type": _name(type(value)), "items": items} if hasattr(value, "_fields") else items
    if dataclasses.is_dataclass(value):
        state = {f.name: getattr(value, f.name, None) for f in dataclasses.fields(value)}
    else:
        state = _state(value)
    fields = {name: _described(item, above) for name, item in state.items()}
    found = _type(type(value), above) | {"fields": fields}
    return found if state else found | {"made": _described(_reduced(value), above)}


def _state(value: Any) -> dict[str, Any]:
    """The attributes of an object."""
    slots = (name for kind in type(value).__mro__ for name in _slots(kind))
    state = {name: getattr(value, name) for name in slots if hasattr(value, name)}
    state |= getattr(value, "__dict__", {})
    defined = getattr(type(value), "__module__", "builtins") != "builtins"
    if not state and not defined:
        raise ValueError(_no_description(value))
    return state


def _reduced(value: Any) -> Any:
    """What an object without attributes is made anew from: types that are written in C have any."""
    if isinstance(value, weakref.ref):
        return [value()]
    reduce = copyreg.dispatch_table.get(type(value))
    try:
        made = reduce(value) if reduce else value.__reduce_ex__(2)
    except Exception as error:  # whatever another's type does
        raise ValueError(_no_description(value)) from error
    if isinstance(made, str):
        return made
    items = [None if part is None else list(part) for part in made[3:5]]  # these are iterators
    return [*made[:3], *items]


def _no_description(value: Any) -> str:
    return (
        f"configuration: holds {value!r}, which has no description; use numbers, text, lists, "
        "arrays, functions, dataclasses, or objects made of them"
    )


def _slots(kind: type) -> tuple[str, ...]:
    slots = kind.__dict__.get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))


def _array(value: Any, above: tuple[int, ...]) -> dict[str, Any]:
    dtype = str(value.dtype)
    if dtype.startswith("key<"):  # JAX's random keys
        import jax  # noqa: PLC0415

        value = jax.random.key_data(value)
    array = np.asarray(value)
    if array.dtype == object:
        return {"array": _described(array.tolist(), above), "shape": list(array.shape)}
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return {"array": digest, "dtype": dtype, "shape": list(array.shape)}


def _callable(value: Any, above: tuple[int, ...]) -> Any:
    """A function in one of its many forms; `None` if it is an object that can be called."""
    if isinstance(value, functools.partial):
        given = [value.args, value.keywords]
        return {"partial": _described(value.func, above), "given": _described(given, above)}
    if isinstance(value, types.MethodType):
        name, of = value.__func__.__qualname__, _described(value.__self__, above)
        return {"method": name, "of": of}
    if isinstance(value, types.FunctionType):
        return _function(value, above)
    if hasattr(value, "__wrapped__"):  # such as what jax.jit returns
        return {"wrapped": _described(value.__wrapped__, above), "by": _name(type(value))}
    if isinstance(value, types.BuiltinFunctionType | np.ufunc):
        return {"function": f"{getattr(value, '__module__', '')}.{value.__name__}"}
    return None


def _function(function: types.FunctionType, above: tuple[int, ...]) -> dict[str, Any]:
    found = {"function": _name(function)} | _source(function.__module__)
    if "version" in found and "<" not in function.__qualname__:
        return found
    captured = inspect.getclosurevars(function).nonlocals
    given = [function.__defaults__, function.__kwdefaults__, captured]
    found |= {"code": _code(function.__code__), "given": _described(given, above)}
    if "source" not in found and "version" not in found:
        known = function.__globals__
        used = sorted(name for name in _names(function.__code__) if name in known)
        found["uses"] = {name: _described(known[name], above) for name in used}
    return found


def _names(code: types.CodeType) -> set[str]:
    """Names that compiled code looks up, that of inner functions included."""
    inner = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return {*code.co_names}.union(*map(_names, inner))


def _module(module: types.ModuleType) -> dict[str, Any]:
    """A module that a function refers to; of a user's package anything in it may be used."""
    found = {"module": module.__name__} | _source(module.__name__)
    if "version" in found or module.__name__.partition(".")[0] == PACKAGE:
        return found
    folders = [Path(place).resolve() for place in getattr(module, "__path__", ())]
    files = [file for folder in folders for file in sorted(folder.rglob("*.py"))]
    return found | ({"source": digest_of(*files)} if files else {})


def _type(kind: type, above: tuple[int, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {"type": _name(kind)}
    if kind.__module__.partition(".")[0] == PACKAGE:
        return found  # whoever asks for a fingerprint names our modules
    found |= _source(kind.__module__)
    if "source" not in found and "version" not in found and kind.__module__ != "builtins":
        own = {n: f for n, f in vars(kind).items() if isinstance(f, types.FunctionType)}
        inner = (*above, id(kind))
        found["methods"] = {
            n: _code(f.__code__) if id(kind) in above else _described(f, inner)
            for n, f in sorted(own.items())
        }
        if id(kind) not in above:
            found["members"] = {
                n: _described(_member(item), inner)
                for n, item in sorted(vars(kind).items())
                if n not in own and not (n.startswith("__") and n.endswith("__"))
            }
    return found


def _member(item: Any) -> Any:
    """What a class holds beside its methods: a constant, or functions in a form of their own."""
    if isinstance(item, property):
        return [item.fget, item.fset, item.fdel]
    if isinstance(item, classmethod | staticmethod):
        return [type(item), item.__func__]
    if isinstance(item, functools.cached_property):
        return [type(item), item.func]
    if isinstance(item, types.MemberDescriptorType | types.GetSetDescriptorType):
        return None  # of __slots__; the values count with the object
    if type(item).__name__ == "_abc_data":
        return None  # which classes have been asked for
    return item


def _source(module: str) -> dict[str, Any]:
    """The version of what is installed, the source of what is a user's; empty without a file."""
    top = module.partition(".")[0]
    if top == PACKAGE:
        return {"source": digest_of(module)}
    file = getattr(sys.modules.get(module), "__file__", None)
    if top in sys.builtin_module_names and file is None:
        return {"version": "built in"}
    if file is None:
        return {}
    path = Path(file).resolve()
    if is_installed(path):
        noted = str(getattr(sys.modules.get(top), "__version__", ""))
        return {"version": version_of(path) or noted}
    return {"source": digest_of(path)} if path.is_file() and path.suffix == ".py" else {}


def _code(code: types.CodeType) -> str:
    """Digest of compiled code; where its lines stand does not count."""
    digest = hashlib.sha256(code.co_code)
    for constant in code.co_consts:
        inner = isinstance(constant, types.CodeType)
        digest.update((_code(constant) if inner else repr(constant)).encode())
    digest.update(repr((code.co_names, code.co_varnames, code.co_freevars)).encode())
    return digest.hexdigest()


def _name(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"
