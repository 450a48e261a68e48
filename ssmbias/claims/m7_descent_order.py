"""M7: gradient descent follows the flow to first order in its step."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssmbias.evidence import Bench, Claim, Kind, Row
from ssmbias.models import DiagonalSSM
from ssmbias.subjects.descents import COMPARED, RESOLVED, DescentRuns, Descents, descents, order_row
from ssmbias.theory import descent_expansion

# A multiple of the last of `COMPARED`. Curvature times duration is at most 16, hence curvature
# times step at most 1/32: an error of 1e-10 of the way, where the correction leaves 5e-8 of it.
_RUNGE_KUTTA_STEPS = 512


class Expansion(NamedTuple):
    """The flow at the compared times, and the coefficient of η in descent's distance from it.

    Attributes:
      flow, correction: by theory's own integrator [run, time, entry].
    """

    flow: np.ndarray
    correction: np.ndarray


class Predicted(NamedTuple):
    """Where descent is to be.

    Attributes:
      flow: the simulated flow [run, time, entry].
      other: the same by the other integrator.
      fine, coarse: the expansion, by two numbers of steps.
    """

    flow: np.ndarray
    other: np.ndarray
    fine: Expansion
    coarse: Expansion


def measure(subject: Descents, bench: Bench) -> DescentRuns:
    """The descents at all step sizes."""
    return descents(subject, bench)


def predict(subject: Descents, runs: DescentRuns) -> Predicted:
    """The flow, and its first-order correction."""
    return _predict(runs, runs.flow, weight=1.0)


def wrong(subject: Descents, runs: DescentRuns) -> Predicted:
    """The flow at half the time, the clock of a loss without its factor 2; twice the correction."""
    return _predict(runs, runs.flow_at_half, weight=2.0)


def _predict(runs: DescentRuns, flow: DiagonalSSM, weight: float) -> Predicted:
    fine, coarse = (
        Expansion(*_expand(runs, steps)) for steps in (_RUNGE_KUTTA_STEPS, _RUNGE_KUTTA_STEPS // 2)
    )
    other = _flat(flow) + (fine.flow - _flat(runs.flow))
    fine, coarse = (x._replace(correction=weight * x.correction) for x in (fine, coarse))
    return Predicted(_flat(flow), other, fine, coarse)


def compare(subject: Descents, predicted: Predicted, runs: DescentRuns) -> list[Row]:
    """The order of the distance from the flow, and of what a first-order correction leaves."""

    def distances(flow: np.ndarray, correction: np.ndarray | float = 0.0) -> np.ndarray:
        """Root mean squares over the compared times [run, size]."""
        columns = []
        for rung in runs.rungs:
            at = _flat(jax.tree.map(lambda x, rung=rung: x[:, rung.compared], rung.model))
            reference = flow + rung.step_size[:, None, None] * correction
            columns.append(np.sqrt(np.mean(np.sum((at - reference) ** 2, axis=-1), axis=-1)))
        return np.stack(columns, axis=1)

    twice = "twice the change of the order when the flow is computed by "
    return [
        order_row(
            runs,
            "order in η of |θ_k - θ(ηk)|",
            distances(predicted.flow),
            1.0,
            also=distances(predicted.other),
            because=twice + "the other integrator",
        ),
        order_row(
            runs,
            "order in η of |θ_k - θ(ηk) - η e(ηk)|",
            distances(*predicted.fine),
            2.0,
            also=distances(*predicted.coarse),
            because=twice + "half as many steps",
        ),
    ]


def _expand(runs: DescentRuns, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Flow and correction at the compared times [run, time, entry]."""
    flow, correction = _expansion(num_steps)(runs.start, runs.data, jnp.asarray(runs.duration))
    return _flat(flow), _flat(correction)


@functools.cache
def _expansion(num_steps: int) -> Callable:
    """Expansions of all runs, compiled once for prediction and control."""
    index = COMPARED * (num_steps // COMPARED[-1])

    def one(start, data, duration):
        path = descent_expansion(start, data, duration, num_steps=num_steps)
        return jax.tree.map(lambda x: x[index], (path.flow, path.correction))

    return jax.jit(jax.vmap(one))


def _flat(model: DiagonalSSM) -> np.ndarray:
    return np.concatenate([np.asarray(x) for x in model], axis=-1)


CLAIMS = (
    Claim(
        id="M7-order",
        title="Descent follows the flow",
        statement=r"\theta_k = \theta(\eta k) + \eta\, e(\eta k) + O(\eta^2), \quad "
        r"\dot e = -\nabla^2 L(\theta) \left( e + \tfrac12 \nabla L(\theta) \right), \quad "
        r"e(0) = 0",
        kind=Kind.LAW,
        reference="derivation in docs/theory.md (M7); Barrett and Dherin (2021), arXiv:2009.11162",
        control="the flow at half the time; and a correction twice as large",
        subject=Descents,
        measure=measure,
        predict=predict,
        wrong=wrong,
        compare=compare,
        premises=(RESOLVED,),
        family="descent",
        cost=4.0,
    ),
)
