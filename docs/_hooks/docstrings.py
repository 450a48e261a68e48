"""Griffe extension: the docstrings of this package, spelt the way the renderer expects.

In the sources an example is a section `Example:`, and a displayed formula stands in its
paragraph between double dollars. The renderer knows `Examples:`, and formulas set off by empty
lines. Both are translated here rather than imposed on the sources.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^(\s*)Example:[ \t]*$", re.MULTILINE)
_DISPLAYED = re.compile(r"^([ \t]*)\$\$(.+?)\$\$[ \t]*\n?", re.MULTILINE | re.DOTALL)


class Docstrings(griffe.Extension):
    """Rewrites every docstring once, when it has been read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Translate the docstring of `obj`, if it has one."""
        if obj.docstring is not None:
            obj.docstring.value = translate(obj.docstring.value)


def translate(docstring: str) -> str:
    """Return the docstring with `Examples:` sections and formulas set off by empty lines."""
    docstring = _EXAMPLE.sub(r"\1Examples:", docstring)
    return _DISPLAYED.sub(r"\n\1$$\2$$\n\n", docstring)
