"""Paths among the words of a command line: quoted for Hydra, and true wherever a job runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from ssmbias.cli.words import absolute, prepared, with_quotes


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("claims=my.py", "my.py"),
        ("claims=~/my.py", "~/my.py"),
        ("claims=../a b/my (1).py", "../a b/my (1).py"),
        ("claims=[M1,~/é#.py]", ["M1", "~/é#.py"]),
        ("claims=[M1, ./a.py , B1]", ["M1", "./a.py", "B1"]),
        ("claims='it is, quoted.py'", "it is, quoted.py"),
    ],
)
def test_hydra_reads_paths_as_they_were_typed(typed, value) -> None:
    (word,) = prepared([typed], ["claims"], ["claims"])
    (override,) = OverridesParser.create().parse_overrides([word])
    found = override.value()
    found = [str(one) for one in found] if isinstance(found, list) else str(found)
    assert (
        [one.strip("'") for one in found] == value
        if isinstance(value, list)
        else (found.strip("'") == value)
    )
    assert with_quotes(word, ["claims"]) == word


def test_only_python_files_are_quoted() -> None:
    """A control: what Hydra takes as it is stays as it was typed."""
    for word in ("claims=[M1,B1]", "claims=all", "setting=t7.py"):
        assert with_quotes(word, ["claims"]) == word


def test_paths_are_those_of_the_folder_of_the_command(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    elsewhere = Path("/else/where")
    names = ["M1", "my.py", "/abs/my.py", "~/my.py", 3]
    home = str(Path.home() / "my.py")
    assert absolute(names, elsewhere, python_only=True) == [
        "M1", "/else/where/my.py", "/abs/my.py", home, 3,
    ]  # fmt: skip
    # In the folder of the command a path stays as it was typed, for reports.
    assert absolute(names, tmp_path, python_only=True) == ["M1", "my.py", "/abs/my.py", home, 3]
    assert absolute("data", elsewhere) == "/else/where/data"
    assert absolute(None, elsewhere) is None
