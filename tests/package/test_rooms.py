"""Imports inside the package point one way; hydra and JAX's configuration stay at the door.

The order is DESIGN.md's, lowest first. What is checked is the syntax tree, so that imports
inside functions, under TYPE_CHECKING, and by `importlib` with a literal name count as well.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
PACKAGE = "ssmbias"

# Rooms on one level must not import each other. A room is a module or subpackage of ssmbias.
LEVELS: tuple[frozenset[str], ...] = (
    frozenset({"core"}),
    frozenset({"runs"}),
    frozenset({"statistics"}),
    frozenset({"models"}),
    frozenset({"data"}),
    frozenset({"metrics"}),
    frozenset({"dynamics", "theory"}),
    frozenset({"certify"}),
    frozenset({"evidence"}),
    frozenset({"subjects"}),
    frozenset({"claims"}),
    frozenset({"report"}),
    frozenset({"verification"}),
    frozenset({"testing"}),
    frozenset({"sweeps"}),
    frozenset({"poison"}),
    frozenset({"paper"}),
    frozenset({"cli"}),
    frozenset({"__init__"}),
    frozenset({"__main__"}),
)
LEVEL_OF = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}

# The report works from saved results alone, whatever lies below it.
ONLY = {"report": frozenset({"core", "runs", "evidence", "statistics"})}

# Written for people at the top of the repository, mapped into the package for machines.
OUTSIDE = frozenset({"conf"})

# The one room that knows Hydra, and sets JAX up for the programs.
DOOR = "cli"

# Runs under a program that is not ours, and for its own files alone needs double precision.
PLUGIN = "ssmbias.testing.plugin"


def room_of(module: str) -> str:
    """The room a dotted module name of the package belongs to."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports_of(source: str, module: str, *, is_package: bool) -> list[tuple[int, str]]:
    """Every module that `source` imports, absolute, with its line.

    `from ssmbias import theory` names the room `theory`; `from ssmbias import verify`,
    where no such room exists, asks the public face, which is the top.
    """
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")[: None if is_package else -1]
                kept = parents[: len(parents) - (node.level - 1)]
                base = ".".join([*kept, base] if base else kept)
            if base == PACKAGE:
                names = [alias.name for alias in node.names]
                rooms = LEVEL_OF.keys() | OUTSIDE
                found += [(node.lineno, f"{base}.{n}" if n in rooms else base) for n in names]
            else:
                found.append((node.lineno, base))
        elif isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            first = node.args[0]
            if name in {"import_module", "__import__"} and isinstance(first, ast.Constant):
                found.append((node.lineno, str(first.value)))
    return found


def upward_imports(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """What is wrong with the imports of one module, in words; empty when nothing is."""
    room = room_of(module)
    if room not in LEVEL_OF:
        return [f"{module}: not in LEVELS; give it a level in {Path(__file__).name}"]
    wrong = []
    for line, imported in imports_of(source, module, is_package=is_package):
        if imported.split(".")[0] != PACKAGE:
            continue
        other = room_of(imported)
        below = LEVEL_OF.get(other, len(LEVELS)) < LEVEL_OF[room]
        if other != room and not (below and other in ONLY.get(room, LEVEL_OF.keys())):
            wrong.append(f"{module}:{line} imports {imported}: {room} may not import {other}")
    return wrong


def foreign_imports(source: str, module: str) -> list[str]:
    """Imports of the configuration framework, which belongs to the programs."""
    return [
        f"{module}:{line} imports {imported}: only ssmbias/cli may"
        for line, imported in imports_of(source, module, is_package=False)
        if imported.split(".")[0] in {"hydra", "omegaconf"}
    ]


def configuration_changes(source: str, module: str) -> list[str]:
    """Places that change JAX's configuration or the process's environment."""
    wrong = []
    for node in ast.walk(ast.parse(source)):
        what = None
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called.endswith(("config.update", "enable_x64", "environ.update", "putenv")) or (
                called.endswith("environ.setdefault")
            ):
                what = f"{called}(...)"
        elif isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in map(ast.unparse, targets):
                if "environ[" in target or "jax.config." in target or target.startswith("config."):
                    what = f"{target} = ..."
        if what:
            wrong.append(f"{module}:{node.lineno} {what}: left to the caller")
    return wrong


def package_modules() -> list[tuple[str, Path]]:
    """Dotted name and file of every module below ssmbias/."""
    modules = []
    for path in sorted((REPO / PACKAGE).rglob("*.py")):
        parts = path.relative_to(REPO).with_suffix("").parts
        modules.append((".".join(p for p in parts if p != "__init__"), path))
    return modules


MODULES = package_modules()


def test_every_room_of_the_package_is_looked_at() -> None:
    rooms = {room_of(name) for name, _ in MODULES}
    assert rooms <= LEVEL_OF.keys()
    assert {"core", "runs", "models", "data", "dynamics", "theory", "claims"} <= rooms


@pytest.mark.parametrize(("module", "path"), MODULES, ids=[name for name, _ in MODULES])
def test_imports_point_downwards(module: str, path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert upward_imports(source, module, is_package=path.name == "__init__.py") == []


def test_only_programs_import_hydra() -> None:
    paths = [path for name, path in MODULES if room_of(name) != DOOR]
    paths += [path for top in ("benchmarks", "conf") for path in (REPO / top).rglob("*.py")]
    wrong = [w for p in paths for w in foreign_imports(p.read_text("utf-8"), p.name)]
    assert len(paths) > len(MODULES) // 2
    assert wrong == []


def test_nothing_changes_the_configuration() -> None:
    library = [(name, path) for name, path in MODULES if room_of(name) != DOOR and name != PLUGIN]
    wrong = [w for name, path in library for w in configuration_changes(path.read_text(), name)]
    assert wrong == []


# Negative controls: each of these must be caught.
@pytest.mark.parametrize(
    ("module", "source", "is_package"),
    [
        ("ssmbias.theory.clean", "from ssmbias.dynamics.flow.solve import solve", False),
        ("ssmbias.theory.clean", "from ssmbias import dynamics", False),
        ("ssmbias.theory.clean", "from ..dynamics import flow", False),
        ("ssmbias.theory", "from ..dynamics import flow", True),
        ("ssmbias.theory.clean", "import ssmbias.evidence.registry as r", False),
        ("ssmbias.dynamics.flow.solve", "def f():\n    from ssmbias.theory import clean", False),
        ("ssmbias.dynamics.flow.solve", "importlib.import_module('ssmbias.theory')", False),
        ("ssmbias.models.ssm", "from ssmbias.metrics import loss", False),
        ("ssmbias.core.checks", "from ssmbias.runs.files import write_json", False),
        ("ssmbias.runs.files", "from ssmbias import verify", False),
        ("ssmbias.report.html", "from ssmbias.subjects import theorem1", False),
        ("ssmbias.report.html", "from ssmbias.metrics import loss", False),
        ("ssmbias.verification", "from ssmbias.sweeps import grid", False),
        ("ssmbias.claims.m1", "from ssmbias.cli import verify", False),
        ("ssmbias.unplaced", "x = 1", False),
    ],
)
def test_an_upward_import_is_caught(module: str, source: str, is_package: bool) -> None:
    assert len(upward_imports(source, module, is_package=is_package)) == 1


def test_a_downward_import_is_let_through() -> None:
    source = (
        "import jax\nfrom ssmbias import dynamics, theory\nfrom ..metrics import loss\n"
        "from . import m2\nfrom .m2 import Evidence\nimport ssmbias.theory.clean\n"
    )
    assert upward_imports(source, "ssmbias.claims.m1") == []
    assert upward_imports("from ssmbias.runs.files import plain", "ssmbias.report.html") == []


@pytest.mark.parametrize(
    "source", ["import hydra", "def f():\n    from omegaconf import OmegaConf"]
)
def test_an_import_of_hydra_is_caught(source: str) -> None:
    assert len(foreign_imports(source, "m")) == 1


@pytest.mark.parametrize(
    "source",
    [
        "jax.config.update('jax_enable_x64', True)",
        "def f():\n    config.update('jax_enable_x64', True)",
        "with jax.experimental.enable_x64():\n    pass",
        "jax.config.jax_enable_x64 = True",
        "os.environ['JAX_ENABLE_X64'] = '1'",
        "os.environ.setdefault('JAX_ENABLE_X64', '1')",
    ],
)
def test_a_configuration_change_is_caught(source: str) -> None:
    assert len(configuration_changes(source, "m")) == 1


def test_a_message_about_the_configuration_is_let_through() -> None:
    source = '"""Call jax.config.update(...)."""\nhint = "jax.config.update(\'jax_enable_x64\', 1)"'
    assert configuration_changes(source, "m") == []
