"""A line that changes in a deep module: what depends on it, and what does not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ssmbias
from ssmbias.runs import sources
from ssmbias.runs.sources import Tree, digest_of, package_tree, uses

PACKAGE = Path(ssmbias.__file__).parent


@pytest.fixture(scope="module")
def copied(tmp_path_factory) -> Path:
    """The package in a folder where its files may be changed."""
    place = tmp_path_factory.mktemp("copy") / "ssmbias"
    return shutil.copytree(PACKAGE, place, ignore=shutil.ignore_patterns("__pycache__"))


def stale_after(root: Path, changed: str, modules: list[str]) -> set[str]:
    """Those of the modules whose digest a new line in one file changes."""
    tree = Tree({"ssmbias": root})
    before = {module: tree.digest(module) for module in modules}
    path = tree.locate(changed)
    assert path is not None
    text = path.read_bytes()
    path.write_bytes(text + b"\n_NEW_LINE = 1\n")
    try:
        tree = Tree({"ssmbias": root})
        return {module for module in modules if tree.digest(module) != before[module]}
    finally:
        path.write_bytes(text)


WATCHED = [
    "ssmbias.theory.clean",
    "ssmbias.theory.poison",
    "ssmbias.dynamics.flow.solve",
    "ssmbias.dynamics.limit.solve",
    "ssmbias.dynamics.descent.solve",
    "ssmbias.certify.prover.prove",
    "ssmbias.certify.check",
    "ssmbias.models.layers.s4d",
]


@pytest.mark.parametrize(
    ("changed", "stale"),
    [
        ("ssmbias.theory.clean", {"theory.clean"}),
        ("ssmbias.dynamics.descent.loop", {"dynamics.descent.solve"}),
        ("ssmbias.dynamics.limit.dop853", {"dynamics.limit.solve"}),
        ("ssmbias.certify.prover.rates", {"certify.prover.prove"}),
        ("ssmbias.models.layers.scans", {"models.layers.s4d"}),
        ("ssmbias.report", set()),
        ("ssmbias.cli.verify", set()),
        # The face of everything, and what all but certificates stand on.
        ("ssmbias", {name.removeprefix("ssmbias.") for name in WATCHED}),
        ("ssmbias.dynamics", {f"dynamics.{name}.solve" for name in ("flow", "limit", "descent")}),
    ],
)
def test_a_changed_line_reaches_what_uses_it_and_nothing_else(copied, changed, stale):
    assert stale_after(copied, changed, WATCHED) == {f"ssmbias.{name}" for name in stale}


def test_every_module_of_the_package_can_be_followed():
    tree = package_tree()
    modules = [
        ".".join(("ssmbias", *path.relative_to(PACKAGE).with_suffix("").parts))
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py"
    ]
    for module in modules:
        assert {"ssmbias", module} <= {*tree.closure(module)}
    assert len(modules) > 100


def test_every_public_name_says_where_it_lives():
    tree = package_tree()
    everything = len(tree.closure("ssmbias.cli.verify"))
    for name in set(ssmbias.__all__) - {"evidence", "claims"}:
        reached = set(tree._reach(f"ssmbias.{name}"))
        assert len(reached) > 1, name
        # A name whose place is not declared would stand for the whole package.
        assert len(reached) < min(everything, 40), name


def test_what_python_really_imports_is_found(tmp_path):
    """Against an independent witness: the modules that a fresh interpreter has loaded.

    More of them are loaded than used, because an `__init__` that hands names on loads all of
    their modules; so the witness looks at modules without such neighbours.
    """
    code = (
        "import sys, ssmbias.certify.task, ssmbias.certify.second_check, ssmbias.certify.samples,"
        "ssmbias.certify.prover.envelope, ssmbias.certify.check;"
        "print(*sorted(m for m in sys.modules if m.partition('.')[0] == 'ssmbias'))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    loaded = {name for name in run.stdout.split() if not name.startswith("__editable__")}
    assert len(loaded) > 10
    assert loaded <= {*package_tree().closure("ssmbias.certify.task")}


@pytest.fixture
def pack(tmp_path) -> Path:
    files = {
        "__init__.py": "if TYPE_CHECKING:\n    from pack.face import f\n"
        "def __getattr__(name):\n    return HOMES[name]",
        "face.py": "import pack.deep",
        "deep.py": "x = 1",
        "hands/__init__.py": "from pack.hands.one import one\nfrom .two import two",
        "hands/one.py": "one = 1",
        "hands/two.py": "import numpy\ntwo = 2",
        "user.py": "from pack import f",
        "user_of_one.py": "from pack.hands import one",
        "user_of_all.py": "from pack import hands\nprint(dir(hands))",
        "user_of_star.py": "from pack.hands import *",
        "user_of_text.py": "from importlib import import_module\nimport_module(f'pack.hands.{x}')",
        "user_of_anything.py": "import pack\nprint(pack.undeclared)",
        "around.py": "import pack.round",
        "round.py": "from pack.around import x",
        "same/__init__.py": "from pack.same.same import same",
        "same/same.py": "import pack.deep",
        "user_of_same.py": "from pack.same import same",
    }
    for name, text in files.items():
        path = tmp_path / "pack" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "pack"


@pytest.mark.parametrize(
    ("module", "used"),
    [
        ("user", "face deep user"),
        ("user_of_one", "hands hands.one user_of_one"),
        ("user_of_all", "hands hands.one hands.two user_of_all"),
        ("user_of_star", "hands hands.one hands.two user_of_star"),
        ("user_of_text", "hands hands.one hands.two user_of_text"),
        ("around", "around round"),
        ("user_of_same", "same same.same deep user_of_same"),
    ],
)
def test_faces_and_names_made_at_run_time(pack, module, used):
    closure = Tree({"pack": pack}).closure(f"pack.{module}")
    assert {*closure} == {"pack", *(f"pack.{name}" for name in used.split())}


def test_an_undeclared_name_of_a_lazy_package_may_be_anything(pack):
    assert len(Tree({"pack": pack}).closure("pack.user_of_anything")) == 17


def test_whether_a_package_is_used(pack):
    tree = Tree({"pack": pack})
    assert tree.uses("numpy", "pack.user_of_all")
    assert not tree.uses("numpy", "pack.user_of_one")
    assert uses("flint", "ssmbias.certify.check")
    assert not uses("jax", "ssmbias.certify.record")


def test_a_users_file_counts_with_what_it_imports(tmp_path, monkeypatch):
    mine, beside = tmp_path / "my_claims.py", tmp_path / "my_helpers.py"
    mine.write_text("import my_helpers\nfrom ssmbias.theory.clean import clean_limit\n")
    beside.write_text("x = 1\n")
    (tmp_path / "unrelated.py").write_text("x = 1\n")
    first = digest_of(mine)
    assert digest_of(mine) == first
    assert digest_of(mine, "ssmbias.theory.clean") != first
    (tmp_path / "unrelated.py").write_text("x = 2\n")
    assert digest_of(mine) == first
    beside.write_text("x = 2\n")
    second = digest_of(mine)
    mine.write_text(mine.read_text() + "x = 3\n")
    assert len({first, second, digest_of(mine)}) == 3


def test_a_users_file_depends_on_a_package_that_is_not_installed(tmp_path, monkeypatch):
    own, installed = tmp_path / "library", tmp_path / "site-packages"
    for place, name in ((own, "lemmas_of_mine"), (installed, "lemmas_of_others")):
        (place / name).mkdir(parents=True)
        (place / name / "__init__.py").write_text("from . import deep\nVALUE = deep.x")
        (place / name / "deep.py").write_text("x = 1")
        monkeypatch.syspath_prepend(place)
    mine = tmp_path / "claims" / "my_claims.py"
    mine.parent.mkdir()
    mine.write_text("import numpy, json, no_such_module, lemmas_of_mine, lemmas_of_others")
    first = digest_of(mine)
    (installed / "lemmas_of_others" / "deep.py").write_text("x = 2")
    assert digest_of(mine) == first  # its version would tell
    (own / "lemmas_of_mine" / "deep.py").write_text("x = 2")
    assert digest_of(mine) != first


def test_a_users_file_depends_on_our_modules(tmp_path, copied, monkeypatch):
    mine = tmp_path / "my_claims.py"
    mine.write_text("import ssmbias\nssmbias.gradient_flow\n")

    def digest_after(changed: str) -> str:
        path = copied.joinpath(*changed.split("."))
        text = path.with_suffix(".py").read_text()
        path.with_suffix(".py").write_text(text + "\n_NEW_LINE = 1\n")
        monkeypatch.setattr(sources, "package_tree", lambda: Tree({"ssmbias": copied}))
        found = digest_of(mine)
        path.with_suffix(".py").write_text(text)
        return found

    same = digest_of(mine)
    assert digest_after("dynamics.descent.solve") == same
    assert digest_after("dynamics.flow.coordinates") != same


def test_an_installed_package_of_a_users_own(tmp_path, monkeypatch):
    own = tmp_path / "own_package_of_claims"
    own.mkdir()
    (own / "__init__.py").write_text("raise RuntimeError('is not imported')")
    (own / "claims.py").write_text("from . import numbers")
    (own / "numbers.py").write_text("x = 1")
    monkeypatch.syspath_prepend(tmp_path)
    first = digest_of("own_package_of_claims.claims")
    (own / "numbers.py").write_text("x = 2")
    assert digest_of("own_package_of_claims.claims") != first


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("ssmbias.nowhere", r"source='ssmbias\.nowhere': there is no such module"),
        ("no_such_package.claims", "source='no_such_package': there is no such module"),
        (Path("no_such_file.py"), r"source='no_such_file\.py': there is no such file"),
    ],
)
def test_a_source_that_is_not_there_is_refused(source, message):
    with pytest.raises(ValueError, match=message):
        digest_of(source)


def test_the_version_of_an_installed_package_counts(tmp_path, monkeypatch):
    """Its other modules are not read, so that an upgrade has to show in the version."""
    place = tmp_path / "site-packages"
    (place / "coins_of_a_test").mkdir(parents=True)
    file = place / "coins_of_a_test" / "claims.py"
    file.write_text("from coins_of_a_test.model import f")
    info = place / "coins_by_another_name-1.0.dist-info"
    info.mkdir()
    (info / "top_level.txt").write_text("coins_of_a_test")
    monkeypatch.syspath_prepend(place)

    def at(version: str) -> str:
        (info / "METADATA").write_text(f"Name: coins-by-another-name\nVersion: {version}\n")
        return digest_of(file)

    assert at("1.0") == at("1.0") != at("1.1")
