"""The general flow refuses what it cannot follow, and says why."""

from __future__ import annotations

import inspect
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from dynamics.flow.flow_cases import ALL

from ssmbias.data import (
    LagGram,
    theorem1_gram,
)
from ssmbias.dynamics import (
    FlowConfig,
    gradient_flow,
)
from ssmbias.models import DiagonalSSM, theorem1_student


def raw(function):
    """The function without the run-time type checks that test runs may put around it."""
    return inspect.unwrap(function)


THREE = theorem1_student(np.array([0.3, 0.2, 0.1]))
DATA = theorem1_gram(3, 5, 1.0)


@pytest.mark.parametrize("leaf", ["a", "b", "c"])
def test_near_ties_that_cannot_be_followed_are_refused(leaf) -> None:
    close = {"a": 0.3, "b": 0.5, "c": 0.5}
    model = DiagonalSSM(
        *(jnp.array([close[x], close[x] - (1e-10 if x == leaf else 0.0), 0.1]) for x in "abc")
    )
    with pytest.raises(ValueError, match=r"entries 1 and 2 .* differ by .*e-10 relative"):
        gradient_flow(model, DATA, config=ALL)


def test_unequal_products_are_refused() -> None:
    model = THREE._replace(b=jnp.array([1.0, 1.0, 1.1]))
    with pytest.raises(ValueError, match=r"products b_j c_j .* differ.*follow_gaps=False"):
        gradient_flow(model, DATA)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"log_gaps": np.zeros(3)}, r"log_gaps has shape \(3,\): expected \(2,\)"),
        ({"log_gaps": np.array([0.0, math.nan])}, r"log_gaps=.*every entry must be finite"),
        ({"log_gaps": np.zeros(2), "config": ALL}, r"log_gaps: only usable where 'a' alone"),
        ({"save_times": np.array([2.0, 1.0])}, r"save_times: must ascend"),
        ({"save_times": np.array([-1.0])}, r"save_times=.*must be 0 or greater"),
        ({"start": THREE._replace(a=np.ones(3, np.float32))}, r"start\.a has dtype float32"),
        ({"start": THREE._replace(a=np.ones(2))}, r"start: a, b, c have lengths 2, 3, 3"),
        ({"start": THREE._replace(a=np.array([0.1, np.nan, 0.2]))}, r"start\.a=.*finite"),
    ],
)
def test_bad_arguments_are_named(change, message) -> None:
    arguments: dict[str, Any] = {"start": THREE, "data": DATA, **change}
    with pytest.raises(ValueError, match=message):
        raw(gradient_flow)(**arguments)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"trainable": ()}, r"trainable=\(\): name some of"),
        ({"trainable": ("a", "a")}, r"trainable=\('a', 'a'\): name some of"),
        ({"trainable": ("a", "q")}, r"trainable=\('a', 'q'\): name some of"),
        ({"trainable": ["a"]}, r"trainable=\['a'\]: name some of"),
        ({"trainable": "a"}, r"trainable='a': name some of"),
        ({"trainable": ("a", "b"), "follow_gaps": True}, r"follow_gaps=True with trainable="),
        ({"rtol": 0.0}, r"rtol=0\.0: must be greater than 0"),
        ({"atol": -1.0}, r"atol=-1\.0: must be greater than 0"),
        ({"loss_tol": math.nan}, r"loss_tol=nan: must be greater than 0"),
        ({"horizon": 0.0}, r"horizon=0\.0: must be greater than 0"),
        ({"max_steps": 0}, r"max_steps=0: must be"),
        ({"max_steps": 1e4}, r"max_steps=10000\.0: expected an integer"),
    ],
)
def test_bad_configurations_are_named(choices, message) -> None:
    with pytest.raises(ValueError, match=message):
        FlowConfig(**choices)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (LagGram(DATA.gram[:4], DATA.response), r"data\.gram has shape \(4, 5\) for 5 lags"),
        (LagGram(DATA.gram, DATA.response[:4]), r"data\.gram has shape \(5, 5\) for 4 lags"),
        (LagGram(DATA.gram * math.nan, DATA.response), r"(?s)data\.gram=.*finite"),
        (LagGram(np.eye(5, dtype=np.float32), np.ones(5)), r"data\.gram has dtype float32"),
    ],
)
def test_bad_statistics_are_named(data, message) -> None:
    with pytest.raises(ValueError, match=message):
        raw(gradient_flow)(THREE, data)
