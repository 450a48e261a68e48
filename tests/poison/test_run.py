"""Arms, training, resuming: what is the same in all arms, and that nothing else is."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ssmbias.data.tasks.digits import digits
from ssmbias.data.tasks.sum_sign import SignTask, teacher_label, training_inputs
from ssmbias.models.networks.sequence import SequenceNetwork
from ssmbias.poison import lanes
from ssmbias.poison.arms import arm_weights, poisons_by_hand
from ssmbias.poison.batch import Batch
from ssmbias.poison.catalogue import EXPERIMENTS, find_experiment
from ssmbias.poison.forces import lag_forces
from ssmbias.poison.learner import learner_of, optimizer_of, weighted_loss
from ssmbias.poison.problems import keys_of, problem_of
from ssmbias.poison.runner import run_arms, run_experiment, scan_windows
from ssmbias.poison.settings import Experiment, PaperNetwork, changed
from ssmbias.poison.units import load_unit, unit_path

# One shape for nearly all tests here: compiling takes most of their time.
TINY = {
    "seq_len": 8, "support": 3, "num_train": 6, "num_poisons": 4, "num_test": 16,
    "num_targets": 5, "steps": 3, "channels": 2, "state_dim": 2, "head_width": 2,
    "brew_steps": 2, "victim_steps": 2,
}  # fmt: skip
F1 = changed(find_experiment("f1"), TINY)
SEEDS = (3, 7)


@pytest.fixture(scope="module")
def prepared() -> lanes.Prepared:
    return lanes.prepare(F1, jnp.asarray(SEEDS))


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
        norm = np.linalg.norm(np.asarray(delta)[..., 0], axis=2).mean(axis=1)
        np.testing.assert_allclose(lanes.mean_norm(F1, prepared, "found", batch), norm, rtol=1e-12)
        control = lanes.randomly(F1, prepared, delta)
        np.testing.assert_allclose(  # a root of squares, found by bisection to rounding
            np.linalg.norm(control.inputs, axis=2), np.linalg.norm(delta, axis=2), rtol=1e-9
        )
        sums = np.asarray(control.inputs).sum(axis=(2, 3))
        np.testing.assert_array_equal(np.asarray(control.labels), sums > 0)


class TestDigits:
    @pytest.mark.slow
    def test_poisons_and_targets_are_balanced(self) -> None:
        experiment = find_experiment("digits_10")
        keys = keys_of(0)
        problem = problem_of(experiment, keys)
        copies = poisons_by_hand(experiment, keys, problem.train)["dup"]
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


class TestTraining:
    def test_against_a_plain_loop(self, prepared) -> None:
        arm = "late"
        params, loss = lanes.train_arm(F1, prepared, arm, prepared.by_hand[arm])
        network, index = SequenceNetwork(F1.network), 1  # pyright: ignore[reportArgumentType]
        train = prepared.problem.train
        inputs = jnp.concatenate([train.inputs[index], prepared.by_hand[arm].inputs[index]])
        signs = (
            2.0 * jnp.concatenate([train.labels[index], prepared.by_hand[arm].labels[index]]) - 1
        )

        def mean_loss(weights):
            margins = jax.vmap(lambda x: network.apply({"params": weights}, x))(inputs)[:, 0]  # pyright: ignore
            return jnp.mean(jnp.log1p(jnp.exp(-signs * margins)))

        weights = jax.tree.map(lambda leaf: leaf[index], prepared.start)
        rate = optax.cosine_decay_schedule(0.005, 3)
        adam = optax.adamw(rate, weight_decay=0.01)
        state, gradient = adam.init(weights), jax.jit(jax.grad(mean_loss))
        for _ in range(3):
            updates, state = adam.update(gradient(weights), state, weights)
            weights = optax.apply_updates(weights, updates)
        # Adam divides by the size of the gradient: entries with a tiny one move by rounding more.
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a[index], b, rtol=1e-9, atol=1e-11),
            params, weights,
        )  # fmt: skip
        assert float(loss[index]) == pytest.approx(float(mean_loss(weights)), rel=1e-10)

    def test_sequences_without_weight_teach_nothing(self, prepared) -> None:
        base, _ = lanes.train_arm(F1, prepared, "base", prepared.by_hand["base"])
        other, _ = lanes.train_arm(F1, prepared, "base", prepared.by_hand["late"])
        late, _ = lanes.train_arm(F1, prepared, "late", prepared.by_hand["late"])
        leaves = [np.asarray(tree["head"]["out"]["kernel"]) for tree in (base, other, late)]
        np.testing.assert_allclose(leaves[0], leaves[1], rtol=1e-9)
        assert np.abs(leaves[0] / leaves[2] - 1).max() > 1e-4  # control
        assert arm_weights(F1, "base").sum() == 6

    def test_optimizers_and_schedules(self) -> None:
        plain = dataclasses.replace(F1.training, optimizer="sgd", schedule="constant")
        rule = optimizer_of(plain)
        updates, _ = rule.update(jnp.ones(1), rule.init(jnp.ones(1)), jnp.ones(1))
        assert float(updates[0]) == -0.005


class TestMeasures:
    def test_sensitivity_against_differences(self, prepared) -> None:
        found = lanes.measure(F1, prepared.start, prepared.problem)
        learner = learner_of(F1)
        params = jax.tree.map(lambda leaf: leaf[0], prepared.start)
        outputs = jax.jit(jax.vmap(lambda x: learner.outputs(params, x)[0]))
        tests, step = np.asarray(prepared.problem.tests["test"].inputs[0]), 1e-5
        slopes = np.stack(
            [(outputs(tests + d) - outputs(tests - d)) / (2 * step)
             for d in step * np.eye(8)[:, :, None]], axis=1,
        )  # fmt: skip
        share = (slopes**2).sum(axis=0) / (slopes**2).sum()
        # Differences of outputs of size 1e-1 over 1e-5: rounding 1e-12 in slopes of about 1e-2.
        np.testing.assert_allclose(found["input_share"][0], share, rtol=1e-4)
        cosine = slopes.sum(axis=1) / np.linalg.norm(slopes, axis=1) / np.sqrt(8)
        assert float(found["teacher_cosine"][0]) == pytest.approx(cosine.mean(), abs=1e-5)
        right = (np.asarray(outputs(tests)) > 0) == (tests.sum(axis=(1, 2)) > 0)
        assert float(found["test_accuracy"][0]) == right.mean()

    def test_teacher_of_any_dimension(self) -> None:
        task = SignTask(teacher_a=(0.5, -0.9), teacher_bc=(2.0, 1.0), output="value")
        x = np.random.default_rng(0).normal(size=(6, 1))
        state, expected = np.zeros(2), 0.0
        for element in x[:, 0]:
            state = np.array([0.5, -0.9]) * state + element
            expected = np.array([2.0, 1.0]) @ state
        assert float(teacher_label(task, x)) == pytest.approx(expected, rel=1e-13)
        sign = dataclasses.replace(task, output="sign")
        assert int(teacher_label(sign, x)) == int(expected > 0) != int(teacher_label(sign, -x))

    def test_off_support_elements_are_exactly_zero_unless_asked_for(self) -> None:
        key = jax.random.key(0)
        assert (training_inputs(key, SignTask())[:, 8:] == 0).all()
        assert (training_inputs(key, SignTask(off_support=0.1))[:, 8:] != 0).all()


@pytest.mark.slow
def test_forces_are_those_that_gradient_flow_feels() -> None:
    config = PaperNetwork(state_dim=3, hidden=(4,))
    experiment = dataclasses.replace(find_experiment("f1_paper_network"), network=config)
    learner = learner_of(experiment)
    inputs = jax.random.normal(jax.random.key(1), (5, 6, 1))
    batch = Batch(inputs, jnp.array([0, 1, 1, 0, 1]))
    params, weights = learner.init(jax.random.key(0), inputs[0]), jnp.array([1.0, 2, 0, 1, 1])
    omega = np.asarray(lag_forces(config, params, batch, weights))
    a, b, c = (np.asarray(params[name]) for name in "abc")
    slope = sum(lag * omega[lag] * a ** (lag - 1) for lag in range(1, 6))
    gradient = jax.grad(weighted_loss, argnums=1)(learner, params, batch, weights)
    # Sums of a few numbers of one size: some last bits of 1e-16.
    np.testing.assert_allclose(-gradient["a"], b * c * slope, rtol=1e-12)
    wrong = sum(lag * omega[::-1][lag] * a ** (lag - 1) for lag in range(1, 6))  # control
    assert np.abs(b * c * wrong / -gradient["a"] - 1).max() > 0.1


class TestResuming:
    ARMS = ("dup", "late")

    def test_a_stopped_run_goes_on_and_equals_an_undisturbed_one(self, tmp_path) -> None:
        def stop(done: int, total: int, text: str) -> None:
            if done == 2:
                raise KeyboardInterrupt

        def run(folder, progress=None):
            return run_experiment(
                F1, self.ARMS, SEEDS, windows=(2,), folder=folder, progress=progress
            )

        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "a", stop)
        kept = sorted((tmp_path / "a" / "units").iterdir())
        assert len(kept) == 2
        times = [path.stat().st_mtime_ns for path in kept]
        resumed, whole = run(tmp_path / "a"), run(None)
        assert [path.stat().st_mtime_ns for path in kept] == times
        assert resumed.results.identical(whole.results)
        assert resumed.scan is not None
        assert resumed.scan.identical(whole.scan)  # pyright: ignore[reportArgumentType]

    def test_a_damaged_unit_is_computed_again(self, tmp_path) -> None:
        first = run_experiment(F1, ("dup",), SEEDS, folder=tmp_path).results
        path = unit_path(tmp_path, F1, "dup", SEEDS)
        path.write_bytes(path.read_bytes()[:200])
        assert load_unit(path) is None
        assert run_experiment(F1, ("dup",), SEEDS, folder=tmp_path).results.identical(first)

    def test_units_of_other_settings_are_not_taken(self, tmp_path) -> None:
        other = changed(F1, {"scale": 0.06})
        paths = {unit_path(tmp_path, e, "late", s) for e in (F1, other) for s in (SEEDS, (3,))}
        assert len(paths) == 4


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


def test_examples_of_digits_are_images() -> None:
    small = {"steps": 1, "channels": 2, "state_dim": 2, "head_width": 2, "shots": 3}
    one = changed(find_experiment("digits"), small | {"num_poisons": 4, "num_targets": 3})
    clean = run_experiment(one, ("base",), (3,)).examples["clean"]
    assert clean.shape == (4, 8, 8)
    pictures = digits((3, 8)).inputs
    raster = np.asarray(pictures, np.float64).reshape(-1, 64)
    for image in clean.reshape(4, 64):
        assert np.abs(raster - image).max(axis=1).min() < 1e-12


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
