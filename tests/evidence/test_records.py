"""What a file says about subjects of whatever fields."""

from __future__ import annotations

import enum
import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from ssmbias.evidence.records import subject_to_json


class Colour(enum.Enum):
    RED = 1


@dataclass(frozen=True)
class Inner:
    x: Any


@dataclass(frozen=True)
class Subject:
    name: str
    value: Any


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.5, 1.5),
        (float("inf"), None),
        (None, None),
        ((1, np.float64(2.0)), [1, 2.0]),
        (np.array([1.0, np.nan]), [1.0, None]),
        (jnp.ones((1, 2)), [[1.0, 1.0]]),
        (np.zeros((50, 2)), "array 50×2 of float64"),
        (Inner(np.arange(2)), {"x": [0, 1]}),
        (Inner, "Inner"),
        (len, "len"),
        (Colour.RED, "RED"),
        (Path("a/b"), "a/b"),
        (1j, "1j"),
        (range(3), "range(0, 3)"),
        ({"a": {1}}, {"a": "{1}"}),
    ],
)
def test_fields_become_json(value: Any, shown: Any) -> None:
    found = subject_to_json(Subject("s", value))
    assert json.loads(json.dumps(found)) == {"about": "Subject", "name": "s", "value": shown}


def test_what_has_no_name_is_described() -> None:
    found = subject_to_json(Subject("s", functools.partial(max, 1)))
    assert found["value"].startswith("functools.partial(")
