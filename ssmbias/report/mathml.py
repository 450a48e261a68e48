"""Formulas as MathML: shown by browsers without a script, a font file or a connection."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from latex2mathml.converter import convert

# What latex2mathml renders badly, written in a way that it renders well.
_REWRITES = (
    # `aligned` is unknown to it: the ampersands would land on the page.
    (re.compile(r"\\(begin|end)\{aligned\}"), r"\\\1{align*}"),
    # One <mi> per letter, or an empty operator where the name holds a digit.
    (re.compile(r"\\(?:operatorname|mathrm)\s*\{([^{}]*)\}"), r"\\text{\1}"),
    # A word as an index is set as a product of its letters.
    (re.compile(r"_\{([a-z]{3,})\}"), r"_{\\text{\1}}"),
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

_CHILDREN = {"mfrac": 2, "msub": 2, "msup": 2, "msubsup": 3, "munder": 2, "mover": 2}
_CLOSING = frozenset(")]}|‖⟩!′″")

# Formulas come from files: what is not plain mathematics (links, scripts) does not pass.
_ELEMENTS = frozenset(
    [
        "math",
        "mrow",
        "mi",
        "mn",
        "mo",
        "mtext",
        "mspace",
        "ms",
        "mfrac",
        "msqrt",
        "mroot",
        "mstyle",
        "mpadded",
        "mphantom",
        "msub",
        "msup",
        "msubsup",
        "munder",
        "mover",
        "munderover",
        "mmultiscripts",
        "mprescripts",
        "none",
        "mtable",
        "mtr",
        "mtd",
        "menclose",
        "semantics",
    ]
)
_ATTRIBUTES = frozenset(
    [
        "display",
        "form",
        "stretchy",
        "fence",
        "separator",
        "accent",
        "accentunder",
        "lspace",
        "rspace",
        "minsize",
        "maxsize",
        "movablelimits",
        "largeop",
        "symmetric",
        "linethickness",
        "columnalign",
        "columnspacing",
        "rowspacing",
        "columnlines",
        "rowlines",
        "mathvariant",
        "displaystyle",
        "scriptlevel",
        "width",
        "height",
        "depth",
        "voffset",
        "notation",
        "alttext",
    ]
)


def to_mathml(tex: str, *, block: bool) -> str:
    r"""Convert one LaTeX formula.

    Args:
      tex: the formula, without delimiters.
      block: display style on a line of its own, instead of inline.

    Returns:
      A `<math>` element whose `alttext` is the LaTeX source.

    Raises:
      ValueError: latex2mathml failed, or passed on what it did not understand, which nobody
        would notice before a reader does; or the result is more than mathematics.

    Example:
      >>> to_mathml(r"\rho \to \infty", block=False)[:45]
      '<math display="inline" alttext="\\rho \\to \\inf'
    """
    source = " ".join(tex.split())
    rewritten = source
    for pattern, replacement in _REWRITES:
        rewritten = pattern.sub(replacement, rewritten)
    # Escapes inside \text are left in place; there the characters stand for themselves.
    rewritten = re.sub(r"\\text\{[^{}]*\}", lambda m: m[0].replace("\\_", "_"), rewritten)
    try:
        root = ET.fromstring(convert(rewritten, display="block" if block else "inline"))
    except Exception as err:  # latex2mathml has a dozen exception types, some of them builtin
        raise ValueError(f"{type(err).__name__}: {err}") from err
    for node in list(root.iter()):
        # HTML knows <math> without a namespace.
        node.tag = str(node.tag).rpartition("}")[2]
        _reject_what_is_not_mathematics(node)
    for node in list(root.iter()):
        _reject_leftovers(node)
        _set_spacing(node)
        _lower_primes(node)
        _draw_overline(node)
    root.set("alttext", source)
    return ET.tostring(root, encoding="unicode")


def _reject_what_is_not_mathematics(node: ET.Element) -> None:
    foreign = {node.tag} - _ELEMENTS | node.attrib.keys() - _ATTRIBUTES
    if foreign:
        raise ValueError(f"not mathematics: {', '.join(sorted(foreign))}")


def _reject_leftovers(node: ET.Element) -> None:
    """Raise `ValueError` for what only a reader of the page would notice."""
    text = (node.text or "").strip()
    if "\\" in text or (node.tag == "mi" and text in {"{", "}", "&"}):
        raise ValueError(f"not understood: {text!r}")
    if len(node) != _CHILDREN.get(node.tag, len(node)):
        raise ValueError(f"an argument is missing (<{node.tag}> has {len(node)})")
    if node.get("mathvariant", "normal") != "normal":
        raise ValueError(f"browsers ignore mathvariant={node.get('mathvariant')!r}")


def _set_spacing(parent: ET.Element) -> None:
    """Space the children of `parent` as TeX would; browsers only know the first of a row."""
    before: ET.Element | None = None
    for node in parent:
        text = node.text or ""
        if node.tag == "mo":
            if text in {"−", "+"} and (
                before is None or (before.tag == "mo" and before.text not in _CLOSING)
            ):
                node.set("form", "prefix")
            elif text == "/":
                node.set("lspace", "0.08em")
                node.set("rspace", "0.08em")
            elif text in {"∞", "⊤", "∇"}:
                node.tag = "mi"
                node.set("mathvariant", "normal")
        before = node


def _lower_primes(node: ET.Element) -> None:
    """Set f′ in a row instead of as a superscript: fonts raise and shrink the sign already."""
    if node.tag not in {"msup", "msubsup"} or (node[-1].text or "") not in {"′", "″"}:
        return
    base, *subscript, prime = node
    prime.tag = "mo"
    prime.attrib.update(lspace="0", rspace="0")
    for child in (base, *subscript, prime):
        node.remove(child)
    if subscript:
        node.tag = "msub"
        row = ET.SubElement(node, "mrow")
        row.extend((base, prime))
        node.extend(subscript)
    else:
        node.tag = "mrow"
        node.extend((base, prime))


def _draw_overline(node: ET.Element) -> None:
    """Draw the line over a group as a border: few fonts hold a sign that stretches over it."""
    if node.tag != "mover" or node[1].text not in {"―", "¯", "‾"} or not len(node[0]):
        return
    base = node[0]
    node.clear()
    node.tag = "mrow"
    node.set("style", "border-top: 0.06em solid; padding-top: 0.1em")
    node.append(base)
