"""The files of the repository, for tests of its shape."""

from __future__ import annotations

from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
PACKAGE = "ssmbias"


def source_files(*tops: str) -> list[Path]:
    """Every Python file below these folders of the repository."""
    return sorted(path for top in tops for path in (REPO / top).rglob("*.py"))


def module_name(path: Path, root: Path = REPO) -> str:
    """The dotted name of a file; a package is named by its folder."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")
