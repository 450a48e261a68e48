"""Running experiments: what is refused at the door, and that every one of them runs."""

from __future__ import annotations

import numpy as np
import pytest

from ssmbias.poison.catalogue import EXPERIMENTS, find_experiment
from ssmbias.poison.changes import changed
from ssmbias.poison.runner import run_arms, run_experiment, scan_windows
from ssmbias.poison.settings import Experiment
from ssmbias.poison.training import lanes

MISTAKES = [
    ({"arms": 5}, "arms=5: pass a list"),
    ({"experiment": None}, "experiment=None: choose from f1"),
    ({"experiment": "f2"}, r"experiment='f2': did you mean f1\? choose from f1, f1_small"),
    ({"arms": ["later"]}, "arms='later': choose from base, dup"),
    ({"arms": "late"}, r"arms='late': pass a list, such as \['base', 'late'\]"),
    ({"arms": []}, r"arms=\[\]: choose from"),
    ({"arms": ["dup", "dup"]}, "arms='dup': is given twice"),
    ({"experiment": "digits", "arms": ["late"]}, "arms='late': needs a teacher"),
    ({"seeds": []}, r"seeds=\[\]: give at least one"),
    ({"seeds": 5}, "seeds=5: pass a list or a range of integers"),
    ({"seeds": [1, 1]}, "seeds=1: is given twice"),
    ({"seeds": [-1]}, "seeds=-1: must be in 0"),
    ({"num_poisons": 41}, r"num_poisons=41: the arm dup copies .* 40; give at most that"),
    ({"budget": 0.0}, "budget=0.0: must be greater than 0"),
    ({"scale": -1.0}, "scale=-1.0: must be greater than 0"),
    ({"width": 33}, "width=33: sequences have 32 elements"),
    ({"support": 40}, "support=40: must be in 1..32"),
    ({"stepps": 5}, r"stepps=5: unknown setting; did you mean steps\?"),
    ({"opposing": True}, "opposing=true: only elements of carrier=copies"),
    ({"layer": "rnn"}, "layer='rnn': choose one of lru"),
    ({"teacher_bc": [1.0, 2.0]}, "teacher_bc="),
    ({"experiment": "digits", "classes": [3]}, r"classes=\(3,\): pass two digits"),
    (
        {"experiment": "digits", "shots": 140},
        "shots=140, num_targets=40: a class has as few as 174",
    ),
    ({"seeds": np.int64(5)}, "seeds="),
    ({"seeds": "range(3)"}, r"seeds='range\(3\)': pass a list or a range of integers"),
    ({"brew_num_groups": 30}, "brew_num_groups=30: num_poisons is 20"),
    ({"brew_decay_steps": 0.5}, "decay_steps=0.5"),
    ({"brew_box": [0.0, 1.0]}, "brew_box=.*: sequences of this task have no bounds"),
    ({"dropout": 0.5}, "dropout=0.5: unknown setting"),
    ({"experiment": "f1_paper_network", "sd_a": -1.0}, "sd_a=-1.0: must be greater than 0"),
    ({"experiment": "f1_paper_network", "output": "value"}, "output='value': the paper's network"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_mistakes_are_told_before_anything_is_compiled(arguments, message, monkeypatch) -> None:
    def never(*_) -> None:
        raise AssertionError("something was computed")

    monkeypatch.setattr(lanes, "prepare", never)
    with pytest.raises(ValueError, match=message):
        run_arms(**arguments)


def test_windows_outside_of_the_sequence_are_refused() -> None:
    with pytest.raises(ValueError, match=r"windows=31: must be in 0\.\.30"):
        run_experiment(find_experiment("f1"), ("late",), (0,), windows=(31,))
    with pytest.raises(ValueError, match="needs a teacher"):
        run_experiment(find_experiment("digits"), ("dup",), (0,), windows=(3,))
    assert scan_windows(find_experiment("f1_long"))[-2:] == (61, 62)


def reduced(experiment: Experiment) -> Experiment:
    """The experiment at a size at which only compiling takes time."""
    small = {
        "num_test": 8,
        "num_targets": 4,
        "steps": 2,
        "brew_steps": 2,
        "num_poisons": 4,
        "victim_steps": 2,
    }
    if not experiment.has_teacher:
        small = {"steps": 2, "brew_steps": 2, "victim_steps": 2}
    return changed(experiment, small)


@pytest.mark.slow  # each compiles for a quarter of a minute
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_runs(name) -> None:
    experiment = reduced(EXPERIMENTS[name])
    arms = ("dup", "late", "found_late") if experiment.has_teacher else ("dup", "found", "random")
    found = run_arms(experiment, arms, [0, 1])
    assert found.sizes["arm"] == 3
    assert bool(np.isfinite(found.test_accuracy).all())
    assert bool(np.isfinite(found.final_loss).all())
    np.testing.assert_allclose(found.input_share.sum("position"), 1.0, rtol=1e-12)
    assert bool(np.isfinite(found.teacher_cosine).all()) == experiment.has_teacher
    assert float(found.final_loss.std()) > 0  # control: arms and seeds are not all the same


@pytest.mark.slow
def test_late_elements_harm_and_the_same_ones_early_do_not() -> None:
    found = run_arms("f1", ("dup", "early", "late"), range(8))
    accuracy = found.test_accuracy.mean("seed")
    # Standard errors of paired differences over 8 seeds are about 2 points, the effect about 12.
    assert float(accuracy.sel(arm="late") - accuracy.sel(arm="dup")) < -0.05
    assert float(accuracy.sel(arm="early") - accuracy.sel(arm="dup")) > -0.05


def test_several_classes_have_as_many_outputs() -> None:
    made = changed(find_experiment("digits"), {"classes": [3, 8, 5]})
    assert made.network.num_outputs == 3  # pyright: ignore[reportAttributeAccessIssue]
    assert find_experiment("digits").network.num_outputs == 1  # pyright: ignore[reportAttributeAccessIssue]
