"""What several tests of the experiment on CIFAR-10 share: tiny settings."""

from __future__ import annotations

from ssmbias.poison.cifar.settings import FullSettings

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
