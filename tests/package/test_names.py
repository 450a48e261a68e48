"""Private names stay in their module, and a word means one thing.

What stands in an exception list is named with its reason, and must still be an exception.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

import pytest
from package.tree import PACKAGE, REPO, module_name, source_files

SHARED_NAMES: dict[str, str] = {
    "Task": "what is to be proved in certify; what a network learns, a public name, in poison",
}
"""Names of classes in several places, and why."""

WORLDS = ("ssmbias.certify.check", "ssmbias.certify.second_check")
"""Checkers that share nothing with the prover nor with each other, words included."""

OWN_WORDS = "ssmbias.claims."
"""A claim is one file, and what it calls its runs stays there."""


# -- private names -------------------------------------------------------------------------


def private_imports(source: str, *, attributes: bool = True) -> list[str]:
    """Names that begin with one underscore and come from another module of ours.

    Tests may replace what is private to see what happens: without `attributes` only imports count.
    """
    tree = ast.parse(source)
    inside = (PACKAGE, "")
    wrong: list[str] = []
    aliases: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            ours = bool(node.level) or (node.module or "").split(".")[0] in inside
            for alias in node.names:
                if ours and _is_private(alias.name):
                    wrong.append(f"line {node.lineno}: {node.module}.{alias.name}")
                elif ours:
                    aliases.add(alias.asname or alias.name)
        elif isinstance(node, ast.Import):
            aliases |= {
                alias.asname
                for alias in node.names
                if alias.asname and alias.name.split(".")[0] in inside
            }
    for node in ast.walk(tree):
        # `module._name`, and `Class._name` of another module; NamedTuple's own methods are public.
        if (
            attributes
            and isinstance(node, ast.Attribute)
            and _is_private(node.attr)
            and node.attr not in PUBLIC_METHODS
            and isinstance(node.value, ast.Name)
            and node.value.id in aliases
        ):
            wrong.append(f"line {node.lineno}: {node.value.id}.{node.attr}")
    return wrong


PUBLIC_METHODS = frozenset({"_asdict", "_fields", "_field_defaults", "_make", "_replace"})


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_private_names_stay_at_home() -> None:
    paths = source_files(PACKAGE, "benchmarks", "scripts", "conf", "tests")
    wrong = {
        str(path.relative_to(REPO)): found
        for path in paths
        if (found := private_imports(path.read_text("utf-8"), attributes="tests" not in path.parts))
    }
    assert len(paths) > 200
    assert wrong == {}


@pytest.mark.parametrize(
    "source",
    [
        "from ssmbias.theory.passage.map import _inputs",
        "from ..passage.map import exact, _inputs as inputs",
        "from . import _modes",
        "from ssmbias.models.layers import s4d\ns4d._hold(1)",
        "import ssmbias.models.layers.s4d as layer\nlayer._hold(1)",
        "from ssmbias.evidence import Bench\nBench._runs",
    ],
)
def test_a_private_name_abroad_is_caught(source: str) -> None:
    assert len(private_imports(source)) == 1


def test_what_is_not_private_is_let_through() -> None:
    source = (
        "from numpy import _core\nfrom ssmbias.models import DiagonalSSM, __version__\n"
        "DiagonalSSM._fields\nself._own = 1\nimport sys\nsys._getframe()"
    )
    assert private_imports(source) == []


# -- words ---------------------------------------------------------------------------------


def repeated_classes(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """Names of public classes that several modules define, with the modules.

    Each of the independent checkers is a world of its own, and so is each claim.
    """
    homes: dict[tuple[str, str], list[str]] = {}
    for module, source in sources.items():
        if module.startswith(OWN_WORDS):
            continue
        world = next((i for i in WORLDS if f"{module}.".startswith(f"{i}.")), PACKAGE)
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault((world, node.name), []).append(module)
    return {name: sorted(places) for (_, name), places in homes.items() if len(places) > 1}


def test_a_word_means_one_thing() -> None:
    found = repeated_classes(
        {module_name(path): path.read_text("utf-8") for path in source_files(PACKAGE)}
    )
    excused = SHARED_NAMES.keys()
    assert {name: places for name, places in found.items() if name not in excused} == {}
    assert SHARED_NAMES.keys() <= found.keys(), "an exception that is none any more"


def test_a_word_with_two_meanings_is_caught() -> None:
    sources = {
        "ssmbias.a": "class Box: pass\nclass _Own: pass",
        "ssmbias.b": "class Box: pass\nclass _Own: pass",
        "ssmbias.certify.check.x": "class Slab: pass\nclass Node: pass",
        "ssmbias.certify.check.y": "class Node: pass",
        "ssmbias.c": "class Slab: pass",
        "ssmbias.claims.m1": "class Runs: pass",
        "ssmbias.claims.m2": "class Runs: pass",
    }
    assert repeated_classes(sources) == {
        "Box": ["ssmbias.a", "ssmbias.b"],
        "Node": ["ssmbias.certify.check.x", "ssmbias.certify.check.y"],
    }
