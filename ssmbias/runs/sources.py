"""The source that a stored number depends on: the modules that it uses, found by their imports.

The rule. A unit of work names the modules that compute it. Their text counts, and the text of
every module that they import, directly or not, as far as it belongs to this package or is a
user's own. Importing a module runs the ``__init__`` of the packages
that it lies in, so their text counts as well; but what they merely hand on to others does not,
unless it is asked for: who writes ``from ssmbias.dynamics import gradient_flow`` depends on the
module of `gradient_flow` and not on that of `descend`, and who writes ``ssmbias.verify`` depends
on it although ``ssmbias/__init__`` looks it up when it is used. This is sound because an import
has no side effects here (tests/package/test_no_side_effects.py).

What other packages contribute is in their versions, which `fingerprint` knows.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ssmbias.runs.imports import Imports, imports_of
from ssmbias.runs.installed import is_installed, version_of

PACKAGE = __name__.partition(".")[0]

# Parsing takes longer than reading, and trees of one process have most files in common.
_imports_of = functools.lru_cache(maxsize=2048)(imports_of)


@dataclass(frozen=True)
class _Read:
    digest: str
    imports: Imports


@dataclass
class Tree:
    r"""Modules that lie below some folders, and what they import of each other.

    A file is read once: what Python has imported does not change either while it runs.

    Attributes:
      roots: names of packages or modules of the top level, with their folder or file.
      inner: a tree whose modules can be imported as well, and never import from this one.
      elsewhere: finds the folder or file of another name of the top level, or `None`.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     pack = Path(folder)
      ...     _ = (pack / "__init__.py").write_text("from pack.a import f, g")
      ...     _ = (pack / "a.py").write_text("import pack.b")
      ...     _ = (pack / "b.py").write_text("x = 1")
      ...     _ = (pack / "c.py").write_text("def f():\n    from pack import g")
      ...     Tree({"pack": pack}).closure("pack.c")
      ('pack', 'pack.a', 'pack.b', 'pack.c')
    """

    roots: Mapping[str, Path]
    inner: Tree | None = None
    elsewhere: Callable[[str], Path | None] = lambda top: None
    _found: dict[str, _Read] = field(default_factory=dict)
    _others: dict[str, Path | None] = field(default_factory=dict)
    _edges: dict[str, frozenset[str]] = field(default_factory=dict)
    _digests: dict[tuple[str, ...], str] = field(default_factory=dict)

    def locate(self, module: str) -> Path | None:
        """The file of a module, the ``__init__`` of a package, or `None`."""
        top, *rest = module.split(".")
        if self.inner and self.inner.locate(top):
            return self.inner.locate(module)
        root = self._root(top)
        if root is None:
            return None
        if root.suffix == ".py":
            return None if rest else root
        place = root.joinpath(*rest)
        for path in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if path.is_file() and (rest or path.name == "__init__.py"):
                return path
        return None

    def _root(self, top: str) -> Path | None:
        """Folder or file of a name of the top level."""
        if top not in self._others:
            self._others[top] = self.roots.get(top) or self.elsewhere(top)
        return self._others[top]

    def read(self, module: str) -> _Read:
        """A module's digest and imports."""
        if self.inner and self.inner.locate(module):
            return self.inner.read(module)
        if module not in self._found:
            path = self.locate(module)
            if path is None:
                raise ValueError(f"source={module!r}: there is no such module")
            text = path.read_bytes()
            is_package = path.name == "__init__.py"
            imports = _imports_of(text.decode("utf-8"), module, is_package=is_package)
            self._found[module] = _Read(hashlib.sha256(text).hexdigest(), imports)
        return self._found[module]

    def closure(self, *modules: str) -> tuple[str, ...]:
        """The modules that some modules depend on, themselves included, in order of names.

        Raises:
          ValueError: a module does not exist.
        """
        for module in modules:
            self.read(module)
        waiting = [name for module in modules for name in self._reach(module)]
        seen: set[str] = set()
        while waiting:
            module = waiting.pop()
            if module not in seen:
                seen.add(module)
                waiting.extend(self._imported(module) - seen)
        return tuple(sorted(seen))

    def digest(self, *modules: str) -> str:
        """SHA-256 over the names and texts of `closure`."""
        if modules not in self._digests:
            digest = hashlib.sha256()
            for module in self.closure(*modules):
                digest.update(f"{module}\0{self.read(module).digest}\n".encode())
            self._digests[modules] = digest.hexdigest()
        return self._digests[modules]

    def uses(self, package: str, *modules: str) -> bool:
        """Whether some modules depend on another package, such as JAX."""
        return any(
            name.partition(".")[0] == package
            for module in self.closure(*modules)
            for name in self.read(module).imports.reached
        )

    def _imported(self, module: str) -> frozenset[str]:
        if self.inner and self.inner.locate(module):
            return self.inner._imported(module)
        if module not in self._edges:
            imports = self.read(module).imports
            found = {name for dotted in imports.reached for name in self._reach(dotted)}
            for dotted in imports.whole:
                found.update(self._whole(dotted))
            for folder in imports.folders:
                found.update(self._below(folder))
            self._edges[module] = frozenset(found)
        return self._edges[module]

    def _reach(self, dotted: str) -> Iterator[str]:
        """The modules that lie on the way to a dotted name."""
        top, *rest = dotted.split(".")
        if self.locate(top) is not None:
            yield top
            yield from self._walk(top, rest)

    def _walk(self, module: str, parts: list[str]) -> Iterator[str]:
        """The same from a module on."""
        if not parts:
            return
        part, *rest = parts
        imports = self.read(module).imports
        deeper = f"{module}.{part}"
        is_module = self.locate(deeper) is not None
        target = imports.face.get(part, "")
        if part == "*":
            yield from self._whole(module)
        elif f"{target}.".startswith(f"{deeper}."):
            # Handed on by the module of the same name: `from pack.check import check`.
            if is_module and target != deeper:
                yield from self._walk(deeper, [*target[len(deeper) + 1 :].split("."), *rest])
        elif target:
            yield from self._reach(".".join([target, *rest]))
        elif imports.lazy and not is_module and not part.startswith("__"):
            yield from self._below(module)
        if is_module:
            yield deeper
            yield from self._walk(deeper, rest)

    def _whole(self, dotted: str) -> Iterator[str]:
        """What a package hands on, if the name is that of a package."""
        if self.locate(dotted) is None:
            return
        imports = self.read(dotted).imports
        for target in imports.face.values():
            yield from self._reach(target)

    def _below(self, package: str) -> Iterator[str]:
        """A package and every module in it, for names that only the run knows."""
        path = self.locate(package)
        if path is None:
            return
        yield package
        if path.name == "__init__.py":
            for file in sorted(path.parent.rglob("*.py")):
                parts = file.relative_to(path.parent).with_suffix("").parts
                yield ".".join([package, *(part for part in parts if part != "__init__")])


@functools.cache
def package_tree() -> Tree:
    """The tree of this package as it is installed."""
    return Tree({PACKAGE: Path(__file__).resolve().parents[1]})


def digest_of(*sources: str | Path) -> str:
    """Digest of the source of some modules and of all that they use.

    Args:
      *sources: dotted names of modules, or paths of files, which count by name and text. A user's
        modules and files count with those that they import from beside them or from where Python
        finds them, except installed packages, whose version counts where a path lies in one; they
        are read anew in every call.

    Returns:
      A SHA-256 in hexadecimal digits.

    Raises:
      ValueError: there is no such module or file, or it is no Python.

    Example:
      >>> digest_of("ssmbias.theory.clean") == digest_of("ssmbias.theory.clean")
      True
      >>> digest_of("ssmbias.theory.clean") == digest_of("ssmbias.theory.poison")
      False
    """
    digests = [tree.digest(*modules) for tree, modules in _trees(sources)]
    # An installed package's own modules count by its version.
    files = sorted(source.resolve() for source in sources if isinstance(source, Path))
    digests += [version for file in files if (version := version_of(file))]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def uses(package: str, *sources: str | Path) -> bool:
    """Whether some modules or files (`digest_of`) import a package, directly or not.

    Example:
      >>> uses("jax", "ssmbias.dynamics.flow.solve"), uses("jax", "ssmbias.certify.check")
      (True, False)
    """
    return any(tree.uses(package, *modules) for tree, modules in _trees(sources))


def _trees(sources: Iterable[str | Path]) -> Iterator[tuple[Tree, list[str]]]:
    """Modules of this package together; each of a user's with a tree of its own."""
    ours, theirs = [], []
    for source in sources:
        is_ours = isinstance(source, str) and source.partition(".")[0] in package_tree().roots
        (ours if is_ours else theirs).append(source)
    yield package_tree(), ours
    for source in theirs:
        if isinstance(source, Path):
            yield tree_of_file(source), [source.stem]
        else:
            top = source.partition(".")[0]
            yield Tree({top: _home_of(top)}, package_tree(), _of_a_user), [source]


def tree_of_file(file: Path) -> Tree:
    """The tree of a user's file: what it could import from its own folder or as Python finds it."""
    return Tree(_beside(file), package_tree(), _of_a_user)


def _beside(file: Path) -> dict[str, Path]:
    """A user's file, and what it could import from its own folder."""
    if not file.is_file():
        raise ValueError(f"source={str(file)!r}: there is no such file")
    folder = file.resolve().parent
    roots = {path.stem: path for path in folder.glob("*.py") if path.stem != "__init__"}
    roots |= {path.parent.name: path.parent for path in folder.glob("*/__init__.py")}
    return roots | {file.stem: file}


def _of_a_user(top: str) -> Path | None:
    """Folder or file of a package or module that Python finds and that is not installed."""
    if top in sys.stdlib_module_names:
        return None
    try:
        home = _home_of(top)
    except ValueError:
        return None
    return None if is_installed(home) else home


def _home_of(top: str) -> Path:
    """Folder or file of an installed package or module; it is not imported."""
    try:
        found = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        found = None
    origin = found.origin if found else None
    if not origin or not origin.endswith(".py"):
        raise ValueError(f"source={top!r}: there is no such module, or its source is not there")
    path = Path(origin).resolve()
    return path.parent if path.name == "__init__.py" else path
