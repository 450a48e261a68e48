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
from package.pages import DOCS, files_of

import ssmbias
from ssmbias.evidence.registry import claims_of_package
from ssmbias.verification import verify

ROOT = Path(__file__).parents[2]
PAGES = (
    "quickstart.md",
    pytest.param("adding-a-claim.md", marks=pytest.mark.slow),  # half a minute
    "results-schema.md",
)
NO_MKDOCS = "the documentation's tools are not installed (pip install '.[docs]')"


def _blocks(page: str) -> list[tuple[str, str | None]]:
    """The Python blocks of a page, each with the output block that follows it, if any."""
    pattern = r"^```python\n(.*?)^```\n(?:\s*^```text\n(.*?)^```\n)?"
    found = re.findall(pattern, (DOCS / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [(code, output or None) for code, output in found]


@pytest.mark.parametrize("page", PAGES)
def test_python_blocks_run_and_print_what_the_page_shows(page, tmp_path, monkeypatch):
    blocks = _blocks(page)
    assert blocks, f"{page} has no Python block"
    for name, text in files_of(page).items():
        (tmp_path / name).write_text(text, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
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


def test_results_schema_names_every_key():
    page = (DOCS / "results-schema.md").read_text()
    top = verify("M4", "t7", num_seeds=1).results
    documented = set(re.findall(r"`([a-z_]+)`", page))
    assert set(top) | set(top["config"]) | set(top["subjects"][0]) <= documented
    assert set(top["evidence"][0]) | set(top["claims"]["M4"]) <= documented
    assert f"`{top['schema']}`" in page


def test_every_claim_has_its_section_in_the_theory():
    headings = re.findall(r"^## (\S+) · ", (DOCS / "theory.md").read_text(), re.MULTILINE)
    families = {
        claim_id.split("-", maxsplit=1)[0]
        for claim_id in (claim.id for claim in claims_of_package("ssmbias.claims"))
    }
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
    # conf and scripts are no library; the catalogue is described on the theory page.
    outside = ("ssmbias.conf.", "ssmbias.cli.", "ssmbias.claims.")
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


def _load(name: str) -> ModuleType:
    """A module of docs/_hooks, loaded as MkDocs loads it: from its file."""
    spec = importlib.util.spec_from_file_location(name, DOCS / "_hooks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    """The MkDocs hook that turns formulas into MathML."""
    pytest.importorskip("mkdocs", reason=NO_MKDOCS)
    return _load("mathml")


class _Page:
    """What the hook needs of MkDocs' page."""

    class file:
        src_path = "page.md"


def test_hook_replaces_marked_formulas(hook):
    marked = r'a <span class="arithmatex">\(x &lt; y\)</span>, b'
    converted = hook.on_page_content(marked, _Page())
    assert "<math " in converted
    # The comma stays with its formula.
    assert "</math>,</span> b" in converted
    assert 'alttext="x &lt; y"' in converted


@pytest.mark.parametrize(
    "marked",
    [
        r'<span class="arithmatex">\(\nonsense x\)</span>',
        r'<div class="arithmatex">\[\frac{a}\]</div>',
        r'<div class="arithmatex other">\[a\]</div>',  # a form that the hook would pass over
    ],
)
def test_formula_that_would_not_show_stops_the_build(hook, marked):
    with pytest.raises(hook.PluginError, match=r"page\.md"):
        hook.on_page_content(marked, _Page())


def test_docstrings_are_translated_for_the_renderer():
    pytest.importorskip("griffe", reason=NO_MKDOCS)
    translate = _load("docstrings").translate
    source = "One,\n$$a = b$$\nand more.\n\nExample:\n  >>> 1\n  1\n"
    expected = "One,\n\n$$a = b$$\n\nand more.\n\nExamples:\n  >>> 1\n  1\n"
    assert translate(source) == expected
