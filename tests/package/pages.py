"""The pages of the documentation, for tests that run what they show."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def files_of(page: str) -> dict[str, str]:
    """The files that a page shows: blocks with a title, by the last part of it."""
    pattern = r'^```python title="(?:[\w./]*/)?([\w.]+)"\n(.*?)^```$'
    text = (DOCS / page).read_text("utf-8")
    return dict(re.findall(pattern, text, re.DOTALL | re.MULTILINE))
