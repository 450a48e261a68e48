"""Your arrays and your network as an experiment: what `Experiment.from_arrays` does."""

from __future__ import annotations

import dataclasses
from typing import Any

from ssmbias.poison.arms.poisons import Poisons
from ssmbias.poison.changes import changed
from ssmbias.poison.networks.adapt import Functions, adapted, num_outputs_of
from ssmbias.poison.protocols import Task
from ssmbias.poison.tasks.arrays import ArraysTask
from ssmbias.poison.tasks.checked import checked_batch


def experiment_of_arrays(
    kind: Any, arrays: tuple[Any, ...], network: Any, teacher: Any, name: str, fields: dict
) -> Any:
    """`Experiment.from_arrays`; `kind` is `Experiment`, which knows this module."""
    if not isinstance(name, str) or not name:
        raise ValueError(f"name={name!r}: pass a name, such as 'own'")
    whole = {one.name for one in dataclasses.fields(kind)} - {"task", "network", "name"}
    parts = {key: value for key, value in fields.items() if key in whole}
    settings = {key: value for key, value in fields.items() if key not in whole}
    network = adapted(network)
    first = checked_batch("train", arrays[0], arrays[1], None)
    outputs = num_outputs_of(network, first.inputs.shape[1:], first.inputs.dtype)
    task: Task = ArraysTask(*arrays, teacher=teacher, num_classes=max(2, outputs))
    if "poisons" not in parts:
        parts["poisons"] = _poisons_for(task)
    made = kind(name=name, task=task, network=network, **parts)
    return dataclasses.replace(changed(made, settings), title=made.title)


def network_of(init: Any, apply: Any, network: Any) -> Any:
    """What `Experiment.from_arrays` was given: two functions, or a network."""
    if network is not None:
        if init is not None or apply is not None:
            raise ValueError("network: give it, or init and apply, and not both")
        return network
    return Functions(init, apply)


def _poisons_for(task: Task) -> Poisons:
    """At most half of the training sequences; copies where no teacher labels.

    Copies of all of them, each once, would train as none at all.
    """
    return Poisons(
        num_poisons=max(1, min(20, task.num_train // 2)),
        width=min(2, task.seq_len),
        found_carrier="copies" if task.label is None else "zero",
    )
