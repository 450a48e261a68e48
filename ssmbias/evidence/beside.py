"""Modules that stand beside a file of claims: it can import them, each as its text is now."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ssmbias.runs.sources import PACKAGE, tree_of_file

_LOADED: dict[Path, str] = {}
"""The digest that a module, with what it imports, had when it was loaded."""


class _Helper(NamedTuple):
    path: Path
    digest: str


@contextlib.contextmanager
def importable(file: Path) -> Iterator[None]:
    """Let a file import what stands beside it, as Python lets a script.

    A module whose text, or that of what it imports, has changed since it was loaded for a file of
    claims is loaded afresh, so that what is computed is what the digest of the source says.

    Raises:
      ValueError: a module that the file imports has the name of one that is loaded from elsewhere,
        which Python would take instead.
    """
    helpers = _helpers(file)
    for name, helper in helpers.items():
        _require_own(name, helper.path)
    changed = {
        name.partition(".")[0]
        for name, helper in helpers.items()
        if name in sys.modules and _LOADED.get(helper.path, helper.digest) != helper.digest
    }
    for name in [name for name in sys.modules if name.partition(".")[0] in changed]:
        _forget(name)
    importlib.invalidate_caches()
    sys.path.insert(0, str(file.parent))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(file.parent))
        for name, helper in helpers.items():
            if name in sys.modules:
                _LOADED[helper.path] = helper.digest


def _helpers(file: Path) -> dict[str, _Helper]:
    """What a file imports from its own folder, directly or not, by the modules' names."""
    tree, found = tree_of_file(file), {}
    try:
        for name in tree.closure(file.stem):
            path = tree.locate(name)
            if name == file.stem or name.partition(".")[0] == PACKAGE or path is None:
                continue
            if file.parent in path.resolve().parents:
                found[name] = _Helper(path.resolve(), tree.digest(name))
    except ValueError:  # no Python; running it says where
        return {}
    return found


def _require_own(name: str, path: Path) -> None:
    if name not in sys.modules:
        return
    loaded = getattr(sys.modules[name], "__file__", None)
    if loaded is None or Path(loaded).resolve() != path:
        raise ValueError(
            f"imports {name} from {path}, but for other claims, or by Python, {loaded or name} is "
            "loaded under this name; give the helpers different names"
        )


def _forget(name: str) -> None:
    """Have a module loaded afresh; compiled code is kept for seconds, which is too long here."""
    path = getattr(sys.modules.pop(name), "__file__", None)
    if path is not None:
        with contextlib.suppress(OSError, NotImplementedError, ValueError):
            Path(importlib.util.cache_from_source(path)).unlink()
