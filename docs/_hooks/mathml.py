"""MkDocs hook: every formula becomes MathML while the site is built.

`pymdownx.arithmatex` (generic mode) marks formulas in pages and in docstrings. They are
converted here, by the same code as in the report, so the finished site needs neither a script
nor a connection to show them. A formula that cannot be converted stops the build.
"""

from __future__ import annotations

import html
import re
from typing import Any

from mkdocs.exceptions import PluginError

from ssmbias.report.mathml import to_mathml

# Punctuation after an inline formula is taken along, lest a line break come between.
MATH = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\(?P<open>[(\[])(?P<tex>.*?)\\[)\]]</(?P=tag)>'
    r"(?P<tail>[.,;:?!)]*)",
    re.DOTALL,
)


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """Replace what arithmatex marked (MkDocs calls this once per rendered page)."""

    def replace(match: re.Match[str]) -> str:
        tag, tail = match["tag"], match["tail"]
        tex = html.unescape(match["tex"])
        try:
            math = to_mathml(tex, block=match["open"] == "[")
        except ValueError as err:
            raise PluginError(f"{page.file.src_path}: formula {tex.strip()!r}: {err}") from err
        return f'<{tag} class="math">{math}{tail}</{tag}>'

    converted = MATH.sub(replace, content)
    if "arithmatex" in converted:
        raise PluginError(f"{page.file.src_path}: a formula was marked in a form unknown here")
    return converted
