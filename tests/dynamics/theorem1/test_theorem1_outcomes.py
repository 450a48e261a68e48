"""How runs of the Theorem 1 engine end, and what it refuses."""

from __future__ import annotations

import inspect
import math
import os
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssmbias.dynamics import Outcome, Theorem1Config, inputs, simulate_theorem1

EPS = float(np.finfo(np.float64).eps)
SEQ_LEN = 7
# In no particular order and with both signs. Four entries and six saved times are the shapes that
# most tests share, because each new shape compiles for two seconds.
START = np.array([0.06, 0.12, -0.02, 0.11])
TIMES = np.array([0.0, 0.5, 3.0, 3.0, 12.0, 1e6])  # the last one is beyond the end


def raw(function):
    """The function without the run-time type checks that test runs may put around it."""
    return inspect.unwrap(function)


# -- outcomes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strength", "horizon"),
    # In the second and third row the way to the solver's clock (1+ρ)/2 and back is not exact.
    [(0.0, 2.2), (0.3, 2.188232194149646), (2.0, 12.126649073594619), (1e3, 2.2)],
)
def test_the_horizon_is_hit_exactly(strength, horizon) -> None:
    run = simulate_theorem1(START, SEQ_LEN, strength, config=Theorem1Config(horizon=horizon))
    assert int(run.outcome) == Outcome.HORIZON
    assert not bool(run.converged)
    assert float(run.time) == horizon
    assert float(run.loss) > 1e-24
    times = np.array([0.0, 0.0, 0.0, horizon, 1e9, 1e9])
    path = simulate_theorem1(START, SEQ_LEN, strength, save_times=times).trajectory
    np.testing.assert_allclose(run.a, path.a[3], rtol=0, atol=1e-14)  # the same steps


def test_a_spent_step_budget_is_reported() -> None:
    run = simulate_theorem1(START, SEQ_LEN, 1.0, config=Theorem1Config(max_steps=100))
    assert int(run.outcome) == Outcome.MAX_STEPS
    assert int(run.num_steps) == 100
    enough = simulate_theorem1(START, SEQ_LEN, 1.0)
    exact = Theorem1Config(max_steps=int(enough.num_steps))
    one_less = Theorem1Config(max_steps=int(enough.num_steps) - 1)
    assert not bool(simulate_theorem1(START, SEQ_LEN, 1.0, config=one_less).converged)
    assert bool(enough.converged)
    assert bool(simulate_theorem1(START, SEQ_LEN, 1.0, config=exact).converged)


@pytest.mark.parametrize(
    ("a0", "strength"),
    [
        (np.full(4, 0.01), 1.0),
        (np.zeros(4), 1.0),
        (np.full(4, 0.4), 50.0),
        (np.zeros(4), 0.0),
        (np.full(4, 1e-80), 0.0),  # its fifth power is zero in double precision
    ],
)
def test_critical_points_that_solve_nothing_are_stalls(a0, strength) -> None:
    run = simulate_theorem1(a0, SEQ_LEN, strength)
    assert int(run.outcome) == Outcome.STALLED
    assert np.ptp(run.a) == 0.0
    # The velocity (κ-1)(1 - d x^(κ-1)) x^p + ρ(1 - d x) vanishes at the common entry x, to the
    # rounding of its terms, while the loss does not.
    x, terms = float(run.a[0]), 6 + strength
    velocity = 6 * (1 - 4 * x**6) * x**5 + strength * (1 - 4 * x)
    assert abs(velocity) <= 32 * EPS * terms
    assert float(run.loss) > 0.1 / (1 + strength)
    # Control: the same tie leaves its stall by an untied entry.
    if strength > 0:
        assert bool(simulate_theorem1(a0, SEQ_LEN, strength, log_gap=-20.0).converged)


def test_a_plateau_is_no_stall() -> None:
    # Velocities of 1e-19 for a time of 1e15, and of 1e-59 for a time of 1e47.
    for scale in (1e-4, 1e-12):
        run = simulate_theorem1(scale * np.array([1.0, 0.9, 0.5, 0.1]), SEQ_LEN, 0.0)
        assert bool(run.converged)
        assert float(run.time) > 0.01 * scale**-4


def test_lanes_with_bad_values_fail_alone() -> None:
    nan = math.nan
    lanes_ = [  # start, strength, log-gap
        (START, 1.0, math.log(0.01)),
        (START * nan, 1.0, -5.0),
        (START, -1.0, -5.0),
        (START, nan, -5.0),
        (START, -0.25, -5.0),
        (START, 1.0, nan),
        (START, 1.0, math.inf),
        (START, 1.0, -math.inf),
    ]
    starts, strengths, gaps = (jnp.asarray(column) for column in zip(*lanes_, strict=True))

    def run(a0, strength, gap):
        return simulate_theorem1(a0, SEQ_LEN, strength, log_gap=gap)

    runs = jax.vmap(run)(starts, strengths, gaps)
    assert runs.outcome.tolist() == [Outcome.CONVERGED] + 6 * [Outcome.FAILED] + [Outcome.CONVERGED]
    assert np.all(np.isnan(runs.loss[1:5]))
    alone = run(*lanes_[0])
    np.testing.assert_allclose(runs.a[0], alone.a, rtol=0, atol=1e-12)


def test_save_times_that_cannot_be_inspected_are_not_reached() -> None:
    traced = jax.jit(inputs.as_save_times)
    assert traced(TIMES).tolist() == TIMES.tolist()
    assert np.all(np.isnan(traced(TIMES[::-1])))
    assert np.all(np.isnan(traced(TIMES - 1.0)))


def test_every_outcome_is_explained() -> None:
    explanations = {outcome.explanation for outcome in Outcome}
    assert len(explanations) == len(Outcome)


# -- bad input -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seq_len": 6}, r"seq_len=6: must be odd .* use 5 or 7"),
        ({"seq_len": 3}, r"seq_len=3: must be >= 5"),
        ({"seq_len": 7.0}, r"seq_len=7\.0: expected an integer"),
        ({"a0": START.astype(np.float32)}, r"a0 has dtype float32: pass float64"),
        ({"a0": START[None]}, r"a0 has shape \(1, 4\): expected 1 dimension.*jax\.vmap"),
        ({"a0": START[:1]}, r"a0 has 1 entries: state_dim must be at least 2"),
        ({"a0": np.array([0.1, np.inf])}, r"a0=.*every entry must be finite"),
        # A third entry that is nearly tied with the top pair, which alone has a log-gap.
        (
            {"a0": np.array([0.3, 0.1, 0.3 - 1e-12, 0.3 - 2e-12])},
            r"a0: entries 2 and 3 .*nearly tied",
        ),
        ({"strength": -1.0}, r"strength=-1.*must be 0 or greater"),
        ({"strength": math.nan}, r"strength=nan: every entry must be finite"),
        ({"strength": np.ones(2)}, r"strength has shape \(2,\): expected 0"),
        ({"strength": "1"}, r"strength='1': expected real numbers"),
        ({"log_gap": math.nan}, r"log_gap=nan: every entry must be finite"),
        ({"log_gap": math.inf}, r"log_gap=inf: every entry must be finite"),
        ({"save_times": np.array([2.0, 1.0])}, r"save_times: must ascend"),
        ({"save_times": np.array([-1.0, 1.0])}, r"save_times=.*must be 0 or greater"),
        ({"save_times": np.float64(1.0)}, r"save_times has shape \(\): expected 1"),
    ],
)
def test_bad_arguments_are_named(change, message) -> None:
    arguments: dict[str, Any] = {"a0": START, "seq_len": SEQ_LEN, "strength": 1.0, **change}
    with pytest.raises(ValueError, match=message):
        raw(simulate_theorem1)(**arguments)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"rtol": 0.0}, r"rtol=0\.0: must lie in"),
        ({"rtol": math.nan}, r"rtol=nan: must lie in"),
        ({"loss_tol": 1e-40}, r"loss_tol=1e-40: must be at least 1e-30"),
        ({"horizon": 0.0}, r"horizon=0\.0: must be greater than 0"),
        ({"horizon": math.nan}, r"horizon=nan: must be greater than 0"),
        ({"max_steps": 0}, r"max_steps=0: must be >= 1"),
        ({"lanes_per_chunk": 0}, r"lanes_per_chunk=0: must be >= 1"),
    ],
)
def test_bad_configurations_are_named(choices, message) -> None:
    with pytest.raises(ValueError, match=message):
        Theorem1Config(**choices)


def test_single_precision_is_refused() -> None:
    code = (
        "import numpy as np\n"
        "from ssmbias.dynamics import simulate_theorem1\n"
        "try:\n    simulate_theorem1(np.array([0.2, 0.1]), 7)\n"
        "except ValueError as err:\n    print(err)\n"
    )
    env = {**os.environ, "JAX_ENABLE_X64": "0"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert "a0: float64 is needed" in done.stdout
    assert "JAX_ENABLE_X64=1" in done.stdout


def test_near_ties_that_stay_resolved_are_accepted() -> None:
    # Two near-ties that the dynamics keeps apart from the top pair, and an exact triple tie.
    for a0 in ([0.3, 0.29, 0.1, 0.1 - 1e-12], [0.3, 0.3, 0.3, 0.1]):
        assert bool(simulate_theorem1(np.array(a0), SEQ_LEN, 1.0).converged)
