"""The shape of the tree: no circles of imports, and nothing too large.

What stands in an exception list is named with its reason, and must still be an exception.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from package.tree import PACKAGE, REPO, module_name, source_files

LONGEST_FILE = 300
LONG_FILES: dict[str, str] = {}
"""Longer files, and why: none so far for a lasting reason."""

MOST_MODULES = 13
FULL_FOLDERS: dict[str, str] = {
    "ssmbias/claims": "one file a claim",
}
"""Folders with more modules, and why."""


# -- circles -------------------------------------------------------------------------------


def imports_of(source: str, module: str, modules: Iterable[str], *, is_face: bool) -> set[str]:
    """The modules of `modules` that a module imports.

    Imports inside functions count, but for those of a face (`__init__.py`), which loads what it
    hands on when it is asked for. Imports for type checkers alone do not run and do not count.
    """
    known, found = set(modules), set()
    here = module.split(".") if is_face else module.split(".")[:-1]

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                for other in child.orelse:
                    visit(other)
                continue
            if is_face and isinstance(child, ast.FunctionDef):
                continue
            if isinstance(child, ast.Import):
                found.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    above = here[: len(here) - (child.level - 1)]
                    base = ".".join([*above, base] if base else above)
                # `from package import module` is an import of the module.
                found.update(
                    full if (full := f"{base}.{alias.name}") in known else base
                    for alias in child.names
                )
            visit(child)

    visit(ast.parse(source))
    return (found & known) - {module}


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, directly or not (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def connect(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                connect(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            start = stack.index(node)
            group = stack[start:]
            del stack[start:]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            connect(node)
    return sorted(found)


def test_modules_do_not_import_each_other_in_circles() -> None:
    paths = {module_name(path): path for path in source_files(PACKAGE)}
    graph = {
        name: imports_of(path.read_text("utf-8"), name, paths, is_face=path.name == "__init__.py")
        for name, path in paths.items()
    }
    assert sum(map(len, graph.values())) > 500
    assert circles(graph) == []


def test_a_circle_is_caught() -> None:
    sources = {
        "p": "def __getattr__(name):\n    from p import a",
        "p.a": "def f():\n    from p.b import g",
        "p.b": "from . import c",
        "p.c": "import p.a",
        "p.d": "import p.a\nif TYPE_CHECKING:\n    import p.e",
        "p.e": "from .d import x",
    }
    graph = {m: imports_of(s, m, sources, is_face=m == "p") for m, s in sources.items()}
    assert graph == {
        "p": set(), "p.a": {"p.b"}, "p.b": {"p.c"}, "p.c": {"p.a"}, "p.d": {"p.a"}, "p.e": {"p.d"},
    }  # fmt: skip
    assert circles(graph) == [["p.a", "p.b", "p.c"]]
    assert circles(graph | {"p.c": set()}) == []
    assert circles({"a": {"b"}, "b": {"a", "c"}, "c": {"d"}, "d": {"c"}}) == [
        ["a", "b"],
        ["c", "d"],
    ]


# -- sizes ---------------------------------------------------------------------------------


def long_files(lengths: Mapping[str, int], longest: int = LONGEST_FILE) -> set[str]:
    """Files with more lines than they should have."""
    return {name for name, lines in lengths.items() if lines > longest}


def full_folders(files: Iterable[str], most: int = MOST_MODULES) -> set[str]:
    """Folders with more modules than they should have, faces not counted."""
    homes = Counter(str(Path(f).parent) for f in files if Path(f).name != "__init__.py")
    return {folder for folder, count in homes.items() if count > most}


def repository_files() -> dict[str, int]:
    """Every Python file of the repository with its number of lines."""
    return {
        str(path.relative_to(REPO)): len(path.read_text("utf-8").splitlines())
        for path in source_files(PACKAGE, "benchmarks", "scripts", "conf", "tests")
    }


def test_files_have_at_most_300_lines() -> None:
    found, excused = long_files(repository_files()), LONG_FILES.keys()
    assert found - excused == set()
    assert excused <= found, "an exception that is none any more"


def test_folders_have_at_most_13_modules() -> None:
    found, excused = full_folders(repository_files()), FULL_FOLDERS.keys()
    assert found - excused == set()
    assert excused <= found, "an exception that is none any more"


def test_what_is_too_large_is_caught() -> None:
    assert long_files({"a.py": 301, "b.py": 300}) == {"a.py"}
    files = [f"p/q/m{i}.py" for i in range(14)] + [f"p/m{i}.py" for i in range(13)]
    assert full_folders([*files, "p/__init__.py", "p/q/__init__.py"]) == {"p/q"}
