"""Checks, one after another, recorded as they finish."""

from __future__ import annotations

import datetime
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ssmbias.core.checks import require_x64
from ssmbias.evidence import Bench, Claim, Evidence, check
from ssmbias.evidence.claim import file_of
from ssmbias.evidence.records import (
    claim_to_json,
    counts,
    evidence_from_json,
    evidence_to_json,
    subject_to_json,
)
from ssmbias.report.cite import reproduce_command
from ssmbias.report.evidence_list import EvidenceList
from ssmbias.runs.files import ARRAYS_FILE, RESULTS_FILE, SCHEMA, write_arrays, write_json
from ssmbias.runs.fingerprint import fingerprint
from ssmbias.runs.provenance import git_commit, hardware, versions
from ssmbias.runs.units import Units
from ssmbias.verification.drawings import Drawing, draw_all
from ssmbias.verification.pairing import Verification

Progress = Callable[[int, int, str], None]
"""Called with (checks done, checks in all, what comes next)."""

_PACKAGE = Path(__file__).resolve().parents[1]
_LAYOUT = "ssmbias.verify.checks/1"


def run_verification(
    job: Verification, run_dir: Path | None = None, progress: Progress | None = None
) -> EvidenceList:
    """Check what a verification asks for; with a folder, record it and resume.

    Each check's evidence is written to `run_dir/checks` when it is done. A run that was killed
    goes on where it was when it is started again with the same folder; a check whose claim,
    subject, tolerance, source or software has changed is made afresh. At the end `results.json`
    and `arrays.npz` hold everything.

    Args:
      job: what is to be checked on what.
      run_dir: folder for results; `None` keeps them in memory only.
      progress: called before each check and at the end.

    Returns:
      The evidence.

    Raises:
      ValueError: double precision is off, or the folder holds something else.
    """
    require_x64("verify")
    units = None if run_dir is None else Units(run_dir / "checks", _LAYOUT)
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    clock = time.perf_counter()
    evidence: list[Evidence] = []
    arrays: dict[str, np.ndarray] = {}
    drawings: list[Drawing] = []
    subjects = job.subjects
    memory = Bench(None, job.rtol)
    for done, (claim, subject) in enumerate(job.pairs):
        if progress:
            progress(done, len(job.pairs), f"{claim.id} in {subject.name}")
        rest = [s for s in subjects if any(s is other for _, other in job.pairs[done:])]
        memory.forget_all_but(rest)
        rows, saved = _check_or_find(claim, memory.on(subject), units)
        evidence += rows
        for name, value in saved.items():
            taken = f"{subject.name}/{name}" in arrays
            # Two claims may save different arrays by one name.
            whose = f"{subject.name}/{claim.id}" if taken else subject.name
            arrays[f"{whose}/{name}"] = value
        drawings += [Drawing(claim.id, subject.name, figure, saved) for figure in claim.figures]
    if progress:
        progress(len(job.pairs), len(job.pairs), "done")
    results = {
        "schema": SCHEMA,
        "started": started,
        "seconds": time.perf_counter() - clock,
        "versions": versions(),
        "git_commit": git_commit(),
        "hardware": hardware(),
        "command": reproduce_command(job.words),
        "config": {"rtol": job.rtol},
        "subjects": [subject_to_json(subject) for subject in subjects],
        "claims": {claim.id: claim_to_json(claim) for claim in job.claims},
        "evidence": [evidence_to_json(row) for row in evidence],
        "summary": counts(evidence),
        "figures": [],
    }
    if run_dir is not None:
        run_dir.mkdir(parents=True, exist_ok=True)
        write_arrays(run_dir / ARRAYS_FILE, arrays)
        write_json(run_dir / RESULTS_FILE, results)
    draw = functools.partial(draw_all, drawings) if drawings else None
    return EvidenceList(evidence, results, arrays, draw=draw)


def _check_or_find(
    claim: Claim, bench: Bench, units: Units | None
) -> tuple[list[Evidence], dict[str, np.ndarray]]:
    """One claim on one subject: from an earlier, interrupted run, or afresh."""
    if units is None:
        return check(claim, bench.subject, bench), bench.arrays
    subject = bench.subject
    asked = {
        "subject": subject,
        "rtol": bench.rtol,
        # What a function has captured, or the code of one without a file, is in no source.
        "claim": [claim.kind, [p.statement for p in claim.premises], claim.functions],
    }
    mark = fingerprint(asked, *_sources(claim, subject))
    name = f"{subject.name}-{type(subject).__name__}-{claim.id}"
    stored = units.find(name, mark)
    if stored is None:
        rows = check(claim, subject, bench)
        values = {"evidence": [evidence_to_json(row) for row in rows]}
        stored = units.keep(name, mark, values, bench.arrays)
    return [evidence_from_json(row) for row in stored.values["evidence"]], stored.arrays


def _sources(claim: Claim, subject: Any) -> list[str | Path]:
    """The modules and files that a check depends on, with all that they import."""
    files = {*claim.sources, file_of(type(subject))} - {None}
    found: list[str | Path] = ["ssmbias.evidence.check"]
    for file in sorted(str(file) for file in files):
        path = Path(file)
        if _PACKAGE in path.parents:
            parts = path.relative_to(_PACKAGE.parent).with_suffix("").parts
            found.append(".".join(parts).removesuffix(".__init__"))
        else:
            found.append(path)
    return found
