"""One seed after the other, by minibatches; states are kept for a run that is killed."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ssmbias.core.types import Array
from ssmbias.poison.arms.arm import Arm, Made, perturbed_norm
from ssmbias.poison.arms.elements import placed, window_positions
from ssmbias.poison.batch import Batch
from ssmbias.poison.protocols import Keys, Problem, copied, keys_of, labelled
from ssmbias.poison.search.restarts import Search, Victim, next_restart, no_search, random_like
from ssmbias.poison.settings import Experiment
from ssmbias.poison.training.checkpoints import Checkpoints
from ssmbias.poison.training.lanes import NOT_FITTED
from ssmbias.poison.training.minibatches import State, evaluate, start, train_epoch
from ssmbias.poison.training.settings import as_minibatches
from ssmbias.poison.training.teller import Teller

_EXAMPLES = 4


class OneByOne:
    """What arms and the engine ask of one seed; a `ssmbias.poison.arms.arm.Workshop`.

    Args:
      experiment: which.
      seeds: one.
      unit: gives the arrays that are kept of another arm of this seed.
      folder: of the states of an arm, by its name; `None` keeps none.
      teller: told of every epoch and restart.
    """

    scalars = (
        "test_accuracy", "train_accuracy", "running_accuracy", "final_loss", "epochs", "objective",
        "late_share", "late_share_rows", "poison_norm",
    )  # fmt: skip
    seeds_at_once = 1

    @staticmethod
    def turns(experiment: Experiment, arm: Arm) -> int:
        """Units of progress: epochs and restarts."""
        most = as_minibatches(experiment.training).epochs_of(adds=arm.adds)[1]
        searched = arm.weighting is not None
        return most + (experiment.poisons.matching.restarts if searched else 0)

    def __init__(
        self,
        experiment: Experiment,
        seeds: tuple[int, ...],
        unit: Callable[[str], dict[str, np.ndarray]],
        folder: Callable[[str], Path] | None,
        teller: Teller,
    ) -> None:
        (self.seed,) = seeds
        self.experiment, self._unit, self._folder = experiment, unit, folder
        self._teller = teller
        self._trained: State | None = None
        self._problem: Problem | None = None

    @property
    def problem(self) -> Problem:
        """The data, drawn when the first arm needs them."""
        if self._problem is None:
            self._problem = self.experiment.task.draw(self.seed)
        return self._problem

    @property
    def _copies(self) -> Batch:
        """The training examples that copies and perturbations are made of."""
        return copied(self.experiment.task, self.problem.train, self.experiment.poisons.num_poisons)

    @property
    def copies(self) -> Batch:
        """The same, with an axis for the seed in front."""
        return Batch(*(x[None] for x in self._copies))

    @property
    def _carriers(self) -> Batch:
        """What found poisons are perturbations of, with honest labels."""
        if self.experiment.poisons.found_carrier == "copies":
            return self._copies
        return labelled(self.experiment.task, jnp.zeros_like(self._copies.inputs))

    def search(self, weighting: str) -> Made:
        """Gradient matching against the network of base."""
        arm = {"none": "found", "rows": "found_rows"}.get(weighting, f"found_{weighting}")
        found = self._search(arm, weighting)
        kept = {
            "objective": found.objective[int(found.kept)],
            "objectives": found.objective,
            "history": found.history,
        }
        return self.perturbed(np.asarray(found.delta), kept)

    def random_like(self, arm: str) -> Made:
        """Random perturbations of the size of another arm's."""
        delta = self._unit(arm)["delta"][0]
        return self.perturbed(random_like(self.experiment, self.seed, self._carriers, delta))

    def at_window(self, start: int) -> Made:
        """The elements of the poisons by hand, from a position on."""
        found = _at_window(self.experiment, keys_of(self.seed), self._copies, jnp.asarray(start))
        return Made(Batch(*(x[None] for x in found)))

    def perturbed(self, delta: Any, kept: Mapping[str, Any] = MappingProxyType({})) -> Made:
        """The carriers with perturbations, and what else is kept of these.

        Raises:
          ValueError: perturbations of another number of sequences.
        """
        task, expected = self.experiment.task, self._carriers.inputs.shape
        if delta.shape != expected:
            raise ValueError(f"delta has shape {delta.shape}: expected {expected}")
        kept = dict(kept) | {"delta": delta}
        shares = getattr(task, "shares", None)
        if shares is not None:
            found = shares(delta)
            kept |= {"late_share": found.elements, "late_share_rows": found.rows}
        inputs = self._carriers.inputs + jnp.asarray(delta)
        labels = self._carriers.labels if task.label is None else labelled(task, inputs).labels
        return Made(Batch(inputs[None], labels[None]), kept)

    def compute(self, arm: Arm) -> dict[str, np.ndarray]:
        """Make an arm, train its network, and measure it; an axis for the seed is in front."""
        if arm.by_hand is not None:
            keys = keys_of(self.seed)
            extra, kept = _by_hand(arm.by_hand, self.experiment, keys, self._copies), {}
        else:
            made = arm.make(self)  # pyright: ignore[reportOptionalCall]
            extra, kept = Batch(*(x[0] for x in made.extra)), made.kept
        state = self._train(arm.name, extra if arm.adds else None)
        if not arm.adds:
            self._trained = state
        example = extra if arm.adds else self.problem.train
        arrays = {
            **kept,
            **self._measured(state),
            "examples": example.inputs[:_EXAMPLES],
            "poison_norm": _norm(perturbed_norm(arm, self.experiment), extra, self._copies),
        }
        return {name: np.asarray(values)[None] for name, values in arrays.items()}

    def _search(self, arm: str, weighting: str) -> Search:
        base, restarts = self._base(), self.experiment.poisons.matching.restarts
        victim = Victim(base.params, base.stats, self.problem.targets)
        search = no_search(self.experiment, self._carriers)
        with self._states("search", arm) as kept:
            latest = kept.latest(search) if kept else None
            if latest is not None:
                search = Search(*latest[1])
            self._teller.done += int(search.done)
            while int(search.done) < restarts:
                number = int(search.done) + 1
                self._teller.say(f"seed {self.seed}, {arm}: restart {number} of {restarts}")
                found = next_restart(
                    self.experiment, weighting, self.seed, victim, self._carriers, search
                )
                search = found
                if kept:
                    kept.save(int(search.done), search)
                self._teller.done += 1
        return jax.tree.map(np.asarray, search)

    def _train(self, arm: str, extra: Batch | None) -> State:
        training, adds = as_minibatches(self.experiment.training), extra is not None
        base_loss = float("nan")
        if training.schedule == "paper" and adds:
            base_loss = float(self._unit("base")["final_loss"][0])
        least, most = training.epochs_of(adds=adds)
        state = start(self.experiment, self.seed, self.problem.train.inputs[0])
        with self._states("train", arm) as kept:
            latest = kept.latest(state) if kept else None
            if latest is not None:
                state = latest[1]
            epoch = int(state.epoch)
            self._teller.done += epoch
            data = None
            while not training.is_done(epoch, float(state.loss), base_loss, adds=adds):
                if data is None:
                    data = self.training_data(extra)
                text = f"seed {self.seed}, {arm}: epoch {epoch + 1} of {least}"
                if most > least:
                    text += f" to {most}"
                if epoch:
                    text += f", loss {float(state.loss):.4f}"
                self._teller.say(text)
                state = train_epoch(self.experiment, adds, data, state, self.seed)
                epoch = int(state.epoch)
                if kept:
                    kept.save(epoch, state)
                self._teller.done += 1
        return state

    def training_data(self, extra: Batch | None) -> Batch:
        """The base part, and the extra sequences of an arm."""
        parts = [self.problem.train, *([] if extra is None else [extra])]
        return Batch(*(jnp.concatenate(list(xs)) for xs in zip(*parts, strict=True)))

    def _base(self) -> State:
        """The base network, from its last state if it was trained before."""
        if self._trained is None:
            done = self._teller.done
            self._trained = self._train("base", None)
            self._teller.done = done
        return self._trained

    @contextlib.contextmanager
    def _states(self, kind: str, arm: str) -> Iterator[Checkpoints | None]:
        """The states of the training or search of an arm, where a folder is there for them."""
        if self._folder is None:
            yield None
            return
        with Checkpoints(self._folder(arm) / f"{kind}-{arm}") as kept:
            yield kept

    def _measured(self, state: State) -> dict[str, Any]:
        """What is reported of a trained network."""
        parts = {**self.problem.tests, "train": self.problem.train}
        found: dict[str, Any] = {}
        for name, part in parts.items():
            answers = evaluate(self.experiment, state.params, state.stats, part)
            found[f"{name}_accuracy"] = np.mean(np.asarray(answers.right))
        leaves = jax.tree.leaves(state.params)
        finite = all(np.isfinite(np.asarray(x)).all() for x in (*leaves, state.loss))
        fitted = found["train_accuracy"] >= as_minibatches(self.experiment.training).least_fitted
        return found | {
            "running_accuracy": state.accuracy,
            "final_loss": state.loss,
            "epochs": state.epoch,
            "outcome": 0 if finite and fitted else NOT_FITTED,
        }


@functools.partial(jax.jit, static_argnums=(0, 1))
def _by_hand(make: Any, experiment: Experiment, keys: Keys, copies: Batch) -> Batch:
    return make(experiment, keys, copies)


@functools.partial(jax.jit, static_argnums=0)
def _at_window(experiment: Experiment, keys: Keys, copies: Batch, start: Array) -> Batch:
    return placed(experiment, keys, copies, window_positions(experiment, start))


@functools.partial(jax.jit, static_argnums=0)
def _norm(carrier: str, extra: Batch, copies: Batch) -> Array:
    """The mean norm of what distinguishes sequences from their carriers."""
    inputs = extra.inputs - copies.inputs if carrier == "copies" else extra.inputs
    return jnp.mean(jnp.linalg.norm(inputs.reshape(inputs.shape[0], -1), axis=1))
