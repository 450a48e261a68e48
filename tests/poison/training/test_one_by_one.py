"""Training by minibatches is an option of the one engine: F1 and your own data take it too."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from poison_own import apply, arrays, init
from poison_tiny import F1

import ssmbias
from ssmbias.poison.arms.arm import Arm, Words
from ssmbias.poison.runner import run_experiment
from ssmbias.poison.training.settings import Minibatches, as_full_batch, as_minibatches

TRAINING = Minibatches(epochs=3, batch_size=5, learning_rate=0.01, eval_batch=16, least_fitted=0.0)


def test_your_network_by_minibatches() -> None:
    mine = dataclasses.replace(arrays(), training=TRAINING)
    arms = ["base", "dup", "late", "window2", "found", "random"]
    said: list[tuple[int, int, str]] = []
    run = run_experiment(mine, arms, (0, 1), progress=lambda *told: said.append(told))
    found = run.results
    assert found.arm.values.tolist() == arms
    assert "input_share" not in found
    for name in ("test_accuracy", "train_accuracy", "running_accuracy", "final_loss"):
        assert np.isfinite(found[name]).all(), name
    assert (found.epochs == 3).all()
    assert np.isfinite(found.objective.sel(arm="found")).all()
    assert not np.array_equal(found.final_loss.sel(seed=0), found.final_loss.sel(seed=1))
    # Six arms of three epochs and one restart, for two seeds.
    assert said[-1] == (2 * 19, 2 * 19, "done")
    judgement = ssmbias.poison.judge(found, "found")
    assert judgement.verdict == "inconclusive"


def test_an_epoch_by_hand() -> None:
    # One batch is the whole: a step of AdamW whose first update is the rate times the sign.
    one = dataclasses.replace(TRAINING, epochs=1, batch_size=50, weight_decay=0.0)
    mine = dataclasses.replace(arrays(), training=one)
    found = run_experiment(mine, ["base"], (0,)).results
    problem = mine.task.draw(0)
    key = jax.random.fold_in(jax.random.key(0), 0)
    params = init(key, problem.train.inputs[0])
    signs = 2.0 * np.asarray(problem.train.labels) - 1
    inputs = np.asarray(problem.train.inputs)
    margins = np.array([float(apply(params, u)[0]) for u in inputs])
    loss = np.mean(np.log1p(np.exp(-signs * margins)))
    assert float(found.final_loss[0, 0]) == pytest.approx(loss, rel=1e-6)  # single precision


def louder(name: str, factor: float, **words: Any) -> Arm:
    def make(experiment, keys, copies):
        del experiment, keys
        return copies._replace(inputs=factor * copies.inputs)

    return Arm(Words(name, "copies, louder", **words), order=50, by_hand=make, carrier="none")


ONE = dataclasses.replace(TRAINING, epochs=1)


def test_a_changed_arm_does_not_go_on_from_states_of_the_old_one(tmp_path) -> None:
    mine = dataclasses.replace(arrays(), training=ONE)

    def loss(factor: float, folder: Path | None) -> float:
        run = run_experiment(mine, ["base", louder("mine", factor)], (0,), folder=folder)
        return float(run.results.final_loss.sel(arm="mine")[0])

    def states(arm: str) -> int:
        return len(list(tmp_path.glob(f"states/*/seed0/train-{arm}")))

    first = loss(2.0, tmp_path)
    # As if it had been killed after training: states are there, units are not.
    shutil.rmtree(tmp_path / "units")
    assert loss(-50.0, tmp_path) == loss(-50.0, None) != first
    # Negative control: base did not change, and has gone on from its state, as an arm as before.
    assert (states("base"), states("mine")) == (1, 2)
    assert loss(2.0, tmp_path) == first
    assert states("mine") == 2


def test_another_size_is_told_after_minibatches_too() -> None:
    mine = dataclasses.replace(arrays(), training=ONE)
    attack = louder("mine", 2.0, role="attack", controls=("base", "quiet", "alike"))
    arms = ["base", attack, louder("quiet", 1.0), louder("alike", -2.0)]
    found = run_experiment(mine, arms, (0,)).results
    norm = found.poison_norm.isel(seed=0)
    assert float(norm.sel(arm="mine") / norm.sel(arm="quiet")) == pytest.approx(2.0, rel=1e-6)
    (note,) = (x for x in ssmbias.poison.judge(found, "mine").notes if "Sizes differ" in x)
    assert "differently from quiet may" in note
    assert "alike" not in note  # negative control: of one size


@pytest.mark.slow
def test_f1_by_minibatches_with_windows() -> None:
    whole = dataclasses.replace(F1, training=TRAINING)
    run = run_experiment(whole, ["dup", "late"], (0,), windows=(0, 2))
    assert run.scan is not None
    assert run.scan.sizes == {"window": 2, "seed": 1}
    assert run.results.long_accuracy.shape == (2, 1)


def test_trainings_are_not_mixed_up() -> None:
    with pytest.raises(ValueError, match="trains seeds one by one"):
        as_full_batch(TRAINING)
    with pytest.raises(ValueError, match="trains all seeds at once"):
        as_minibatches(F1.training)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"schedule": "step"}, "schedule='step'"),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0"),
        ({"least_fitted": 2.0}, "least_fitted=2.0"),
    ],
)
def test_refusals(changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        Minibatches(**changes)
