"""Claims as tests: assertions, a pytest plugin, and the smallest counterexample.

Loads neither JAX nor pytest nor Hypothesis: each name below is looked up when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssmbias.testing.assertions import assert_holds
    from ssmbias.testing.shrink import Counterexample, smallest_counterexample

__all__ = ["Counterexample", "assert_holds", "smallest_counterexample"]

_HOMES = {
    "Counterexample": "shrink",
    "assert_holds": "assertions",
    "smallest_counterexample": "shrink",
}


def __getattr__(name: str) -> object:
    """Look up a public name."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ssmbias.testing' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ssmbias.testing.{_HOMES[name]}"), name)
