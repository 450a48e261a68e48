"""Text made safe where it is put: in templates of HTML, on a terminal, in Markdown, in LaTeX."""

from __future__ import annotations

import functools
import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def render(template: str, **values: Any) -> Markup:
    """Fill a template of `ssmbias/report/templates`.

    Args:
      template: name of the file.
      values: text, which is escaped; HTML as `Markup`; objects with a method `__html__`, such as
        a `Table`.

    Example:
      >>> str(render("items.html", items=["<script>"]))
      '<ul><li>&lt;script&gt;</li></ul>'
    """
    return Markup(_environment().get_template(template).render(**values))


def slug(text: str) -> str:
    """Text made fit for an id.

    Example:
      >>> slug('"><script>x')
      'script-x'
    """
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")


def one_line(text: Any) -> str:
    r"""Text on one line, without characters that steer a terminal.

    Example:
      >>> one_line("t7\x1b[1m\nnext")
      't7[1m next'
    """
    joined = " ".join(str(text).split())
    return "".join(char for char in joined if char.isprintable())


def markdown_text(text: str) -> str:
    r"""Text in which nothing is taken for Markdown.

    Example:
      >>> markdown_text("a_1 | [1]")
      'a\\_1 \\| \\[1\\]'
    """
    # A minus or a dot cannot begin anything inside a cell; what could is escaped.
    return re.sub(r"([\\`*_{}\[\]<>|#~$&])", r"\\\1", text)


def latex_text(text: str) -> str:
    r"""Text in which nothing is taken for a command; Greek letters become formulas.

    Example:
      >>> latex_text("5 % of κ_1")
      '5 \\% of $\\kappa$\\_1'
    """
    return "".join(_LATEX.get(char, char) for char in text)


def latex_cell(text: str) -> str:
    r"""Text of a cell: a lone dash is longer, and |a_1| is a formula wherever it stands.

    Example:
      >>> latex_cell("largest |a_10|"), latex_cell("-")
      ('largest $|a_{10}|$', '--')
    """
    if text == "-":
        return "--"
    parts = re.split(r"\|a_(\d+)\|", one_line(text))
    parts[::2] = [latex_text(part) for part in parts[::2]]
    parts[1::2] = [f"$|a_{{{digits}}}|$" for digits in parts[1::2]]
    return "".join(parts)


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ssmbias.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["slug"] = slug
    return environment


_LATEX = {
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    **{char: f"\\{char}" for char in "{}#$%&_"},
    **{
        char: f"$\\{name}$"
        for char, name in {
            "α": "alpha",
            "β": "beta",
            "γ": "gamma",
            "δ": "delta",
            "ε": "varepsilon",
            "κ": "kappa",
            "ρ": "rho",
            "τ": "tau",
            "∞": "infty",
            "→": "to",
            "≤": "le",
            "≥": "ge",
            "×": "times",
            "±": "pm",
        }.items()
    },
}
