"""report.html: complete, self-contained, usable, and proof against what is in the results."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssmbias.evidence.registry import by_id, claims_of_package
from ssmbias.report import (
    load_results,
    write_report,
)
from ssmbias.report.mathml import to_mathml
from ssmbias.report.numbers import format_value

SAMPLE = Path(__file__).parents[3] / "data" / "verify_sample"
Arrays = dict[str, np.ndarray]


@pytest.fixture
def results() -> dict[str, Any]:
    return load_results(SAMPLE)[0]


@pytest.fixture
def arrays() -> Arrays:
    return load_results(SAMPLE)[1]


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with figures and report."""
    folder = Path(shutil.copytree(SAMPLE, tmp_path_factory.mktemp("reported") / "run"))
    write_report(folder)
    return folder


@pytest.fixture
def run_dir(tmp_path: Path, reported: Path) -> Path:
    """Another run folder; its figures need not be drawn again."""
    return Path(shutil.copytree(reported, tmp_path / "run"))


def save_results(run_dir: Path, results: dict[str, Any]) -> None:
    (run_dir / "results.json").write_text(json.dumps(results), encoding="utf-8")


def spoil_two_rows(results: dict[str, Any]) -> None:
    results["evidence"][1] |= {
        "verdict": "violated",
        "reason": "difference [bold]2[/bold] | too_big",
    }
    results["evidence"][4] |= {
        "verdict": "inconclusive",
        "reason": "seed 3: steps spent",
        "residual": None,
    }


VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Elements, attributes and text of a page; complains about tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: dict[str, list[str]] = {}
        self.sections: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.elements.append((tag, dict(attrs)))
        if tag == "section":
            self.sections.append(dict(attrs)["id"] or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "section":
            self.sections.pop()

    def handle_data(self, data: str) -> None:
        for section in ["", *self.sections]:
            self.words.setdefault(section, []).append(data)

    def text(self, section: str = "") -> str:
        """What is to be read in a section, without the breaks between elements."""
        return " ".join("".join(self.words[section]).split())

    def attributes(self, name: str) -> list[str]:
        return [attrs[name] or "" for _, attrs in self.elements if name in attrs]

    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}


@pytest.fixture(scope="module")
def page(reported: Path) -> Page:
    return Page((reported / "report.html").read_text("utf-8"))


def assert_stands_alone(page: Page, text: str) -> None:
    assert page.tags().isdisjoint({"script", "link", "iframe", "object", "embed", "base", "form"})
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    assert all(href.removeprefix("#") in ids for href in page.attributes("href"))
    assert all(href.startswith("#") for href in page.attributes("href"))
    assert all(src.startswith("data:image/png;base64,") for src in page.attributes("src"))
    assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)
    assert {"srcset", "action", "data", "background", "poster"}.isdisjoint(
        name for _, attrs in page.elements for name in attrs
    )
    styles = [text[slice(*m.span(1))] for m in re.finditer(r"<style>(.*?)</style>", text, re.S)]
    assert len(styles) == 1
    assert (
        re.search(r"url\(|@import|@font-face", styles[0] + "".join(page.attributes("style")))
        is None
    )
    policy = [a["content"] for t, a in page.elements if t == "meta" and "http-equiv" in a]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_the_page_stands_alone(page: Page, reported: Path) -> None:
    assert_stands_alone(page, (reported / "report.html").read_text("utf-8"))


def test_the_page_can_be_used_without_eyes_or_mouse(page: Page) -> None:
    images = [attrs for tag, attrs in page.elements if tag == "img"]
    assert len(images) == 8
    assert all(len(attrs["alt"] or "") > 40 for attrs in images)
    tags = [tag for tag, _ in page.elements]
    assert tags.count("caption") == tags.count("table") > 0
    scrollers = [attrs for _, attrs in page.elements if attrs.get("class") == "scroll"]
    assert len(scrollers) >= tags.count("table")
    assert all(
        a["tabindex"] == "0" and a["role"] == "region" and a["aria-label"] for a in scrollers
    )
    assert ("html", {"lang": "en"}) in page.elements
    assert tags.count("h1") == tags.count("main") == tags.count("title") == 1


def test_every_claim_is_stated_and_accounted_for(page: Page, results: dict[str, Any]) -> None:
    sections = [a["id"] for t, a in page.elements if t == "section" and a.get("class") == "claim"]
    assert sections == [f"claim-{id}" for id in results["claims"]]
    formulas = [attrs for tag, attrs in page.elements if tag == "math"]
    statements = [claim["statement"] for claim in results["claims"].values()]
    assert [attrs["alttext"] for attrs in formulas] == [" ".join(s.split()) for s in statements]
    for id, claim in results["claims"].items():
        text = page.text(f"claim-{id}")
        rows = [row for row in results["evidence"] if row["claim"] == id]
        for said in (claim["title"], claim["kind"], claim["control"], claim["reference"]):
            assert " ".join(said.split()) in text
        for row in rows:
            assert " ".join(row["derivation"].split()) in text
            assert " ".join(row["quantity"].split()) in text
            for premise in row["premises"]:
                assert premise["statement"] in text
                assert premise["detail"] in text
            if row["fit"]:
                assert f"exponent {format_value(row['fit']['exponent']).replace('-', '−')}" in text
                assert "95 % interval [" in text
        assert "✓ rejected in t7, t9" in text


def test_the_page_says_how_it_came_about(page: Page, results: dict[str, Any]) -> None:
    text = page.text()
    assert f"All {len(results['evidence'])} checks hold" in text
    for key, value in (results["versions"] | results["hardware"]).items():
        assert str(key) in text
        assert str(value) in text
    assert 'make verify ARGS="num_seeds=4"' in page.text("reproduce")
    assert "arXiv:2410.10473" in page.text("cite")


def test_verdicts_are_shown_as_they_are(run_dir: Path, results: dict[str, Any]) -> None:
    spoil_two_rows(results)
    row = results["evidence"][1]
    row["premises"] = [{"statement": "the sky is clear", "holds": False, "detail": "rain"}]
    row["control_rejected"] = False
    row["num_unconverged"] = 3
    results["evidence"][4]["control_rejected"] = None
    results["git_commit"] = "0123abc-dirty"
    save_results(run_dir, results)
    page = Page(write_report(run_dir).read_text("utf-8"))
    total = len(results["evidence"])
    assert f"1 of {total} checks is violated" in page.text()
    assert f"{total - 2} holds1 violated1 inconclusive" in page.text()
    text = page.text(f"claim-{row['claim']}")
    assert "the sky is clear: ✗ not met in t7 (rain)" in text
    assert "✗ NOT rejected in t7" in text
    assert "3 unconverged" in text
    assert "difference [bold]2[/bold] | too_big" in text
    assert "? not tried in" in page.text(f"claim-{results['evidence'][4]['claim']}")
    assert "git checkout 0123abc # and the changes on top of it" in page.text("reproduce")


def test_a_users_claim_is_cited_and_its_file_named(run_dir: Path, results: dict[str, Any]) -> None:
    for name in ("M4", "B1"):
        results["claims"][name] |= {
            "bibtex": "@misc{own, title = {Mine}}",
            "source": [{"file": "my_claims.py", "sha256": "0" * 64}],
        }
    save_results(run_dir, results)
    page = Page(write_report(run_dir).read_text("utf-8"))
    assert page.text("cite").count("@misc{own, title = {Mine}}") == 1
    said = page.text("reproduce")
    assert f"my_claims.py, SHA-256 {'0' * 64} (claims: B1, M4)" in said
    assert "git checkout" in said


EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>\"' onload=x &amp; \\href{http://x}{y}"


def test_text_from_results_stays_text(
    run_dir: Path, results: dict[str, Any], arrays: Arrays
) -> None:
    evil_claim = dict.fromkeys(
        ("title", "kind", "reference", "control", "subject", "family", "bibtex"), EVIL
    )
    evil_claim["source"] = [{"file": EVIL, "sha256": EVIL}]
    results["claims"][EVIL] = evil_claim | {
        "statement": r"\text{<script>alert(1)</script>} \href{http://x}{y}",
        "premises": [EVIL],
    }
    row = results["evidence"][0] | dict.fromkeys(
        ("claim", "subject", "about", "kind", "quantity", "derivation", "reason"), EVIL
    )
    row |= {
        "verdict": "violated",
        "premises": [{"statement": EVIL, "holds": True, "detail": EVIL}],
    }
    row["fit"] = {"exponent": 1.0, "low": 0.0, "high": 2.0, "expected": 1.0, "num_points": EVIL}
    results["evidence"].append(row)
    results["config"] |= {"claims": [EVIL], EVIL: {EVIL: EVIL}}
    results["subjects"].append({"about": EVIL, "name": EVIL, EVIL: EVIL})
    results["versions"][EVIL] = results["hardware"][EVIL] = EVIL
    results["git_commit"] = results["started"] = EVIL
    save_results(run_dir, results)
    setting = '"><script>x'
    np.savez(
        run_dir / "arrays.npz",
        **{k.replace("t7/", f"{setting}/", 1): v for k, v in arrays.items()},
    )
    text = write_report(run_dir).read_text("utf-8")
    page = Page(text)
    assert_stands_alone(page, text)
    assert page.text().count("<script>alert(1)</script>") >= 10
    assert any(attrs.get("class") == "math" for _, attrs in page.elements)
    # The formula that is no mathematics is shown as its source instead.
    assert r"\href{http://x}{y}" in page.text("claims")


def test_a_run_without_figures_or_claims_is_reported(
    run_dir: Path, results: dict[str, Any]
) -> None:
    results["evidence"], results["claims"] = [], {}
    for key in ("config", "versions", "hardware", "git_commit", "seconds", "started", "subjects"):
        del results[key]
    save_results(run_dir, results)
    np.savez(run_dir / "arrays.npz")
    text = write_report(run_dir).read_text("utf-8")
    page = Page(text)
    assert_stands_alone(page, text)
    assert "Nothing was checked" in page.text()
    assert "img" not in page.tags()


CLAIMS = by_id(claims_of_package("ssmbias.claims"))


@pytest.mark.parametrize("id", list(CLAIMS))
def test_statements_of_all_claims_are_formulas(id: str) -> None:
    math = to_mathml(CLAIMS[id].statement, block=True)
    assert math.startswith('<math display="block"')
    assert "\\" not in re.sub(r'alttext="[^"]*"', "", math)


@pytest.mark.parametrize(
    "tex", [r"\unknown x", r"\frac{1}", "x & y", r"\href{http://x}{y}", r"\text{<b>x</b>}", "{"]
)
def test_what_is_no_formula_is_refused(tex: str) -> None:
    with pytest.raises(ValueError, match=r"not understood|missing|Error|mathematics"):
        to_mathml(tex, block=True)
