"""What is recorded of a box: the statement that was proved, two checks of it, and samples."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ssmbias.certify.certificate import Certificate, certify
from ssmbias.core.verdict import Verdict
from ssmbias.runs.files import write_arrays

if TYPE_CHECKING:
    from ssmbias.certify.task import Task

CERTIFIED, NOT_CERTIFIED, CONTRADICTED = "certified", "not certified", "contradicted"
"""What a record's status may be; the last one means that this package is wrong somewhere."""

VERDICTS = {
    CERTIFIED: Verdict.HOLDS,
    NOT_CERTIFIED: Verdict.INCONCLUSIVE,
    CONTRADICTED: Verdict.VIOLATED,
}
"""The verdict on the claim that the errors lie within the proved bounds, by status."""

CURVES = "curves"
"""The folder of a run that holds the arrays of each box's figure."""

# Sampled errors are exact to some 1e-9 (tolerances of `follow`): a bound is not contradicted by
# less than this fraction of it.
_SAMPLE_SLACK = 1e-6


def prove_and_check(task: Task, folder: Path) -> dict[str, Any]:
    """Prove a box, check the file twice, sample trajectories, and say what came of it.

    Args:
      task: the box.
      folder: where the proof and the arrays of its figure are written.

    Returns:
      The record, as docs/results-schema.md describes it, all but its `key`.
    """
    log, curves = folder / f"{task.stem}.gz", folder / CURVES / f"{task.stem}.npz"
    curves.parent.mkdir(exist_ok=True)
    for path in (log, curves):
        path.unlink(missing_ok=True)  # of another box that had this name
    certificate = certify(task.box, task.seq_len, task.strength, options=task.options)
    record = _statement(task, certificate)
    if certificate.certified:
        certificate.save(log)
        record |= _checked_again(log)
        record |= _sampled(task, certificate, curves)
        wrong = [*_refused(record), *_outside(record), *record.pop("failures")]
        if wrong:
            record |= {"status": CONTRADICTED, "reason": "; ".join(wrong)}
    return record | {"verdict": VERDICTS[record["status"]].value}


def _statement(task: Task, certificate: Certificate) -> dict[str, Any]:
    """What is said of the box, before anything is held against it."""
    low, high = (np.array(side) for side in task.box.gaps)
    proved = certificate.certified
    return {
        "name": task.name,
        "status": CERTIFIED if proved else NOT_CERTIFIED,
        "reason": certificate.reason,
        "seq_len": task.seq_len,
        "state_dim": task.box.state_dim,
        # JSON has no infinity.
        "strength": task.strength if math.isfinite(task.strength) else "inf",
        "rel": float(f"{np.median((high - low) / (high + low)):.6g}"),
        "box": dataclasses.asdict(task.box),
        "clean_error_upper": certificate.clean_error_upper if proved else None,
        "poisoned_error_lower": certificate.poisoned_error_lower if proved else None,
        "poisoned_error_upper": certificate.poisoned_error_upper if proved else None,
        "second_check": None,
        "poisoned_samples": [],
        "clean_samples": [],
        "num_slabs": len(certificate.slabs),
        "log": f"{task.stem}.gz" if proved else "",
        "log_bytes": len(certificate.log),
        "log_sha256": hashlib.sha256(certificate.log).hexdigest() if proved else "",
        "curves": f"{CURVES}/{task.stem}.npz" if proved else "",
        "prove_seconds": certificate.seconds[0],
        "check_seconds": certificate.seconds[1],
        "options": dataclasses.asdict(task.options),
        "version": importlib.metadata.version("ssmbias"),
    }


def _checked_again(log: Path) -> dict[str, Any]:
    """What the second checker says of the file."""
    from ssmbias.certify.second_check import recheck  # noqa: PLC0415  (only where it is needed)

    begin = time.perf_counter()
    report = recheck(log)
    seconds = time.perf_counter() - begin
    numbers = {
        name: value if math.isfinite(value) else None
        for name in ("clean_error_upper", "poisoned_error_lower", "poisoned_error_upper")
        for value in [getattr(report, name)]
    }
    said = {"valid": report.valid, "line": report.line, "reason": report.reason}
    return {"second_check": said | numbers | {"seconds": seconds}}


def _refused(record: dict[str, Any]) -> list[str]:
    second = record["second_check"]
    if second["valid"]:
        return []
    return [f"the second checker refuses line {second['line']}: {second['reason']}"]


def _sampled(task: Task, certificate: Certificate, path: Path) -> dict[str, Any]:
    """Trajectories from points of the box: their errors, and the arrays of the figure."""
    from ssmbias.certify.prover.envelope import curves  # noqa: PLC0415
    from ssmbias.certify.samples import box_points, clean_error, follow  # noqa: PLC0415

    points = box_points(task.box, task.num_samples, task.seed)
    samples, failures = [], []
    for number, point in enumerate(points):
        try:
            samples.append(follow(point, task.seq_len, task.strength))
        except RuntimeError as error:
            failures.append(f"sampled trajectory {number}: {error}")
    arrays = curves(certificate.slabs, samples, task.box.state_dim)
    write_arrays(path, arrays)
    return {
        "poisoned_samples": [sample.error for sample in samples],
        "clean_samples": [clean_error(point, task.seq_len) for point in points],
        "failures": failures,
    }


def _outside(record: dict[str, Any]) -> list[str]:
    """Sampled errors that contradict the bounds."""
    lower, upper, clean = (
        record[f"{name}_error_{side}"]
        for name, side in (("poisoned", "lower"), ("poisoned", "upper"), ("clean", "upper"))
    )
    return [
        *_beyond("poisoned", "at least", record["poisoned_samples"], lower, -1),
        *_beyond("poisoned", "at most", record["poisoned_samples"], upper, 1),
        *_beyond("clean", "at most", record["clean_samples"], clean, 1),
    ]


def _beyond(
    flow: str, relation: str, samples: Sequence[float], bound: float, sign: int
) -> list[str]:
    # `not <=` also catches nan.
    return [
        f"a sampled {flow} error / d is {error!r}, certified is {relation} {bound!r}"
        for error in samples
        if not sign * (error - bound) <= _SAMPLE_SLACK * bound
    ]
