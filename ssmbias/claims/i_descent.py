"""I1, I3, I5 along gradient descent: exact for a step, or to first order in its size."""

from __future__ import annotations

import jax
import numpy as np

from ssmbias.evidence.evidence import Claim, Evidence, Kind, judge
from ssmbias.models import DiagonalSSM
from ssmbias.subjects.descents import Rung, descents, order_evidence
from ssmbias.subjects.laboratory import Laboratory
from ssmbias.subjects.states import ROUNDING_DERIVATION, rounding_bound
from ssmbias.theory import descent_energy_rate, energy_rate


def check_characterisation(lab: Laboratory, control: bool) -> list[Evidence]:
    """Compare every increment with Proposition 1 at the state before it."""

    def residual(rung: Rung, name: str) -> float:
        size = rung.step_size[:, None, None]
        value, velocity, scale = (getattr(x, name) for x in (rung.model, rung.velocity, rung.scale))
        predicted = velocity[:, 1:] if control else velocity[:, :-1]
        # The new value was rounded, and the increment is divided by the step.
        terms = scale[:, :-1] + np.abs(value[:, 1:]) / size
        return _residual(np.diff(value, axis=1) / size, predicted, terms)

    rungs = descents(lab).rungs
    largest = max(residual(rung, name) for rung in rungs for name in DiagonalSSM._fields)
    number = sum(rung.loss[:, 1:].size for rung in rungs)
    quantity = f"descent, {number} steps"
    return [_identity(CLAIMS[0], lab, quantity, 0.0, largest, largest)]


def check_balancedness(lab: Laboratory, control: bool) -> list[Evidence]:
    """The drift against the product of its factors, and the order in which it vanishes."""
    drifts = [_drift(rung, conserved=control) for rung in descents(lab).rungs]
    predicted, measured, _ = drifts[0]
    largest = max(residual for *_, residual in drifts)
    sign = 1.0 if control else -1.0
    sums = [np.asarray(x.model.b**2 + sign * x.model.c**2) for x in descents(lab).rungs]
    errors = np.stack([_norm(x[:, -1] - x[:, 0]) / _norm(x[:, 0]) for x in sums], axis=1)
    return [
        _identity(
            CLAIMS[1],
            lab,
            "b² - c² after each step (values: mean relative drift at the longest step)",
            predicted,
            measured,
            largest,
        ),
        order_evidence(CLAIMS[1], lab, "order in η of the drift of b² - c²", errors, 1.0),
    ]


def _drift(rung: Rung, conserved: bool) -> tuple[float, float, float]:
    """Mean drift as predicted and as measured, and the largest residual of all steps and states.

    The control claims conservation, as under the flow: that every factor is 1.
    """
    b, c = np.asarray(rung.model.b), np.asarray(rung.model.c)
    size = rung.step_size[:, None, None]
    measured = b**2 - c**2
    factor = np.ones_like(rung.factor) if conserved else rung.factor
    predicted = measured[:, :1] * np.cumprod(factor[:, :-1], axis=1)
    # Absolute values of the terms that make up b² and c² after a step, added up over the steps.
    terms = 2.0 * ((np.abs(b) + size * rung.scale.b) ** 2 + (np.abs(c) + size * rung.scale.c) ** 2)
    residual = _residual(measured[:, 1:], predicted, np.cumsum(terms[:, :-1], axis=1))
    start = _norm(measured[:, 0])
    means = [np.mean(_norm(x[:, -1] - measured[:, 0]) / start) for x in (predicted, measured)]
    return float(means[0]), float(means[1]), residual


def check_energy(lab: Laboratory, control: bool) -> list[Evidence]:
    """The orders in which the loss's change over a step approaches its two predictions."""
    rungs = descents(lab).rungs
    # All rungs end to end: one shape to compile for.
    velocities = [rung.velocity for rung in rungs]
    before = jax.tree.map(lambda *x: np.concatenate([y[:, :-1] for y in x], axis=1), *velocities)
    after = jax.tree.map(lambda *x: np.concatenate([y[:, 1:] for y in x], axis=1), *velocities)
    rate, rate_after = (np.asarray(jax.jit(_over(energy_rate))(x)) for x in (before, after))
    balance = np.asarray(jax.jit(_over(descent_energy_rate))(before, after))
    if control:
        # Twice the rate; and the mean of both ends, which is right along the flow.
        rate, balance = 2.0 * rate, 0.5 * (rate + rate_after)
    cuts = np.cumsum([rung.loss.shape[1] - 1 for rung in rungs])[:-1]
    measured = [np.diff(rung.loss, axis=1) / rung.step_size[:, None] for rung in rungs]
    first, second = (
        [_root_mean_square(x - y) for x, y in zip(measured, np.split(z, cuts, axis=1), strict=True)]
        for z in (rate, balance)
    )
    return [
        order_evidence(CLAIMS[2], lab, quantity, np.stack(errors, axis=1), order)
        for quantity, errors, order in (
            ("order in η of ΔL/η + |∇L|²", first, 1.0),
            ("order in η of ΔL/η + (3|∇L|² + |∇L'|²)/4", second, 2.0),
        )
    ]


def _over(function):
    """Map over runs and steps."""
    return jax.vmap(jax.vmap(function))


def _residual(measured: np.ndarray, predicted: np.ndarray, terms: np.ndarray) -> float:
    """`relative_residual` in NumPy: the rungs have six shapes, each to be compiled for."""
    difference = np.abs(measured - predicted)
    ratio = np.divide(difference, terms, out=np.zeros_like(terms), where=terms > 0)
    return float(np.max(np.where((terms == 0) & (difference > 0), np.inf, ratio)))


def _norm(x: np.ndarray) -> np.ndarray:
    return np.linalg.norm(x, axis=-1)


def _root_mean_square(x: np.ndarray) -> np.ndarray:
    return np.sqrt(np.mean(x**2, axis=-1))


def _identity(
    claim: Claim,
    lab: Laboratory,
    quantity: str,
    predicted: float,
    measured: float,
    residual: float,
) -> Evidence:
    """A row of a residual that only rounding may make different from 0."""
    made = descents(lab)
    dim = made.start.a.shape[-1]
    num_samples, seq_len = lab.free_flows.training_set.inputs.shape[-2:]
    tolerance = rounding_bound(dim, num_samples, seq_len)
    # Exact at any step size: the premises of the orders do not matter here.
    verdict, reason = judge(residual, tolerance, (), made.runs)
    return Evidence(
        claim=claim.id,
        setting=lab.setting.name,
        kind=Kind.IDENTITY,
        quantity=quantity,
        predicted=predicted,
        measured=measured,
        residual=residual,
        tolerance=tolerance,
        derivation=ROUNDING_DERIVATION,
        verdict=verdict,
        reason=reason,
        runs=made.runs,
    )


_RESOLVED = "the longest step times the curvature is at most 1/2"

CLAIMS = (
    Claim(
        id="I1-descent",
        title="Dynamical characterisation of descent",
        statement=r"\frac{a_j^{(k+1)} - a_j^{(k)}}{\eta} = b_j c_j\, g'(a_j), \quad "
        r"\frac{b_j^{(k+1)} - b_j^{(k)}}{\eta} = c_j\, g(a_j), \quad "
        r"\frac{c_j^{(k+1)} - c_j^{(k)}}{\eta} = b_j\, g(a_j) \quad \text{at step } k",
        kind=Kind.IDENTITY,
        assumptions=(),
        reference="Slutzky et al. (2025), arXiv:2410.10473, Proposition 1; docs/theory.md (I1)",
        control="the right side after the step in place of before it",
        check=check_characterisation,
    ),
    Claim(
        id="I3-descent",
        title="Balancedness under descent",
        statement=r"\left( b_j^2 - c_j^2 \right)^{(k+1)} = "
        r"\left( 1 - \eta^2 g(a_j)^2 \right) \left( b_j^2 - c_j^2 \right)^{(k)}, \quad "
        r"\text{drift } O(\eta)",
        kind=Kind.IDENTITY,
        assumptions=(_RESOLVED,),
        reference="derivation in docs/theory.md (I3)",
        control="conservation, as under the flow; for the order, the drift of b² + c²",
        check=check_balancedness,
    ),
    Claim(
        id="I5-descent",
        title="Energy under descent",
        statement=r"\frac{L_{k+1} - L_k}{\eta} = -\left\| \nabla L_k \right\|^2 + O(\eta) = "
        r"-\tfrac34 \left\| \nabla L_k \right\|^2 - \tfrac14 \left\| \nabla L_{k+1} \right\|^2 "
        r"+ O(\eta^2)",
        kind=Kind.LAW,
        assumptions=(_RESOLVED,),
        reference="derivation in docs/theory.md (I5)",
        control="twice the rate; and the mean of the rates at both ends of a step",
        check=check_energy,
    ),
)
