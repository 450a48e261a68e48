"""The documentation says what the code does: snippets run, formulas convert, the site builds."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import ssmbias
from ssmbias.claims.registry import all_claims

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = ("quickstart.md", "adding-a-claim.md")
NO_MKDOCS = "the documentation's tools are not installed (pip install '.[docs]')"


def _blocks(page: str) -> list[tuple[str, str | None]]:
    """The Python blocks of a page, each with the output block that follows it, if any."""
    pattern = r"^```python\n(.*?)^```\n(?:\s*^```text\n(.*?)^```\n)?"
    found = re.findall(pattern, (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)
    return [(code, output or None) for code, output in found]


@pytest.mark.parametrize("page", PAGES)
def test_python_blocks_run_and_print_what_the_page_shows(page):
    blocks = _blocks(page)
    assert blocks, f"{page} has no Python block"
    namespace: dict[str, object] = {"__name__": f"docs_{page}"}
    for number, (code, expected) in enumerate(blocks):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"{page}, block {number}", "exec"), namespace)
        if expected is not None:
            assert printed.getvalue() == expected, f"{page}, block {number}"


def test_quickstart_takes_ten_lines_to_a_verdict():
    code, output = _blocks("quickstart.md")[0]
    assert sum(1 for line in code.splitlines() if line.strip()) <= 10
    assert output is not None
    assert "holds" in output


def test_every_claim_has_its_section_in_the_theory():
    headings = re.findall(r"^## (\S+) · ", (DOCS / "theory.md").read_text(), re.MULTILINE)
    families = {claim_id.split("-", maxsplit=1)[0] for claim_id in all_claims()}
    assert families == set(headings)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built site; building it is the strict check of links, anchors and docstrings."""
    for name in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(name, reason=NO_MKDOCS)
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(target)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def test_site_needs_nothing_from_elsewhere(site):
    loads = re.compile(r'<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)="(?:https?:)?//')
    pages = [page for page in site.rglob("*.html") if loads.search(page.read_text())]
    assert not pages
    imports = re.compile(r"(?:@import|url\()\s*[\"']?(?:https?:)?//")
    sheets = [sheet for sheet in site.rglob("*.css") if imports.search(sheet.read_text())]
    assert not sheets


def test_formulas_of_pages_and_docstrings_are_mathml(site):
    theory = (site / "theory.html").read_text()
    api = (site / "api" / "theory.html").read_text()
    # Roughly what the pages hold; a hook that is not called leaves none at all.
    assert theory.count("<math ") > 200
    assert api.count("<math ") > 20
    # A backslash bracket outside alttext would be LaTeX that the reader gets to see.
    for page in site.rglob("*.html"):
        visible = re.sub(r"<[^>]*>", "", page.read_text())
        assert not re.search(r"\\[(\[]\s*\\?[A-Za-z]", visible), page.name


def test_every_public_module_is_in_the_api_reference():
    walked = pkgutil.walk_packages(ssmbias.__path__, "ssmbias.")
    # conf and scripts are mapped into installed wheels only, and are no library.
    outside = ("ssmbias.conf", "ssmbias.scripts")
    modules = {
        module.name
        for module in walked
        if not module.ispkg
        and not module.name.startswith(outside)
        and not any(part.startswith("_") for part in module.name.split("."))
    }
    pages = "\n".join(page.read_text() for page in (DOCS / "api").glob("*.md"))
    listed = set(re.findall(r"^::: (ssmbias\.\S+)$", pages, re.MULTILINE))
    assert listed == modules


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    """The MkDocs hook, loaded as MkDocs loads it: from its file."""
    pytest.importorskip("mkdocs", reason=NO_MKDOCS)
    spec = importlib.util.spec_from_file_location("mathml", DOCS / "_hooks" / "mathml.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "tex",
    [
        r"\nonsense x",
        r"\frac{a",
        r"\frac{a}",
        r"x_{",
        r"a }",
        r"a & b",
        r"\begin{nonsense} a \end{nonsense}",
        r"\boldsymbol{a}",  # becomes an attribute that browsers ignore
        r"\left( a",
    ],
)
def test_formulas_that_would_not_show_are_refused(hook, tex):
    with pytest.raises(ValueError, match=r"."):
        hook.to_mathml(tex, block=False)


@pytest.mark.parametrize(
    ("tex", "piece"),
    [
        (r"\begin{aligned} a &= b \\ &= c \end{aligned}", "<mtable"),
        (r"\operatorname{expm1}(x)", "<mtext>expm1</mtext>"),
        (r"S'(x)", '<mo lspace="0" rspace="0">′</mo>'),
        (r"= -1", 'form="prefix"'),
        (r"\bigl( x \bigr)^2", "<msup><mrow>"),
        (r"\mathcal O(1)", "𝒪"),
        (r"a \tag{3}", "<mtext>(3)</mtext>"),
    ],
)
def test_what_latex2mathml_gets_wrong_is_put_right(hook, tex, piece):
    assert piece in hook.to_mathml(tex, block=True)
