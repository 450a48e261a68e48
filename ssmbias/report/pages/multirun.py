"""The table and the page of many jobs of one command, with what came of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssmbias.core.verdict import Verdict
from ssmbias.report.cells import Badge, Column, Note, Text
from ssmbias.report.numbers import format_any
from ssmbias.report.page import REPORT_FILE, Section, page, write_page
from ssmbias.report.table import Table
from ssmbias.runs.files import write_atomically
from ssmbias.runs.multirun import ENDED, Job, Multirun

SUMMARY_FILE = "summary.csv"
VERDICT = "verdict"
"""The part of an outcome that is the verdict on a whole job."""

Outcomes = Mapping[int, Mapping[str, Any]]
_MESSAGE_WIDTH = 40


def multirun_table(run: Multirun, outcomes: Outcomes) -> Table:
    """One row a job: what varied, how it ended, and what came of it.

    Args:
      run: all jobs, missing ones included.
      outcomes: of the jobs whose results could be read, by number: numbers, texts, and under
        "verdict" one word on the whole job.

    Returns:
      A table; jobs that did not come to their end are told about below it.
    """
    heads = list(dict.fromkeys(head for one in outcomes.values() for head in one))
    heads = [head for head in heads if head != VERDICT]
    judged = any(VERDICT in one for one in outcomes.values())
    rows = [_row(run, job, outcomes.get(job.number, {}), heads, judged) for job in run.jobs]
    columns = [
        Column("job", heading=True),
        *(
            _column(f"{name}=", [job.overrides.get(name) for job in run.jobs], typed=True)
            for name in run.varied
        ),
        Column("state"),
        *(_column(head, [one.get(head) for one in outcomes.values()], drop=1) for head in heads),
        *([Column(VERDICT)] if judged else []),
    ]
    notes = [
        Note(f"job {job.number}", f"{job.state}: {job.message or 'no reason is known'}", "violated")
        for job in run.jobs
        if job.state != ENDED
    ]
    records = [_record(run, job, outcomes.get(job.number, {}), heads, judged) for job in run.jobs]
    return Table(columns, rows, headline(run, outcomes), tone(run, outcomes), notes=notes,
                 records=records)  # fmt: skip


def headline(run: Multirun, outcomes: Outcomes) -> str:
    """What came of all jobs, in a few words.

    Example:
      >>> jobs = tuple(Job(i, (), state, "", None) for i, state in enumerate(("ended", "missing")))
      >>> headline(Multirun(Path("x"), "verify", "", jobs), {0: {"verdict": "holds"}})
      '1 of 2 jobs ended, 1 is missing: 1 holds'
    """
    counts = Counter(job.state for job in run.jobs)
    total, ended = len(run.jobs), counts.pop(ENDED, 0)
    parts = [f"{ended} of {total} {'job' if total == 1 else 'jobs'} ended"]
    for state, number in counts.items():
        verb = "" if state == "failed" else "is " if number == 1 else "are "
        parts.append(f"{number} {verb}{state}")
    verdicts = Counter(str(one[VERDICT]) for one in outcomes.values() if VERDICT in one)
    words = {"holds": "hold" if verdicts["holds"] > 1 else "holds"}
    said = [f"{verdicts[v]} {words.get(v, v)}" for v in Verdict if verdicts[v]]
    return ", ".join(parts) + (f": {', '.join(said)}" if said else "")


def tone(run: Multirun, outcomes: Outcomes) -> str:
    """The worst verdict of all; jobs that did not come to their end leave it open."""
    verdicts = {str(one[VERDICT]) for one in outcomes.values() if VERDICT in one}
    if Verdict.VIOLATED in verdicts:
        return Verdict.VIOLATED.value
    if Verdict.INCONCLUSIVE in verdicts or any(job.state != ENDED for job in run.jobs):
        return Verdict.INCONCLUSIVE.value
    return Verdict.HOLDS.value


def write_multirun(run: Multirun, outcomes: Outcomes) -> list[Path]:
    """Write `summary.csv` and `report.html` into the folder of the command.

    Args:
      run: all jobs.
      outcomes: as `multirun_table` takes them.

    Returns:
      Both files.
    """
    table = multirun_table(run, outcomes)
    content = table.csv().encode("utf-8")
    summary = write_atomically(run.folder / SUMMARY_FILE, lambda stream: stream.write(content))
    varied = ", ".join(run.varied)
    said = [
        f"Varied: {varied}." if varied else "All jobs were asked the same.",
        "Each number leads to the results of its job.",
        Table(table.columns, table.rows, "All jobs"),
    ]
    failed = [Text(f"{note.head}: {note.text}", note.tone).text for note in table.notes]
    text = page(
        f"ssmbias {run.program}, many jobs",
        [Section("jobs", "Jobs", said), Section("failed", "Not come to their end", failed)],
        headline=table.title,
        tone=table.tone,
        command=run.command,
    )
    return [summary, write_page(run.folder, text)]


def _row(
    run: Multirun, job: Job, outcome: Mapping[str, Any], heads: Sequence[str], judged: bool
) -> list[Any]:
    asked = [_shown(job.overrides.get(name)) for name in run.varied]
    state = job.state if job.state == ENDED else Text(job.state, Verdict.VIOLATED.value)
    row = [Text(str(job.number), href=_link(run, job)), *asked, state]
    row += [_shown(outcome.get(head)) for head in heads]
    verdict = [Badge(outcome[VERDICT]) if VERDICT in outcome else "-"] if judged else []
    return row + verdict


def _record(
    run: Multirun, job: Job, outcome: Mapping[str, Any], heads: Sequence[str], judged: bool
) -> dict[str, Any]:
    """A line of summary.csv."""
    return {
        "job": job.number,
        **{name: job.overrides.get(name) for name in run.varied},
        "state": job.state,
        **{head: outcome.get(head) for head in heads},
        **({VERDICT: outcome.get(VERDICT)} if judged else {}),
        "message": job.message,
        "folder": _relative(run, job.folder),
    }


def _column(head: str, values: Sequence[Any], drop: int = 0, *, typed: bool = False) -> Column:
    """A column of numbers, if it holds nothing else; those that were typed stay as they were."""
    known = [value for value in values if value is not None]
    numeric = bool(known) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in known
    )
    width = 0 if numeric else _MESSAGE_WIDTH
    form = (lambda value: f"{value:.15g}") if numeric and typed else format_any
    return Column(head, numeric=numeric, form=form, width=width, drop=drop)


def _shown(value: Any) -> Any:
    return "-" if value is None else str(value).lower() if isinstance(value, bool) else value


def _link(run: Multirun, job: Job) -> str:
    """The page of a job, or else its folder."""
    if job.folder is None:
        return ""
    place = _relative(run, job.folder)
    return f"{place}/{REPORT_FILE}" if (job.folder / REPORT_FILE).is_file() else f"{place}/"


def _relative(run: Multirun, folder: Path | None) -> str:
    return "" if folder is None else folder.relative_to(run.folder).as_posix()
