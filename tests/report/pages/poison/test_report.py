"""Tables, figures and page of the poison experiments: written, read back, and looked at."""

from __future__ import annotations

import csv
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from report.poison_runs import EXAMPLES, MEANS, NUM, results, window_scan

from ssmbias.poison.summary import about_digits, arm_table, judge_all, limits, write_report
from ssmbias.poison.verdict import judge
from ssmbias.report.numbers import Spread, format_spread
from ssmbias.report.pages.poison import PoisonPage, Said, arm_rows, control_rows
from ssmbias.report.table import table_of
from ssmbias.report.terminal import printed


class Page(HTMLParser):
    """What a browser would see: balanced tags, text, and where it would ask for more."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.sources: list[str] = []
        self.ids: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        named = dict(attrs)
        self.sources += [str(v) for k, v in attrs if k in ("src", "href", "action")]
        self.ids += [str(named["id"])] if "id" in named else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    folder = tmp_path_factory.mktemp("poison") / "new" / "run"
    return folder, write_report(
        folder, results(), window_scan(), EXAMPLES, command="python scripts/poison.py a='b <c>'"
    )


def test_every_file_is_returned_and_there(run: tuple[Path, list[Path]]) -> None:
    folder, files = run
    found = {p for p in folder.rglob("*") if p.is_file()}
    assert found == set(files)
    assert len(files) == len(set(files))
    names = {p.relative_to(folder).as_posix() for p in files}
    figures = ("arms", "arms_found", "arms_found_late", "window", "sensitivity", "examples")
    assert names == {
        *(f"{t}.{s}" for t in ("table", "controls") for s in ("md", "tex", "csv")),
        *(f"figures/{f}.{s}" for f in figures for s in ("png", "pdf")),
        "report.html",
    }
    for path in folder.glob("figures/*.png"):
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    for path in folder.glob("figures/*.pdf"):
        assert path.read_bytes().startswith(b"%PDF")


def test_the_page_says_the_verdict_first_then_its_limits(run: tuple[Path, list[Path]]) -> None:
    text = (run[0] / "report.html").read_text("utf-8")
    page = Page(text)
    data = results()
    order = [text.index(part) for part in ("<h1", 'id="verdict"', 'id="limits"', 'id="controls"')]
    assert order == sorted(order)
    assert "late: effect of the last elements" in page.words
    for verdict in judge_all(data):
        assert verdict.sentence in page.words
    for sentence in limits(data, judge_all(data)):
        assert sentence in page.words
    assert "Share of the last 2 elements" in page.words
    assert "late 0.875" in page.words  # the cosine
    assert "F1 <sign of the sum>" in page.words
    assert "python scripts/poison.py a='b <c>'" in page.words
    assert "On these digits" not in page.words


def test_the_page_needs_nothing_but_itself(run: tuple[Path, list[Path]]) -> None:
    text = (run[0] / "report.html").read_text("utf-8")
    page = Page(text)
    assert all(s.startswith(("data:image/png;base64,", "#")) for s in page.sources)
    assert {s[1:] for s in page.sources if s.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert "<script" not in text
    assert text.count("<figure") == 6


def test_tables_hold_the_numbers(run: tuple[Path, list[Path]]) -> None:
    data = results()
    with (run[0] / "table.csv").open(newline="") as stream:
        arms = {row["arm"]: row for row in csv.DictReader(stream)}
    assert list(arms) == list(MEANS)
    for arm, row in arms.items():
        chosen = data.sel(arm=arm)
        kept = chosen["test_accuracy"].values[chosen["outcome"].values == 0]
        assert float(row["test"]) == np.mean(kept)
        assert float(row["test_sd"]) == np.std(kept, ddof=1)
        assert (int(row["num"]), int(row["excluded"])) == (len(kept), NUM - len(kept))
    assert arms["early"]["excluded"] == "1"
    late = judge(data).differences["dup"]
    assert float(arms["late"]["to_dup"]) == late.points.mean
    assert float(arms["late"]["to_dup_p"]) == late.p_value
    assert arms["dup"]["to_dup"] == "nan"
    with (run[0] / "controls.csv").open(newline="") as stream:
        controls = [(row["attack"], row["control"], row) for row in csv.DictReader(stream)]
    of = {(attack, control): row for attack, control, row in controls}
    assert float(of["late", "dup"]["p_corrected"]) == late.p_corrected
    assert of["late", "gen"]["p_corrected"] == "nan"
    assert int(of["late", "early"]["num_excluded"]) == 1
    assert of["late", "dup"]["shown"] == "lower"
    assert of["found_late", "found_early"]["shown"] != "lower"
    markdown = (run[0] / "table.md").read_text("utf-8")
    kept = data["test_accuracy"].sel(arm="late").values
    assert f"| late | 12 | {kept.mean():.3f} ± {kept.std(ddof=1):.3f} |" in markdown
    shown = format_spread(Spread(*late.points[:3]))
    assert f"| {shown} |" in (run[0] / "controls.md").read_text("utf-8")
    page = Page((run[0] / "report.html").read_text("utf-8")).words
    assert shown.replace("-", "−") in page
    assert "e-" not in page[page.index("Against every control") : page.index("Remarks")]


def test_a_terminal_shows_the_same_table(run: tuple[Path, list[Path]]) -> None:
    table = arm_table(results())
    lines = [
        line.split(" | ")[1:] for line in (run[0] / "table.md").read_text("utf-8").splitlines()
    ]
    shown = printed(table, 160)
    assert all(cell.strip(" |").replace("\\", "") in shown for line in lines[2:] for cell in line)
    narrow = printed(table, 80)
    assert "train (base part)" in shown
    assert "train (base part)" not in narrow
    assert "test accuracy" in narrow


def test_latex_is_well_formed(run: tuple[Path, list[Path]]) -> None:
    for name in ("table", "controls"):
        text = (run[0] / f"{name}.tex").read_text("utf-8")
        assert text.isascii()
        bare = re.sub(r"\\[\\{}$&%#_]", "", text)
        assert bare.count("{") == bare.count("}")
        assert all(line.count("$") % 2 == 0 for line in bare.splitlines())
        assert not re.search(r"(?<!\\)[_^]", re.sub(r"\$[^$]*\$", "", bare))
    assert r"$\pm$" in (run[0] / "table.tex").read_text("utf-8")


def test_rows_without_some_accuracies_have_dashes() -> None:
    data = results().drop_vars(["long_accuracy", "in_distribution_accuracy"])
    rows = arm_rows(data.drop_sel(arm="dup"))
    assert np.isnan(rows[0].long)
    assert np.isnan(rows[0].to_dup)
    assert "| - |" in table_of(rows).markdown()
    assert "--" in table_of(rows, "c").latex("t")


def test_a_run_without_extras_is_reported(tmp_path: Path) -> None:
    plain = results()[["test_accuracy", "train_accuracy", "outcome"]]
    plain = plain.sel(arm=["dup", "early", "rpos", "late"])
    files = write_report(tmp_path, plain)
    assert {p.stem for p in files} == {"table", "controls", "arms", "report"}
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    assert "was not run (arm gen)" in page.words
    assert "reproduce" not in page.ids


def test_digits_say_plainly_that_last_elements_do_not_matter(tmp_path: Path) -> None:
    arms = ["base", "dup", "random", "found", "found_late", "found_early"]
    data = results("digits_3_8").sel(arm=arms)
    write_report(tmp_path, data)
    words = Page((tmp_path / "report.html").read_text("utf-8")).words
    start = words.index("On these digits the last elements are not what matters")
    assert words.index("Verdict") < start < words.index("Ordinary poisoning:")
    assert "found_late - found_early =" in words
    # Negative controls: no digits; late worse than early, which the sentence must not deny.
    assert about_digits(results(), judge_all(results())) == []
    for late, early in ((0.70, 0.83), (0.93, 0.98)):
        other = results("digits_3_8", found_late=late, found_early=early).sel(arm=arms)
        (said,) = about_digits(other, judge_all(other))
        assert "late poison harms more than early poison" in said
        assert "no control stands at random positions" in said
    # And nothing is claimed of runs that cannot tell, or that did not compare.
    few = data.isel(seed=slice(5))
    (said,) = about_digits(few, judge_all(few))
    assert "cannot tell whether the last elements matter" in said
    alone = data.sel(arm=["base", "dup", "random", "found"])
    (said,) = about_digits(alone, judge_all(alone))
    assert "late poison was not compared" in said


def test_limits_follow_the_results() -> None:
    data = results()
    said = " ".join(limits(data, judge_all(data)))
    assert "no proof" in said
    assert "white box" in said
    assert "No teacher" not in said
    other = data.assign_attrs(teacher=False).sel(
        arm=["base", "dup", "noise", "early", "rpos", "late"]
    )
    other["test_accuracy"].loc[{"arm": "late"}] = other["test_accuracy"].sel(arm="dup")
    said = " ".join(limits(other, judge_all(other)))
    assert "No teacher" in said
    assert "no proof" not in said
    assert "An effect of the last elements of a sequence was not shown" in said
    assert "does not mean that there is none" in said
    assert "white box" not in said


def test_control_rows_carry_their_notes() -> None:
    data = results()
    data["test_accuracy"].loc[{"arm": "late"}] = data["test_accuracy"].sel(arm="dup").values
    row = next(r for r in control_rows(data, judge(data)) if r.control == "dup")
    assert row.note == "all pairs tie: p is 1"
    assert (row.num_tied, row.num_lower, row.shown) == (NUM, 0, "no difference shown")
    assert np.isnan(row.effect_size)
    assert "| - | 0 of 12 | 12 | 1 | 1 | 1 |" in table_of([row]).markdown()


def test_seeds_that_chose_a_setting_get_no_report(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="chose a setting"):
        write_report(tmp_path / "run", results().assign_attrs(tuning_seeds=[101]))
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="none is an attack"):
        write_report(tmp_path / "run", results().sel(arm=["base", "dup"]))
    with pytest.raises(ValueError, match="window and seed"):
        write_report(tmp_path / "run", results(), scan=results())
    assert not (tmp_path / "run").exists()


def test_hostile_text_is_escaped() -> None:
    evil = "<script>alert('&')</script>"
    words = Said(evil, "harm", [evil], [evil], [evil])
    text = PoisonPage(evil, words, settings={evil: evil}, command=evil).html()
    assert "<script" not in text
    assert Page(text).words.count(evil) >= 7
