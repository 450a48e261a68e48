"""Changing an experiment by the names of its settings, and what else a call gives in words."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ssmbias.core.checks import require_int
from ssmbias.poison.protocols import outputs_for

if TYPE_CHECKING:
    from ssmbias.poison.settings import Experiment

_PARTS = ("task", "network", "training", "poisons")
# What follows from the task, or from the arm, or makes no difference to results.
_FIXED = {"matching", "num_outputs", "features", "param_dtype", "encoder"}
# Runs here are not random: nothing is dropped.
_FIXED |= {"dropout", "inner_dropout", "tied_dropout"}
_SEARCH_FIXED = {"weighting", "image", "num_classes", "groups_at_once"}
_SEARCH_FIXED |= {"group_size", "relative_strength"}


def changed(experiment: Experiment, overrides: Mapping[str, Any]) -> Experiment:
    """The experiment with some settings replaced.

    Args:
      experiment: where to begin.
      overrides: values by the name of a field of the task, network, training or poisons; of the
        search for poisons `budget`, and others with `brew_` in front, such as `brew_steps`.

    Returns:
      A new experiment; it keeps its name, and its title says what was changed.

    Raises:
      ValueError: an unknown name, or an impossible value.

    Example:
      >>> from ssmbias.poison.catalogue import find_experiment
      >>> changed(find_experiment("f1"), {"scale": 0.02, "budget": 0.1}).poisons.matching.budget
      0.1
    """
    if not overrides:
        return experiment
    known = known_fields(experiment)
    for name, value in overrides.items():
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            listed = ", ".join(sorted(known))
            raise ValueError(f"{name}={value!r}: unknown setting; {hint}known are {listed}")
    parts: dict[str, Any] = {}
    for name, value in overrides.items():
        part, field_name = known[name]
        old = parts.get(part, {})
        parts[part] = old | {field_name: tuple(value) if isinstance(value, list) else value}
    if "layer" in overrides and "layer_options" not in overrides:
        parts["network"]["layer_options"] = ()  # those of another layer mean nothing to it
    search = parts.pop("matching", None)
    if search:
        matching = _replaced(experiment.poisons.matching, search)
        parts["poisons"] = parts.get("poisons", {}) | {"matching": matching}
    made = {part: _replaced(getattr(experiment, part), new) for part, new in parts.items()}
    task, network = made.get("task"), made.get("network", experiment.network)
    if task is not None and "num_outputs" in {one.name for one in _fields(network)}:
        made["network"] = dataclasses.replace(network, num_outputs=outputs_for(task))
    said = ", ".join(f"{name}={value}" for name, value in sorted(overrides.items()))
    return dataclasses.replace(experiment, title=f"{experiment.title} ({said})", **made)


def known_fields(experiment: Experiment) -> dict[str, tuple[str, str]]:
    """The part and the field of every name that `changed` takes for this experiment."""
    found = {}
    for part in _PARTS:
        for one in _fields(getattr(experiment, part)):
            if one.name not in _FIXED and one.metadata.get("setting", True):
                found[one.name] = (part, one.name)
    for one in dataclasses.fields(experiment.poisons.matching):
        if one.name not in _SEARCH_FIXED:
            name = one.name if one.name == "budget" else f"brew_{one.name}"
            found[name] = ("matching", one.name)
    return found


def _fields(part: Any) -> tuple[dataclasses.Field[Any], ...]:
    """The fields of a part; none where your task or network is no dataclass."""
    return dataclasses.fields(part) if dataclasses.is_dataclass(part) else ()


def _replaced(part: Any, fields: Mapping[str, Any]) -> Any:
    """A part with some fields set otherwise."""
    try:
        return dataclasses.replace(part, **fields)
    except TypeError as err:  # a number where a list is expected, say
        given = ", ".join(f"{name}={value!r}" for name, value in fields.items())
        raise ValueError(f"{given}: {err}") from err


def require_seeds(seeds: Iterable[int]) -> tuple[int, ...]:
    """Return the seeds, or raise `ValueError`: none, one twice, or no number from 0 to 2^31 - 1."""
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        raise ValueError(f"seeds={seeds!r}: pass a list or a range of integers, such as range(20)")
    found = tuple(require_int("seeds", seed, minimum=0, maximum=2**31 - 1) for seed in seeds)
    if not found:
        raise ValueError("seeds=[]: give at least one")
    for seed in found:
        if found.count(seed) > 1:
            raise ValueError(f"seeds={seed}: is given twice")
    return found
