"""I3: b_j^2 - c_j^2 is conserved."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ssmbias.core.types import Array
from ssmbias.data import TrainingSet
from ssmbias.evidence.evidence import Claim, Evidence, Kind, judge
from ssmbias.models import DiagonalSSM
from ssmbias.subjects.free_flows import FLOW_RTOL
from ssmbias.subjects.laboratory import Laboratory
from ssmbias.subjects.states import free_states, identity_evidence, steepest_descent
from ssmbias.theory import balancedness_drift, balancedness_residual, velocity_scale


def check(lab: Laboratory, control: bool) -> list[Evidence]:
    """The rate at every saved state by automatic differentiation, and the drift along the way."""

    def swap_sign(model: DiagonalSSM) -> DiagonalSSM:
        """The control claims that b² + c² is conserved: the same as a sign on c's velocity."""
        return model._replace(c=-model.c) if control else model

    def residual(model: DiagonalSSM, training_set: TrainingSet, targets: Array) -> Array:
        measured = steepest_descent(model, training_set, targets)
        scale = velocity_scale(model, training_set, targets)
        return balancedness_residual(model, swap_sign(measured), scale)

    states = free_states(lab)
    return [identity_evidence(CLAIMS[0], lab, states, residual), _drift(lab, control)]


def _drift(lab: Laboratory, control: bool) -> Evidence:
    """The change of b² - c² since the start, against the solver's tolerance."""
    flows = lab.free_flows
    trajectory = flows.result.trajectory
    assert trajectory is not None
    now = DiagonalSSM(trajectory.a, trajectory.b, trajectory.c)
    measure = _sum_drift if control else balancedness_drift
    drift = jax.vmap(  # over seeds, strengths and times
        jax.vmap(jax.vmap(measure, in_axes=(0, None)), in_axes=(0, None))
    )(now, flows.start)
    largest = float(jnp.max(drift))
    # Each step may put a relative error of rtol on b and on c; errors of successive steps add.
    tolerance = 2.0 * FLOW_RTOL * float(jnp.max(flows.result.num_steps))
    verdict, reason = judge(largest, tolerance, (), flows.runs)
    return Evidence(
        claim="I3",
        setting=lab.setting.name,
        kind=Kind.IDENTITY,
        quantity="drift of b² - c² along free flows (feels the solver's error)",
        predicted=0.0,
        measured=largest,
        residual=largest,
        tolerance=tolerance,
        derivation="2 rtol x number of steps: the solver's error per step, added up",
        verdict=verdict,
        reason=reason,
        runs=flows.runs,
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
        assumptions=(),
        reference="derivation in docs/theory.md (I3)",
        control="conservation of b² + c²",
        check=check,
    ),
)
