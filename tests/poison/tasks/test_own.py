"""Your own data and network: every way in, and what is refused at the door."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from poison_own import (
    CHANNELS,
    LENGTH,
    NETWORKS,
    QUICK,
    TEST,
    TRAIN,
    apply,
    arrays,
    data,
    init,
    teacher,
)

import ssmbias
from ssmbias.poison.arms.poisons import Poisons
from ssmbias.poison.protocols import Keys, Network, Problem, Task, labelled
from ssmbias.poison.settings import Experiment
from ssmbias.poison.tasks.split import SplitTask
from ssmbias.poison.tasks.taught import TeacherTask
from ssmbias.poison.training import lanes
from ssmbias.poison.training.learner import optimizer_of
from ssmbias.poison.training.settings import Training


# The page docs/how-to/own-network.md runs the others by default.
@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[pytest.mark.slow] * (k != "functions")) for k in NETWORKS]
)
def test_networks_of_every_library_are_trained_attacked_and_judged(kind) -> None:
    mine = arrays(init=None, apply=None, network=NETWORKS[kind])
    assert isinstance(mine.network, Network)
    # Compiling takes the time: what no library changes is looked at with one of them.
    more = ["late", "random"] if kind == "functions" else []
    found = ssmbias.poison.run_arms(mine, ["base", "dup", "found", *more], range(2))
    assert found.attrs["experiment"] == "own"
    for name in ("test_accuracy", "train_accuracy", "final_loss", "poison_norm", "input_share"):
        assert np.isfinite(found[name]).all(), name
    np.testing.assert_allclose(found.input_share.sum("position"), 1.0, rtol=1e-6)
    assert np.isfinite(found.objective.sel(arm="found")).all()
    start = float(found.final_loss.sel(arm="base").std())
    assert start > 0  # seeds start elsewhere
    judgement = ssmbias.poison.judge(found, "found")
    assert judgement.verdict == "inconclusive"
    assert "pairs" in judgement.sentence


def test_numbers_are_those_of_a_loop_by_hand() -> None:
    mine = arrays(training=Training(steps=5, schedule="constant", optimizer="sgd"), steps=5)
    found = ssmbias.poison.run_arms(mine, ["dup"], [3])
    inputs = np.concatenate([TRAIN[0], TRAIN[0][:4]]).reshape(16, -1)
    signs = 2.0 * np.concatenate([TRAIN[1], TRAIN[1][:4]]) - 1
    key = jax.random.split(jax.random.key(3), len(Keys._fields))[0]
    w, b = np.asarray(init(key, TRAIN[0][0])["w"]), 0.0
    for _ in range(5):
        slope = -signs / (1 + np.exp(signs * (inputs @ w + b))) / 16
        w, b = w - 0.005 * slope @ inputs, b - 0.005 * slope.sum()
    loss = np.mean(np.log1p(np.exp(-signs * (inputs @ w + b))))
    assert float(found.final_loss[0, 0]) == pytest.approx(loss, rel=1e-12)


def test_single_precision_stays_single() -> None:
    train, test = (data(n, np.float32) for n in (12, 20))
    mine = Experiment.from_arrays(*train, *test, init=init, apply=apply, **QUICK)
    made = lanes.prepare(mine, jnp.asarray([0, 1]))
    assert {x.dtype for x in jax.tree.leaves((made.start, made.by_hand["dup"].inputs))} == {
        jnp.dtype("float32")
    }
    found = ssmbias.poison.run_arms(mine, ["dup", "found", "found_late"], [0])
    assert np.isfinite(found.final_loss).all()


def test_poisons_by_hand_speak_in_every_feature_and_have_honest_labels() -> None:
    made = lanes.prepare(arrays(), jnp.asarray([0, 1]))
    late = np.asarray(made.by_hand["late"].inputs)
    assert (late[:, :, -2:] != 0).all()
    assert (late[:, :, :-2] == 0).all()
    for name, batch in made.by_hand.items():
        sums = np.asarray(batch.inputs).sum(axis=(2, 3))
        np.testing.assert_array_equal(np.asarray(batch.labels), sums > 0, err_msg=name)
    sizes = [np.linalg.norm(x.reshape(2, 4, -1), axis=2) for x in (
        late, np.asarray(made.by_hand["noise"].inputs - made.by_hand["dup"].inputs),
    )]  # fmt: skip
    np.testing.assert_allclose(sizes[0], sizes[1], rtol=1e-12)


def test_without_a_teacher_labels_are_kept() -> None:
    mine = arrays(teacher=None)
    assert mine.poisons.found_carrier == "copies"
    with pytest.raises(ValueError, match="arms='late': needs a teacher"):
        ssmbias.poison.run_arms(mine, ["late"], [0])
    found = ssmbias.poison.run_arms(mine, ["dup", "found", "random"], [0, 1])
    assert (found.poison_norm.sel(arm="found") > 0).all()
    assert not found.attrs["teacher"]


def test_targets_are_in_no_test_and_are_the_seeds() -> None:
    task = arrays(num_targets=7).task
    one, same, other = (task.draw(seed) for seed in (0, 0, 1))
    assert one.targets.inputs.shape == (7, LENGTH, CHANNELS)
    rows = np.concatenate([one.targets.inputs, one.tests["test"].inputs]).reshape(40, -1)
    assert len(np.unique(rows, axis=0)) == 40
    np.testing.assert_array_equal(one.targets.inputs, same.targets.inputs)
    assert not np.array_equal(one.targets.inputs, other.targets.inputs)


def test_a_split_is_drawn_for_every_seed() -> None:
    def split(seed):
        rng = np.random.default_rng(seed)
        inputs = rng.normal(size=(30, LENGTH, CHANNELS))
        labels = (inputs.sum(axis=(1, 2)) > 0).astype(int)
        return inputs[:12], labels[:12], inputs[12:24], labels[12:24], inputs[24:], labels[24:]

    task = SplitTask(split, teacher=teacher)
    assert isinstance(task, Task)
    assert task.num_targets == 6
    poisons = Poisons(num_poisons=4)
    mine = Experiment(task=task, network=(init, apply), training=Training(steps=3), poisons=poisons)
    made = lanes.prepare(mine, jnp.asarray([5, 9]))
    np.testing.assert_array_equal(made.problem.train.inputs[1], split(9)[0])
    found = ssmbias.poison.run_arms(mine, ["dup", "late"], [5, 9])
    assert found.sizes["seed"] == 2
    with pytest.raises(ValueError, match=r"split\(1\): arrays have other shapes"):
        SplitTask(lambda seed: (*TRAIN, TEST[0][seed:], TEST[1][seed:])).draw(1)
    with pytest.raises(ValueError, match=r"split\(0\): expected \(train_inputs"):
        SplitTask(lambda seed: TRAIN)


def test_a_teacher_alone_makes_a_task() -> None:
    task = TeacherTask(teacher, LENGTH, CHANNELS, 3, num_train=8, num_test=10, num_targets=4)
    train = task.draw(0).train
    assert (train.inputs[:, 3:] == 0).all()
    np.testing.assert_array_equal(train.labels, train.inputs.sum(axis=(1, 2)) > 0)
    mine = Experiment(
        task=task, network=(init, apply), training=Training(steps=3),
        poisons=Poisons(num_poisons=4),
    )  # fmt: skip
    assert ssmbias.poison.run_arms(mine, seeds=[0]).arm.values.tolist() == [
        "base", "dup", "early", "rpos", "noise", "gen", "late",
    ]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class MyTask:
    """A task written down from the protocol alone; labels are the sign of the last element."""

    noise: float = 0.1
    seq_len = 5
    num_features = 1
    num_train = 8
    num_targets = 4
    num_classes = 2

    def label(self, inputs):
        return (inputs[-1, 0] > 0).astype(jnp.int32)

    def draw(self, seed):
        keys = jax.random.split(jax.random.key(seed), 3)
        parts = [
            labelled(self, self.noise * jax.random.normal(key, (num, 5, 1)))
            for key, num in zip(keys, (8, 16, 4), strict=True)
        ]
        return Problem(parts[0], {"test": parts[1], "again": parts[1]}, parts[2])


@dataclasses.dataclass(frozen=True)
class MyNetwork:
    scale: float = 0.1

    def init(self, key, example):
        return {"slow": self.scale * jax.random.normal(key, example.shape), "fast": jnp.ones(1)}

    def apply(self, params, inputs):
        return params["fast"] * jnp.sum(params["slow"] * inputs)

    def groups(self, params):
        return {"slow": "ssm", "fast": "general"}


def test_protocols_are_all_that_is_asked_for() -> None:
    training = Training(steps=3, ssm_learning_rate=1e-4)
    mine = Experiment(
        name="mine", task=MyTask(), network=MyNetwork(), training=training,
        poisons=Poisons(num_poisons=3),
    )  # fmt: skip
    found = ssmbias.poison.run_arms(mine, ["dup", "late"], [0], noise=0.2, scale=0.3)
    assert found.attrs["title"] == "mine (noise=0.2, scale=0.3)"
    np.testing.assert_array_equal(found.again_accuracy, found.test_accuracy)
    # Groups: Adam's first step has the size of the rate.
    network, params = MyNetwork(), {"slow": jnp.ones((5, 1)), "fast": jnp.ones(1)}
    adam = optimizer_of(dataclasses.replace(training, weight_decay=0.0), network.groups)
    updates, _ = adam.update(params, adam.init(params), params)
    assert float(updates["slow"][0, 0]) == pytest.approx(-1e-4, rel=1e-6)
    assert float(updates["fast"][0]) == pytest.approx(-5e-3, rel=1e-6)


def test_a_batch_teacher_is_taken_too() -> None:
    mine = arrays(teacher=lambda x: x.sum(axis=(1, 2)) > 0)
    assert mine.task.label is not None
    assert int(mine.task.label(jnp.ones((LENGTH, CHANNELS)))) == 1


def test_names_of_the_room_are_there_after_importing_the_package() -> None:
    assert {"run_arms", "Experiment", "judge", "Task", "Network"} <= set(dir(ssmbias.poison))
    for name in ssmbias.poison.__all__:
        assert getattr(ssmbias.poison, name).__name__
    assert ssmbias.poison.catalogue.find_experiment("f1").name == "f1"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ssmbias.poison.nothing
