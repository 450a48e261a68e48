"""One page about a run that needs nothing but itself: no script, no network, no fonts.

A page has a headline and sections; the parts of a section are sentences, lists (`Items`), tables,
pictures (`Pictures`), commands (`Code`), or HTML from a template. Text is escaped.
"""

from __future__ import annotations

import base64
import json
import os
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from ssmbias.report.cells import Column
from ssmbias.report.cite import CITATION
from ssmbias.report.render import render
from ssmbias.report.table import Table
from ssmbias.runs.files import write_atomically

REPORT_FILE = "report.html"

# CSS pixels for one of the PNG: all figures at one scale, two columns as wide as the page.
_SCALE = 0.77


class Section(NamedTuple):
    """A section of a page: its id, its title, and its parts in their order."""

    id: str
    title: str
    parts: Sequence[Any]


class Items(tuple[Any, ...]):
    """A list of sentences, as a part of a page: `Items(sentences)`."""

    __slots__ = ()

    def __html__(self) -> Markup:
        """The list."""
        return render("items.html", items=self)


class Code(NamedTuple):
    """Commands or the like, in a box that can be scrolled; `label` says what they are."""

    label: str
    text: str

    def __html__(self) -> Markup:
        """The box."""
        return render("code.html", label=self.label, text=self.text)


class Picture(NamedTuple):
    """A saved figure.

    Attributes:
      png: the file; a PDF of the same name may lie beside it, which is then named.
      caption: plain text, for all readers; symbols such as a_j get an index.
      alt: plain text, what is to be seen.
    """

    png: Path
    caption: str
    alt: str


class Pictures(tuple[Picture, ...]):
    """Saved figures inside of the page, as a part of it: `Pictures(pictures)`."""

    __slots__ = ()

    def __html__(self) -> Markup:
        """The figures with their captions."""
        return render("pictures.html", pictures=[_embedded(picture) for picture in self])


def page(
    title: str,
    sections: Sequence[Section],
    *,
    headline: str,
    kicker: str = "",
    tone: str = "",
    header: Sequence[Any] = (),
    command: str = "",
    cite: Sequence[str] = (),
) -> str:
    """A whole page; sections without parts are left out.

    Args:
      title: of the window, after the headline: which program's page it is.
      sections: the first one is where a reader can skip to.
      headline: the outcome in a few words.
      kicker: a line above the headline, `title` by default.
      tone: of the headline: a verdict, or "" for none.
      header: further parts below the headline.
      command: that repeats the run; adds the section *Reproduce*.
      cite: BibTeX entries beside the package's own, in the section *Cite*.

    Returns:
      HTML.

    Example:
      >>> text = page("mine", [Section("a", "Part", ["<b>"])], headline="All is well")
      >>> "<p>&lt;b&gt;</p>" in text, "<title>All is well – mine</title>" in text
      (True, True)
    """
    sections = list(sections)
    if command:
        said = (
            "In a clone of the repository:",
            Code("Command", command),
            "The last digits depend on hardware and versions.",
        )
        sections.append(Section("reproduce", "Reproduce", said))
    entries = dict.fromkeys([CITATION.strip(), *(entry.strip() for entry in cite if entry.strip())])
    sections.append(Section("cite", "Cite", [Code("How to cite", "\n\n".join(entries) + "\n")]))
    shown = []
    for section in sections:
        parts = [_part(part) for part in section.parts if part]
        if parts:
            shown.append({"id": section.id, "title": section.title, "parts": parts})
    return render(
        "page.html",
        title=title,
        headline=headline,
        kicker=kicker or title,
        tone=tone,
        header=Markup("").join(_part(part) for part in header),
        sections=shown,
    )


def write_page(folder: str | os.PathLike[str], text: str) -> Path:
    """Write a page as `report.html`, complete or not at all.

    Args:
      folder: which exists.
      text: of `page`.

    Returns:
      The file.
    """
    path = Path(folder) / REPORT_FILE
    return write_atomically(path, lambda stream: stream.write(text.encode("utf-8")))


def facts(title: str, mapping: Mapping[str, Any]) -> Table | None:
    """Keys and values as a part of a page; nothing where there are none."""
    if not mapping:
        return None
    columns = Column("", heading=True), Column("", form=plain_value, width=1)
    return Table(columns, [(str(key), value) for key, value in mapping.items()], title)


def plain_value(value: Any) -> str:
    """A value of a configuration as text; what is nested stays JSON.

    Example:
      >>> plain_value([1, 0.5]), plain_value({"a": None})
      ('1, 0.5', '{"a": null}')
    """
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, list | tuple) and not any(isinstance(v, dict | list) for v in value):
        return ", ".join(plain_value(v) for v in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _part(part: Any) -> Markup:
    """Sentences become paragraphs; what brings its own HTML keeps it."""
    if hasattr(part, "__html__"):
        return Markup(part.__html__())
    return Markup("<p>{}</p>").format(part)


def _embedded(picture: Picture) -> dict[str, Any]:
    """A PNG as it stands inside of the page."""
    content = picture.png.read_bytes()
    pdf = picture.png.with_suffix(".pdf")
    file = pdf if pdf.is_file() else picture.png
    # The first chunk of a PNG is its header, which begins with width and height.
    width, height = (round(_SCALE * size) for size in struct.unpack(">II", content[16:24]))
    # Symbols such as a_j have their index set low; longer names keep their underscores.
    caption = re.sub(r"(?<!\w)(\w\*?)_(\w)(?!\w)", r"\1<sub>\2</sub>", str(escape(picture.caption)))
    return {
        "name": picture.png.stem,
        "file": f"{picture.png.parent.name}/{file.name}",
        "width": width,
        "height": height,
        "data": base64.b64encode(content).decode("ascii"),
        "caption": Markup(caption),
        "alt": picture.alt,
    }
