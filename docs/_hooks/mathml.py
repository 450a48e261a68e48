"""MkDocs hook: every formula becomes MathML while the site is built.

`pymdownx.arithmatex` (generic mode) marks formulas in pages and in docstrings. They are
converted here, so the finished site needs neither a script nor a connection to show them.
A formula that cannot be converted stops the build: latex2mathml passes what it does not
know through to the page, and nobody would notice before a reader does.
"""

from __future__ import annotations

import html
import re
import xml.etree.ElementTree as ET
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

NAMESPACE = "http://www.w3.org/1998/Math/MathML"
ET.register_namespace("", NAMESPACE)

# Punctuation after an inline formula is taken along, lest a line break come between.
MATH = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\(?P<open>[(\[])(?P<tex>.*?)\\[)\]]</(?P=tag)>'
    r"(?P<tail>[.,;:?!)]*)",
    re.DOTALL,
)

# What latex2mathml renders badly, written in a way that it renders well.
REWRITES = (
    # `aligned` is unknown to it: the ampersands would land on the page.
    (re.compile(r"\\(begin|end)\{aligned\}"), r"\\\1{align*}"),
    # One <mi> per letter, or an empty operator where the name holds a digit.
    (re.compile(r"\\(?:operatorname|mathrm)\s*\{([^{}]*)\}"), r"\\text{\1}"),
    # Without braces it sets the attribute `mathvariant`, which browsers have dropped.
    (re.compile(r"\\(mathcal|mathbb|mathbf)\s+([A-Za-z])"), r"\\\1{\2}"),
    (re.compile(r"\\mathbf\s*(?:1|\{1\})"), "𝟏"),
    # Fixed-size delimiters lose their exponents, bare bars guess whether they open or close.
    (re.compile(r"\\[bB]igg?l(?![A-Za-z])"), r"\\left"),
    (re.compile(r"\\[bB]igg?r(?![A-Za-z])"), r"\\right"),
    (re.compile(r"(?<!\\left)(?<!\\left )\\l(vert|Vert)(?![A-Za-z])"), r"\\left\\l\1"),
    (re.compile(r"(?<!\\right)(?<!\\right )\\r(vert|Vert)(?![A-Za-z])"), r"\\right\\r\1"),
    # Functions without parentheses need a space that it does not leave.
    (re.compile(r"(?<=[A-Za-z0-9}])\s*\\(log|exp)(?![A-Za-z])"), r"\\,\\\1"),
    (re.compile(r"\\(log|exp)(?=\s*[A-Za-z0-9\\])(?!\s*\\left|\s*\\,)(?![A-Za-z])"), r"\\\1\\,"),
    (re.compile(r":="), r"\\coloneqq "),
    # Equation numbers follow their formula; MathML Core cannot push them to the margin.
    (re.compile(r"\\tag\{([^{}]*)\}"), r"\\qquad\\qquad\\text{(\1)}"),
)

CHILDREN = {"mfrac": 2, "msub": 2, "msup": 2, "msubsup": 3, "munder": 2, "mover": 2}
CLOSING = frozenset(")]}|‖⟩!′″")


def to_mathml(tex: str, *, block: bool) -> str:
    """Convert one LaTeX formula.

    Args:
      tex: the formula, without delimiters.
      block: display style on a line of its own, instead of inline.

    Returns:
      A `<math>` element whose `alttext` is the LaTeX source.

    Raises:
      ValueError: latex2mathml failed, or passed something on that it did not understand.
    """
    source = " ".join(tex.split())
    rewritten = source
    for pattern, replacement in REWRITES:
        rewritten = pattern.sub(replacement, rewritten)
    # Escapes inside \text are left in place; there the characters stand for themselves.
    rewritten = re.sub(r"\\text\{[^{}]*\}", lambda m: m[0].replace("\\_", "_"), rewritten)
    try:
        root = ET.fromstring(convert(rewritten, display="block" if block else "inline"))
    except Exception as err:  # latex2mathml has a dozen exception types, some of them builtin
        raise ValueError(f"{type(err).__name__}: {err}") from err
    for node in list(root.iter()):
        _reject_leftovers(node)
        _set_spacing(node)
        _lower_primes(node)
    root.set("alttext", source)
    return ET.tostring(root, encoding="unicode")


def _name(node: ET.Element) -> str:
    return node.tag.rpartition("}")[2]


def _reject_leftovers(node: ET.Element) -> None:
    """Raise `ValueError` for what only a reader of the page would notice."""
    name, text = _name(node), (node.text or "").strip()
    if "\\" in text or (name == "mi" and text in {"{", "}", "&"}):
        raise ValueError(f"not understood: {text!r}")
    if len(node) != CHILDREN.get(name, len(node)):
        raise ValueError(f"an argument is missing (<{name}> has {len(node)})")
    if node.get("mathvariant", "normal") != "normal":
        raise ValueError(f"browsers ignore mathvariant={node.get('mathvariant')!r}")


def _set_spacing(parent: ET.Element) -> None:
    """Space the children of `parent` as TeX would; browsers only know the first of a row."""
    before: ET.Element | None = None
    for node in parent:
        text = node.text or ""
        if _name(node) == "mo":
            if text in {"−", "+"} and (
                before is None or (_name(before) == "mo" and before.text not in CLOSING)
            ):
                node.set("form", "prefix")
            elif text == "/":
                node.set("lspace", "0.08em")
                node.set("rspace", "0.08em")
            elif text in {"∞", "⊤", "∇"}:
                node.tag = f"{{{NAMESPACE}}}mi"
                node.set("mathvariant", "normal")
        before = node


def _lower_primes(node: ET.Element) -> None:
    """Set f′ in a row instead of as a superscript: fonts raise and shrink the sign already."""
    if _name(node) not in {"msup", "msubsup"} or (node[-1].text or "") not in {"′", "″"}:
        return
    base, *subscript, prime = node
    prime.tag = f"{{{NAMESPACE}}}mo"
    prime.attrib.update(lspace="0", rspace="0")
    for child in (base, *subscript, prime):
        node.remove(child)
    if subscript:
        node.tag = f"{{{NAMESPACE}}}msub"
        row = ET.SubElement(node, f"{{{NAMESPACE}}}mrow")
        row.extend((base, prime))
        node.extend(subscript)
    else:
        node.tag = f"{{{NAMESPACE}}}mrow"
        node.extend((base, prime))


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """Replace what arithmatex marked (MkDocs calls this once per rendered page)."""

    def replace(match: re.Match[str]) -> str:
        tag, tail = match["tag"], match["tail"]
        tex = html.unescape(match["tex"])
        try:
            math = to_mathml(tex, block=match["open"] == "[")
        except ValueError as err:
            raise PluginError(f"{page.file.src_path}: formula {tex.strip()!r}: {err}") from err
        return f'<{tag} class="math">{math}{tail}</{tag}>'

    converted = MATH.sub(replace, content)
    if "arithmatex" in converted:
        raise PluginError(f"{page.file.src_path}: a formula was marked in a form unknown here")
    return converted
