"""Units: a killed run goes on, and no number of other settings, data or source is handed out."""

from __future__ import annotations

import dataclasses
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from poison_tiny import F1, SEEDS

from ssmbias.poison.arms.arm import Arm, Words
from ssmbias.poison.arms.registry import require_arms
from ssmbias.poison.changes import changed
from ssmbias.poison.runner import run_experiment
from ssmbias.poison.settings import Experiment
from ssmbias.poison.training.units import UnitStore
from ssmbias.runs.sources import package_tree


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
        kept = sorted((tmp_path / "a" / "units").glob("*.npz"))
        assert len(kept) == 2
        times = [path.stat().st_mtime_ns for path in kept]
        resumed, whole = run(tmp_path / "a"), run(None)
        assert [path.stat().st_mtime_ns for path in kept] == times
        assert resumed.results.identical(whole.results)
        assert resumed.scan is not None
        assert resumed.scan.identical(whole.scan)  # pyright: ignore[reportArgumentType]

    def test_a_damaged_unit_is_computed_again(self, tmp_path) -> None:
        first = run_experiment(F1, ("dup",), SEEDS, folder=tmp_path).results
        store, (dup,) = UnitStore(tmp_path, F1), require_arms(F1, ["dup"])
        assert store.find(dup, SEEDS) is not None
        (path,) = (tmp_path / "units").glob("dup-*.npz")
        path.write_bytes(path.read_bytes()[:200])
        assert store.find(dup, SEEDS) is None
        assert run_experiment(F1, ("dup",), SEEDS, folder=tmp_path).results.identical(first)

    def test_units_of_other_settings_are_not_taken(self, tmp_path) -> None:
        (late,) = require_arms(F1, ["late"])
        arrays = {"x": np.zeros(2)}
        UnitStore(tmp_path, F1).keep(late, SEEDS, arrays)
        assert UnitStore(tmp_path, F1).find(late, SEEDS) is not None
        other = changed(F1, {"scale": 0.06})
        assert UnitStore(tmp_path, other).find(late, SEEDS) is None
        assert UnitStore(tmp_path, F1).find(late, (3,)) is None
        renamed = dataclasses.replace(F1, name="other", title="another one")
        assert UnitStore(tmp_path, renamed).find(late, SEEDS) is not None

    def test_units_depend_on_the_source_of_their_own_arm_and_of_the_engine(
        self, tmp_path, monkeypatch
    ) -> None:
        arms = require_arms(F1, ["late", "found", "random"])
        changed_module = "none"
        places = [sys.modules[f"ssmbias.runs.{name}"] for name in ("fingerprint", "describe")]
        digest = places[0].digest_of

        def digest_of(*names):
            # As if a line of that module had been changed.
            used = package_tree().closure(*names)
            return digest(*names) + (" changed" if changed_module in used else "")

        for place in places:
            monkeypatch.setattr(place, "digest_of", digest_of)

        def marks() -> list[str]:
            return [UnitStore(tmp_path, F1).mark(arm) for arm in arms]

        before = marks()
        for changed_module, stale in {
            "ssmbias.poison.arms.placed": [True, False, False],
            "ssmbias.poison.arms.found": [False, True, True],
            "ssmbias.poison.arms.random": [False, False, True],
            "ssmbias.poison.training.lanes": [True, True, True],
            "ssmbias.models.layers.lru": [True, True, True],
            "ssmbias.poison.verdict": [False, False, False],
        }.items():
            now = [a != b for a, b in zip(before, marks(), strict=True)]
            assert now == stale, changed_module

    def test_units_know_your_data_and_functions(self, tmp_path) -> None:
        def experiment(scale: float, noise: float) -> Experiment:
            rng = np.random.default_rng(0)
            inputs = rng.normal(size=(20, 4, 1)) + noise
            labels = np.arange(20) % 2
            return Experiment.from_arrays(
                inputs[:8], labels[:8], inputs[8:], labels[8:],
                init=lambda key, u: scale * jnp.ones(u.size),
                apply=lambda params, u: params @ u,
            )  # fmt: skip

        def mark(scale: float = 1.0, noise: float = 0.0) -> str:
            made = experiment(scale, noise)
            return UnitStore(tmp_path, made).mark(require_arms(made, ["dup"])[0])

        assert mark() == mark()
        assert len({mark(), mark(scale=2.0), mark(noise=0.5)}) == 3

    def test_units_know_the_arms_of_your_own_that_yours_are_made_from(self, tmp_path) -> None:
        def own(name: str, factor: float, *needs: str) -> Arm:
            def make(experiment, keys, copies):
                return copies._replace(inputs=factor * copies.inputs)

            return Arm(Words(name, "mine"), order=50, by_hand=make, needs=needs)

        def mark(factor: float, needs: str) -> str:
            first, second = own("first", 1.0, needs), own("second", 1.0, "third")
            arms = (first, second, own("third", factor))
            return UnitStore(tmp_path, F1, arms).mark(first)

        assert mark(2.0, "second") == mark(2.0, "second")
        assert mark(2.0, "second") != mark(3.0, "second")
        # Negative control: an arm that is not needed does not matter.
        assert mark(2.0, "late") == mark(3.0, "late")

    def test_a_folder_of_another_version_is_refused(self, tmp_path) -> None:
        (tmp_path / "units").mkdir()
        (tmp_path / "units" / "dup-0123456789abcdef.npz").write_bytes(b"")
        with pytest.raises(ValueError, match="results of another version of ssmbias"):
            run_experiment(F1, ("dup",), SEEDS, folder=tmp_path)
