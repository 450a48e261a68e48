"""Results show themselves: what is seen, that it is escaped, and that pytrees stay pytrees."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssmbias.certify.certificate import Certificate
from ssmbias.core.display import describe, displayed
from ssmbias.dynamics import DescentResult, FlowResult, LimitResult, Outcome, Theorem1Result


@displayed(outcome=Outcome)
class Inner(NamedTuple):
    outcome: Any
    values: Any


@displayed(outcome=Outcome)
class Result(NamedTuple):
    a: Any
    outcome: Any
    inner: Inner | None = None
    note: str = ""


def test_fields_are_listed_with_words_for_codes() -> None:
    shown = str(Result(np.array([1.0, 0.5]), np.array(0), Inner(3, np.zeros((4, 5))))).splitlines()
    assert shown == [
        "Result",
        "  a              [1, 0.5]",
        "  outcome        converged",
        "  inner.outcome  max steps",
        "  inner.values   float64[4, 5], 0 to 0",
        "  note           –",
    ]


def test_lanes_are_counted() -> None:
    assert describe(np.array([0, 0, 3, 0]), Outcome) == "3 converged, 1 max steps"
    # A code that nobody explains is shown as it is.
    assert describe(np.array([0, 99]), Outcome) == "1 converged, 1 99"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.array([np.nan, 1.0] * 5), "float64[10], 1 to 1, 5 not finite"),
        (np.full(9, np.inf), "float64[9], nothing finite"),
        (np.zeros((0, 3)), "float64[0, 3]"),
        (np.array([True, False]), "[yes, no]"),
        (jax.random.key(0), "key<fry>[]"),
        ({"w": 1}, "dict of 1"),
        ((object(),), "tuple of 1"),
        ("\x1b[2Jgone", "[2Jgone"),
        ("x" * 600, "x" * 499 + "…"),
    ],
)
def test_values_in_few_words(value: Any, expected: str) -> None:
    assert describe(value) == expected


def test_a_notebook_shows_text_and_no_markup() -> None:
    html = Result("<script>alert(1)</script>", 0)._repr_html_()  # pyright: ignore
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert html.count("<tr>") == 4


def test_traced_results_can_be_printed() -> None:
    said = []

    @jax.jit
    def traced(x):
        said.append(str(Result(x, x)))
        return x

    traced(jnp.zeros(3))
    assert said[0].splitlines()[1].split() == ["a", "float32[3]"] or "float64[3]" in said[0]


@pytest.mark.parametrize("kind", [FlowResult, Theorem1Result, LimitResult, DescentResult])
def test_results_stay_pytrees(kind: Any) -> None:
    result = kind(*(float(i) for i in range(len(kind._fields))))
    leaves, structure = jax.tree.flatten(result)
    assert leaves == list(result)
    assert jax.tree.unflatten(structure, leaves) == result
    shown = str(result).splitlines()
    assert shown[0] == kind.__name__
    assert [line.split()[0] for line in shown[1:]] == list(kind._fields)
    assert kind.__name__ in result._repr_html_()


def test_certificates_leave_out_their_proofs() -> None:
    names = [field.name for field in dataclasses.fields(Certificate) if field.repr]
    values = dict.fromkeys(names, 1.0) | {"certified": True, "reason": "<b>"}
    shown = Certificate(**values, slabs=(), log=b"proof")
    assert [line.split()[0] for line in str(shown).splitlines()[1:]] == names
    assert "proof" not in repr(shown)
    assert "&lt;b&gt;" in shown._repr_html_()  # pyright: ignore


def test_enumerations_say_their_value() -> None:
    class Word(enum.StrEnum):
        YES = "yes it is"

    assert describe(Word.YES) == "yes it is"
