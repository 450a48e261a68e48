"""What is installed, and in which version: that says all of its source."""

from __future__ import annotations

import functools
import importlib.metadata
import sys
import sysconfig
from pathlib import Path

_STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"]).resolve()
_PACKAGES = ("site-packages", "dist-packages")


def is_installed(file: Path) -> bool:
    """Whether a file belongs to Python or to an installed package, whose version says all of it."""
    return bool({*_PACKAGES} & {*file.parts}) or _STANDARD_LIBRARY in file.parents


def version_of(file: Path) -> str:
    """The version of the installed package that a file belongs to; "" if there is none.

    Example:
      >>> import importlib.metadata
      >>> import numpy
      >>> version_of(Path(numpy.__file__)) == importlib.metadata.version("numpy")
      True
      >>> version_of(Path("my_claims.py"))
      ''
    """
    places = [place for place, part in enumerate(file.parts[:-1]) if part in _PACKAGES]
    if not places:
        return ""
    top = file.parts[places[-1] + 1].partition(".")[0]
    try:
        return importlib.metadata.version(top)
    except importlib.metadata.PackageNotFoundError:
        names = sorted({*_distributions(tuple(sys.path)).get(top, ())})
        return " ".join(map(importlib.metadata.version, names))


@functools.lru_cache(maxsize=4)
def _distributions(path: tuple[str, ...]) -> dict[str, list[str]]:
    """The distributions that have a module or package of the top level, looked for along a path."""
    del path  # Python looks along `sys.path`; finding them takes a second
    return {top: list(names) for top, names in importlib.metadata.packages_distributions().items()}
