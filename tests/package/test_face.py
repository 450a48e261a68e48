"""After `import ssmbias` every name that README and the pages use works, and nothing is loaded."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ssmbias

REPO = Path(__file__).resolve().parents[2]
PAGES = [REPO / "README.md", *sorted((REPO / "docs" / "how-to").glob("*.md"))]

RESOLVE = """
import functools, json, sys
import ssmbias
missing = []
for chain in json.loads(sys.argv[1]):
    try:
        functools.reduce(getattr, chain.split(".")[1:], ssmbias)
    except AttributeError as error:
        missing.append(f"{chain}: {error}")
print(json.dumps(missing))
"""


def chains_of(text: str) -> set[str]:
    """Chains `ssmbias.a.b` in the Python blocks and in the code within sentences of a page."""
    blocks = re.findall(r"^```python\b.*?\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    found = {chain for block in blocks for chain in chains_of_code(block)}
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    for code in re.findall(r"`([^`]+)`", prose):
        found |= {match[0] for match in re.finditer(r"(?<![\w/.-])ssmbias(?:\.[a-z_]\w*)+", code)}
    # Schemas are called ssmbias.verify/2 and the like.
    return {chain for chain in found if f"{chain}/" not in text}


def chains_of_code(code: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(code)):
        chain = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
        if re.fullmatch(r"ssmbias(\.\w+)+", chain):
            found.add(chain)
    return found


def missing(chains: set[str]) -> list[str]:
    """Which of them do not work in a process that has imported nothing but `ssmbias`."""
    done = subprocess.run(
        [sys.executable, "-c", RESOLVE, json.dumps(sorted(chains))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def test_every_name_of_readme_and_how_tos_works() -> None:
    chains = {chain for page in PAGES for chain in chains_of(page.read_text(encoding="utf-8"))}
    assert {"ssmbias.verify", "ssmbias.certify.certify", "ssmbias.theory.clean_limit"} <= chains
    assert missing(chains | {"ssmbias.no_such_name"}) == [
        "ssmbias.no_such_name: module 'ssmbias' has no attribute 'no_such_name'"
    ]


def test_every_public_name_works_and_is_told() -> None:
    assert missing({f"ssmbias.{name}" for name in ssmbias.__all__}) == []
    assert {*ssmbias.__all__} <= {*dir(ssmbias)}
    assert ssmbias.__all__ == sorted(ssmbias.__all__)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("```python\nx = ssmbias.a.b(1).c\n```\n", {"ssmbias.a", "ssmbias.a.b"}),
        ("```sh\nssmbias.a\n```\nsee `ssmbias.b(x)`, ssmbias.c", {"ssmbias.b"}),
        ("`ssmbias.verify/2`, `my_ssmbias.x`, `ssmbias-verify`", set()),
    ],
)
def test_chains_are_found(text, expected) -> None:
    assert chains_of(text) == expected


def test_overview_lists_the_programs_and_loads_neither_jax_nor_hydra() -> None:
    code = (
        "import runpy, sys; runpy.run_module('ssmbias', run_name='__main__');"
        "sys.exit(any(name in sys.modules for name in ('jax', 'hydra', 'numpy', 'rich')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("verify", "sweep", "reproduce", "poison", "certify"):
        assert re.search(rf"^  ssmbias-{name} +\w", done.stdout, re.MULTILINE)
