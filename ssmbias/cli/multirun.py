"""Many jobs of one command as one result: read from what they saved, summed up in one table."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ssmbias.cli.saved import PROGRAMS, Row
from ssmbias.runs.multirun import ENDED, FAILED, Job, Multirun, read_multirun

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


def open_multirun(folder: str | Path) -> xr.DataTree | pd.DataFrame:
    """The results of all jobs of a command that was run with -m, as one object.

    Args:
      folder: of the command, such as multirun/sweep/2026-01-31/12-00-00.

    Returns:
      Of sweeps a tree with a child for each job, named by its number: what varied is a coordinate
      of it, and all that was asked is in its attribute `overrides`. Of other programs a table with
      a row for each piece of evidence (verify), arm (poison), box (certify), or row of a table and
      replay (reproduce), with the number of the job and all that was asked of it in front; where a
      result has a column of that name too, what was asked is under `override_<name>`.

      Jobs without results are never dropped in silence: the attributes of both hold `num_jobs`,
      the numbers of jobs that are `missing`, `failed` or `unfinished`, and `left_out`, a line about
      each of them. An unfinished sweep is there as far as it came.

    Raises:
      ValueError: the folder is no multirun.
    """
    opened = _open(folder)
    attrs = _attributes(opened.run)
    if opened.run.program == "sweep":
        return _tree(opened, attrs)
    import pandas as pd  # noqa: PLC0415  (takes a while)

    rows = [
        _joined(job, row) for job in opened.run.jobs for row in opened.found.get(job.number, ())
    ]
    frame = pd.DataFrame(rows)
    frame.attrs.update(attrs)
    return frame


def sum_up(folder: Path) -> None:
    """Show what came of all jobs, and write `summary.csv` and `report.html`, if any has begun."""
    from ssmbias.cli.jobs.console import make_console  # noqa: PLC0415  (the reader needs neither)
    from ssmbias.report.pages.multirun import multirun_table, write_multirun  # noqa: PLC0415

    opened = _open(folder)
    if all(job.folder is None for job in opened.run.jobs):
        return
    outcomes = {
        job.number: PROGRAMS[opened.run.program].outcome(job, opened.found[job.number])
        for job in opened.run.jobs
        if job.number in opened.found
    }
    files = write_multirun(opened.run, outcomes)
    console = make_console()
    table = multirun_table(opened.run, outcomes)
    console.print(dataclasses.replace(table, notes=()).terminal())
    lines = [f"{note.head}: {note.text}\n" for note in table.notes]
    console.print(
        f"{''.join(lines)}All jobs: {', '.join(map(str, files))}\n"
        f"read them: ssmbias.open_multirun({str(opened.run.folder)!r})",
        soft_wrap=True, highlight=False, markup=False,
    )  # fmt: skip


class _Opened(NamedTuple):
    """Jobs, and the results of those that have some, by number."""

    run: Multirun
    found: dict[int, Any]


def _open(folder: str | Path) -> _Opened:
    run = read_multirun(folder)
    if run.program not in PROGRAMS:
        raise ValueError(
            f"folder={str(folder)!r}: is of no program that is known ({run.program or 'no name'}); "
            f"known are {', '.join(PROGRAMS)}"
        )
    jobs, found = [], {}
    for job in run.jobs:
        # A stopped sweep is worth reading, other results are of an earlier run if there are any.
        if job.folder is not None and (job.state == ENDED or run.program == "sweep"):
            try:
                found[job.number] = PROGRAMS[run.program].read(job)
            except (OSError, ValueError, KeyError, TypeError) as error:
                if job.state == ENDED:
                    said = " ".join(f"results cannot be read: {error}".split())
                    job = dataclasses.replace(job, state=FAILED, message=said)  # noqa: PLW2901
        jobs.append(job)
    return _Opened(dataclasses.replace(run, jobs=tuple(jobs)), found)


def _attributes(run: Multirun) -> dict[str, Any]:
    """What is known of jobs that lack results."""
    by_state = {
        state: [job.number for job in run.jobs if job.state == state]
        for state in ("missing", "failed", "unfinished")
    }
    left_out = [str(job) for job in run.jobs if job.state != ENDED]
    return {
        "program": run.program,
        "command": run.command,
        "num_jobs": len(run.jobs),
        **by_state,
        "left_out": left_out,
    }


def _joined(job: Job, row: Row) -> Row:
    """A row with the job in front."""
    asked = {f"override_{k}" if k in row or k == "job" else k: v for k, v in job.overrides.items()}
    return {"job": job.number, **asked, **row}


def _tree(opened: _Opened, attrs: Mapping[str, Any]) -> xr.DataTree:
    """A child for each sweep."""
    import xarray as xr  # noqa: PLC0415  (takes a while)

    children = {}
    for job in opened.run.jobs:
        if job.number in opened.found:
            data = opened.found[job.number]
            varied = {
                name: job.overrides[name]
                for name in opened.run.varied
                if name in job.overrides and name not in data and name not in data.dims
            }
            data = data.assign_coords(varied)
            children[str(job.number)] = data.assign_attrs(
                job=job.number, state=job.state, overrides=list(job.words)
            )
    tree = xr.DataTree.from_dict(children)
    tree.attrs.update(attrs)
    return tree
