"""What training by minibatches will take: memory and time."""

from __future__ import annotations

import pytest

from ssmbias.poison.arms.registry import require_arms, with_needed
from ssmbias.poison.cifar.settings import FullSettings
from ssmbias.poison.training import estimate as estimates
from ssmbias.poison.training.estimate import CostEstimate, Step


def counts_of(settings: FullSettings) -> tuple[int, int]:
    experiment = settings.experiment()
    arms = with_needed(experiment, require_arms(experiment, settings.arms))
    return estimates.counts(experiment, arms, len(settings.seeds))


def estimate_of(settings: FullSettings) -> CostEstimate:
    return estimates.estimate(settings.experiment(), settings.arms, len(settings.seeds))


class TestEstimate:
    """Memory and time."""

    @pytest.fixture
    def measured(self, monkeypatch):
        """An update of .1 s that takes a gigabyte."""
        step = Step(0.1, 10**9, 1e9)
        monkeypatch.setattr(estimates, "measure_step", lambda experiment, num: step)

    def test_counts(self):
        settings = FullSettings(seeds=(0, 1, 2, 3, 4))
        # Per seed: 100 epochs of 313 updates and six arms of 469; four arms are searched.
        steps, slopes = counts_of(settings)
        assert steps == 5 * 100 * (313 + 6 * 469)
        assert slopes == 5 * 4 * 8 * 250 * 10_000
        assert counts_of(FullSettings(arms=("dup",), seeds=(0,))) == (46_900, 0)

    def test_time_and_memory(self, measured, monkeypatch):
        monkeypatch.setattr(estimates, "available_bytes", lambda: 10**12)
        plain = estimate_of(FullSettings(arms=("base", "dup"), seeds=(0,)))
        assert plain.seconds == pytest.approx(0.1 * 78_200)
        assert plain.parameters == 201_482
        whole = estimate_of(FullSettings(seeds=(0,)))
        # Groups of 250 against batches of 64, at three times the memory by image, and more.
        assert whole.memory_bytes > 3 * 250 / 64 * 1e9 > plain.memory_bytes
        assert "201,482 parameters" in str(whole)

    def test_too_small_a_device(self, measured, monkeypatch):
        monkeypatch.setattr(estimates, "available_bytes", lambda: 2 * 10**9)
        estimate_of(FullSettings(arms=("base",)))
        with pytest.raises(ValueError, match=r"num_poisons=10000: the run needs about .* lower"):
            estimate_of(FullSettings())
        monkeypatch.setattr(estimates, "available_bytes", lambda: 10**9)
        with pytest.raises(ValueError, match=r"batch_size=64: the run needs about"):
            estimate_of(FullSettings(arms=("base",)))

    def test_free_memory_is_known(self):
        assert (estimates.available_bytes() or 10**9) > 10**8
