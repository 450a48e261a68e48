"""Arms: what is the same in all of them, and that a new one is one file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from poison_tiny import F1, SEEDS

from ssmbias.poison import arms as folder
from ssmbias.poison import run_arms
from ssmbias.poison.arms import registry
from ssmbias.poison.arms.arm import Arm, Words
from ssmbias.poison.arms.registry import require_arms
from ssmbias.poison.runner import run_experiment
from ssmbias.poison.training import lanes
from ssmbias.poison.verdict import judge


class TestArms:
    def test_every_label_is_the_teachers(self, prepared) -> None:
        for batch in (*prepared.by_hand.values(), prepared.problem.train, prepared.problem.targets):
            sums = np.asarray(batch.inputs).sum(axis=(2, 3))
            np.testing.assert_array_equal(np.asarray(batch.labels), sums > 0)
            assert np.abs(sums).min() > 1e-12  # none so near 0 that rounding decides

    def test_poisons_differ_in_position_only(self, prepared) -> None:
        def elements(arm: str) -> np.ndarray:
            inputs = np.asarray(prepared.by_hand[arm].inputs)[..., 0]
            assert ((inputs != 0).sum(axis=2) == 2).all()
            return np.sort(inputs[inputs != 0].reshape(*inputs.shape[:2], 2))

        late = np.asarray(prepared.by_hand["late"].inputs)[..., 0]
        early = np.asarray(prepared.by_hand["early"].inputs)[..., 0]
        assert (late[:, :, :-2] == 0).all()
        assert (early[:, :, 2:] == 0).all()
        for arm in ("early", "rpos"):
            np.testing.assert_array_equal(elements(arm), elements("late"))
        assert not np.array_equal(elements("late")[0], elements("late")[1])  # seeds differ

    def test_sizes(self, prepared) -> None:
        train, by_hand = prepared.problem.train.inputs, prepared.by_hand
        np.testing.assert_array_equal(by_hand["dup"].inputs, train[:, :4])
        added = np.asarray(by_hand["noise"].inputs - by_hand["dup"].inputs)
        # A sum and a difference of numbers of size 1 each round to 1e-16, of a norm of 1e-2.
        np.testing.assert_allclose(
            np.linalg.norm(added, axis=2), np.linalg.norm(by_hand["late"].inputs, axis=2),
            rtol=1e-12,
        )  # fmt: skip
        assert (added != 0).all()

    def test_windows_meet_the_arms(self, prepared) -> None:
        for start, arm in ((0, "early"), (6, "late")):
            found = lanes.at_window(F1, prepared, jnp.asarray(start))
            # Compiled apart, normal numbers may differ in their last bits.
            np.testing.assert_allclose(found.inputs, prepared.by_hand[arm].inputs, rtol=1e-14)

    def test_targets_and_tests_share_no_sequence(self, prepared) -> None:
        problem = prepared.problem
        parts = [problem.train, problem.targets, problem.tests["test"]]
        rows = np.concatenate([np.asarray(part.inputs[0])[..., 0] for part in parts])
        assert len(np.unique(rows, axis=0)) == len(rows) == 6 + 5 + 16

    def test_found_poisons_stay_within_budget_and_labels_are_honest(self, prepared) -> None:
        victim = lanes.victim(F1, prepared)
        batch, delta, _ = lanes.search(F1, "none", prepared, victim)
        assert np.abs(delta).max() <= 0.05
        sums = np.asarray(batch.inputs).sum(axis=(2, 3))
        np.testing.assert_array_equal(np.asarray(batch.labels), sums > 0)
        np.testing.assert_array_equal(batch.inputs, delta)  # carriers are zero sequences
        (arm,) = require_arms(F1, ["found"])
        norm = np.linalg.norm(np.asarray(delta)[..., 0], axis=2).mean(axis=1)
        np.testing.assert_allclose(lanes.mean_norm(F1, prepared, arm, batch), norm, rtol=1e-12)
        control = lanes.randomly(F1, prepared, delta)
        np.testing.assert_allclose(  # a root of squares, found by bisection to rounding
            np.linalg.norm(control.inputs, axis=2), np.linalg.norm(delta, axis=2), rtol=1e-9
        )
        sums = np.asarray(control.inputs).sum(axis=(2, 3))
        np.testing.assert_array_equal(np.asarray(control.labels), sums > 0)


def test_a_window_can_be_an_arm() -> None:
    arms = ("window6", "window3", "late", "dup")
    found = run_experiment(F1, arms, SEEDS).results
    assert found.arm.values.tolist() == list(arms)
    # The last window is the arm late; compiled apart, its elements may differ in their last bits,
    # which three steps hardly amplify.
    late, same, other = (found.sel(arm=arm) for arm in ("late", "window6", "window3"))
    np.testing.assert_allclose(same.final_loss, late.final_loss, rtol=1e-11)
    np.testing.assert_allclose(other.poison_norm, late.poison_norm, rtol=1e-12)
    assert (abs(other.final_loss / late.final_loss - 1) > 1e-9).all()  # control: it is elsewhere
    for arm, message in (
        ("window7", "begin at window6 at the latest"),
        ("window-1", "choose from base"),
        ("window03", "choose from base"),
    ):
        with pytest.raises(ValueError, match=message):
            run_arms(F1, [arm], [0])
    with pytest.raises(ValueError, match="needs a teacher"):
        run_arms("digits", ["window3"], [0])


NEW = """
from ssmbias.poison.arms.arm import Arm, Words, needs_teacher
from ssmbias.poison.arms.elements import placed, window_positions

def make(experiment, keys, copies):
    return placed(experiment, keys, copies, window_positions(experiment, 1))

words = Words("second", "from the second element on", "nearly early", profiled=True)
ARM = Arm(words, order=2.5, by_hand=make, lacks=needs_teacher)
"""


@pytest.fixture
def new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A file more in the folder of arms."""
    (tmp_path / "second.py").write_text(NEW, encoding="utf-8")
    caches = (registry.all_arms, registry._modules)
    monkeypatch.setattr(folder, "__path__", [*folder.__path__, str(tmp_path)])
    for one in caches:
        one.cache_clear()
    yield
    sys.modules.pop("ssmbias.poison.arms.second", None)
    monkeypatch.undo()
    for one in caches:
        one.cache_clear()


def test_a_new_arm_is_one_file(new_file) -> None:
    assert registry.arms_of(F1)[:5] == ("base", "dup", "early", "second", "rpos")
    found = run_arms(F1, ["dup", "second", "early"], SEEDS)
    assert found.arm.values.tolist() == ["dup", "second", "early"]
    # The elements are those of early, one place later.
    np.testing.assert_allclose(
        found.poison_norm.sel(arm="second"), found.poison_norm.sel(arm="early"), rtol=1e-12
    )
    words = json.loads(found.attrs["arms"])
    assert words["second"]["title"] == "from the second element on"
    assert words["second"]["profiled"]
    assert not words["early"]["profiled"]


def test_without_its_file_there_is_no_such_arm() -> None:
    with pytest.raises(ValueError, match="arms='second': choose from base"):
        run_arms(F1, ["second"], SEEDS)


def test_an_arm_of_your_own_needs_no_file_and_can_be_judged(prepared) -> None:
    def louder(experiment, keys, copies):
        del experiment, keys
        return copies._replace(inputs=2 * copies.inputs)

    words = Words("louder", "copies, twice as loud", role="attack", controls=("base", "dup"))
    mine = Arm(words, order=3, by_hand=louder, carrier="copies")
    found = run_arms(F1, ["base", "dup", mine], SEEDS)
    size = np.linalg.norm(prepared.copies.inputs[..., 0], axis=2)
    np.testing.assert_allclose(found.poison_norm.sel(arm="louder"), size.mean(axis=1), rtol=1e-12)
    judgement = judge(found, "louder")
    assert set(judgement.differences) == {"base", "dup"}
    assert judgement.verdict == "inconclusive"
    with pytest.raises(ValueError, match="attack='dup'"):
        judge(found, "dup")


def same(experiment, keys, copies):
    del experiment, keys
    return copies


def own(name: str, *needs: str) -> Arm:
    return Arm(Words(name, "of my own"), order=50, by_hand=same, needs=needs)


@pytest.mark.parametrize("name", ["base", "dup", "found", "window3"])
def test_a_name_of_ours_is_taken(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^arms='{name}': is an arm of the package; .*$"):
        require_arms(F1, [own(name)])
    # Negative controls: a free name, and the arm of the package itself.
    assert require_arms(F1, [own("mine")])[0].name == "mine"
    ours = registry.find_arm(name)
    assert ours is not None
    assert require_arms(F1, [ours]) == (ours,)


def test_what_an_arm_needs_is_found_to_the_end() -> None:
    def names(*arms: Arm) -> set[str]:
        return {arm.name for arm in registry.with_needed(F1, arms)}

    one, two = own("one", "two", "random"), own("two")
    assert names(one, two) == {"one", "two", "random", "found"}
    assert two in registry.with_needed(F1, [one, two])
    # Negative controls: nothing is needed; what is needed is nowhere; and a circle comes to an end.
    assert names(two) == {"two"}
    with pytest.raises(ValueError, match=r"^arms='one': needs the arm 'two'; pass it as well$"):
        names(one)
    assert names(own("one", "two"), own("two", "one")) == {"one", "two"}


@pytest.mark.parametrize("arm", registry.all_arms(), ids=lambda arm: arm.name)
def test_every_arm_has_words(arm) -> None:
    assert arm.words.title
    assert (arm.words.role == "attack") == (not arm.words.controls_for)
    names = {one.name for one in registry.all_arms()}
    assert {*arm.words.controls, *arm.words.elsewhere, *arm.needs} <= names
    assert set(arm.words.elsewhere) <= set(arm.words.controls)
