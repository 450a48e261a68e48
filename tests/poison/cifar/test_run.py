"""The experiment on CIFAR-10, end to end on a generated stand-in with tiny networks."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from poison_cifar import BUDGET, TINY

from ssmbias.data.tasks.cifar10 import load_cifar10
from ssmbias.data.tasks.cifar10_stand_in import write_stand_in
from ssmbias.poison.cifar.run import run_full
from ssmbias.poison.cifar.settings import FULL_ARMS, FullSettings
from ssmbias.poison.search.restarts import penalty_strength
from ssmbias.poison.summary import judge_all
from ssmbias.poison.tasks.layouts import pixels
from ssmbias.poison.training import estimate as estimates
from ssmbias.poison.training import one_by_one
from ssmbias.poison.training.checkpoints import Checkpoints
from ssmbias.poison.training.estimate import Step, example_of
from ssmbias.poison.training.minibatches import evaluate, start, train_epoch


class Killed(BaseException):
    """What a kill is to the code that runs."""


def run_until(settings: FullSettings, folder: Path, text: str) -> None:
    """Run and kill it when it says `text`."""

    def progress(done: int, total: int, said: str) -> None:
        if text in said:
            raise Killed

    with pytest.raises(Killed):
        run_full(settings, folder, progress, estimate_first=False)


def final_states(settings: FullSettings, folder: Path, arms: tuple[str, ...]) -> list[np.ndarray]:
    """The leaves of the last checkpoints of all arms."""
    experiment, leaves = settings.experiment(), []
    for arm in arms:
        (home,) = (folder / "states").glob(f"*/seed3/train-{arm}")
        with Checkpoints(home) as kept:
            assert kept.steps() == [2, 3]  # the last two of three epochs
            latest = kept.latest(start(experiment, 3, example_of(experiment)))
            assert latest is not None
            leaves += [np.asarray(x) for x in jax.tree.leaves(latest[1])]
    return leaves


ARMS = ("base", "found", "random")


@pytest.fixture(scope="module")
def whole_run(stand_in, tmp_path_factory):
    """A run of three arms, with what it said."""
    folder, said = tmp_path_factory.mktemp("whole"), []
    settings = dataclasses.replace(TINY, data=str(stand_in), arms=ARMS)
    results = run_full(settings, folder, lambda *told: said.append(told), estimate_first=False)
    return settings, folder, results, said


@pytest.mark.slow  # compiling takes half a minute
class TestRun:
    """Train, brew, train again, evaluate."""

    def test_results(self, whole_run):
        settings, _, results, said = whole_run
        assert dict(results.sizes) == {"arm": 3, "seed": 1}
        for name in ("test_accuracy", "target_accuracy", "train_accuracy", "running_accuracy"):
            assert results[name].values.min() >= 0
            assert results[name].values.max() <= 1
        assert np.isfinite(results.final_loss.values).all()
        assert (results.outcome.values == 0).all()
        assert (results.epochs.values == 3).all()
        has_delta = np.isfinite(results.late_share.values[:, 0]).tolist()
        assert has_delta == [False, True, True]
        assert results.attrs["experiment"] == "cifar10"
        # Judged like the other experiments; a needed control was not run.
        (verdict,) = judge_all(results)
        assert "the needed control dup was not run" in verdict.sentence
        # Three epochs an arm and two restarts, counted to the end without a gap.
        assert [done for done, _, _ in said] == list(range(12))
        assert {total for _, total, _ in said} == {11}
        assert results.attrs["settings"].count("num_clean=12") == 1
        assert settings.arms == tuple(results.arm.values)

    def test_perturbations_keep_budget_box_and_norms(self, whole_run, data):
        settings, folder, _, _ = whole_run
        kept = {arm: np.load(folder / "units" / f"{arm}-3.npz") for arm in ("found", "random")}
        found = {name: kept["found"][name][0] for name in kept["found"].files}
        random = kept["random"]["delta"][0]
        task = settings.experiment().task
        poisons = np.asarray(pixels(task.split(data, 3).images[task.num_clean :]))  # pyright: ignore
        for delta in (found["delta"], random):
            assert delta.dtype == np.float32
            assert np.abs(delta).max() <= BUDGET
            changed = poisons + delta
            assert changed.min() >= 0
            assert changed.max() <= 1
        norms = [np.sqrt(np.square(x, dtype="f8").sum((1, 2, 3))) for x in (found["delta"], random)]
        # Norms of 3072 numbers in single precision: sums are off by some hundred ulps at most.
        np.testing.assert_allclose(norms[0], norms[1], rtol=3e-5)
        # Negative control: they are not the same perturbations.
        assert np.abs(found["delta"] - random).max() > BUDGET / 2
        assert np.isfinite(found["objectives"]).all()
        assert found["objective"] == found["objectives"].min()

    def test_killed_and_resumed_is_the_same_to_the_bit(self, whole_run, tmp_path):
        settings, folder, results, _ = whole_run
        for text in ("base: epoch 2", "found: restart 2", "random: epoch 3"):
            run_until(settings, tmp_path, text)
        said: list[tuple[int, int, str]] = []
        again = run_full(settings, tmp_path, lambda *told: said.append(told), estimate_first=False)
        # Nothing that was done is done again.
        assert said[0][2].startswith("seed 3, random: epoch 3 of 3")
        assert [done for done, _, _ in said] == [10, 11]
        assert again.identical(results)
        pairs = zip(
            final_states(settings, folder, ARMS), final_states(settings, tmp_path, ARMS),
            strict=True,
        )  # fmt: skip
        assert all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)

    def test_another_seed_is_another_run(self, whole_run):
        # Negative control of the bitwise comparison: a seed changes an epoch.
        experiment = whole_run[0].experiment()
        training = experiment.task.draw(3).train
        first = start(experiment, 3, example_of(experiment))
        one, same, other = (train_epoch(experiment, False, training, first, s) for s in (3, 3, 4))
        assert float(one.loss) == float(same.loss) != float(other.loss)
        answers = evaluate(experiment, one.params, one.stats, training)
        assert answers.right.shape == (20,)

    def test_published_penalty_and_relative_one(self, whole_run):
        settings = whole_run[0]
        nothing: Any = (None, None)
        assert penalty_strength(settings.experiment(), "none", *nothing) == 1
        assert penalty_strength(settings.experiment(), "rows", *nothing) == settings.row_strength


def test_without_orbax(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(ImportError, match=r"pip install 'ssmbias\[full\]'"):
        run_full(TINY, tmp_path)


def test_run_refuses_before_it_trains(monkeypatch, stand_in, tmp_path):
    monkeypatch.setattr(estimates, "measure_step", lambda experiment, num: Step(0.1, 10**9, 1e9))
    monkeypatch.setattr(estimates, "available_bytes", lambda: 1)
    monkeypatch.setattr(one_by_one, "train_epoch", None)
    with pytest.raises(ValueError, match="free; lower"):
        run_full(dataclasses.replace(TINY, data=str(stand_in)), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "arms"),
    # LRU runs by default, see `whole_run`.
    [("s4d", FULL_ARMS), ("mamba2", ("base", "dup", "found", "random", "found_late"))],
)
def test_other_models_and_arms(model, arms, stand_in, tmp_path):
    settings = dataclasses.replace(
        TINY, model=model, data=str(stand_in), arms=arms, epochs=1, restarts=1, channels=8,
        state_dim=4,
    )  # fmt: skip
    said: list[str] = []
    results = run_full(settings, tmp_path, lambda done, total, text: said.append(text))
    assert "parameters" in said[0]
    assert "in all on cpu" in said[0]
    assert np.isfinite(results.final_loss.values).all()
    assert (results.outcome.values == 0).all()
    share = results.late_share.isel(seed=0)
    # The penalty moves the perturbation to where it is free; by more than chance. The share of a
    # single image of some thousand entries, a hundred of them last, scatters by about .01.
    assert share.sel(arm="found_late") > share.sel(arm="found") + 0.01
    if "found_early" in arms:
        assert share.sel(arm="found_early") < share.sel(arm="found") - 0.01


@pytest.mark.slow
def test_one_per_cent_of_a_whole_stand_in(tmp_path):
    # As many images as CIFAR-10 has; and patterns that a tiny network learns in a few epochs.
    folder = write_stand_in(tmp_path / "data", jax.random.key(0), num_per_file=10_000)
    settings = FullSettings(
        "mamba2", data=str(folder), fraction=0.01, seeds=(0,), arms=("base", "dup"),
        epochs=8, batch_size=20, channels=16, num_layers=1, state_dim=16,
    )  # fmt: skip
    results = run_full(settings, tmp_path / "run", estimate_first=False)
    assert "1 % of the images" in results.attrs["title"]
    # Ten classes: 70 test images guessed right with .1 each exceed .5 with probability 1e-18.
    assert (results.test_accuracy.values > 0.5).all()
    split = settings.experiment().task.split(load_cifar10(folder), 0)  # pyright: ignore[reportAttributeAccessIssue]
    assert [len(x) for x in (split.labels, split.target_labels, split.test_labels)] == [200, 30, 70]
