"""Gradient descent refuses what it cannot use, and says why."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from dynamics.descent.small_descent import ADAM, DATA, SGD, START, descend

from ssmbias.data import LagGram
from ssmbias.dynamics import DescentConfig, gradient_descent

LEAVES = ("a", "b", "c")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": START._replace(a=np.ones(3, np.float32))}, r"start\.a has dtype float32"),
        ({"start": START._replace(b=np.ones(2))}, r"start: a, b, c have lengths 3, 2, 3"),
        ({"start": START._replace(c=np.array([1, np.nan, 2]))}, r"start\.c=.*must be finite"),
        ({"data": LagGram(DATA.gram[:2], DATA.response)}, r"data\.gram has shape \(2, 5\)"),
        ({"optimizer": 0.1}, r"optimizer=0\.1: expected an optax transformation"),
        ({"step_size": 0.0}, r"step_size=0\.0: must be greater than 0"),
        ({"config": {"max_steps": 5}}, r"config=\{'max_steps': 5\}: expected a DescentConfig"),
        ({"step_size": np.ones(2)}, r"step_size has shape \(2,\).*jax\.vmap"),
        ({"optimizer_state": 3}, r"optimizer_state: is not a state of this optimizer"),
        ({"optimizer_state": ADAM.init(START._asdict())}, r"optimizer_state: is not a state of"),
    ],
)
def test_bad_arguments_are_named(change, message) -> None:
    arguments: dict[str, Any] = {"start": START, "data": DATA, "optimizer": SGD, **change}
    with pytest.raises(ValueError, match=message):
        gradient_descent(**arguments)


def test_a_state_of_other_shapes_is_refused() -> None:
    shorter = ADAM.init({k: jnp.ones(2) for k in LEAVES})
    with pytest.raises(ValueError, match=r"optimizer_state: is not a state .* None to start anew"):
        descend(optimizer=ADAM, optimizer_state=shorter)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"loss_tol": -1.0}, r"loss_tol=-1\.0: must be 0 or greater"),
        ({"loss_tol": math.nan}, r"loss_tol=nan: must be finite"),
        ({"loss_tol": True}, r"loss_tol=True: expected a number"),
        ({"max_steps": 0}, r"max_steps=0: must be in 1\.\."),
        ({"max_steps": 2**31 - 1}, r"max_steps=2147483647: must be in 1\.\.1000000000"),
        ({"max_steps": 1e3}, r"max_steps=1000\.0: expected an integer"),
        ({"extra_steps": -1}, r"extra_steps=-1: must be in 0\.\."),
        ({"log_every": 0}, r"log_every=0: must be in 1\.\."),
        ({"log_offset": 100}, r"log_offset=100: must be in 0\.\.99"),
        ({"max_logs": 1}, r"max_logs=1: must be in 2\.\."),
        ({"trainable": ["a"]}, r"trainable=\['a'\]: name some of 'a', 'b', 'c'"),
        ({"trainable": ()}, r"trainable=\(\): name some"),
        ({"trainable": ("a", "a")}, r"each once"),
        ({"trainable": ("a", "d")}, r"trainable=\('a', 'd'\)"),
        ({"lanes_per_chunk": 0}, r"lanes_per_chunk=0: must be >= 1"),
    ],
)
def test_bad_choices_are_named(choices, message) -> None:
    with pytest.raises(ValueError, match=message):
        DescentConfig(**choices)
    assert DescentConfig(loss_tol=0)  # control
