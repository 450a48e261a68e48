"""The batching rule: mapped runs become lanes of one call, and chunks change no result."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssmbias.core.lanes import in_chunks, over_lanes

FACTOR = jnp.float64(3.0)


class Lanes(NamedTuple):
    """A number and a vector for each run."""

    number: Any
    vector: Any


class Counted:
    """An engine that multiplies, and counts its calls and the lanes of each."""

    def __init__(self, axis: int) -> None:
        self.axis = axis
        self.calls: list[int] = []

    def __call__(self, lanes: Lanes, factor: jax.Array) -> dict[str, jax.Array]:
        num = lanes.number.shape[0]
        self.calls.append(num)
        number = lanes.number[None] if self.axis == -1 else lanes.number[:, None]
        return {
            "product": factor * number * lanes.vector,
            "square": lanes.number**2,
            "spent": jnp.float64(num),
        }


def one(engine: Any, axis: int, number: Any, vector: Any) -> dict[str, jax.Array]:
    """One run through an engine, as a single lane."""
    lanes = Lanes(number[None], vector[:, None] if axis == -1 else vector[None])
    out = engine(lanes, FACTOR)
    return {
        "product": jnp.take(out["product"], 0, axis=axis),
        "square": out["square"][0],
        "spent": out["spent"],
    }


NUMBERS = jnp.arange(1.0, 4.0)
VECTORS = jnp.arange(8.0).reshape(4, 2)


@pytest.mark.parametrize("axis", [-1, 0])
def test_nested_maps_become_lanes_of_one_call(axis: int) -> None:
    counted = Counted(axis)
    engine = over_lanes(counted, axis=axis)
    run = lambda n, v: one(engine, axis, n, v)  # noqa: E731
    out = jax.vmap(jax.vmap(run, (None, 0)), (0, None))(NUMBERS, VECTORS)
    np.testing.assert_array_equal(
        out["product"], 3.0 * np.asarray(NUMBERS)[:, None, None] * np.asarray(VECTORS)[None]
    )
    np.testing.assert_array_equal(out["square"], np.repeat(np.arange(1.0, 4.0)[:, None] ** 2, 4, 1))
    # What belongs to the whole call is the same for all runs of it.
    np.testing.assert_array_equal(out["spent"], np.full((3, 4), 12.0))
    assert counted.calls[-1] == 12
    # Control: without the rule the engine never sees more than one lane.
    plain = Counted(axis)
    jax.vmap(lambda n, v: one(plain, axis, n, v))(NUMBERS, VECTORS[:3])
    assert set(plain.calls) == {1}


@pytest.mark.parametrize("axis", [-1, 0])
def test_an_argument_that_is_not_mapped_is_repeated(axis: int) -> None:
    engine = over_lanes(Counted(axis), axis=axis)
    out = jax.jit(jax.vmap(lambda n: one(engine, axis, n, VECTORS[1])))(NUMBERS)
    expected = 3.0 * np.asarray(NUMBERS)[:, None] * np.asarray(VECTORS[1])[None]
    np.testing.assert_array_equal(out["product"], expected)


def test_what_cannot_be_mapped_is_named() -> None:
    engine = over_lanes(lambda lanes, factor: factor * lanes)
    with pytest.raises(ValueError, match="shared: is the same for all lanes"):
        jax.vmap(engine)(jnp.ones((2, 3)), jnp.ones(2))
    with pytest.raises(ValueError, match="axis=1"):
        over_lanes(lambda lanes, _: lanes, axis=1)


@pytest.mark.parametrize("axis", [-1, 0])
@pytest.mark.parametrize("order", [None, [3, 0, 4, 1, 2]])
def test_chunks_change_no_result(axis: int, order: list[int] | None) -> None:
    lanes = jnp.arange(10.0).reshape(2, 5) if axis == -1 else jnp.arange(10.0).reshape(5, 2)
    sizes: list[int] = []

    def run(part: jax.Array) -> jax.Array:
        sizes.append(part.shape[axis])
        return part**2

    for size, expected in ((2, 2), (4, 4), (5, 5), (9, 5)):
        sizes.clear()
        out = in_chunks(run, lanes, 5, size, axis=axis, order=order and jnp.array(order))
        np.testing.assert_array_equal(out, np.asarray(lanes) ** 2)
        assert set(sizes) == {expected}


def test_neighbours_in_order_share_a_chunk() -> None:
    lanes = jnp.array([5.0, 1.0, 4.0, 2.0, 3.0, 6.0])
    sums = lambda order: in_chunks(  # noqa: E731
        lambda part: jnp.full_like(part, jnp.sum(part)), lanes, 6, 2, order=order
    )
    assert sums(jnp.argsort(lanes)).tolist() == [11.0, 3.0, 7.0, 3.0, 7.0, 11.0]
    # Control: as they come, other pairs meet.
    assert sums(None).tolist() == [6.0, 6.0, 6.0, 6.0, 9.0, 9.0]
