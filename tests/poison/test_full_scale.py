"""The experiment on CIFAR-10, end to end on a generated stand-in with tiny networks."""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssmbias.data.tasks.cifar10 import Cifar10, load_cifar10
from ssmbias.data.tasks.cifar10_stand_in import write_stand_in
from ssmbias.poison import full_estimate, full_run
from ssmbias.poison.checkpoints import KEPT, Checkpoints
from ssmbias.poison.full_brewing import penalty_strength, shares_of
from ssmbias.poison.full_data import (
    draw_split,
    examples,
    from_layout,
    poisons_of,
    to_layout,
    training_of,
)
from ssmbias.poison.full_estimate import Step, counts, estimate
from ssmbias.poison.full_run import run_full
from ssmbias.poison.full_settings import FULL_ARMS, FullSettings, network_of
from ssmbias.poison.full_training import (
    evaluate,
    is_done,
    optimizer_of,
    rate_factor,
    start,
    train_epoch,
)
from ssmbias.poison.groups import allocate
from ssmbias.poison.summary import judge_all
from ssmbias.poison.weighting import position_weights

BUDGET = 16 / 255

# One group of targets, so that gradient matching is compiled for one shape. Batches of 7: the
# last one of base, which has 20 examples, is smaller; the others have 28 examples.
TINY = FullSettings(
    "lru",
    seeds=(3,),
    num_clean=12,
    num_poisons=8,
    num_targets=1,
    epochs=3,
    batch_size=7,
    brew_steps=2,
    restarts=2,
    group_size=1,
    channels=4,
    num_layers=1,
    state_dim=2,
    least_fitted=0.0,
)


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory) -> Path:
    return write_stand_in(tmp_path_factory.mktemp("cifar"), jax.random.key(0), num_per_file=10)


@pytest.fixture(scope="module")
def data(stand_in) -> Cifar10:
    return load_cifar10(stand_in)


def random_delta(num: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.01, 0.01, (num, 32, 32, 3)).astype(np.float32)


class TestSettings:
    """The published numbers, and what is refused."""

    def test_published_numbers(self):
        settings = FullSettings()
        assert settings.sizes == (10_000, 10_000, 3_000)
        # 20 groups of 50 targets with 250 poisons each, 40 with 125.
        blocks = allocate(
            np.arange(3000.0), np.ones(3000, bool), 10_000, group_size=settings.group_size
        )
        shapes = [(block.targets.shape, block.poisons.shape[1]) for block in blocks]
        assert shapes == [((20, 50), 250), ((40, 50), 125)]
        config = settings.matching("found_rows", settings.row_strength)
        assert (config.steps, settings.restarts, config.box) == (250, 8, (0.0, 1.0))
        assert config.budget == 16 / 255
        # .1 * 500 / 512 for pixels over .247, to the three digits of the published quotient.
        assert config.rate == pytest.approx(0.1 * 500 / 512 * 0.247, rel=1e-3)
        # The penalty is the same function of the perturbation in either unit.
        assert settings.row_strength * 0.247**2 == pytest.approx(1e-7)
        assert settings.steps_per_epoch("base") == math.ceil(20_000 / 64)
        assert settings.steps_per_epoch("found") == math.ceil(30_000 / 64)

    @pytest.mark.parametrize(
        ("model", "parameters"),
        # Counted by hand for S4D and LRU from the published sizes.
        [("s4d", 201_482), ("lru", 265_994), ("mamba2", 554_234)],
    )
    def test_networks_have_the_published_sizes(self, model, parameters):
        state = jax.eval_shape(lambda: start(FullSettings(model), 0))
        assert sum(x.size for x in jax.tree.leaves(state.params)) == parameters
        # Mixed precision: whatever is kept is single precision, under 64-bit JAX too.
        kept = (state.params, state.stats, state.opt_state)
        floats = {x.dtype for x in jax.tree.leaves(kept) if x.dtype != jnp.int32}
        assert floats == {jnp.dtype("float32")}
        assert network_of(FullSettings(model)).compute_dtype == "bfloat16"
        assert bool(state.stats) == (model == "mamba2")

    def test_one_per_cent(self):
        small = FullSettings(fraction=0.01)
        # 1 % of 3000 targets, 10 000 and 10 000; below three a class, three a class.
        assert small.sizes == (100, 100, 30)
        assert FullSettings(fraction=0.001).sizes == (30, 30, 30)

    def test_needed_arms_run_too(self):
        assert FullSettings(arms=("dup",)).arms_to_run() == ("dup",)
        assert FullSettings(arms=("found_late",)).arms_to_run() == ("base", "found_late")
        assert FullSettings(arms=FULL_ARMS[::-1]).arms_to_run() == FULL_ARMS
        # The published schedule ends at the loss of base.
        assert FullSettings(arms=("dup",), schedule="paper").arms_to_run() == ("base", "dup")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"model": "s5"}, "model='s5': choose one of s4d, lru, mamba2"),
            ({"arms": ("late",)}, "arms='late'"),
            ({"arms": "found"}, "pass a list"),
            ({"arms": ("dup", "dup")}, "given twice"),
            ({"seeds": ()}, "at least one"),
            ({"seeds": (1, 1)}, "given twice"),
            ({"fraction": 0}, "fraction=0"),
            ({"fraction": 1.5}, "fraction=1.5"),
            ({"num_poisons": 0}, "num_poisons=0"),
            ({"num_poisons": 30}, "60 groups|40 groups|20 groups"),
            ({"budget": 16}, "16/255"),
            ({"budget": 0.0}, "budget=0.0"),
            ({"epochs": 0}, "epochs=0"),
            ({"restarts": 0}, "restarts=0"),
            ({"brew_steps": 0}, "steps=0"),
            ({"order": "bgr"}, "order='bgr'"),
            ({"dtype": "float16"}, "dtype='float16'"),
            ({"schedule": "step"}, "schedule='step'"),
            ({"channels": 0}, "channels=0"),
            ({"row_strength": 0.0}, "row_strength=0.0"),
        ],
    )
    def test_refusals(self, changes, message):
        with pytest.raises(ValueError, match=message):
            FullSettings(**changes)

    def test_fingerprint_knows_what_matters(self):
        same = [{}, {"arms": ("base",)}, {"seeds": (9,)}, {"data": "elsewhere"}]
        assert len({FullSettings(**changes).fingerprint("x") for changes in same}) == 1
        others = [{}, {"epochs": 7}, {"dtype": "float32"}, {"order": "rgb"}, {"model": "lru"}]
        assert len({FullSettings(**changes).fingerprint("x") for changes in others}) == 5
        assert FullSettings().fingerprint("x") != FullSettings().fingerprint("y")


class TestData:
    """Parts, arms and sequences."""

    def test_parts(self, data):
        split = draw_split(TINY, data, 0)
        assert not set(split.target_rows) & set(split.test_rows)
        assert sorted([*split.target_rows, *split.test_rows]) == list(range(10))
        assert len(set(split.train_rows)) == len(split.train_rows) == 20
        for part, rows, whole in (
            (split.labels, split.train_rows, data.train_labels),
            (split.images, split.train_rows, data.train_images),
            (split.target_images, split.target_rows, data.test_images),
            (split.test_labels, split.test_rows, data.test_labels),
        ):
            assert np.array_equal(part, whole[rows])
        again, other = draw_split(TINY, data, 0), draw_split(TINY, data, 1)
        assert np.array_equal(split.train_rows, again.train_rows)
        assert not np.array_equal(split.train_rows, other.train_rows)

    def test_too_few_images(self, data):
        with pytest.raises(ValueError, match="there are 50 training images"):
            draw_split(dataclasses.replace(TINY, num_clean=43), data, 0)
        with pytest.raises(ValueError, match="there are 10 test images"):
            draw_split(dataclasses.replace(TINY, num_targets=10, group_size=5), data, 0)

    def test_arms_differ_in_the_second_copies_only(self, data):
        split = draw_split(TINY, data, 0)
        rows = {"base": np.arange(20), "dup": np.arange(28)}
        delta = random_delta(8)
        base = examples(training_of(TINY, split, "base"), rows["base"])
        dup = examples(training_of(TINY, split, "dup"), rows["dup"])
        found = examples(training_of(TINY, split, "found", delta), rows["dup"])
        plain = split.images.astype(np.float32) / np.float32(255)
        assert np.array_equal(base.inputs, plain)
        assert np.array_equal(dup.inputs, np.concatenate([plain, plain[12:]]))
        assert np.array_equal(found.inputs[:20], plain)
        assert np.array_equal(found.inputs[20:], plain[12:] + delta)
        # Labels, to the bit those of the data set, perturbed or not.
        want = data.train_labels[np.concatenate([split.train_rows, split.train_rows[12:]])]
        for batch in (dup, found):
            assert batch.labels.dtype == want.dtype
            assert np.array_equal(batch.labels, want)
        with pytest.raises(ValueError, match="delta has shape"):
            training_of(TINY, split, "found", delta[:7])

    @pytest.mark.parametrize("layout", ["rgb", "published", "tokens"])
    def test_layouts(self, layout):
        image = np.arange(3072).reshape(32, 32, 3)
        sequence = to_layout(image, layout)
        assert np.array_equal(from_layout(sequence, layout), image)
        # What is last: the last pixel, the end of the blue plane, or the last patch.
        last = {
            "rgb": image[31, 31],
            "published": image[31, 29:, 2],
            "tokens": image[28:, 28:].ravel(),
        }
        assert np.array_equal(sequence[-1], last[layout])

    def test_rows_are_those_of_the_image(self):
        # The published penalty: row i of all three planes gets 31 - i.
        weights = position_weights("rows", (1024, 3))
        image = np.asarray(from_layout(weights, "published"))
        assert np.array_equal(
            image, np.broadcast_to(31 - np.arange(32)[:, None, None], (32, 32, 3))
        )

    def test_shares(self):
        delta = np.zeros((2, 32, 32, 3), np.float32)
        delta[:, 31] = 1
        rgb = dataclasses.replace(TINY, order="rgb")
        assert shares_of(rgb, delta) == (1, 1)
        # In the published order a third of it, the blue one, is at the end.
        assert shares_of(TINY, delta).elements == pytest.approx(1 / math.sqrt(3), rel=1e-6)
        even = shares_of(TINY, np.ones_like(delta))
        assert even == pytest.approx((math.sqrt(1 / 32),) * 2, rel=1e-6)


class TestTraining:
    """Schedules, an epoch, and its end."""

    def test_cosine_per_epoch(self):
        settings = FullSettings()
        for arm in FULL_ARMS:
            for epoch in (0, 37, 99):
                # The closed form of a cosine with a floor of a hundredth.
                want = 0.01 + 0.99 * (1 + math.cos(math.pi * epoch / 100)) / 2
                # Single precision: the cosine is off by an ulp of 1, about 1e-7.
                assert float(rate_factor(settings, arm, epoch)) == pytest.approx(want, abs=3e-7)

    def test_published_schedule_is_another_one_in_poisoned_arms(self):
        paper = FullSettings(schedule="paper")
        assert float(rate_factor(paper, "base", 99)) < 0.011
        want = 0.001 + 0.999 * (1 + math.cos(math.pi / 3)) / 2
        assert float(rate_factor(paper, "found", 100)) == pytest.approx(want, abs=3e-7)
        # At least 100 epochs, then until the loss of base + .001, 300 at most.
        assert not is_done(paper, "found", 99, 0.0, 1.0)
        assert is_done(paper, "found", 100, 1.0005, 1.0)
        assert not is_done(paper, "found", 100, 1.002, 1.0)
        assert is_done(paper, "found", 300, 9.0, 1.0)
        assert not is_done(paper, "found", 200, math.nan, 1.0)
        assert is_done(FullSettings(), "found", 100, 9.0, 1.0)
        assert not is_done(FullSettings(), "found", 99, 0.0, 1.0)

    def test_rates_fall_from_epoch_to_epoch(self):
        # Two updates an epoch, of 3 epochs; AdamW's first update is the rate times the sign.
        settings = dataclasses.replace(TINY, batch_size=10)
        adam = optimizer_of(settings, "base")
        params = {"w": jnp.zeros(1, jnp.float32)}
        state = adam.init(params)
        steps = []
        for _ in range(6):
            updates, state = adam.update({"w": jnp.ones(1, jnp.float32)}, state, params)
            steps.append(float(updates["w"][0]))
        # Bias corrections in single precision: a few ulps of 6e-8, times a factor of 1000 at the
        # first updates, where 1 - .999 is what is left.
        factors = [0.01 + 0.99 * part for part in (1, 1, 0.75, 0.75, 0.25, 0.25)]
        assert steps == pytest.approx([-0.001 * factor for factor in factors], rel=1e-4)

    def test_starts_are_those_of_the_seed(self):
        starts = [jax.tree.leaves(start(TINY, seed).params) for seed in (0, 0, 1)]
        assert all(np.array_equal(a, b) for a, b in zip(*starts[:2], strict=True))
        assert not all(np.array_equal(a, b) for a, b in zip(*starts[1:], strict=True))


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
    (home,) = folder.iterdir()
    leaves = []
    for arm in arms:
        with Checkpoints(home / "seed3" / f"train-{arm}") as kept:
            assert kept.steps() == [2, 3]  # the last two of three epochs
            latest = kept.latest(start(settings, 3))
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
        (home,) = folder.iterdir()
        found = np.load(home / "seed3" / "found.npz")
        random = np.load(home / "seed3" / "random.npz")["delta"]
        poisons = np.asarray(poisons_of(settings, draw_split(settings, data, 3)).inputs)
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

    def test_another_seed_is_another_run(self, whole_run, data):
        # Negative control of the bitwise comparison: a seed changes an epoch.
        settings = dataclasses.replace(whole_run[0], data="", arms=("base",), seeds=(0,))
        training = training_of(settings, draw_split(settings, data, 3), "base")
        first = start(settings, 3)
        one, same, other = (train_epoch(settings, "base", training, first, s) for s in (3, 3, 4))
        assert float(one.loss) == float(same.loss) != float(other.loss)
        answers = evaluate(settings, one.params, one.stats, *training[:2])
        assert answers.right.shape == (20,)

    def test_published_penalty_and_relative_one(self, whole_run):
        settings = whole_run[0]
        nothing = (None, None)
        assert penalty_strength(settings, "found", *nothing) == 1
        assert penalty_strength(settings, "found_rows", *nothing) == settings.row_strength


class TestCheckpoints:
    """States on disk."""

    def test_keeps_the_last_ones(self, tmp_path):
        with Checkpoints(tmp_path / "run") as kept:
            for step in range(1, 5):
                kept.save(step, (np.full(3, step), np.float32(step)))
            assert kept.steps() == [3, 4]
            assert len(kept.steps()) == KEPT
            latest = kept.latest((np.zeros(3, int), np.float32(0)))
            assert latest is not None
            step, state = latest
            assert step == 4
            assert state[0].tolist() == [4, 4, 4]

    def test_another_form_is_refused(self, tmp_path):
        with Checkpoints(tmp_path / "run") as kept:
            kept.save(1, {"w": np.zeros(3)})
            for other in ({"w": np.zeros(4)}, {"w": np.zeros(3), "v": np.zeros(1)}):
                with pytest.raises(ValueError, match="of another computation; remove"):
                    kept.latest(other)

    def test_without_orbax(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
        with pytest.raises(ImportError, match=r"pip install 'ssmbias\[full\]'"):
            run_full(TINY, tmp_path)


class TestEstimate:
    """Memory and time."""

    @pytest.fixture
    def measured(self, monkeypatch):
        """An update of .1 s that takes a gigabyte."""
        step = Step(0.1, 10**9, 1e9)
        monkeypatch.setattr(full_estimate, "measure_step", lambda settings, num: step)

    def test_counts(self):
        settings = FullSettings(seeds=(0, 1, 2, 3, 4))
        # Per seed: 100 epochs of 313 updates and six arms of 469; four arms are searched.
        steps, slopes = counts(settings)
        assert steps == 5 * 100 * (313 + 6 * 469)
        assert slopes == 5 * 4 * 8 * 250 * 10_000
        assert counts(FullSettings(arms=("dup",), seeds=(0,))) == (46_900, 0)

    def test_time_and_memory(self, measured, monkeypatch):
        monkeypatch.setattr(full_estimate, "available_bytes", lambda: 10**12)
        plain = estimate(FullSettings(arms=("base", "dup"), seeds=(0,)))
        assert plain.seconds == pytest.approx(0.1 * 78_200)
        assert plain.parameters == 201_482
        whole = estimate(FullSettings(seeds=(0,)))
        # Groups of 250 against batches of 64, at three times the memory by image, and more.
        assert whole.memory_bytes > 3 * 250 / 64 * 1e9 > plain.memory_bytes
        assert "201,482 parameters" in str(whole)

    def test_too_small_a_device(self, measured, monkeypatch):
        monkeypatch.setattr(full_estimate, "available_bytes", lambda: 2 * 10**9)
        estimate(FullSettings(arms=("base",)))
        with pytest.raises(ValueError, match=r"num_poisons=10000: the run needs about .* lower"):
            estimate(FullSettings())
        monkeypatch.setattr(full_estimate, "available_bytes", lambda: 10**9)
        with pytest.raises(ValueError, match=r"batch_size=64: the run needs about"):
            estimate(FullSettings(arms=("base",)))

    def test_free_memory_is_known(self):
        assert (full_estimate.available_bytes() or 10**9) > 10**8

    def test_run_refuses_before_it_trains(self, measured, monkeypatch, stand_in, tmp_path):
        monkeypatch.setattr(full_estimate, "available_bytes", lambda: 1)
        monkeypatch.setattr(full_run, "train_epoch", None)
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
    split = draw_split(settings, load_cifar10(folder), 0)
    assert [len(x) for x in (split.labels, split.target_labels, split.test_labels)] == [200, 30, 70]


@pytest.mark.slow
def test_padding_free_epoch_is_its_updates(data):
    # An epoch by hand, batch after batch, with the statistics of a batch norm. The same program
    # fused otherwise: a few ulps of single precision an update, three updates, in bfloat16 none.
    from ssmbias.poison.full_training import train_step

    settings = dataclasses.replace(TINY, model="mamba2", dtype="float32", channels=8)
    training = training_of(settings, draw_split(settings, data, 0), "base")
    state = start(settings, 0)
    whole = train_epoch(settings, "base", training, state, 0)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 1), 0)
    order = jax.random.permutation(jax.random.fold_in(key, 0), 20)
    step = jax.jit(lambda s, b, k: train_step(settings, "base", s, b, k))
    by_hand, losses = state, 0.0
    for i, rows in enumerate((order[:7], order[7:14], order[14:])):
        by_hand, (loss, _) = step(by_hand, examples(training, rows), jax.random.fold_in(key, i + 1))
        losses += float(loss) * len(rows)
    assert float(whole.loss) == pytest.approx(losses / 20, rel=1e-5)
    for a, b in zip(jax.tree.leaves(whole.stats), jax.tree.leaves(by_hand.stats), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
