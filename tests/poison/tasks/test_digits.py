"""Digits as a task: balanced parts, and examples that are images."""

from __future__ import annotations

import numpy as np
import pytest

from ssmbias.data.tasks.digits import digits
from ssmbias.poison.catalogue import find_experiment
from ssmbias.poison.changes import changed
from ssmbias.poison.protocols import copied
from ssmbias.poison.runner import run_experiment


class TestDigits:
    @pytest.mark.slow
    def test_poisons_and_targets_are_balanced(self) -> None:
        experiment = find_experiment("digits_10")
        problem = experiment.task.draw(0)
        copies = copied(experiment.task, problem.train, experiment.poisons.num_poisons)
        assert np.bincount(copies.labels, minlength=10).tolist() == [2] * 10
        assert np.bincount(problem.targets.labels[:20], minlength=10).tolist() == [2] * 10
        # In turn, not in order: and each image still has its own label.
        whole = digits(experiment.task.classes)  # pyright: ignore[reportAttributeAccessIssue]
        rows = {
            x.tobytes(): int(y) for x, y in zip(np.asarray(whole.inputs), whole.labels, strict=True)
        }
        assert len(rows) > 1700
        for x, y in zip(np.asarray(problem.train.inputs), problem.train.labels, strict=True):
            assert rows[x.tobytes()] == int(y)


def test_examples_of_digits_are_images() -> None:
    small = {"steps": 1, "channels": 2, "state_dim": 2, "head_width": 2, "shots": 3}
    one = changed(find_experiment("digits"), small | {"num_poisons": 4, "num_targets": 3})
    clean = run_experiment(one, ("base",), (3,)).examples["clean"]
    assert clean.shape == (4, 8, 8)
    pictures = digits((3, 8)).inputs
    raster = np.asarray(pictures, np.float64).reshape(-1, 64)
    for image in clean.reshape(4, 64):
        assert np.abs(raster - image).max(axis=1).min() < 1e-12
