"""The table and the page of many jobs: every job is told of, links lead to what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ssmbias.report.pages.multirun import headline, multirun_table, tone, write_multirun
from ssmbias.runs.multirun import Job, Multirun

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def run(tmp_path) -> Multirun:
    """An end with a page, an end without one, a failure, and a job that did not begin."""
    folders = [tmp_path / "0", tmp_path / "deep" / "b", tmp_path / "2", None]
    for folder in filter(None, folders):
        folder.mkdir(parents=True)
    (tmp_path / "0" / "report.html").touch()
    words = [(f"strength={rho}", f"name={HOSTILE}") for rho in ("0", "1e-3", "1", "10")]
    ends = [("ended", ""), ("ended", ""), ("failed", f"no {HOSTILE}"), ("missing", "did not begin")]
    jobs = [
        Job(number, asked, *end, folder)
        for number, (asked, end, folder) in enumerate(zip(words, ends, folders, strict=True))
    ]
    return Multirun(tmp_path, "verify", f"ssmbias-verify -m {HOSTILE}", tuple(jobs))


OUTCOMES = {0: {"holds": 3, "verdict": "holds"}, 1: {"holds": 2, "verdict": "inconclusive"}}


def test_what_varied_is_a_column_and_every_job_a_row(run) -> None:
    table = multirun_table(run, OUTCOMES)
    assert [column.head for column in table.columns] == [
        "job", "strength=", "state", "holds", "verdict",
    ]  # fmt: skip
    assert table.markdown().splitlines()[:6] == [
        "| job | strength= | state | holds | verdict |",
        "| --- | ---: | --- | ---: | --- |",
        "| 0 | 0 | ended | 3 | holds |",
        "| 1 | 0.001 | ended | 2 | inconclusive |",
        "| 2 | 1 | failed | - | - |",
        "| 3 | 10 | missing | - | - |",
    ]
    assert [note.head for note in table.notes] == ["job 2", "job 3"]


def test_the_page_escapes_and_links_to_what_there_is(run) -> None:
    summary, page = write_multirun(run, OUTCOMES)
    text = page.read_text(encoding="utf-8")
    assert HOSTILE not in text
    assert text.count("&lt;script&gt;") == 2  # the reason and the command
    links = re.findall(r'href="(?!#)([^"]+)"', text)
    assert links == ["0/report.html", "deep/b/", "2/"]
    assert all((run.folder / link).exists() for link in links)
    lines = summary.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "job,strength,state,holds,verdict,message,folder"
    assert lines[2] == "1,0.001,ended,2,inconclusive,,deep/b"


@pytest.mark.parametrize(
    ("outcomes", "said", "worst"),
    [
        ({}, "2 of 4 jobs ended, 1 failed, 1 is missing", "inconclusive"),
        ({0: {"verdict": "holds"}, 1: {"verdict": "holds"}}, ": 2 hold", "inconclusive"),
        ({0: {"verdict": "violated"}, 1: {"verdict": "holds"}}, "1 holds, 1 viol", "violated"),
    ],
)
def test_the_headline_counts_and_the_worst_decides(run, outcomes, said, worst) -> None:
    assert said in headline(run, outcomes)
    assert tone(run, outcomes) == worst


def test_all_is_well_only_if_every_job_ended() -> None:
    """A control of the tone above."""
    run = Multirun(Path("x"), "verify", "", (Job(0, ("a=1",), "ended", "", None),))
    assert headline(run, {0: {"verdict": "holds"}}) == "1 of 1 job ended: 1 holds"
    assert tone(run, {0: {"verdict": "holds"}}) == "holds"
    assert run.varied == ()
