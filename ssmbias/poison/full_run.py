"""Running the experiment on CIFAR-10: arms of every seed, kept in checkpoints, resumable."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import jax
import numpy as np
import xarray as xr

from ssmbias.data.tasks.cifar10 import load_cifar10
from ssmbias.poison.batch import Batch
from ssmbias.poison.checkpoints import Checkpoints, require_orbax
from ssmbias.poison.full_brewing import (
    LAST_PART,
    UNIFORM_SHARE,
    Search,
    Victim,
    next_restart,
    no_search,
    random_like,
    shares_of,
)
from ssmbias.poison.full_data import Split, data_mark, draw_split, poisons_of, training_of
from ssmbias.poison.full_estimate import estimate
from ssmbias.poison.full_settings import NUM_CLASSES, SEARCHED, FullSettings
from ssmbias.poison.full_training import (
    State,
    epochs_of,
    evaluate,
    is_done,
    start,
    train_epoch,
)
from ssmbias.poison.units import Arrays, load_unit, save_unit

Progress: TypeAlias = Callable[[int, int, str], None]
"""Called with units done (epochs and restarts), units in all, and what is under way."""

NOT_FITTED = 1
"""Outcome of a run that is not finite, or does not fit its base part."""

_ACCURACIES = ("test", "target", "train", "running")
_SCALARS = (
    *(f"{name}_accuracy" for name in _ACCURACIES),
    "final_loss", "epochs", "objective", "late_share", "late_share_rows",
)  # fmt: skip


def run_full(
    settings: FullSettings,
    folder: str | os.PathLike[str],
    progress: Progress | None = None,
    *,
    estimate_first: bool = True,
) -> xr.Dataset:
    """Train, brew, train again and evaluate, for every arm and seed.

    A run that was killed goes on in the same folder at its last epoch or restart, and ends with
    the same bits as if it had not been.

    Args:
      settings: everything.
      folder: of checkpoints and finished arms; made if it is not there.
      progress: told how far it is; first, with 0 units done, the estimate in words.
      estimate_first: whether to measure memory and time before, and refuse what does not fit.

    Returns:
      Dims arm and seed. test_accuracy: on test images that are no targets; target_accuracy: on
      the targets; train_accuracy: on the base part, as evaluated; running_accuracy and final_loss:
      of the last epoch, as trained on; outcome: 0, or 1 where a run does not fit its base part or
      is not finite; epochs; objective: of gradient matching; late_share: of the perturbation in
      the last elements of the sequence, late_share_rows: in the last row of the image (nan in
      arms without; evenly spread it is the attribute uniform_share).

    Raises:
      ImportError: orbax is not installed.
      ValueError: data that are missing or too few, a device that is too small, or checkpoints of
        another form.

    References:
      Slutzky et al. (2025), arXiv:2410.10473, the experiments on CIFAR-10; see `FullSettings` for
      what is ours.
    """
    require_orbax()
    data = load_cifar10(settings.data)
    mark = data_mark(data)
    # The same compiled code for whatever arms, seeds and path.
    core = dataclasses.replace(settings, data="", arms=("base",), seeds=(0,))
    tell = _Teller(settings, progress)
    # The numbers of images are checked for the first seed, before anything is compiled.
    splits = draw_split(core, data, settings.seeds[0])
    if estimate_first:
        tell.say(str(estimate(settings)))
    home = Path(folder).expanduser() / f"{settings.model}-{core.fingerprint(mark)}"
    home.mkdir(parents=True, exist_ok=True)
    found: dict[int, dict[str, Arrays]] = {}
    for seed in settings.seeds:
        split = splits if seed == settings.seeds[0] else draw_split(core, data, seed)
        work = _Seed(core, seed, split, home / f"seed{seed}", tell)
        units = {arm: work.unit(arm) for arm in settings.arms_to_run()}
        # Perturbations stay in their files: those of many seeds would fill the host.
        found[seed] = {
            arm: {name: x for name, x in unit.items() if x.ndim == 0} for arm, unit in units.items()
        }
    tell.say("done")
    return _gathered(settings, found)


class _Teller:
    """Progress, in epochs and restarts of all arms and seeds."""

    def __init__(self, settings: FullSettings, progress: Progress | None) -> None:
        arms = settings.arms_to_run()
        self._tell = progress or (lambda done, total, text: None)
        each = {arm: epochs_of(settings, arm)[1] for arm in arms}
        each = {arm: n + settings.restarts * (arm in SEARCHED) for arm, n in each.items()}
        self.each, self.total, self.done = each, len(settings.seeds) * sum(each.values()), 0

    def say(self, text: str) -> None:
        """How far it is."""
        self._tell(self.done, self.total, text)


class _Seed:
    """One seed: its images, and its arms in the order in which they need each other."""

    def __init__(
        self, settings: FullSettings, seed: int, split: Split, folder: Path, tell: _Teller
    ) -> None:
        self.settings, self.seed, self.split = settings, seed, split
        self.folder, self.tell = folder, tell
        self._units: dict[str, Arrays] = {}
        self._trained: State | None = None
        self._poisons: Batch | None = None

    def unit(self, arm: str) -> Arrays:
        """What is known of an arm: found in its file, or computed and kept.

        Arms come in the order of `FullSettings.arms_to_run`, which those that they need lead.
        """
        begin = self.tell.done
        path = self.folder / f"{arm}.npz"
        found = load_unit(path)
        if found is None:
            found = save_unit(path, self._compute(arm))
        self.tell.done = begin + self.tell.each[arm]
        self._units[arm] = found
        return found

    def _compute(self, arm: str) -> Arrays:
        delta, kept = self._perturbations(arm)
        state = self._train(arm, delta)
        if arm == "base":
            self._trained = state
        return kept | self._measured(state)

    def _perturbations(self, arm: str) -> tuple[Any, Arrays]:
        """Perturbations of an arm, and what is to be kept of them."""
        kept: dict[str, Any] = {}
        if arm in SEARCHED:
            search = self._search(arm)
            delta = search.delta
            kept = {
                "objective": search.objective[int(search.kept)],
                "objectives": search.objective,
                "history": search.history,
            }
        elif arm == "random":
            size = self._units["found"]["delta"]
            delta = random_like(self.settings, self.seed, self.poisons, size)
        else:
            return None, {}
        shares = shares_of(self.settings, delta)
        kept |= {"delta": delta, "late_share": shares.elements, "late_share_rows": shares.rows}
        return delta, {name: np.asarray(values) for name, values in kept.items()}

    def _search(self, arm: str) -> Search:
        settings, split = self.settings, self.split
        base = self._base()
        victim = Victim(base.params, base.stats, split.target_images, split.target_labels)
        search = no_search(settings)
        with Checkpoints(self.folder / f"search-{arm}") as kept:
            latest = kept.latest(search)
            if latest is not None:
                search = Search(*latest[1])
            self.tell.done += int(search.done)
            while int(search.done) < settings.restarts:
                number = int(search.done) + 1
                self.tell.say(f"seed {self.seed}, {arm}: restart {number} of {settings.restarts}")
                search = next_restart(settings, arm, self.seed, victim, self.poisons, search)
                kept.save(int(search.done), search)
                self.tell.done += 1
        return jax.tree.map(np.asarray, search)

    def _train(self, arm: str, delta: Any) -> State:
        settings = self.settings
        base_loss = float("nan")
        if settings.schedule == "paper" and arm != "base":
            base_loss = float(self._units["base"]["final_loss"])
        least, most = epochs_of(settings, arm)
        state = start(settings, self.seed)
        with Checkpoints(self.folder / f"train-{arm}") as kept:
            latest = kept.latest(state)
            if latest is not None:
                state = latest[1]
            epoch = int(state.epoch)
            self.tell.done += epoch
            training = None
            while not is_done(settings, arm, epoch, float(state.loss), base_loss):
                if training is None:
                    training = jax.device_put(training_of(settings, self.split, arm, delta))
                text = f"seed {self.seed}, {arm}: epoch {epoch + 1} of {least}"
                if most > least:
                    text += f" to {most}"
                if epoch:
                    text += f", loss {float(state.loss):.4f}"
                self.tell.say(text)
                state = train_epoch(settings, arm, training, state, self.seed)
                epoch = int(state.epoch)
                kept.save(epoch, state)
                self.tell.done += 1
        return state

    def _base(self) -> State:
        """The base network, from its last checkpoint if it was trained before."""
        if self._trained is None:
            done = self.tell.done
            self._trained = self._train("base", None)
            self.tell.done = done
        return self._trained

    @property
    def poisons(self) -> Batch:
        """Images to perturb."""
        if self._poisons is None:
            self._poisons = poisons_of(self.settings, self.split)
        return self._poisons

    def _measured(self, state: State) -> Arrays:
        """What is reported of a trained network."""
        split, least = self.split, self.settings.least_fitted
        parts = {
            "test": (split.test_images, split.test_labels),
            "target": (split.target_images, split.target_labels),
            "train": (split.images, split.labels),
        }
        found: dict[str, Any] = {}
        for name, part in parts.items():
            answers = evaluate(self.settings, state.params, state.stats, *part)
            found[f"{name}_accuracy"] = np.mean(np.asarray(answers.right))
        leaves = jax.tree.leaves(state.params)
        finite = all(np.isfinite(np.asarray(x)).all() for x in (*leaves, state.loss))
        fitted = found["train_accuracy"] >= least
        found |= {
            "running_accuracy": state.accuracy,
            "final_loss": state.loss,
            "epochs": state.epoch,
            "outcome": 0 if finite and fitted else NOT_FITTED,
        }
        return {name: np.asarray(values) for name, values in found.items()}


def _gathered(settings: FullSettings, found: dict[int, dict[str, Arrays]]) -> xr.Dataset:
    """One Dataset of all arms and seeds."""

    def values(name: str, dtype: Any) -> tuple[tuple[str, str], np.ndarray]:
        table = [
            [found[seed][arm].get(name, np.nan) for seed in settings.seeds] for arm in settings.arms
        ]
        return ("arm", "seed"), np.asarray(table, dtype)

    return xr.Dataset(
        {name: values(name, np.float64) for name in _SCALARS}
        | {"outcome": values("outcome", np.int32)},
        {"arm": list(settings.arms), "seed": list(settings.seeds)},
        {
            "experiment": "cifar10",
            "title": _title(settings),
            "model": settings.model,
            "chance": 1 / NUM_CLASSES,
            "fitted": settings.least_fitted,
            "teacher": 0,
            "num_last": 1024 // LAST_PART if settings.layout != "tokens" else 64 // LAST_PART,
            "uniform_share": UNIFORM_SHARE,
            "tuning_seeds": [],
            "settings": json.dumps(repr(settings)),
            "ssmbias": importlib.metadata.version("ssmbias"),
        },
    )


def _title(settings: FullSettings) -> str:
    title = f"CIFAR-10, {settings.model}"
    if settings.layout != "tokens":
        title += f", {settings.order} order"
    if settings.fraction != 1:
        title += f", {100 * settings.fraction:g} % of the images"
    return title
