"""What a file imports, read from its text."""

from __future__ import annotations

import pytest

from ssmbias.runs.imports import imports_of


def read(source: str, module: str = "pack.a", *, is_package: bool = False):
    return imports_of(source, module, is_package=is_package)


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("import pack.b", "pack.b"),
        ("import pack.b as b", "pack.b"),
        ("from pack import b", "pack.b"),
        ("from pack.b import f", "pack.b.f"),
        ("from . import b", "pack.b"),
        ("from .b import f as g", "pack.b.f"),
        ("def f():\n    from pack.b import g", "pack.b.g"),
        ("class A:\n    async def f(self):\n        import pack.b", "pack.b"),
        ("import importlib\nimportlib.import_module('pack.b')", "pack.b"),
        ("from importlib import import_module\nx = import_module('.b', 'pack')", "pack.b"),
        ("__import__('pack.b')", "pack.b"),
        ("try:\n    import pack.b\nexcept ImportError:\n    pass", "pack.b"),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    import pack.b", "pack.b"),
        ("import pack\npack.b.f(1)", "pack.b.f"),
        ("import pack as p\np.b.f(1)[0].other", "pack.b.f"),
        ("from pack import b as c\nx = [c.f for _ in range(3)]", "pack.b.f"),
    ],
)
def test_what_is_reached(source, wanted):
    assert wanted in read(source).reached


def test_relative_imports_of_a_package_and_of_a_deeper_module():
    assert read("from . import b", "pack", is_package=True).face == {"b": "pack.b"}
    assert "pack.b.f" in read("from ..b import f", "pack.c.d").reached
    assert "pack.b.f" in read("def g():\n    from ..b import f", "pack.c", is_package=True).reached


@pytest.mark.parametrize("test", ["TYPE_CHECKING", "typing.TYPE_CHECKING"])
def test_what_is_for_type_checkers_alone_does_not_count(test):
    inside = f"def f():\n    if {test}:\n        import pack.c"
    for source in (f"if {test}:\n    from pack import b", inside):
        assert not any("pack" in name for name in read(source).reached)


def test_use_as_a_whole_is_told_from_use_of_a_name():
    assert read("from pack import b\nb.f()").whole == frozenset()
    assert read("from pack import b\nvars(b)").whole == {"pack.b"}
    assert read("import importlib\nimportlib.import_module('pack.b')").whole >= {"pack.b"}


def test_names_that_a_package_hands_on_are_no_imports_of_its_own():
    found = read("from pack.b import f, g\n__all__ = ['f', 'g']", "pack", is_package=True)
    assert found.face == {"f": "pack.b.f", "g": "pack.b.g"}
    assert not found.reached
    used = read("from pack.b import f, g\nVALUE = f()", "pack", is_package=True)
    assert used.reached == {"pack.b.f"}
    star = read("from pack.b import *", "pack", is_package=True)
    assert star.reached == {"pack.b.*"}


def test_a_lazy_package_says_where_its_names_live():
    lazy = (
        "if TYPE_CHECKING:\n    from pack.b import f\n"
        "def __getattr__(name):\n    return importlib.import_module(f'pack.{HOMES[name]}')"
    )
    found = read(lazy, "pack", is_package=True)
    assert found.lazy
    assert found.face == {"f": "pack.b.f"}
    assert not found.folders | found.reached


def test_names_composed_at_run_time():
    found = read("import_module(f'pack.reports.{name}')")
    assert found.folders == {"pack.reports"}
    assert found.unknown == ()
    assert read("x = 1\nimport_module(name)").unknown == (2,)


def test_no_python_is_refused():
    with pytest.raises(ValueError, match=r"pack\.a: line 2 is no Python"):
        read("x = 1\nx = = 2")
