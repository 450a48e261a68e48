"""What one file imports and uses of other modules, read from its syntax tree; nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field

_Names = dict[str, set[str]]


@dataclass(frozen=True)
class Imports:
    """The dotted names that a file reaches for, absolute.

    Attributes:
      reached: what is imported, and chains of attributes that begin at an imported name
        (`ssmbias.dynamics.gradient_flow` of ``from ssmbias import dynamics`` and
        ``dynamics.gradient_flow(...)``).
      whole: imported names that are used without an attribute, so that anything that they hand
        on may be used: ``getattr(dynamics, name)``.
      folders: packages out of which a name composed at run time is imported, as by
        ``import_module(f"ssmbias.paper.{name}")``.
      face: names that an ``__init__`` hands on, with the place that they come from.
      lazy: whether an ``__init__`` looks names up when they are used, by ``__getattr__``.
      unknown: lines that import a module whose name cannot be read.
    """

    reached: frozenset[str]
    whole: frozenset[str]
    folders: frozenset[str]
    face: Mapping[str, str]
    lazy: bool
    unknown: tuple[int, ...]


def imports_of(source: str, module: str, *, is_package: bool) -> Imports:
    r"""Read what a file imports: absolute and relative, at the top and inside of functions.

    Imports for type checkers alone do not count, because they are not run. In an ``__init__``,
    ``from x import y`` hands `y` on: that counts for whoever asks the package for `y`, and for
    the ``__init__`` itself if its own code uses `y`. What a type checker is told there says where
    the names live that ``__getattr__`` looks up.

    Args:
      source: text of the file.
      module: its dotted name.
      is_package: whether it is an ``__init__``.

    Raises:
      ValueError: the text is no Python.

    Example:
      >>> found = imports_of("from .b import f\nf()", "pack.a", is_package=False)
      >>> sorted(found.reached)
      ['pack.b.f']
    """
    try:
        tree = ast.parse(source)
    except SyntaxError as err:
        raise ValueError(f"{module}: line {err.lineno} is no Python ({err.msg})") from err
    reader = _Reader(module, is_package)
    reader.read(tree)
    return reader.found()


@dataclass
class _Reader(ast.NodeVisitor):
    module: str
    is_package: bool
    reached: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)
    face: dict[str, str] = field(default_factory=dict)
    handed: dict[str, str] = field(default_factory=dict)
    unknown: list[int] = field(default_factory=list)
    lazy: bool = False
    _names: _Names = field(default_factory=dict)
    _chains: set[tuple[str, ...]] = field(default_factory=set)

    def read(self, tree: ast.Module) -> None:
        for statement in tree.body:
            if self.is_package and isinstance(statement, ast.ImportFrom):
                handed = dict(self._targets(statement))
                if "*" in handed:
                    self.visit(statement)
                else:
                    self.face |= handed
                    self.handed |= handed
            elif _is_for_types(statement):
                self._declared(statement)
            else:
                self.visit(statement)

    def found(self) -> Imports:
        used = {chain[0] for chain in self._chains}
        for name, target in self.handed.items():
            if name in used:
                self._bind(name, target)
        reached, whole = set(self.reached), set()
        for name, *attributes in self._chains:
            for target in self._names.get(name, ()):
                dotted = ".".join([target, *attributes])
                reached.add(dotted)
                if not attributes:
                    whole.add(dotted)
        return Imports(
            frozenset(reached),
            frozenset(whole),
            frozenset(self.folders),
            dict(self.face),
            self.lazy,
            tuple(self.unknown),
        )

    def _bind(self, name: str, target: str) -> None:
        self._names.setdefault(name, set()).add(target)
        self.reached.add(target)

    def _declared(self, statement: ast.stmt) -> None:
        """``if TYPE_CHECKING``: not run; an ``__init__`` says there where names live."""
        assert isinstance(statement, ast.If)
        for inner in statement.body:
            if self.is_package and isinstance(inner, ast.ImportFrom):
                self.face |= dict(self._targets(inner))
        for inner in statement.orelse:
            self.visit(inner)

    def _targets(self, node: ast.ImportFrom) -> list[tuple[str, str]]:
        """Names that ``from x import y`` binds, with what they stand for."""
        base = _absolute("." * node.level + (node.module or ""), self.module, self.is_package)
        return [(alias.asname or alias.name, f"{base}.{alias.name}") for alias in node.names]

    def visit_If(self, node: ast.If) -> None:
        if _is_for_types(node):
            for inner in node.orelse:
                self.visit(inner)
        else:
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.reached.add(alias.name)
            if alias.asname:
                self._bind(alias.asname, alias.name)
            else:
                top = alias.name.partition(".")[0]
                self._bind(top, top)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for name, target in self._targets(node):
            self._bind(name, target)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name == "__getattr__" and self.is_package:
            self.lazy = True
        else:
            self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        attributes: list[str] = []
        inner: ast.expr = node
        while isinstance(inner, ast.Attribute):
            attributes.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            self._chains.add((inner.id, *reversed(attributes)))
        else:
            self.visit(inner)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._chains.add((node.id,))

    def visit_Call(self, node: ast.Call) -> None:
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if called in {"import_module", "__import__"} and node.args:
            self._imported_by_name(node)
        self.generic_visit(node)

    def _imported_by_name(self, node: ast.Call) -> None:
        what = node.args[0]
        if isinstance(what, ast.Constant) and isinstance(what.value, str):
            name = _absolute(what.value, self.module, self.is_package)
            self.reached.add(name)
            # The module is a value from here on, and anything may be done with it.
            self._names.setdefault(f"import of {name}", set()).add(name)
            self._chains.add((f"import of {name}",))
            return
        first = what.values[0] if isinstance(what, ast.JoinedStr) and what.values else None
        text = first.value if isinstance(first, ast.Constant) else ""
        folder, dot, _ = str(text).rpartition(".")
        if folder and dot:
            self.folders.add(_absolute(folder, self.module, self.is_package))
        else:
            self.unknown.append(node.lineno)


def _absolute(name: str, module: str, is_package: bool) -> str:
    """A name with leading dots as seen from a module; others are absolute already."""
    bare = name.lstrip(".")
    level = len(name) - len(bare)
    if not level:
        return name
    parents = module.split(".")[: None if is_package else -1]
    kept = parents[: len(parents) - (level - 1)]
    return ".".join([*kept, bare] if bare else kept)


def _is_for_types(node: ast.stmt) -> bool:
    """Whether a statement is ``if TYPE_CHECKING``."""
    return isinstance(node, ast.If) and ast.unparse(node.test).split(".")[-1] == "TYPE_CHECKING"
