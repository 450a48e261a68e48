"""Your own data and network: what is refused at the door, in one line."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from poison_own import (
    QUICK,
    TEST,
    TRAIN,
    Linen,
    Nnx,
    apply,
    arrays,
    init,
    teacher,
)

from ssmbias.poison.settings import Experiment

TRAIN_X, TRAIN_Y, TEST_X, TEST_Y = *TRAIN, *TEST


def bad(name: str, value: Any) -> dict[str, Any]:
    return {"arrays": {name: value}}


MISTAKES = {
    "two axes": (bad("train_inputs", TRAIN_X[:, :, 0]), r"train_inputs has shape .12, 6.: .*None"),
    "labels": (bad("train_labels", TRAIN_Y[:5]), r"has shape \(5,\): expected \(12,\)"),
    "labels of 2": (bad("test_labels", TEST_Y + 1), r"test_labels\[\d+\]=2: labels must be 0 or 1"),
    "labels of -1": (bad("train_labels", 2 * TRAIN_Y - 1), r"=-1: labels must be 0 or 1"),
    "halves": (bad("train_labels", TRAIN_Y / 2), r"=0.5: labels must be 0 or 1"),
    "text": (bad("train_labels", TRAIN_Y.astype(str)), "train_labels has dtype <U.*0 or 1"),
    "one class": (bad("train_labels", 0 * TRAIN_Y), "train_labels: all are 0"),
    "integers": (bad("train_inputs", TRAIN_X.astype(int)), "train_inputs has dtype int64"),
    "complex": (bad("test_inputs", TEST_X + 0j), "test_inputs has dtype complex128"),
    "nan": (bad("test_inputs", TEST_X * np.where(np.arange(6) == 4, np.nan, 1)[:, None]),
            r"test_inputs\[0, 4, 0\]=nan: every entry must be finite"),
    "empty": (bad("train_inputs", TRAIN_X[:0]), "it is empty"),
    "other length": (bad("test_inputs", TEST_X[:, 1:]), r"has sequences of shape \(5, 2\)"),
    "one test": ({"arrays": {"test_inputs": TEST_X[:1], "test_labels": TEST_Y[:1]}},
                 "num_targets=1: there are 1 test sequences"),
    "targets": ({"num_targets": 40}, "num_targets=40: there are 40 test sequences"),
    "teacher": ({"teacher": 3}, "teacher=3: pass a function"),
    "contrary teacher": ({"teacher": lambda u: 1 - teacher(u)}, "contradicts 12 of 12"),
    "signs": ({"teacher": lambda u: 2 * teacher(u) - 1}, "teacher: gives the label -1"),
    "vector": ({"teacher": lambda u: u[0]}, r"teacher: .* it returns shape \(2,\)"),
    "numpy teacher": ({"teacher": lambda u: float(np.asarray(u).sum() > 0)}, "in jax.numpy"),
    "no network": ({"init": None}, "init=None: pass a function"),
    "two networks": ({"network": Linen(3)}, "give it, or init and apply"),
    "failing init": ({"init": lambda key, u: u @ u}, r"init fails on one input of shape \(6, 2\)"),
    "failing apply": ({"apply": lambda p, u: u @ u}, "apply fails on one input"),
    "no parameters": ({"init": lambda key, u: {}}, "init returns no parameters"),
    "whole numbers": ({"init": lambda key, u: jnp.arange(3)}, "int64 among .* must be real or"),
    "matrix": ({"apply": lambda p, u: u}, r"apply returns float64\[6, 2\] .* expected a vector"),
    "unknown": ({"stepps": 5}, r"stepps=5: unknown setting; did you mean steps\?"),
    "poisons": ({"num_poisons": 13}, "num_poisons=13: the arm dup copies"),
    "width": ({"width": 7}, "width=7: sequences have 6 elements"),
    "name": ({"name": ""}, "name='': pass a name"),
    "class of linen": ({"init": None, "apply": None, "network": Linen}, "pass a module, such as"),
    "class of nnx": ({"init": None, "apply": None, "network": Nnx}, "cannot be made of rngs alone"),
    "unclear": ({"init": None, "apply": None, "network": lambda seed: None},
                r"takes `rngs` .* this one takes \(seed\)"),
    "no kind": ({"init": None, "apply": None, "network": 3}, "network=int: pass a flax or"),
    "made already": ({"init": None, "apply": None, "network": Nnx(3, rngs=nnx.Rngs(0))},
                     "made already, and the training data are given too"),
}  # fmt: skip


@pytest.mark.parametrize("which", MISTAKES)
def test_mistakes_are_told_at_the_door(which) -> None:
    changes, message = MISTAKES[which]
    given = {"train_inputs": TRAIN_X, "train_labels": TRAIN_Y, "test_inputs": TEST_X}
    given |= {"test_labels": TEST_Y} | changes.get("arrays", {})
    rest = {key: value for key, value in changes.items() if key != "arrays"}
    with pytest.raises(ValueError, match=message) as error:
        Experiment.from_arrays(*given.values(), **({"init": init, "apply": apply} | QUICK | rest))
    assert "\n" not in str(error.value)


def test_batch_norm_is_refused() -> None:
    class Normed(nn.Module):
        @nn.compact
        def __call__(self, u):
            return nn.Dense(1)(nn.BatchNorm(use_running_average=True)(u).mean(0))

    with pytest.raises(ValueError, match="keeps batch_stats besides its parameters"):
        arrays(init=None, apply=None, network=Normed())


def test_a_task_that_lacks_something_is_refused() -> None:
    class Half:
        seq_len = 3

    with pytest.raises(ValueError, match="task=Half: has no num_features, num_train"):
        Experiment(task=Half(), network=(init, apply))  # pyright: ignore[reportArgumentType]
