"""I1, I3, I5 along gradient descent: exact for a step, or to first order in its size."""

from __future__ import annotations

import jax
import numpy as np

from ssmbias.evidence import Bench, Claim, Kind, Row
from ssmbias.models import DiagonalSSM
from ssmbias.subjects.descents import RESOLVED, DescentRuns, Descents, Rung, descents, order_row
from ssmbias.subjects.free_flows import NUM_SEQUENCES
from ssmbias.subjects.states import ROUNDING_DERIVATION, rounding_bound
from ssmbias.theory import descent_energy_rate, energy_rate


def measure(subject: Descents, bench: Bench) -> DescentRuns:
    """The descents at all step sizes."""
    return descents(subject, bench)


def compare_characterisation(subject: Descents, after: bool, runs: DescentRuns) -> Row:
    """Compare every increment with Proposition 1 at the state before it."""

    def residual(rung: Rung, name: str) -> float:
        size = rung.step_size[:, None, None]
        value, velocity, scale = (getattr(x, name) for x in (rung.model, rung.velocity, rung.scale))
        predicted = velocity[:, 1:] if after else velocity[:, :-1]
        # The new value was rounded, and the increment is divided by the step.
        terms = scale[:, :-1] + np.abs(value[:, 1:]) / size
        return _residual(np.diff(value, axis=1) / size, predicted, terms)

    rungs = runs.rungs
    largest = max(residual(rung, name) for rung in rungs for name in DiagonalSSM._fields)
    number = sum(rung.loss[:, 1:].size for rung in rungs)
    quantity = f"descent, {number} steps"
    return _identity(subject, runs, quantity, 0.0, largest, largest)


def compare_balancedness(subject: Descents, conserved: bool, runs: DescentRuns) -> list[Row]:
    """The drift against the product of its factors, and the order in which it vanishes."""
    drifts = [_drift(rung, conserved=conserved) for rung in runs.rungs]
    predicted, measured, _ = drifts[0]
    largest = max(residual for *_, residual in drifts)
    sign = 1.0 if conserved else -1.0
    sums = [np.asarray(x.model.b**2 + sign * x.model.c**2) for x in runs.rungs]
    errors = np.stack([_norm(x[:, -1] - x[:, 0]) / _norm(x[:, 0]) for x in sums], axis=1)
    return [
        _identity(
            subject,
            runs,
            "b² - c² after each step (values: mean relative drift at the longest step)",
            predicted,
            measured,
            largest,
        ),
        order_row(runs, "order in η of the drift of b² - c²", errors, 1.0),
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


def compare_energy(subject: Descents, wrong: bool, runs: DescentRuns) -> list[Row]:
    """The orders in which the loss's change over a step approaches its two predictions."""
    rungs = runs.rungs
    # All rungs end to end: one shape to compile for.
    velocities = [rung.velocity for rung in rungs]
    before = jax.tree.map(lambda *x: np.concatenate([y[:, :-1] for y in x], axis=1), *velocities)
    after = jax.tree.map(lambda *x: np.concatenate([y[:, 1:] for y in x], axis=1), *velocities)
    rate, rate_after = (np.asarray(jax.jit(_over(energy_rate))(x)) for x in (before, after))
    balance = np.asarray(jax.jit(_over(descent_energy_rate))(before, after))
    if wrong:
        # Twice the rate; and the mean of both ends, which is right along the flow.
        rate, balance = 2.0 * rate, 0.5 * (rate + rate_after)
    cuts = np.cumsum([rung.loss.shape[1] - 1 for rung in rungs])[:-1]
    measured = [np.diff(rung.loss, axis=1) / rung.step_size[:, None] for rung in rungs]
    first, second = (
        [_root_mean_square(x - y) for x, y in zip(measured, np.split(z, cuts, axis=1), strict=True)]
        for z in (rate, balance)
    )
    return [
        order_row(runs, quantity, np.stack(errors, axis=1), order)
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
    subject: Descents,
    runs: DescentRuns,
    quantity: str,
    predicted: float,
    measured: float,
    residual: float,
) -> Row:
    """A row of a residual that only rounding may make different from 0."""
    return Row(
        kind=Kind.IDENTITY,
        quantity=quantity,
        predicted=predicted,
        measured=measured,
        residual=residual,
        tolerance=rounding_bound(runs.start.a.shape[-1], NUM_SEQUENCES, subject.flows.seq_len),
        derivation=ROUNDING_DERIVATION,
        count=runs.count,
        # Exact at any step size: the premises of the orders do not matter here.
        own_premises_only=True,
    )


CLAIMS = (
    Claim(
        id="I1-descent",
        title="Dynamical characterisation of descent",
        statement=r"\frac{a_j^{(k+1)} - a_j^{(k)}}{\eta} = b_j c_j\, g'(a_j), \quad "
        r"\frac{b_j^{(k+1)} - b_j^{(k)}}{\eta} = c_j\, g(a_j), \quad "
        r"\frac{c_j^{(k+1)} - c_j^{(k)}}{\eta} = b_j\, g(a_j) \quad \text{at step } k",
        kind=Kind.IDENTITY,
        reference="Slutzky et al. (2025), arXiv:2410.10473, Proposition 1; docs/theory.md (I1)",
        control="the right side after the step in place of before it",
        subject=Descents,
        measure=measure,
        predict=lambda subject, runs: False,
        wrong=lambda subject, runs: True,
        compare=compare_characterisation,
        family="descent",
        cost=10.0,
    ),
    Claim(
        id="I3-descent",
        title="Balancedness under descent",
        statement=r"\left( b_j^2 - c_j^2 \right)^{(k+1)} = "
        r"\left( 1 - \eta^2 g(a_j)^2 \right) \left( b_j^2 - c_j^2 \right)^{(k)}, \quad "
        r"\text{drift } O(\eta)",
        kind=Kind.IDENTITY,
        reference="derivation in docs/theory.md (I3)",
        control="conservation, as under the flow; for the order, the drift of b² + c²",
        subject=Descents,
        measure=measure,
        predict=lambda subject, runs: False,
        wrong=lambda subject, runs: True,
        compare=compare_balancedness,
        premises=(RESOLVED,),
        family="descent",
        cost=2.0,
    ),
    Claim(
        id="I5-descent",
        title="Energy under descent",
        statement=r"\frac{L_{k+1} - L_k}{\eta} = -\left\| \nabla L_k \right\|^2 + O(\eta) = "
        r"-\tfrac34 \left\| \nabla L_k \right\|^2 - \tfrac14 \left\| \nabla L_{k+1} \right\|^2 "
        r"+ O(\eta^2)",
        kind=Kind.LAW,
        reference="derivation in docs/theory.md (I5)",
        control="twice the rate; and the mean of the rates at both ends of a step",
        subject=Descents,
        measure=measure,
        predict=lambda subject, runs: False,
        wrong=lambda subject, runs: True,
        compare=compare_energy,
        premises=(RESOLVED,),
        family="descent",
        cost=2.0,
    ),
)
