"""`--help` of the programs: every key with a line, the defaults, and nothing loaded for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from ssmbias.__main__ import PROGRAMS, overview
from ssmbias.cli import certify, poison, reproduce, sweep, verify
from ssmbias.cli.help import help_text, read_keys

REPO = Path(__file__).resolve().parents[2]
ALL = {
    module.PROGRAM.name: module.PROGRAM for module in (verify, sweep, reproduce, poison, certify)
}


@pytest.fixture(autouse=True)
def wide(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


def keys_of_conf(name: str) -> dict[str, object]:
    """What a program's configuration holds, read by another parser."""
    conf = yaml.safe_load((REPO / "conf" / f"{name}.yaml").read_text(encoding="utf-8"))
    groups = [entry for entry in conf.pop("defaults") if isinstance(entry, dict)]
    return {**conf, **{key: value for group in groups for key, value in group.items()}}


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_key_has_its_default_and_a_line(name) -> None:
    expected = {key: value for key, value in keys_of_conf(name).items() if value != {}}
    keys = {key.name: key for key in read_keys(name)}
    assert set(keys) == set(expected)
    said = help_text(ALL[name])
    for key in keys.values():
        assert yaml.safe_load(key.value) == expected[key.name]
        assert len(key.said) > 4, key
        assert re.search(rf"^  {key.name}=", said, re.MULTILINE)
        assert " ".join(key.said.split()) in " ".join(said.split())
    assert max(map(len, said.splitlines())) <= 100
    assert f"ssmbias-{name} " in said
    assert "Exit codes" in said


def test_only_own_choices_are_listed() -> None:
    of = {name: {key.name: key.choices for key in read_keys(name)} for name in PROGRAMS}
    assert of["sweep"]["experiment"] == ("phase_diagram",)
    assert "phase_diagram" not in of["poison"]["experiment"]
    assert {"f1", "digits", "cifar10"} <= {*of["poison"]["experiment"]}
    assert "experiment" not in of["verify"]
    assert of["reproduce"]["table"] == ("1", "3")
    assert {"quick", "all"} <= {*of["verify"]["profile"]}


def test_help_of_an_installed_program_from_anywhere(tmp_path) -> None:
    """In a new process, far from the checkout, without JAX, Hydra or OmegaConf."""
    code = (
        "import sys; from importlib.metadata import entry_points\n"
        "for name in sys.argv[1].split():\n"
        "    (entry,) = entry_points(group='console_scripts', name=f'ssmbias-{name}')\n"
        "    sys.argv[1:] = ['num_seeds=1', '--help']; entry.load()()\n"
        "sys.exit(any(name in sys.modules for name in ('jax', 'hydra', 'omegaconf', 'numpy')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, " ".join(PROGRAMS)],
        cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(f"{help_text(ALL[name])}\n" for name in PROGRAMS)


def test_programs_are_installed_and_listed() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {f"ssmbias-{name}": f"ssmbias.cli.{name}:main" for name in PROGRAMS}
    assert project["scripts"] == wanted
    assert all(f"{program.command} " in overview() for program in ALL.values())
    assert {path.stem for path in (REPO / "scripts").glob("*.py")} == {*PROGRAMS}


def test_readme_lists_the_programs() -> None:
    readme = (REPO / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(ssmbias-\w+)` \| (.*) \|$", readme, re.MULTILINE)
    assert listed == [(program.command, program.does) for program in ALL.values()]


@pytest.mark.parametrize("program", ALL.values(), ids=ALL)
def test_texts_and_paths_are_keys(program) -> None:
    assert {*program.texts, *program.paths} <= {*program.known}
    for typed, _ in program.examples:
        keys = re.findall(r"(?:^| )'?(\w+)=", typed)
        assert {*keys} <= {*program.known}, typed
