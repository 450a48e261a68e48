"""`scripts/certify.py`: words to a job, exit codes, what is written, and going on after an end."""

from __future__ import annotations

import csv
import html
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli.certify_command import QUICK, words_of
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from ssmbias.certify import check
from ssmbias.certify import record as recording
from ssmbias.certify.catalogue import CASES
from ssmbias.certify.job import DEFAULT_MAPPING, DEFAULT_NAMES, CertifyJob, from_mapping, run_job
from ssmbias.certify.samples import box_points, follow
from ssmbias.report.pages.certificates import headline, load_records, write_report
from ssmbias.report.pages.certificates.figures import series, width_figure
from ssmbias.report.pages.certificates.rows import certificate_row, outward

REPO = Path(__file__).resolve().parents[2]
HOPELESS = {**QUICK, "delta": [1e-4, 2e-4], "splits": 0, "max_slabs": 5}
MISTAKES = {
    ("seq_len=6",): "seq_len=6: must be odd in the setting of Theorem 1; use 5 or 7",
    ("delta=[0,1e-8]",): "the lower end must be greater than 0; with a tie",
    ("boxes=k7d11",): "boxes='k7d11': choose default, all, or from k7d10_rel_0.1",
    ("boxes=k7d3", "rel=.2"): "named boxes have values of their own; leave out rel, or boxes",
    ("rel=.1,.2",): "write rel=[.1,.2] for one job, or add -m",
    ("strenght=1",): "strenght: unknown key; did you mean strength?",
    ("scale=1",): "scale=1, rel=0.1: a2=(0.9, 1.1): S_1(0)",
    ("rel=.9",): "its lower end must exceed the largest gap",
    ("step=1",): "step=1: must be in",
    ("workers=0",): "workers=0: expected an integer >= 1",
    ("num_samples=many",): "num_samples='many': expected an integer >= 0",
    ("state_dim=2",): "state_dim=2: expected an integer >= 3",
}


def job_of(values: dict) -> CertifyJob:
    return from_mapping({**DEFAULT_MAPPING, **values})


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, list[dict]]:
    """A box, proved in this process, and its report."""
    folder = tmp_path_factory.mktemp("certified")
    records = run_job(job_of(QUICK), folder)
    write_report(folder, "python scripts/certify.py state_dim=3")
    return folder, records


def test_mistakes_get_one_line_and_exit_code_2(assert_refused) -> None:
    assert_refused("certify", MISTAKES)


def test_hydra_defaults_are_the_library_defaults() -> None:
    with initialize_config_module("ssmbias.conf", version_base="1.3"):
        assert OmegaConf.to_container(compose("certify")) == dict(DEFAULT_MAPPING)
        joblib = compose("certify", ["cluster=joblib"], return_hydra_config=True)
    assert joblib.hydra.launcher.n_jobs == 2
    assert tuple(task.name for task in job_of({}).tasks) == DEFAULT_NAMES
    assert len(job_of({"boxes": "all"}).tasks) == len(CASES)
    named = job_of({"boxes": ["k7d10_rel_0.1", "T7 seed 242 rel 0.1"]}).tasks
    assert [one.name for one in named] == ["k7d10 rel 0.1", "T7 seed 242 rel 0.1"]
    stems = {one.stem for one in job_of({"boxes": "all"}).tasks}
    assert len(stems) == len(CASES)


def test_named_boxes_are_split_down_to_their_own_target() -> None:
    """Four fifths of the least sampled error where gaps are within 30 %; else one tube will do."""
    of = {one.name: one.options.target for one in job_of({"boxes": "all"}).tasks}
    assert 0.8 * 0.0341 < of["k7d10 rel 0.3"] < 0.81 * 0.0341
    assert of["k7d10 rel 0.4"] == of["k7d100"] == 0.0
    assert sum(target > 0 for target in of.values()) == 22
    (given,) = job_of({"boxes": "k7d10_rel_0.3", "target": 0.01}).tasks
    assert given.options.target == 0.01
    (own,) = job_of({"rel": 0.3}).tasks
    assert own.options.target == 0.0


def test_everything_is_written_and_agrees_with_the_log(run) -> None:
    folder, (record,) = run
    names = {path.name for path in folder.iterdir()}
    assert {"results.json", "table.md", "table.tex", "table.csv", "report.html"} <= names
    assert {path.suffix for path in (folder / "figures").iterdir()} == {".png", ".pdf"}
    assert load_records(folder) == [record]
    report = check(folder / record["log"])
    assert report.valid
    (row,) = csv.DictReader((folder / "table.csv").read_text().splitlines())
    for name in ("clean_error_upper", "poisoned_error_lower", "poisoned_error_upper"):
        assert float(row[name]) == record[name] == getattr(report, name)
    # What is printed is rounded outward, hence true as well.
    cells = (folder / "table.md").read_text().splitlines()[2].split(" | ")
    clean, lower, upper = map(float, cells[5:8])
    assert report.clean_error_upper <= clean < 1.001 * report.clean_error_upper
    assert 0.999 * report.poisoned_error_lower < lower <= report.poisoned_error_lower
    assert report.poisoned_error_upper <= upper < 1.001 * report.poisoned_error_upper
    assert record["second_check"]["valid"]
    # The second checker's own bounds are within those that are claimed.
    assert record["second_check"]["poisoned_error_lower"] >= record["poisoned_error_lower"]
    page = (folder / "report.html").read_text()
    assert "1 of 1 box certified" in page
    assert lower == float(outward(report.poisoned_error_lower, up=False))
    assert f">{cells[6].strip()}<" in page


def test_sampled_trajectories_lie_inside_of_the_drawn_tube(run) -> None:
    folder, (record,) = run
    with np.load(folder / record["curves"]) as arrays:
        clock, low, high = (arrays[f"tube/{name}"] for name in ("E", "low", "high"))
        assert arrays["gap_index"].tolist() == [3]
        # Knots are thinned, so a curved face is cut off between two of them by a little.
        for number in range(2):
            at, state = arrays[f"sample{number}/E"], arrays[f"sample{number}/state"][:, 0]
            assert (state > 0.99 * np.interp(at, clock, low[:, 0])).all()
            assert (state < 1.01 * np.interp(at, clock, high[:, 0])).all()
            # A control: trajectories are as wide apart as the tube, and not the same line.
            assert np.ptp(state / np.interp(at, clock, high[:, 0])) > 0.01
    low, high = record["poisoned_error_lower"], record["poisoned_error_upper"]
    assert all(low <= error <= high for error in record["poisoned_samples"])
    points = box_points(job_of(QUICK).tasks[0].box, 2, seed=0)
    assert record["poisoned_samples"][0] == follow(points[0], 7, 1.0).error


def test_what_is_finished_is_not_proved_again(run, monkeypatch) -> None:
    folder, records = run
    proved = []
    monkeypatch.setattr(
        "ssmbias.certify.job.run_task", lambda task, _: proved.append(task.name) or records[0]
    )
    told = []
    assert run_job(job_of(QUICK), folder, lambda *x: told.append(x)) == records
    assert told == [(1, 1, "1 of 1 found")]
    assert proved == []
    # Controls: another option, and a proof that is no longer what it was, are done anew.
    run_job(job_of({**QUICK, "step": 0.019}), folder)
    log = folder / records[0]["log"]
    content = log.read_bytes()
    log.write_bytes(content[:-1])
    run_job(job_of(QUICK), folder)
    log.write_bytes(content)
    assert len(proved) == 2


def test_a_box_that_is_not_certified_is_a_record(tmp_path) -> None:
    (record,) = run_job(job_of(HOPELESS), tmp_path)
    assert record["status"] == recording.NOT_CERTIFIED
    assert "slab" in record["reason"]
    assert record["poisoned_error_lower"] is None
    assert not list(tmp_path.glob("*.gz"))
    write_report(tmp_path)
    assert "0 of 1 box certified" in (tmp_path / "report.html").read_text()
    assert html.escape(record["reason"]) in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"poisoned_error_lower": 0.9}, "certified is at least 0.9"),
        ({"poisoned_error_upper": 0.1}, "certified is at most 0.1"),
        ({"clean_error_upper": 1e-9}, "a sampled clean error / d"),
        ({"poisoned_samples": [float("nan")]}, "nan, certified is"),
    ],
)
def test_a_sampled_error_outside_of_the_bounds_is_found(run, change, said) -> None:
    _, (record,) = run
    assert recording._outside(record) == []
    wrong = recording._outside({**record, **change})
    assert wrong
    assert said in " ".join(wrong)


# Several runs in one process, whose imports take seconds.
RUN_ALL = """
import contextlib, importlib, io, json, sys
main, found = importlib.import_module("ssmbias.cli.certify").main, []
for words in json.loads(sys.argv[1]):
    sys.argv[1:], printed = words, io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            main()
        except SystemExit as end:
            found.append([end.code, printed.getvalue()])
print(json.dumps(found))
"""


def test_exit_codes(run, tmp_path) -> None:
    folder, (record,) = run
    wrong = tmp_path / "wrong"
    shutil.copytree(folder, wrong)
    path = wrong / "records" / f"{Path(record['log']).stem}.json"
    unit = json.loads(path.read_text())
    unit["values"] |= {"status": "contradicted", "reason": "line 7: no"}
    path.write_text(json.dumps(unit))
    typed = [
        [*words_of(values), f"hydra.run.dir={place}"]
        for values, place in ((QUICK, folder), (HOPELESS, tmp_path / "new"), (QUICK, wrong))
    ]
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL, json.dumps(typed)],
        cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, check=True,
    )  # fmt: skip
    good, failed, contradicted = json.loads(done.stdout.splitlines()[-1])
    assert (good[0], failed[0], contradicted[0]) == (0, 1, 1)
    assert "k7d3 rel 0.1 delta 5e-09 5.5e-09" in good[1]
    assert str(folder) in good[1]
    assert "NOT CERTIFIED: k7d3 rel 0.1 delta 0.0001 0.0002: slab" in failed[1]
    # A checker that disagrees is a violation.
    assert "CONTRADICTED: k7d3 rel 0.1 delta 5e-09 5.5e-09: line 7: no" in contradicted[1]


def test_a_refusal_of_the_second_checker_contradicts(run, tmp_path) -> None:
    folder, (record,) = run
    assert recording._refused(record) == []
    wrong = tmp_path / "wrong.gz"
    wrong.write_bytes((folder / record["log"]).read_bytes()[:-9])
    again = {**record, **recording._checked_again(wrong)}
    assert "the second checker refuses line" in recording._refused(again)[0]
    rows = [certificate_row({**record, "status": status}) for status in (recording.CONTRADICTED,)]
    assert headline(rows) == (f"Contradicted: {record['name']}", "violated")


def test_boxes_of_several_widths_make_a_figure(run, tmp_path) -> None:
    _, (record,) = run
    row = certificate_row(record)
    rows = [row._replace(rel=rel) for rel in (0.1, 0.2, 0.3)]
    assert series(rows) == [rows]
    assert series([*rows[:2], rows[2]._replace(delta_high=1.0)]) == []
    assert series([*rows[:2], rows[2]._replace(status="not certified")]) == []
    assert all(path.exists() for path in width_figure(rows, tmp_path / "width"))
    with pytest.raises(ValueError, match="make no series"):
        width_figure(rows[:1], tmp_path / "width")


def test_the_limit_of_strong_poison_is_recorded_and_drawn(tmp_path) -> None:
    """JSON has no infinity, and there is no w to draw."""
    (record,) = run_job(job_of({**QUICK, "strength": float("inf")}), tmp_path)
    assert (record["status"], record["verdict"]) == ("certified", "holds")
    assert record["strength"] == "inf"
    assert check(tmp_path / record["log"]).strength == float("inf")
    write_report(tmp_path, "python scripts/certify.py strength=inf")
    assert "ρ = inf" in (tmp_path / "table.md").read_text()
    assert list((tmp_path / "figures").glob("tube_*.png"))


def test_the_schema_is_documented(run) -> None:
    _, (record,) = run
    page = (REPO / "docs" / "results-schema.md").read_text().partition("## Certificates")[2]
    assert "ssmbias.certify/1" in page
    named = {*record, *record["box"], *record["second_check"]}
    assert [key for key in named if f"`{key}`" not in page] == []


def test_a_folder_of_another_program_is_refused(tmp_path) -> None:
    (tmp_path / "results.json").write_text('{"schema": "ssmbias.verify/1"}')
    with pytest.raises(ValueError, match=r"this version reads 'ssmbias.certify/1'"):
        load_records(tmp_path)
