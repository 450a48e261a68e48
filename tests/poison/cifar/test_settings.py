"""The settings of the experiment on CIFAR-10: the published numbers, and what is refused."""

from __future__ import annotations

import math
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssmbias.data.tasks.cifar10_stand_in import write_stand_in
from ssmbias.poison.arms.registry import require_arms
from ssmbias.poison.cifar.settings import FULL_ARMS, FullSettings, network_of
from ssmbias.poison.search.groups import allocate
from ssmbias.poison.search.restarts import matching_of
from ssmbias.poison.training.estimate import example_of
from ssmbias.poison.training.minibatches import start
from ssmbias.poison.training.units import UnitStore


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
        whole = settings.experiment().poisons.matching
        assert (whole.steps, whole.restarts, whole.box) == (250, 8, (0.0, 1.0))
        config = matching_of(settings.experiment(), "rows", settings.row_strength)
        assert (config.restarts, config.weighting) == (1, "rows")
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
        experiment = FullSettings(model).experiment()
        state = jax.eval_shape(lambda: start(experiment, 0, example_of(experiment)))
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

    def test_fingerprint_knows_what_matters(self, stand_in):
        def mark(**changes):
            experiment = FullSettings(**({"data": str(stand_in)} | changes)).experiment()
            (base,) = require_arms(experiment, ["base"])
            return UnitStore(stand_in, experiment).mark(base)

        copied = stand_in.parent / "elsewhere"
        shutil.copytree(stand_in, copied)
        same = [{}, {"arms": ("base",)}, {"seeds": (9,)}, {"data": str(copied)}]
        assert len({mark(**changes) for changes in same}) == 1
        others = [{}, {"epochs": 7}, {"dtype": "float32"}, {"order": "rgb"}, {"model": "lru"}]
        assert len({mark(**changes) for changes in others}) == 5
        other = write_stand_in(stand_in.parent / "other", jax.random.key(1), num_per_file=10)
        assert mark() != mark(data=str(other))
