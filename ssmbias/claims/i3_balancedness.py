"""I3: b_j^2 - c_j^2 is conserved."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from ssmbias.core.types import Array
from ssmbias.data import TrainingSet
from ssmbias.evidence import Bench, Claim, Kind, Row
from ssmbias.models import DiagonalSSM
from ssmbias.subjects.free_flows import FLOW_RTOL, FreeFlows, FreeRuns, free_runs
from ssmbias.subjects.states import States, identity_row, steepest_descent
from ssmbias.theory import balancedness_drift, balancedness_residual, velocity_scale


class Conserved(NamedTuple):
    """What is said to be conserved: b² + sign c²."""

    sign: float


class BalancednessRuns(NamedTuple):
    """Free flows, and all of their saved states."""

    flows: FreeRuns
    states: States


def measure(subject: FreeFlows, bench: Bench) -> BalancednessRuns:
    """The flows and their states."""
    return BalancednessRuns(free_runs(subject, bench), subject.states(bench))


def compare(subject: FreeFlows, predicted: Conserved, runs: BalancednessRuns) -> list[Row]:
    """The rate at every saved state by automatic differentiation, and the drift along the way."""

    def residual(model: DiagonalSSM, training_set: TrainingSet, targets: Array) -> Array:
        measured = steepest_descent(model, training_set, targets)
        scale = velocity_scale(model, training_set, targets)
        # A rate of b² + c² is one of b² - c² with a sign on c's velocity.
        measured = measured._replace(c=-predicted.sign * measured.c)
        return balancedness_residual(model, measured, scale)

    return [identity_row(runs.states, residual), _drift(predicted, runs.flows)]


def _drift(predicted: Conserved, flows: FreeRuns) -> Row:
    """The change of b² - c² since the start, against the solver's tolerance."""
    trajectory = flows.result.trajectory
    assert trajectory is not None
    now = DiagonalSSM(trajectory.a, trajectory.b, trajectory.c)
    measure = balancedness_drift if predicted.sign < 0 else _sum_drift
    drift = jax.vmap(  # over seeds, strengths and times
        jax.vmap(jax.vmap(measure, in_axes=(0, None)), in_axes=(0, None))
    )(now, flows.start)
    largest = float(jnp.max(drift))
    return Row(
        quantity="drift of b² - c² along free flows (feels the solver's error)",
        predicted=0.0,
        measured=largest,
        residual=largest,
        # Each step may put a relative error of rtol on b and on c; errors of successive steps add.
        tolerance=2.0 * FLOW_RTOL * float(jnp.max(flows.result.num_steps)),
        derivation="2 rtol x number of steps: the solver's error per step, added up",
        count=flows.count,
    )


def _sum_drift(model: DiagonalSSM, start: DiagonalSSM) -> Array:
    """The control: the change of b² + c², relative to the same scale."""
    now, then = model.b**2 + model.c**2, start.b**2 + start.c**2
    return jnp.max(jnp.abs(now - then) / (now + then))


CLAIMS = (
    Claim(
        id="I3",
        title="Balancedness",
        statement=r"\frac{d}{dt} \left( b_j^2 - c_j^2 \right) = 0",
        kind=Kind.IDENTITY,
        reference="derivation in docs/theory.md (I3)",
        subject=FreeFlows,
        measure=measure,
        predict=lambda subject, runs: Conserved(sign=-1.0),
        control="conservation of b² + c²",
        wrong=lambda subject, runs: Conserved(sign=1.0),
        compare=compare,
        family="identities",
        cost=3.0,
    ),
)
