"""M7: gradient descent follows the flow, and how far a flow still has to go."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssmbias.core.types import AnyArray
from ssmbias.data import theorem1_gram
from ssmbias.dynamics import Outcome, Theorem1Result
from ssmbias.evidence.evidence import Assumption, Claim, Evidence, Kind, Runs, judge
from ssmbias.models import DiagonalSSM, theorem1_student
from ssmbias.subjects.descents import COMPARED, descents, order_evidence
from ssmbias.subjects.laboratory import NUM_TIMES, Laboratory, solver_tolerance
from ssmbias.theory import descent_expansion, distance_bound, local_rate

# A multiple of the last of `COMPARED`. Curvature times duration is at most 16, hence curvature
# times step at most 1/32: an error of 1e-10 of the way, where the correction leaves 5e-8 of it.
_RUNGE_KUTTA_STEPS = 512
# States count as long as the solver's error is below this fraction of the bound.
_NOISE = 1e-3
# Far from the end λ is small and the bound says little.
_FROM, _NEAR = 0.25, 1e-2
# Times 1/λ, during which the loss falls by e^-24, until there is little left but noise.
_LITTLE = 12.0


def check_order(lab: Laboratory, control: bool) -> list[Evidence]:
    """The order of the distance from the flow, and of what a first-order correction leaves."""
    made = descents(lab)
    fine, coarse = lab.once("descent_expansions", lambda: _expand(lab))
    # The control is the flow at half the time: the clock of a loss without its factor 2.
    flow = _flat(made.flow_at_half if control else made.flow)
    by_runge_kutta = flow + (fine[0] - _flat(made.flow))
    # For the second row it takes the error of a step for η²∇²L∇L, twice what it is.
    weight = 2.0 if control else 1.0

    def distances(flow: np.ndarray, correction: np.ndarray | float = 0.0) -> np.ndarray:
        """Root mean squares over the compared times [run, size]."""
        columns = []
        for rung in made.rungs:
            at = _flat(jax.tree.map(lambda x, rung=rung: x[:, rung.compared], rung.model))
            reference = flow + weight * rung.step_size[:, None, None] * correction
            columns.append(np.sqrt(np.mean(np.sum((at - reference) ** 2, axis=-1), axis=-1)))
        return np.stack(columns, axis=1)

    twice = "twice the change of the order when the flow is computed by "
    return [
        order_evidence(
            CLAIMS[0],
            lab,
            "order in η of |θ_k - θ(ηk)|",
            distances(flow),
            1.0,
            also=distances(by_runge_kutta),
            because=twice + "the other integrator",
        ),
        order_evidence(
            CLAIMS[0],
            lab,
            "order in η of |θ_k - θ(ηk) - η e(ηk)|",
            distances(*fine),
            2.0,
            also=distances(*coarse),
            because=twice + "half as many steps",
        ),
    ]


def _expand(lab: Laboratory) -> list[tuple[np.ndarray, np.ndarray]]:
    """Flow and correction at the compared times [run, time, entry], by two numbers of steps."""
    made = descents(lab)

    def run(num_steps: int) -> tuple[np.ndarray, np.ndarray]:
        index = COMPARED * (num_steps // COMPARED[-1])

        def one(start, data, duration):
            path = descent_expansion(start, data, duration, num_steps=num_steps)
            return jax.tree.map(lambda x: x[index], (path.flow, path.correction))

        flow, correction = jax.jit(jax.vmap(one))(made.start, made.data, jnp.asarray(made.duration))
        return _flat(flow), _flat(correction)

    return [run(_RUNGE_KUTTA_STEPS), run(_RUNGE_KUTTA_STEPS // 2)]


def _flat(model: DiagonalSSM) -> np.ndarray:
    return np.concatenate([np.asarray(x) for x in model], axis=-1)


class Tail(NamedTuple):
    """The last part of each flow of Theorem 1 at one strength [seed, time].

    Attributes:
      loss, distance: training loss, and distance to the end.
      bound: the bound of it, λ being the smallest one from there on.
      runs: simulations behind them.
    """

    loss: np.ndarray
    distance: np.ndarray
    bound: np.ndarray
    runs: Runs


def check_distance(lab: Laboratory, control: bool) -> list[Evidence]:
    """Distance over bound near the ends of the clean and the poisoned flows of Theorem 1."""
    return [_row(lab, strength, control) for strength in (0.0, 1.0)]


def _row(lab: Laboratory, strength: float, control: bool) -> Evidence:
    limits = lab.limits((strength,))
    tail = lab.once(f"tail_{strength:g}", lambda: _tail(lab, strength))
    # Each entry of a state and of the limit has the solver's error.
    noise = 2.0 * np.sqrt(lab.setting.state_dim) * solver_tolerance(limits.absolute_error())
    counts = np.isfinite(tail.bound) & (noise <= _NOISE * tail.bound)
    near = counts & (tail.loss <= _NEAR)
    bound = 0.5 * tail.bound if control else tail.bound
    ratio = float(np.max(tail.distance[counts] / bound[counts], initial=0.0))
    assumptions = (
        Assumption(
            f"each run has states near its end (L <= {_NEAR:g}) with λ > 0 from there on and a "
            "bound far above the solver's error",
            bool(np.all(np.any(near, axis=1))),
            f"{int(np.sum(near))} states",
        ),
    )
    runs = limits.runs + tail.runs
    verdict, reason = judge(ratio - 1.0, _NOISE, assumptions, runs)
    arm = "poisoned" if strength else "clean"
    return Evidence(
        claim=CLAIMS[1].id,
        setting=lab.setting.name,
        kind=Kind.BOUND,
        quantity=f"distance to the end over its bound, {arm} flows",
        predicted=1.0,
        measured=ratio,
        residual=ratio - 1.0,
        tolerance=_NOISE,
        derivation="the largest ratio minus 1: the solver's error is below 1/1000 of the bound",
        verdict=verdict,
        reason=reason,
        assumptions=assumptions,
        margin=1.0 / ratio if ratio > 0 else None,
        runs=runs,
    )


def _tail(lab: Laboratory, strength: float) -> Tail:
    """Run each flow anew from where its loss was last large, with a clock that starts there.

    A plateau of 1e12 leaves no doubles between the times at which all happens. A first pass finds
    the time of the fall, a second one saves states from there on until little is left.
    """
    path = jax.tree.map(np.asarray, lab.path(strength))
    seed = np.arange(len(path.loss))
    last, _ = _around(path.loss)
    with np.errstate(divide="ignore"):  # an exact tie
        start = path.a[seed, last], np.log(path.gaps[seed, last, 0])
    left = path.time[:, -1] - path.time[seed, last]
    a, loss, _ = _states(lab, strength, start, np.zeros_like(left), 2.0 * left)
    times = np.linspace(0.0, 2.0 * left, NUM_TIMES, axis=1)
    before, after = _around(loss)
    rest = _LITTLE / _rates(lab, strength, a[:, -1:])[:, 0]
    a, loss, run = _states(lab, strength, start, times[seed, before], times[seed, after] + rest)
    end = np.asarray(run.a)
    outcomes = np.asarray(run.outcome)
    bad = outcomes[outcomes != Outcome.CONVERGED]
    reason = Outcome(int(bad[0])).explanation if bad.size else ""
    ahead = _rates(lab, strength, a)
    smallest = np.minimum.accumulate(ahead[:, ::-1], axis=1)[:, ::-1]
    bound = np.asarray(jax.jit(jax.vmap(jax.vmap(distance_bound)))(loss, smallest))
    distance = np.linalg.norm(a - end, axis=-1)
    return Tail(loss, distance, bound, Runs(outcomes.size, bad.size, reason))


def _around(loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the last state before the fall of the loss and of the first one after it."""
    large, small = loss >= _FROM, loss <= _NEAR
    last = loss.shape[1] - 1 - np.argmax(large[:, ::-1], axis=1)
    return np.where(np.any(large, axis=1), last, 0), np.where(
        np.any(small, axis=1), np.argmax(small, axis=1), loss.shape[1] - 1
    )


def _states(
    lab: Laboratory,
    strength: float,
    start: tuple[np.ndarray, np.ndarray],
    first: np.ndarray,
    last: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, Theorem1Result]:
    """Diagonals and losses [seed, time] at evenly spaced times, and the runs."""
    times = np.linspace(first, last, NUM_TIMES, axis=1)
    run = lab.simulate(*start, (strength,), save_times=times[:, None])
    assert run.trajectory is not None
    return np.asarray(run.trajectory.a)[:, 0], np.asarray(run.trajectory.loss)[:, 0], run


def _rates(lab: Laboratory, strength: float, a: AnyArray) -> np.ndarray:
    """The smallest eigenvalue of the tangent kernel at diagonals [run, point, state]."""
    s = lab.setting
    data = theorem1_gram(s.state_dim, s.seq_len, strength)

    def rate(a):
        # Where the kernel is singular to rounding, some part of the residuals has no rate.
        local = local_rate(theorem1_student(a), data, ("a",))
        return jnp.where(local.is_complete, local.rate, 0.0)

    return np.asarray(jax.jit(jax.vmap(jax.vmap(rate)))(a))


CLAIMS = (
    Claim(
        id="M7-order",
        title="Descent follows the flow",
        statement=r"\theta_k = \theta(\eta k) + \eta\, e(\eta k) + O(\eta^2), \quad "
        r"\dot e = -\nabla^2 L(\theta) \left( e + \tfrac12 \nabla L(\theta) \right), \quad "
        r"e(0) = 0",
        kind=Kind.LAW,
        assumptions=("the longest step times the curvature is at most 1/2",),
        reference="derivation in docs/theory.md (M7); Barrett and Dherin (2021), arXiv:2009.11162",
        control="the flow at half the time; and a correction twice as large",
        check=check_order,
    ),
    Claim(
        id="M7-distance",
        title="Distance still to go",
        statement=r"\left\| \theta(\infty) - \theta(t) \right\| \le "
        r"\sqrt{2 L(t) / \lambda}, \quad \lambda = \min_{s \ge t} \lambda_{\min}(K(\theta(s)))",
        kind=Kind.BOUND,
        assumptions=("each run has states near its end with λ > 0 from there on",),
        reference="derivation in docs/theory.md (M7)",
        control="half the bound",
        check=check_distance,
    ),
)
