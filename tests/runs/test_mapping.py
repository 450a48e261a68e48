"""From plain mappings to dataclasses: every mistake is one line with key, value and remedy."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from ssmbias.runs.mapping import as_list, as_type, from_mapping, keys_of, unknown

DEFAULTS = {"settings": ["t7"], "num_seeds": 16, "rtol": 1e-10}


def keys(mapping, **options):
    return keys_of(mapping, DEFAULTS, aliases={"setting": "settings"}, **options)


def test_keys_come_in_the_order_of_the_defaults():
    found = keys({"rtol": 1, "setting": "t9", "num_seeds": 2})
    assert list(found.items()) == [("settings", "t9"), ("num_seeds", 2), ("rtol", 1)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"num_seed": 3},
            r"^num_seed=3: unknown key; did you mean num_seeds\? known are settings,",
        ),
        ({"sett": 3}, r"^sett=3: unknown key; did you mean setting\?"),
        ({"xyz": 3}, r"^xyz=3: unknown key; known are settings, num_seeds, rtol$"),
        ({"setting": "t9"}, r"^setting='t9': is another name of settings; give one of them$"),
    ],
)
def test_wrong_keys(change, message):
    with pytest.raises(ValueError, match=message):
        keys({**DEFAULTS, **change})


def test_a_missing_key():
    with pytest.raises(ValueError, match=r"^rtol: missing; the default is rtol=1e-10$"):
        keys({"settings": "t7", "num_seeds": 1})


def test_the_list_of_keys_may_be_another_one():
    with pytest.raises(ValueError, match=r"known are table, figure$"):
        keys({"x": 1}, shown=("table", "figure"))


def test_symbols_of_the_paper_are_understood():
    assert "did you mean seq_len?" in str(unknown("kappa", 7, ["seq_len", "seed"]))


@dataclass(frozen=True)
class Options:
    step: float = 0.5
    name: str | None = None


@dataclass(frozen=True)
class Job:
    seeds: tuple[int, ...]
    scale: float = 0.5
    count: int = 1
    quick: bool = False
    names: tuple[str, ...] = ()
    solver: Literal["auto", "flow"] = "auto"
    options: Options = field(default_factory=Options)
    folder: Path | None = None
    size: int | float | str = 1
    parts: tuple[Options, ...] = ()
    anything: object = None
    derived: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count={self.count!r}: must be 1 or greater")


def test_types_of_fields():
    job = from_mapping(
        Job,
        {
            "seeds": [1, 2],
            "scale": 1,
            "quick": True,
            "names": "one",
            "solver": "flow",
            "options": {"step": 2, "name": "x"},
            "folder": "out",
            "size": 0.5,
            "parts": [{"step": 3}, Options()],
            "anything": {"as": "it is"},
        },
    )
    assert job == Job(
        (1, 2), 1.0, 1, True, ("one",), "flow", Options(2.0, "x"), Path("out"), 0.5,
        (Options(3.0), Options()), {"as": "it is"},
    )  # fmt: skip
    assert isinstance(job.scale, float)
    assert from_mapping(Job, {"seeds": 3, "folder": None}) == Job((3,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": "1"}, r"^scale='1': expected a number$"),
        ({"scale": True}, r"^scale=True: expected a number$"),
        ({"count": 1.5}, r"^count=1\.5: expected an integer$"),
        ({"count": 0}, r"^count=0: must be 1 or greater$"),
        ({"quick": 1}, r"^quick=1: expected true or false$"),
        ({"names": [1]}, r"^names=\[1\]: expected names, such as \[one, two\]$"),
        ({"seeds": [1, "x"]}, r"^seeds=\[1, 'x'\]: expected integers, such as \[1, 2\]$"),
        ({"seeds": None}, r"^seeds=None: expected integers, such as \[1, 2\]$"),
        ({"solver": "fast"}, r"^solver='fast': choose one of auto, flow$"),
        ({"options": 3}, r"^options=3: expected a mapping with the keys step, name$"),
        ({"options": {"stp": 3}}, r"^options\.stp=3: unknown key; did you mean step\?"),
        ({"options": {"step": "x"}}, r"^options\.step='x': expected a number$"),
        ({"options": {"name": 1}}, r"^options\.name=1: expected text$"),
        ({"size": []}, r"^size=\[\]: expected an integer or a number or text$"),
        ({"folder": 3}, r"^folder=3: expected a path$"),
        ({"derived": 3}, r"^derived=3: unknown key"),
        ({"scales": 3}, r"^scales=3: unknown key; did you mean scale\?"),
    ],
)
def test_wrong_values(change, message):
    with pytest.raises(ValueError, match=message):
        from_mapping(Job, {"seeds": [1], **change})


def test_a_field_without_default_is_asked_for():
    with pytest.raises(ValueError, match=r"^seeds: missing; give a value"):
        from_mapping(Job, {})


def test_readers_take_more_than_types_say():
    def listed(name, value):
        return tuple(range(value)) if isinstance(value, int) else value

    assert from_mapping(Job, {"seeds": 3}, readers={"seeds": listed}).seeds == (0, 1, 2)
    assert from_mapping(Job, {"seed": 3}, aliases={"seed": "seeds"}).seeds == (3,)


def test_one_value_or_a_list():
    assert as_list("ab") == ["ab"]
    assert as_list(range(2)) == [0, 1]
    assert as_list(None) == [None]
    assert as_type("x", (1, 2), tuple[float, ...]) == (1.0, 2.0)
