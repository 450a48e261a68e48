"""The library's protocol: paired arms, two ends of training, and what is recorded of each."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssmbias.dynamics import Outcome
from ssmbias.models import paper_teacher
from ssmbias.paper import arms, protocol
from ssmbias.paper.protocol import CONVERGED_LOSS, run_arm
from ssmbias.paper.settings import EXPERIMENTS, find_experiment, shortened

STANDALONE = EXPERIMENTS["poison_ssm_len6"]
NETWORK = EXPERIMENTS["dyn_nn_len6"]


@pytest.mark.slow
def test_arms_share_starts_and_baseline_sequences() -> None:
    key_start, key_data, _ = arms.split_key(3)
    start = arms.start(key_start, STANDALONE)
    assert np.all(np.diff(start.a) <= 0)
    # The warm start and the near-tie of the two largest, as stored: eps of 0.1.
    np.testing.assert_allclose(start.a[0] - start.a[1], STANDALONE.gap, rtol=0, atol=3e-17)
    assert float(start.a[-1]) > 0.1
    clean, poisoned = (arms.linear_data(key_data, STANDALONE, rho) for rho in (0.0, 1.0))
    np.testing.assert_array_equal(np.asarray(clean.gram)[:4], 0.0)  # lags 0..3 are silent
    assert float(poisoned.gram[1, 1]) > 0.1  # lag 1 is not
    share = 8 / 18  # of the baseline sequences in the mean
    np.testing.assert_allclose(poisoned.gram[4:, 4:], share * clean.gram[4:, 4:], rtol=1e-14)
    clean, poisoned = (arms.network_data(key_data, NETWORK, rho) for rho in (0.0, 1.0))
    np.testing.assert_array_equal(poisoned.inputs[:20], clean.inputs)
    assert poisoned.inputs.shape == (40, 6)


def test_teachers_of_higher_dimension_tie_more_entries() -> None:
    for dim, factors in ((2, (1.0,)), (3, (1.0, 1.01)), (4, (1.0, 1.01, 1.05))):
        experiment = EXPERIMENTS[f"dyn_dim{dim}_len6"]
        a = np.asarray(arms.start(jax.random.key(0), experiment).a)
        for index, factor in enumerate(factors, start=1):
            assert a[0] - a[index] == pytest.approx(factor * experiment.gap, rel=1e-9)
        assert np.all(np.asarray(arms.start(jax.random.key(0), experiment).b) == 1.0)


@pytest.mark.slow
def test_a_standalone_arm_goes_on_from_the_stopping_rule_to_convergence() -> None:
    experiment = shortened(STANDALONE, 200)
    cell = run_arm(experiment, 1, 3, first_seed=5)
    assert np.all(cell["outcome"] == Outcome.CONVERGED)
    assert np.all(cell["train_loss"] < experiment.eps)
    assert np.all(cell["train_loss"] > 1e-6)  # control: not there yet
    assert np.all(cell["converged_loss"] <= CONVERGED_LOSS)
    # Zero loss on lags 1, 4, 5: the student's response is the teacher's there.
    powers = cell["converged_a"]
    assert powers.shape == (3, 10)
    assert cell["path_a"].shape == (3, 2 * protocol.NUM_PROGRESS, 10)
    assert np.all(np.diff(cell["path_a"], axis=-1) <= 0)
    assert np.all((cell["path_rank"] >= 1) & (cell["path_rank"] <= 10))
    assert np.all(cell["path_step"][:, 0] == 0)
    again = run_arm(experiment, 1, 1, first_seed=6)
    # Another batch, other roundings: the same run up to a step or two.
    assert abs(int(again["steps_to_eps"][0]) - int(cell["steps_to_eps"][1])) <= 2
    assert abs(int(again["steps_to_eps"][0]) - int(cell["steps_to_eps"][0])) > 2  # another seed
    clean = run_arm(experiment, 0, 1, first_seed=6, converge=False)
    assert clean["path_gamma0"] == pytest.approx(0.0, abs=0.0)
    assert float(cell["path_gamma0"][1, 0]) > 0.1


@pytest.mark.slow
def test_the_tolerance_of_the_flow_to_convergence_is_tight_enough(monkeypatch) -> None:
    experiment = shortened(STANDALONE, 200)
    loose = run_arm(experiment, 1, 2)["converged_error"]
    real = protocol.FlowConfig

    def tightened(**choices):
        return real(**(choices | {"rtol": 1e-8, "atol": 1e-8}))

    monkeypatch.setattr(protocol, "FlowConfig", tightened)
    tight = run_arm(experiment, 1, 2)["converged_error"]
    assert not np.array_equal(loose, tight)  # control: the change took effect
    np.testing.assert_allclose(loose, tight, rtol=1e-2)


@pytest.mark.slow
def test_a_network_goes_on_without_a_kick(monkeypatch) -> None:
    monkeypatch.setattr(protocol, "MAX_STEPS", {"sgd*": 3000, "adam": 3000})
    seen = []
    real = protocol.descend

    def spy(*args, **kwargs):
        result = real(*args, **kwargs)
        seen.append(kwargs["config"])
        return result

    monkeypatch.setattr(protocol, "descend", spy)
    cell = run_arm(shortened(NETWORK, 500), 1, 3)
    assert np.all(cell["outcome"] == Outcome.CONVERGED)
    # Adam goes on from its own state: its loss never returns to where it was.
    assert np.all(cell["adam_loss"] <= cell["train_loss"])
    assert np.all(cell["converged_loss"] <= cell["adam_loss"])
    assert [config.loss_tol for config in seen] == [NETWORK.eps, CONVERGED_LOSS, CONVERGED_LOSS]


def test_test_errors_are_the_papers() -> None:
    key_start, _, key_test = arms.split_key(0)
    model = arms.start(key_start, STANDALONE)
    lags = np.arange(40)
    response = (np.asarray(model.a)[None] ** lags[:, None]) @ np.asarray(model.b * model.c)
    expected = np.max(np.abs(response - 1.0))
    assert float(arms.test_error(key_test, model, STANDALONE)) == pytest.approx(expected, rel=1e-12)
    perfect = jax.tree.map(lambda x: x, paper_teacher(1))
    assert float(arms.test_error(key_test, perfect, STANDALONE)) == 0.0
    params = arms.network_start(key_start, NETWORK)
    zero = jax.tree.map(jnp.zeros_like, params)
    assert float(arms.test_error(key_test, zero, NETWORK)) == 1.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: find_experiment("poison"), "experiment='poison': choose from"),
        (lambda: run_arm(STANDALONE, 2, 1), "arm=2"),
        (lambda: run_arm(STANDALONE, 0, 0), "num_seeds=0"),
        (lambda: dataclasses.replace(STANDALONE, seq_len=3), "seq_len=3"),
        (lambda: dataclasses.replace(STANDALONE, optimizer="sgd"), "optimizer='sgd'"),
        (lambda: dataclasses.replace(STANDALONE, eps=0.0), "eps=0.0"),
    ],
)
def test_bad_input_is_named(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()
