"""A block of seeds trained on all examples at every step, all seeds at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from ssmbias.poison.arms.arm import Arm, Made
from ssmbias.poison.batch import Batch
from ssmbias.poison.settings import Experiment
from ssmbias.poison.training import lanes
from ssmbias.poison.training.teller import Teller

SEEDS_AT_ONCE = 32
"""Seeds of a unit: what a kill can cost, and what fits in the cache."""

_EXAMPLES = 4


class AtOnce:
    """What arms and the engine ask of a block of seeds; a `ssmbias.poison.arms.arm.Workshop`.

    Args:
      experiment: which.
      seeds: of the block.
      unit: gives the arrays that are kept of another arm of this block.
      own_arms: arms besides those of the package.
      teller: told of every arm.
    """

    scalars = (
        "test_accuracy", "long_accuracy", "in_distribution_accuracy", "train_accuracy",
        "final_loss", "teacher_cosine", "objective", "poison_norm",
    )  # fmt: skip
    seeds_at_once = SEEDS_AT_ONCE

    @staticmethod
    def turns(experiment: Experiment, arm: Arm) -> int:
        """An arm is one unit of progress."""
        del experiment, arm
        return 1

    def __init__(
        self,
        experiment: Experiment,
        seeds: tuple[int, ...],
        unit: Callable[[str], dict[str, np.ndarray]],
        own_arms: tuple[Arm, ...],
        teller: Teller,
    ) -> None:
        self.experiment, self.seeds = experiment, seeds
        self._unit, self._own_arms, self._teller = unit, own_arms, teller
        self._prepared: lanes.Prepared | None = None
        self._victim: Any = None

    @property
    def prepared(self) -> lanes.Prepared:
        """Data and starts, made when the first unit needs them."""
        if self._prepared is None:
            made = lanes.prepare(self.experiment, jnp.asarray(self.seeds), self._own_arms)
            made = lanes.spread(made, len(self.seeds))
            self._prepared = made
            return made
        return self._prepared

    @property
    def copies(self) -> Batch:
        """The training examples that copies and perturbations are made of."""
        return self.prepared.copies

    def search(self, weighting: str) -> Made:
        """Gradient matching against the clean networks."""
        if self._victim is None:
            self._victim = lanes.victim(self.experiment, self.prepared)
        found = lanes.search(self.experiment, weighting, self.prepared, self._victim)
        extra, delta, objective = found
        return Made(extra, {"delta": delta, "objective": objective})

    def random_like(self, arm: str) -> Made:
        """Random perturbations of the size of another arm's."""
        delta = jnp.asarray(self._unit(arm)["delta"])
        return Made(lanes.randomly(self.experiment, self.prepared, delta))

    def at_window(self, start: int) -> Made:
        """The elements of the poisons by hand, from a position on."""
        return Made(lanes.at_window(self.experiment, self.prepared, jnp.asarray(start)))

    def compute(self, arm: Arm) -> dict[str, np.ndarray]:
        """Make an arm, train its networks, and measure them."""
        self._teller.say(f"{arm.name}, {len(self.seeds)} seeds")
        experiment, prepared = self.experiment, self.prepared
        made = Made(prepared.by_hand[arm.name]) if arm.make is None else arm.make(self)
        params, loss = lanes.train_arm(experiment, prepared, arm.adds, made.extra)
        found = lanes.measure(experiment, params, prepared.problem)
        finite = np.isfinite(np.asarray(loss))
        fitted = np.asarray(found["train_accuracy"]) >= lanes.LEAST_FITTED
        kept = dict(made.kept)
        if hasattr(experiment.network, "lag_forces"):
            kept["lag_force"] = lanes.forces(
                experiment,
                prepared.start,
                prepared.problem.train,
                made.extra,
                lanes.arm_weights(experiment, arm.adds),
            )
        example = made.extra if arm.adds else prepared.problem.train
        arrays = {
            **found,
            "final_loss": loss,
            "outcome": np.where(finite & fitted, 0, lanes.NOT_FITTED),
            "examples": example.inputs[0, :_EXAMPLES],
            "poison_norm": lanes.mean_norm(experiment, prepared, arm, made.extra),
            **kept,
        }
        return {name: np.asarray(values) for name, values in arrays.items()}
