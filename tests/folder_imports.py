"""What the files of a folder import, for tests of checkers that have to stand alone."""

from __future__ import annotations

import ast
from pathlib import Path


def imported(folder: Path) -> set[str]:
    """Top-level names of everything imported from outside; fails if a file reaches further up."""
    seen = set()
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                seen |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level <= 1, f"{file.name} reaches outside its folder"
                seen |= set() if node.level else {str(node.module).split(".")[0]}
    return seen
