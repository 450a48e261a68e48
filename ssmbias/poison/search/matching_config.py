"""Static choices of the gradient-matching attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from ssmbias.core.checks import require_choice, require_int, require_number
from ssmbias.core.types import Array
from ssmbias.poison.search.weighting import WEIGHTINGS

STEP_TO_BUDGET = 0.0977 / (16 / 255 / 0.247)
"""The published step in budgets: .0977, budget 16/255, both over a pixel deviation of .247."""


@dataclass(frozen=True)
class MatchingConfig:
    r"""How perturbations $\delta$ are searched; the defaults are the published ones.

    All numbers are in the units of the inputs. The published budget is 16/255 of a pixel in
    [0, 1]: where the loss itself normalises the pixels, it is one number for all channels.

    Attributes:
      budget: $\varepsilon > 0$: $|\delta| \le \varepsilon$ in every entry.
      box: lower and upper bound of the perturbed inputs, or `None`.
      steps: updates a restart.
      learning_rate: of Adam on the signs, so at first the size of a step in every entry; `None`
        takes .38 budgets, as published.
      decay_steps: fractions of `steps` after which the learning rate falls ...
      decay_factor: ... by this factor.
      restarts: independent starts; the one with the lowest final objective is kept.
      keep: "last" (published) or "best": the perturbation that a restart ends with, or the best one
        that it met. With a teacher's labels the objective jumps where a label flips, and the last
        one is often much worse than the best.
      init: "uniform" or "normal" entries at the start, clipped to budget and box.
      init_scale: half-width or standard deviation of the start in budgets.
      weighting: "none", "late" or "early" (position in the sequence), or "rows" (row of an
        image): which elements are left free while the others are held back
        (`ssmbias.poison.search.weighting`).
      weighting_strength: $\lambda > 0$ of that penalty. Its unit is 1/input²: the published 1e-7
        is for pixels divided by a deviation of .247, and is 1.6e-6 for pixels in [0, 1].
      relative_strength: of "late" and "early", instead: with 1 the mean penalty at the budget has
        the slope of the typical matching objective (`ssmbias.poison.search.restarts`); read where
        networks are trained one by one.
      image: channels, height and width, read by "rows" only.
      num_groups: equal groups of poisons and targets in the given order, where `brew` gets no
        `groups`.
      group_size: targets of a group, the hardest first (`ssmbias.poison.search.groups.allocate`),
        instead of equal groups; read where networks are trained one by one.
      groups_at_once: groups whose gradients are held in memory together.
      num_classes: labels must lie in 0..num_classes-1; `None` leaves them unchecked.

    Raises:
      ValueError: a choice is out of range.

    Example:
      >>> MatchingConfig(budget=0.05, restarts=1).rate
      0.01...
      >>> MatchingConfig(budget=0.0)
      Traceback (most recent call last):
      ValueError: budget=0.0: must be greater than 0

    References:
      Geiping et al. (2021), Witches' Brew, arXiv:2009.02276; Slutzky et al. (2025),
      arXiv:2410.10473, experiments (clean-label poisoning of real SSM networks).
    """

    budget: float
    box: tuple[float, float] | None = None
    steps: int = 250
    learning_rate: float | None = None
    decay_steps: tuple[float, ...] = (93 / 250, 156 / 250, 218 / 250)
    decay_factor: float = 0.1
    restarts: int = 8
    keep: str = "last"
    init: str = "normal"
    init_scale: float = 1.0
    weighting: str = "none"
    weighting_strength: float = 1e-7
    relative_strength: float | None = None
    image: tuple[int, int, int] = (3, 32, 32)
    num_groups: int = 1
    group_size: int | None = None
    groups_at_once: int = 1
    num_classes: int | None = None

    def __post_init__(self) -> None:
        """Refuse impossible choices."""
        optional = ("learning_rate", "relative_strength")
        for name in ("budget", "decay_factor", "weighting_strength", *optional):
            value = getattr(self, name)
            if name in optional and value is None:
                continue
            if require_number(name, value) <= 0:
                raise ValueError(f"{name}={value!r}: must be greater than 0")
        if require_number("init_scale", self.init_scale) < 0:
            raise ValueError(f"init_scale={self.init_scale!r}: must be 0 or greater")
        for name in ("steps", "restarts", "num_groups", "groups_at_once"):
            require_int(name, getattr(self, name), minimum=1)
        if self.group_size is not None:
            require_int("group_size", self.group_size, minimum=1)
        require_choice("keep", self.keep, ("last", "best"))
        require_choice("init", self.init, ("uniform", "normal"))
        require_choice("weighting", self.weighting, WEIGHTINGS)
        if self.num_classes is not None:
            require_int("num_classes", self.num_classes, minimum=2)
        for fraction in self.decay_steps:
            if not 0 < require_number("decay_steps", fraction) < 1:
                raise ValueError(f"decay_steps={fraction!r}: pass fractions between 0 and 1")
        self._check_shapes()

    def _check_shapes(self) -> None:
        """Refuse an impossible image or box."""
        if len(self.image) != 3:
            raise ValueError(f"image={self.image!r}: pass channels, height and width")
        for size in self.image:
            require_int("image", size, minimum=1)
        if self.box is not None:
            if not isinstance(self.box, tuple | list) or len(self.box) != 2:
                raise ValueError(f"box={self.box!r}: pass a lower and an upper bound")
            low, high = (require_number("box", bound) for bound in self.box)
            if not low < high:
                raise ValueError(f"box={self.box!r}: the lower bound must come first")

    @property
    def rate(self) -> float:
        """The learning rate before it falls."""
        return STEP_TO_BUDGET * self.budget if self.learning_rate is None else self.learning_rate

    def schedule(self, count: Any) -> Array:
        """The learning rate of update `count`, counted from 0; no update after the last.

        Example:
          >>> config = MatchingConfig(budget=1.0, learning_rate=0.5)
          >>> [float(config.schedule(count)) for count in (92, 93, 250)]
          [0.5, 0.05, 0.0]
        """
        falls = [max(1, round(fraction * self.steps)) for fraction in self.decay_steps]
        num_falls = jnp.sum(jnp.asarray(falls, int) <= count)
        return jnp.where(count < self.steps, self.rate * self.decay_factor**num_falls, 0.0)
