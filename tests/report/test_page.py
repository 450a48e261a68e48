"""The page builder: complete, closed, and proof against what it is given."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

from ssmbias.report import Column, Table
from ssmbias.report.page import (
    Code,
    Items,
    Picture,
    Pictures,
    Section,
    facts,
    page,
    write_page,
)
from ssmbias.report.style import new_figure, print_style, save_figure

EVIL = "<script>alert(1)</script>\"' onload=x &amp;"


class Balance(HTMLParser):
    """Fails for tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"meta", "img", "br"}:
            self.open.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name == "href"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def picture(tmp_path: Path) -> Picture:
    with print_style():
        figure = new_figure(1.0, 0.5)
        figure.subplots().plot([0, 1])
    png, pdf = save_figure(figure, tmp_path / "lines")
    assert (png.name, pdf.name) == ("lines.png", "lines.pdf")
    return Picture(png, f"a_j and {EVIL}", EVIL)


def test_every_part_is_escaped(picture: Picture) -> None:
    table = Table([Column(EVIL), Column("b")], [[EVIL, EVIL]], EVIL)
    parts = [EVIL, Items([EVIL]), table, facts(EVIL, {EVIL: EVIL}), Pictures([picture])]
    text = page(
        EVIL, [Section("a", EVIL, [*parts, Code(EVIL, EVIL)])], headline=EVIL, kicker=EVIL,
        header=[EVIL], command=EVIL, cite=[EVIL],
    )  # fmt: skip
    found = Balance(text)
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 15
    assert found.ids.count("a") == 1
    assert {link[1:] for link in found.links} <= set(found.ids)
    assert "a<sub>j</sub> and" in text
    assert 'width="154"' in text  # 200 pixels at the page's scale


def test_sections_without_parts_are_left_out() -> None:
    sections = [
        Section("empty", "Empty", [Items([]), Pictures([]), facts("x", {}), "", None]),
        Section("full", "Full", ["said"]),
    ]
    text = page("mine", sections, headline="h")
    assert 'id="empty"' not in text
    assert 'id="full"' in text
    assert 'href="#full">Skip to the full' in text
    assert 'id="reproduce"' not in text  # no command
    assert 'id="reproduce"' in page("mine", sections, headline="h", command="make it")


def test_what_is_cited_twice_stands_once() -> None:
    entry = "@misc{own, title = {Mine}}"
    text = page("mine", [], headline="h", cite=[entry, "", entry + "\n"])
    assert text.count("@misc{own") == 1
    assert "arXiv:2410.10473" in text


def test_a_page_is_written_whole(tmp_path: Path) -> None:
    path = write_page(tmp_path, page("mine", [], headline="κ"))
    assert path == tmp_path / "report.html"
    assert list(tmp_path.iterdir()) == [path]
    assert "κ" in path.read_text("utf-8")
