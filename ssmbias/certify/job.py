"""One run of `scripts/certify.py` as a frozen dataclass, from plain values."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssmbias.certify.box import default_box, require_flow
from ssmbias.certify.catalogue import CASES
from ssmbias.certify.certificate import ProverOptions
from ssmbias.certify.task import CERTIFIED, CONTRADICTED, NOT_CERTIFIED, Task, finished, run_task
from ssmbias.runs.files import CERTIFY_SCHEMA, RESULTS_FILE, write_atomically
from ssmbias.runs.mapping import keys_of
from ssmbias.runs.workers import in_processes

__all__ = ["DEFAULT_MAPPING", "DEFAULT_NAMES", "CertifyJob", "from_mapping", "run_job"]

DEFAULT_NAMES = (
    *(f"k7d10 rel {rel}" for rel in (0.1, 0.2, 0.3, 0.4, 0.5)),
    "k7d10 strength 0.1", "k7d10 strength 10",
    "k7d3", "k5d10", "k9d10",
    "T7 seed 242 rel 0.2", "T7 seed 243 rel 0.2", "T9 seed 342 rel 0.1", "T9 seed 344 rel 0.1",
)  # fmt: skip
"""The boxes of `boxes=default`: what two cores prove in less than two minutes."""

OWN_BOX: Mapping[str, Any] = {
    "seq_len": 7,
    "state_dim": 10,
    "scale": 1e-3,
    "rel": 0.1,
    "delta": (1.5e-8, 1.6e-8),
    "strength": 1.0,
}
"""The keys that give a box by numbers, with the values of those left out."""

# The faces of w of these boxes do as well with fewer pieces of g than the widest boxes need: no
# bound is worse by more than 0.5 %, and a check takes a fifth less time.
_NAMED_NUM_G = 3

OPTIONS = ("step", "splits", "target", "forks", "max_slabs")
"""Keys that change an option of the prover, see `ProverOptions`."""

DEFAULT_MAPPING: Mapping[str, Any] = {
    "boxes": None,
    **dict.fromkeys(OWN_BOX),
    **dict.fromkeys(OPTIONS),
    "num_samples": 5,
    "seed": 0,
    "workers": None,
}
"""What `from_mapping` takes, with the defaults of scripts/certify.py."""

Tell = Callable[[int, int, str], object]


@dataclass(frozen=True)
class CertifyJob:
    """Boxes to be certified.

    Attributes:
      tasks: each box with what is to be done, names all different.
      workers: processes; `None` is one for each core that may be used.
    """

    tasks: tuple[Task, ...]
    workers: int | None = None


def from_mapping(mapping: Mapping[str, Any]) -> CertifyJob:
    """Build a job from plain values; `None` leaves a value as it is by default.

    Args:
      mapping: the keys of `DEFAULT_MAPPING`, all of them. Either `boxes` (default, all, a name
        of the catalogue or a list of names) or values of `OWN_BOX`, of which `rel` may be a list.

    Returns:
      A checked job.

    Raises:
      ValueError: a key is unknown or missing, or a value is impossible.

    Example:
      >>> job = from_mapping({**DEFAULT_MAPPING, "state_dim": 3, "rel": [0.1, 0.2]})
      >>> [task.name for task in job.tasks]
      ['k7d3 rel 0.1', 'k7d3 rel 0.2']
      >>> from_mapping({**DEFAULT_MAPPING, "boxes": "k7d3"}).tasks[0].box.state_dim
      3
    """
    mapping = keys_of(mapping, DEFAULT_MAPPING)
    given = {key: mapping[key] for key in OWN_BOX if mapping[key] is not None}
    settings = {
        "options": ProverOptions(**{k: mapping[k] for k in OPTIONS if mapping[k] is not None}),
        "num_samples": _integer("num_samples", mapping["num_samples"], 0),
        "seed": _integer("seed", mapping["seed"], 0),
    }
    boxes, workers = mapping["boxes"], mapping["workers"]
    if given and boxes is not None:
        raise ValueError(
            f"boxes={boxes!r}: named boxes have values of their own; leave out "
            f"{', '.join(given)}, or boxes"
        )
    targeted = mapping["target"] is not None
    tasks = _own_tasks(given, settings) if given else _named_tasks(boxes, settings, targeted)
    return CertifyJob(tasks, None if workers is None else _integer("workers", workers, 1))


def _integer(name: str, value: Any, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={value!r}: expected an integer >= {least}")
    return value


def _named_tasks(boxes: Any, settings: Mapping[str, Any], targeted: bool) -> tuple[Task, ...]:
    """Boxes of the catalogue, split down to their own targets unless one is given.

    In a name, an underscore stands for a blank as well.
    """
    boxes = "default" if boxes is None else boxes
    names = {"default": DEFAULT_NAMES, "all": [case.name for case in CASES]}.get(str(boxes))
    if names is None:
        names = [boxes] if isinstance(boxes, str) else boxes
    if not isinstance(names, list | tuple) or not names:
        raise ValueError(
            f"boxes={boxes!r}: expected default, all, or names such as [k7d3,k7d10_rel_0.1]"
        )
    cases = {case.name.replace(" ", "_"): case for case in CASES}
    tasks = {}
    for name in names:
        case = cases.get(str(name).replace(" ", "_"))
        if case is None:
            raise ValueError(f"boxes={name!r}: choose default, all, or from {', '.join(cases)}")
        task = Task(case.name, case.box, case.seq_len, case.strength, **settings)
        target = task.options.target if targeted else case.target
        options = dataclasses.replace(task.options, target=target, num_g=_NAMED_NUM_G)
        tasks[case.name] = dataclasses.replace(task, options=options)
    return tuple(tasks.values())


def _own_tasks(given: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[Task, ...]:
    """A box by numbers, or one for each `rel`."""
    values = {**OWN_BOX, **given}
    widths = values["rel"] if isinstance(values["rel"], list | tuple) else [values["rel"]]
    if not widths:
        raise ValueError("rel=[]: expected a number or a list of numbers")
    tasks = {}
    for rel in widths:
        one = {**values, "rel": rel}
        shape = {key: one[key] for key in ("scale", "rel", "delta")}
        try:
            box = default_box(one["state_dim"], **shape)
        except ValueError as error:
            if not str(error).startswith(("a2", "gaps")):
                raise
            raise ValueError(f"scale={one['scale']!r}, rel={rel!r}: {error}") from error
        require_flow(box, one["seq_len"], one["strength"])
        name = _name_of(one)
        tasks[name] = Task(name, box, one["seq_len"], float(one["strength"]), **settings)
    return tuple(tasks.values())


def _name_of(values: Mapping[str, Any]) -> str:
    """A name that says what differs from the default box."""
    parts = [f"k{values['seq_len']}d{values['state_dim']} rel {values['rel']:.12g}"]
    if values["strength"] != OWN_BOX["strength"]:
        parts.append(f"strength {values['strength']:.12g}")
    if values["scale"] != OWN_BOX["scale"]:
        parts.append(f"scale {values['scale']:.12g}")
    if tuple(values["delta"]) != OWN_BOX["delta"]:
        parts.append("delta " + " ".join(f"{x:.12g}" for x in values["delta"]))
    return " ".join(parts)


def run_job(job: CertifyJob, folder: str | os.PathLike[str], tell: Tell | None = None) -> list:
    """Certify the boxes of a job in parallel processes and write results.json.

    Args:
      job: what to certify.
      folder: made if it is not there. Boxes that an earlier run finished there with the same
        code are not proved again.
      tell: called with the numbers of boxes done and of all, and a line of text.

    Returns:
      A record for each box, in the order of the job; see docs/results-schema.md. Also in
      results.json. A box that could not be certified has one as well, with the reason.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    found = {task.name: finished(task, folder) for task in job.tasks}
    waiting = [task for task in job.tasks if found[task.name] is None]
    total = len(job.tasks)

    def report(text: str) -> None:
        if tell is not None:
            tell(total - sum(record is None for record in found.values()), total, text)

    report(f"{total - len(waiting)} of {total} found" if len(waiting) < total else "proving")
    with contextlib.closing(_run_all(waiting, folder, job.workers or _usable_cores())) as records:
        for record in records:
            found[record["name"]] = record
            report(f"{record['name']}: {record['status']}")
    ordered = [record for record in found.values() if record is not None]
    counts = {
        status: sum(record["status"] == status for record in ordered)
        for status in (CERTIFIED, NOT_CERTIFIED, CONTRADICTED)
    }
    results = {"schema": CERTIFY_SCHEMA, "counts": counts, "records": ordered}
    content = json.dumps(results, indent=1, allow_nan=False).encode()
    write_atomically(folder / RESULTS_FILE, lambda stream: stream.write(content))
    return ordered


def _run_all(
    tasks: list[Task], folder: Path, workers: int
) -> Generator[dict[str, Any], None, None]:
    """The records as they come; the processes end with this generator, however it ends."""
    workers = min(workers, len(tasks))
    if workers < 2:
        yield from (run_task(task, folder) for task in tasks)
        return
    # Longest first, by the size of the state, so that no core is left with the last one alone.
    tasks = sorted(tasks, key=lambda task: -task.box.state_dim)
    work = functools.partial(run_task, folder=folder)
    with contextlib.closing(in_processes(work, tasks, workers)) as found:
        yield from (record for _, record in found)


def _usable_cores() -> int:
    known = hasattr(os, "sched_getaffinity")  # not on macOS
    return len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
