"""The frame of a page that needs nothing but itself, and figures inside it."""

from __future__ import annotations

import base64
import os
import re
import struct
from collections.abc import Sequence
from html import escape
from pathlib import Path

from ssmbias.report.fragments import slug
from ssmbias.report.stylesheet import STYLESHEET

# CSS pixels for one of the PNG: all figures at one scale, two columns as wide as the page.
_SCALE = 0.77

# Refuses every resource but what the page holds itself, should an escape ever fail.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(title: str, header: str, sections: Sequence[tuple[str, str, str]]) -> str:
    """A whole page.

    Args:
      title: plain text, of the window.
      header: HTML inside of `<header>`.
      sections: (id, title, HTML) each; those without HTML are left out. The first one is where
        a reader can skip to.

    Returns:
      The page.
    """
    sections = [item for item in sections if item[2]]
    links = "".join(f'<li><a href="#{id}">{name}</a></li>' for id, name, _ in sections)
    bodies = "".join(
        f'<section id="{id}" aria-labelledby="{id}-title">'
        f'<h2 id="{id}-title">{name}</h2>{body}</section>'
        for id, name, body in sections
    )
    first, called, _ = sections[0]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLESHEET}</style>\n</head>\n<body>\n"
        f'<a class="skip" href="#{first}">Skip to the {called[0].lower()}{called[1:]}</a>\n'
        f'<header>{header}</header>\n<nav aria-label="Contents"><ul>{links}</ul></nav>\n'
        f"<main>{bodies}</main>\n</body>\n</html>\n"
    )


def picture(png: str | os.PathLike[str], caption: str, alt: str) -> str:
    """A saved PNG inside the page, with its caption and where its PDF lies.

    Args:
      png: the file; the PDF of the same name lies beside it.
      caption: plain text, for all readers; symbols such as a_j get an index.
      alt: plain text, what is to be seen.
    """
    path = Path(png)
    content = path.read_bytes()
    # The first chunk of a PNG is its header, which begins with width and height.
    width, height = (round(_SCALE * size) for size in struct.unpack(">II", content[16:24]))
    data = base64.b64encode(content).decode("ascii")
    return (
        f'<figure id="figure-{slug(path.stem)}" style="max-width:{width}px">'
        f'<img width="{width}" height="{height}" src="data:image/png;base64,{data}" '
        f'alt="{escape(alt)}"><figcaption>{_with_indices(escape(caption))} '
        f"<small>figures/{escape(path.stem)}.pdf</small></figcaption></figure>"
    )


def _with_indices(text: str) -> str:
    """Symbols such as a_j with their index set low; longer names keep their underscores."""
    return re.sub(r"(?<!\w)(\w\*?)_(\w)(?!\w)", r"\1<sub>\2</sub>", text)
