"""The limit engine: right by other methods, the same whatever runs beside it, loud when lost."""

from __future__ import annotations

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from ssmbias import generalization_error, simulate_theorem1, theorem1_limit
from ssmbias.dynamics import LimitConfig, Outcome, Theorem1Config
from ssmbias.dynamics import limit as engine
from ssmbias.dynamics.limit.solve import Points, limits_of, run_points
from ssmbias.dynamics.limit.step import Position, survey
from ssmbias.sweeps.grid import make_grid
from ssmbias.sweeps.starts import starts_of
from ssmbias.theory import clean_limit, tied_limit

# Two compiled programs differ in where they contract a·b + c, a rounding for each operation: over a
# run of 1e4 evaluations whose errors grow and shrink together, some 1e-16 · sqrt(1e4) · 10.
LAST_BITS = 1e-13
ERROR = jax.jit(jax.vmap(generalization_error))


def points_of(axes: dict, seq_len: int = 7, state_dim: int = 10) -> Points:
    grid = make_grid(axes, seq_len, state_dim)
    points = grid.points()
    starts = starts_of(points, state_dim)
    rows = starts.usable
    return Points(
        jnp.asarray(starts.a0[rows].T),
        jnp.asarray(starts.log_gap[rows]),
        jnp.asarray(points["strength"][rows]),
    )


CAPACITY = 270  # one shape for all points of this file, so that little is compiled


@functools.cache
def _engine(num_lanes: int):
    return jax.jit(functools.partial(run_points, seq_len=7, num_lanes=num_lanes))


def run(points: Points, num_lanes: int = 16, count: int | None = None, **config) -> engine.Ends:
    number = points.strength.shape[0]
    padded = jax.tree.map(
        lambda x: jnp.pad(x, ((0, 0),) * (x.ndim - 1) + ((0, max(0, CAPACITY - number)),)), points
    )
    limits = limits_of(LimitConfig(**config))
    ends = _engine(num_lanes)(padded, jnp.int32(number if count is None else count), limits)
    return jax.tree.map(lambda x: x[..., :number] if x.ndim else x, ends)


@pytest.fixture(scope="module")
def diagram() -> tuple[Points, engine.Ends]:
    """Strengths over sixteen decades, gaps from exact ties to generic ones."""
    points = points_of(
        {
            "seed": [242, 243, 5],
            "strength": "0 + logspace(-10, 6, 17)",
            "relative_gap": [0.0, 1e-16, 1e-9, 1e-4, 1e-2],
        }
    )
    return points, run(points)


@pytest.mark.parametrize("rows", [slice(0, 2), pytest.param(slice(2, 4), marks=pytest.mark.slow)])
def test_reference_starts(reference_rows, rows):
    # THEORY's tolerance for T7, 1e-9 relative; the T9 column of clean errors is itself off by 2e-9
    # (docs/theory.md, M1), so clean runs are held against the closed form.
    for row in reference_rows[rows]:
        seq_len = {10: 7, 20: 9}[row["a0"].size]
        for strength in (0.0, 1.0):
            limit = theorem1_limit(row["a0"], seq_len, strength)
            truth = clean_limit(row["a0"], seq_len) if strength == 0 else row["poisoned_limit"]
            assert bool(limit.converged)
            assert float(limit.loss) <= 1e-26
            ratio = generalization_error(limit.a) / generalization_error(jnp.asarray(truth))
            assert abs(float(ratio) - 1) < 1e-9


def test_control_other_flow_is_told_apart(reference_rows):
    # The same comparison refuses the limit at a strength that differs by a millionth.
    row = reference_rows[0]
    limit = theorem1_limit(row["a0"], 7, 1.0 + 1e-6)
    ratio = generalization_error(limit.a) / generalization_error(jnp.asarray(row["poisoned_limit"]))
    assert abs(float(ratio) - 1) > 1e-9


def test_agrees_with_the_implicit_engine(diagram):
    points, ends = diagram
    assert np.all(np.asarray(ends.outcome) == Outcome.CONVERGED)
    # Where the implicit engine is itself accurate: its error per unit of drift grows as ρ falls.
    rows = np.asarray((points.strength == 0) | (points.strength >= 1e-6))
    config = Theorem1Config(rtol=1e-12, max_steps=100_000)
    one = jax.jit(jax.vmap(lambda a, g, r: simulate_theorem1(a, 7, r, log_gap=g, config=config)))
    slow = one(points.a0.T[rows], points.log_gap[rows], points.strength[rows])
    done = np.asarray(slow.converged)
    assert done.mean() > 0.95
    ratio = np.asarray(ERROR(ends.a.T))[rows] / np.asarray(ERROR(slow.a))
    # rtol 3e-11 a step and amplification by at most about thirty steps' worth.
    assert np.max(np.abs(ratio[done] - 1)) < 1e-9


def test_converges_with_the_tolerance(diagram):
    points, ends = diagram
    loose, tight = run(points, rtol=1e-8), run(points, rtol=3e-12)
    truth = np.asarray(ERROR(tight.a.T))
    off = [np.max(np.abs(np.asarray(ERROR(x.a.T)) / truth - 1)) for x in (loose, ends)]
    # Three decades of tolerance; the error falls with it, one decade being left for its factor.
    assert off[1] < 1e-2 * off[0]
    assert off[1] < 1e-9


@pytest.mark.slow
def test_weak_poison_against_scipy():
    # At ρ = 1e-3 the flow passes all phases and is stiff by a factor of 1e4 at most, which Radau
    # takes; log time and the log-gap as a state, as in the tests of the other engine.
    start = points_of({"seed": 242, "strength": 1e-3, "relative_gap": 1e-6})
    a0, log_gap = np.asarray(start.a0[:, 0]), float(start.log_gap[0])

    def field(log_time, y):
        a = np.concatenate([[y[0] + np.exp(log_gap + y[-1])], y[:-1]])
        q, force = 6.0 * (1.0 - np.sum(a**6)), 1e-3 * (1.0 - a.sum())
        gap = q * sum(a[0] ** m * a[1] ** (4 - m) for m in range(5))
        return np.exp(log_time) * np.concatenate([q * a[1:] ** 5 + force, [gap]])

    found = solve_ivp(
        field, (-5.0, math.log(1e5)), [*a0[1:], 0.0], method="Radau", rtol=1e-11, atol=1e-13
    )
    y = found.y[:, -1]
    end = np.concatenate([[y[0] + np.exp(log_gap + y[-1])], y[:-1]])
    limit = run(start)
    # Radau's tolerance, a few hundred steps of it.
    assert np.max(np.abs(np.asarray(limit.a[:, 0]) - end)) < 1e-8


def test_ties_stay_and_end_where_they_must():
    # m = 2 largest entries equal, the rest equal as well: M4 knows the limit.
    a0 = np.array([1e-3, 1e-3, *[2e-4] * 8])
    limit = theorem1_limit(a0, 7, 1.0, log_gap=-math.inf)
    alpha, beta = tied_limit(10, 7, 2)
    assert float(limit.a[0]) == float(limit.a[1])
    np.testing.assert_allclose(limit.a, [alpha] * 2 + [beta] * 8, rtol=0, atol=1e-9)


@pytest.mark.parametrize("num_lanes", [pytest.param(8, marks=pytest.mark.slow), 128])
@pytest.mark.slow
def test_lanes_do_not_know_each_other(diagram, num_lanes):
    # Bitwise: a lane's arithmetic is the same wherever it stands and whatever stands beside it.
    points, ends = diagram
    other = run(points, num_lanes=num_lanes)
    order = np.random.RandomState(0).permutation(points.strength.shape[0])
    shuffled = run(jax.tree.map(lambda x: x[..., order], points), num_lanes=num_lanes)
    for name in ("a", "loss", "outcome", "log_gap", "num_steps", "num_rejected"):
        np.testing.assert_array_equal(getattr(other, name), getattr(ends, name), err_msg=name)
        np.testing.assert_array_equal(
            getattr(shuffled, name), np.asarray(getattr(ends, name))[..., order], err_msg=name
        )


def test_one_by_one_equals_the_batch(diagram):
    points, ends = diagram
    for i in range(0, points.strength.shape[0], 41):
        gap, strength = points.log_gap[i], points.strength[i]
        alone = theorem1_limit(points.a0[:, i], 7, strength, log_gap=gap)
        np.testing.assert_allclose(alone.a, ends.a[:, i], rtol=0, atol=LAST_BITS)


@pytest.mark.slow
def test_lanes_are_kept_busy():
    # Costs differ by more than thirty times here, so that lanes that wait would be seen.
    axes = {
        "seed": range(4),
        "strength": "0 + logspace(-14, 6, 41)",
        "relative_gap": "0 + logspace(-12, -1, 6)",
        "init_scale": [1e-5, 1e-3, 1e-1, 0.3],
    }
    points = points_of(axes, state_dim=3)
    ends = run(points)
    steps = np.asarray(ends.num_steps)
    assert np.all(np.asarray(ends.outcome) == Outcome.CONVERGED)
    assert steps.max() >= 30 * steps.min()
    used = steps.sum() / float(ends.lane_steps)
    waiting = steps.mean() / steps.max()  # what a plain vmap over all of them would use
    assert used >= 0.8
    assert waiting < 0.5


def test_only_the_points_that_count_are_run():
    points = points_of({"seed": range(6), "strength": 1.0})
    ends = run(points, count=2)
    assert np.asarray(ends.outcome).tolist() == [0, 0, -1, -1, -1, -1]
    assert np.isnan(np.asarray(ends.a)[:, 2:]).all()


def test_outcomes_say_what_happened():
    points = points_of({"seed": [242, 243], "strength": [0.0, 1.0]})
    spent = run(points, max_steps=10)
    assert np.all(np.asarray(spent.outcome) == Outcome.MAX_STEPS)
    assert np.all(np.asarray(spent.num_steps) == 10)
    broken = points._replace(a0=points.a0.at[3, 0].set(jnp.nan))
    outcome = np.asarray(run(broken).outcome)
    assert outcome.tolist() == [Outcome.FAILED, *[Outcome.CONVERGED] * 3]


@pytest.mark.slow
def test_two_tied_entries_never_reach_zero_loss():
    tie = theorem1_limit(np.array([1e-3, 1e-3]), 7, 1.0, config=LimitConfig(max_steps=300))
    assert int(tie.outcome) != Outcome.CONVERGED


@pytest.mark.slow
def test_transformations():
    points = points_of({"seed": [1, 2], "strength": [0.0, 1e-3, 1.0]})
    traces = 0

    def one(a, g, r):
        nonlocal traces
        traces += 1
        return theorem1_limit(a, 7, r, log_gap=g).a

    a0, log_gap = points.a0.T[::3], points.log_gap[::3]
    strengths = jnp.array([0.0, 1e-3, 1.0])
    nested = jax.jit(jax.vmap(jax.vmap(one, (None, None, 0)), (0, 0, None)))
    found = nested(a0, log_gap, strengths)
    assert found.shape == (2, 3, 10)
    first = traces
    nested(a0 * 1.5, log_gap, strengths * 2)
    assert traces == first
    np.testing.assert_allclose(found.reshape(6, 10), run(points).a.T, rtol=0, atol=LAST_BITS)
    mixed = np.array([3e-4, 1e-3, 9e-4])
    limit = theorem1_limit(mixed, 7, 1.0)
    np.testing.assert_array_equal(
        limit.a[jnp.array([1, 2, 0])], theorem1_limit(-np.sort(-mixed), 7, 1.0).a
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a0": np.array([1e-3])}, "state_dim must be at least 2"),
        ({"a0": np.array([1e-3, np.nan])}, "finite"),
        ({"seq_len": 6}, "odd"),
        ({"strength": -1.0}, "strength"),
        ({"a0": np.array([1e-3, 1e-3 - 1e-8, 1e-3 - 1.01e-8])}, "nearly tied"),
        ({"a0": np.array([1e-3, 5e-4], np.float32)}, "float64"),
    ],
)
def test_bad_input(change, message):
    good = {"a0": np.array([1e-3, 5e-4]), "seq_len": 7, "strength": 1.0}
    with pytest.raises(ValueError, match=message):
        theorem1_limit(**{**good, **change})


@pytest.mark.parametrize(
    "change", [{"rtol": 1e-15}, {"loss_tol": 0.0}, {"max_steps": 0}, {"num_lanes": 0}]
)
def test_bad_config(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        dataclasses.replace(LimitConfig(), **change)


def test_survey_knows_the_offset():
    # A state pushed off the manifold by a common shift is told to go back by that shift.
    points = points_of({"seed": 242, "strength": 1e3})
    ends = run(points)
    tail, shift = ends.a[1:], 1e-7
    log_gap = jnp.log(ends.a[0] - ends.a[1])
    at = survey(Position(tail + shift, jnp.zeros(1)), log_gap, points.strength, 7)
    # To first order in the shift, relative to entries of size 0.1.
    assert float(at.offset[0]) == pytest.approx(-shift, rel=1e-5)
