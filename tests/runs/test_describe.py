"""Configurations as plain values: what differs has another description, and nothing else has."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import json
import re
import sys
import threading
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssmbias.runs.describe import described


@dataclasses.dataclass(frozen=True)
class Task:
    scale: float = 0.5
    seeds: tuple[int, ...] = (1, 2)


@dataclasses.dataclass(frozen=True)
class Other:
    scale: float = 0.5
    seeds: tuple[int, ...] = (1, 2)


class Colour(enum.StrEnum):
    RED = "red"


class Plain:
    def __init__(self, value):
        self.value = value


def double(x):
    return 2 * x


DIFFERENT = [
    None, True, False, 0, 1, 0.0, 1.0, np.nextafter(1.0, 2.0), float("nan"), float("inf"), "1", "",
    b"1", 1j, [1], [1, 2], [[1], 2], {"a": 1}, {"a": 2}, {1: "a"}, {1}, {2}, range(3), range(4),
    Task(), Other(), Task(scale=0.25), Task, Other, Colour.RED, "red", np.zeros(2), np.zeros(3),
    np.zeros((1, 2)), np.zeros(2, np.float32), np.dtype("float32"), Plain(1), Plain(2), double,
    lambda x: 2 * x, lambda x: 3 * x, functools.partial(double, 1), functools.partial(double, 2),
    jnp.tanh, jax.nn.relu, jax.nn.gelu, np.tanh, len, jax.random.key(0), jax.random.key(1),
    Plain(double), Plain([Task()]), "abc".upper,
]  # fmt: skip


def test_no_two_different_values_have_the_same_description():
    texts = [json.dumps(described(value), sort_keys=True) for value in DIFFERENT]
    repeated = [DIFFERENT[i] for i, text in enumerate(texts) if texts.index(text) != i]
    assert repeated == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((1, 2), [1, 2]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({3, 1}, {1, 3}),
        (np.float64(0.5), 0.5),
        (jnp.zeros(2), np.zeros(2)),
        (Task(), Task(0.5)),
        (Plain([1]), Plain([1])),
    ],
)
def test_the_same_value_has_the_same_description(one, other):
    def text(value):
        return json.dumps(described(value), sort_keys=True)

    assert text(one) == text(other)


def test_a_function_counts_with_what_it_has_captured():
    def scaled(by):
        return lambda x: by * x

    assert described(scaled(2)) == described(scaled(2))
    assert described(scaled(2)) != described(scaled(3))


def _module(name: str, text: str) -> types.ModuleType:
    """A module without a file, as a notebook is one."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(text, module.__dict__)
    return module


NOTEBOOK = "def inner(x):\n    return {0} * x\ndef outer(x):\n    return inner(x) + {1}\n"


def test_without_a_file_the_code_counts_and_that_of_what_it_calls():
    def outer(text):
        return described(_module("a_notebook", text).outer)

    same = outer(NOTEBOOK.format(2, 0))
    assert outer("\n\n" + NOTEBOOK.format(2, 0)) == same
    assert outer(NOTEBOOK.format(3, 0)) != same
    assert outer(NOTEBOOK.format(2, 1)) != same
    recursive = "def outer(x):\n    return outer(x - 1) if x else 0"
    assert outer(recursive) != same


def test_a_class_without_a_file_counts_by_its_methods():
    def of(text):
        return described(_module("a_notebook", text).Net())

    text = "class Net:\n    def __init__(self):\n        self.w = 3\n"
    text += "    def f(self):\n        return {}"
    assert of(text.format(1)) == of(text.format(1))
    assert of(text.format(1)) != of(text.format(2))


@pytest.mark.parametrize(
    "text",
    [
        "    limit = {}",
        "    @property\n    def f(self):\n        return {}",
        "    @functools.cached_property\n    def f(self):\n        return {}",
        "    @staticmethod\n    def f():\n        return {}",
        "    @classmethod\n    def f(cls):\n        return cls, {}",
        "    class Inner:\n        limit = {}",
        "    __slots__ = ('w',)\n    limit = {}",
    ],
)
def test_all_that_a_class_without_a_file_holds_counts(text):
    def of(number):
        lines = f"import functools\nclass Net:\n{text.format(number)}"
        return described(_module("a_notebook", lines).Net())

    assert of(1) == of(1)
    assert of(1) != of(2)


@pytest.mark.parametrize("base", ["nnx.Module", "linen.Module", "eqx.Module", "abc.ABC"])
def test_networks_of_a_notebook(base):
    def of(number):
        lines = "import abc\nimport equinox as eqx\nfrom flax import linen, nnx\n"
        lines += f"class Net({base}):\n    limit = {number}\n    width: int = 3\n"
        return described(_module("a_notebook", lines).Net())

    assert of(1) == of(1)
    assert of(1) != of(2)


def test_a_package_that_a_notebook_uses_counts_by_its_version():
    assert described(np) == {"module": "numpy", "version": np.__version__}


def test_what_an_inner_function_uses_counts():
    def of(number):
        text = f"a = {number}\ndef outer(x):\n    return [(lambda y: a * y)(z) for z in x]"
        return described(_module("a_notebook", text).outer)

    assert of(1) == of(1)
    assert of(1) != of(2)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tables_of_a_test.py", "import tables_of_a_test as t\ndef f():\n    return t.value"),
        ("pack_of_a_test/deep.py", "import pack_of_a_test.deep\ndef f():\n"
         "    return pack_of_a_test.deep.value"),
    ],
)  # fmt: skip
def test_a_module_that_a_notebook_uses_counts_by_its_text(tmp_path, monkeypatch, name, text):
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("value = 1")
    function = _module("a_notebook", text).f
    before = described(function)
    assert described(function) == before
    file.write_text("value = 2")
    assert described(function) != before


def test_a_users_file_counts_by_its_text(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "a_users_network.py"
    file.write_text("def apply(x):\n    return x\nclass Net:\n    pass\n")
    import a_users_network

    first = described([a_users_network.apply, a_users_network.Net()])
    file.write_text("# another line\n" + file.read_text())
    second = described([a_users_network.apply, a_users_network.Net()])
    assert first[0] != second[0]
    assert first[1] != second[1]


def test_networks_of_flax_and_equinox():
    import equinox as eqx
    from flax import linen, nnx

    def linear(width):
        return eqx.nn.Linear(2, width, key=jax.random.key(0))

    assert described(linear(2)) == described(linear(2))
    assert described(linear(2)) != described(linear(3))
    assert described(linen.Dense(3)) == described(linen.Dense(3))
    assert described(linen.Dense(3)) != described(linen.Dense(4))
    assert described(nnx.Linear(2, 3, rngs=nnx.Rngs(0))) == described(
        nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    )
    assert described(nnx.Linear(2, 3, rngs=nnx.Rngs(0))) != described(
        nnx.Linear(2, 3, rngs=nnx.Rngs(1))
    )


def test_what_contains_itself_ends():
    value = [1]
    value.append(value)
    assert described(value) == [1, {"above": 1}]


@pytest.mark.parametrize(
    "make",
    [
        lambda n: decimal.Decimal(n) / 10,
        lambda n: fractions.Fraction(n, 10),
        lambda n: datetime.date(2026, 1, n),
        datetime.timedelta,
        lambda n: re.compile("a" * n),
        lambda n: collections.deque([n]),
        np.random.default_rng,
        np.random.SeedSequence,
    ],
)
def test_objects_without_attributes_are_told_apart(make):
    assert described(make(1)) == described(make(1))
    assert described(make(1)) != described(make(2))


def test_an_object_without_attributes_that_nothing_tells_from_another_is_refused():
    with pytest.raises(ValueError, match=r"configuration: holds <.*lock.*description"):
        described({"a": threading.Lock()})


def test_what_has_no_description_is_refused():
    with pytest.raises(ValueError, match=r"configuration: holds <object object .*description"):
        described({"a": object()})
