"""The how-to pages do what they say: blocks run, commands parse, options exist.

Python blocks of a page run here, one after the other, in an empty folder. Blocks with a title are
files, which console blocks (`$ command`, then its output, with `...` for what varies) may run.
Commands in sh blocks are examples for larger machines: those of sweep.py are composed and checked
as jobs.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from hydra import compose, initialize_config_module
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from ssmbias.cli import sweep as sweep_script
from ssmbias.cli import words as command_words
from ssmbias.sweeps.settings import SweepJob, from_mapping

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "how-to").glob("*.md"))
NAMES = [page.name for page in PAGES]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Block(NamedTuple):
    """A fenced block: its language, its title (a file's name) or "", and what it holds."""

    language: str
    title: str
    text: str


def blocks_of(name: str) -> list[Block]:
    """The blocks of a page."""
    pattern = r'^```(\w+)(?: title="([\w.]+)")?\n(.*?)^```$'
    text = (ROOT / "docs" / "how-to" / name).read_text()
    found = [Block(*parts) for parts in re.findall(pattern, text, re.DOTALL | re.MULTILINE)]
    assert 2 * len(found) == text.count("```"), "a fence that this test does not understand"
    return found


def commands_of(name: str, language: str) -> list[tuple[str, str]]:
    """Commands of the console or sh blocks of a page, with the output that follows."""
    found = []
    for block in blocks_of(name):
        if block.language == "console" == language:
            for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
                line, _, output = part.partition("\n")
                found.append((line, output))
        elif block.language == "sh" == language:
            found += [(line.partition("  #")[0], "") for line in block.text.splitlines()]
    return found


def write_files(name: str, folder: Path) -> None:
    for block in blocks_of(name):
        if block.title:
            (folder / block.title).write_text(block.text)


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of a page as if in the repository, with its results in `folder`."""
    words = [re.sub(r"^scripts/", f"{ROOT}/scripts/", word) for word in shlex.split(line)]
    assert words[0] == "python"
    return subprocess.run(
        [sys.executable, *words[1:]],
        cwd=folder, env=os.environ | {"JAX_ENABLE_X64": "1"}, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip


def run_console(name: str, folder: Path) -> None:
    """Run the console blocks of a page and compare what they print."""
    write_files(name, folder)
    for line, expected in commands_of(name, "console"):
        done = run(line, folder)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        assert doctest.OutputChecker().check_output(expected, done.stdout, FLAGS), done.stdout


def jobs_of(line: str) -> list[SweepJob]:
    """The jobs that a sweep command starts, without running them."""
    words = shlex.split(line.partition("scripts/sweep.py ")[2])
    words = [command_words.with_quotes(word, sweep_script.PROGRAM.texts) for word in words]
    if "-m" in words:
        overrides = OverridesParser.create().parse_overrides([w for w in words if w != "-m"])
        lists = [job for batch in BasicSweeper.split_arguments(overrides, None) for job in batch]
    else:
        lists = [words]
    jobs = []
    with initialize_config_module("ssmbias.conf", version_base="1.3"):
        for overrides in lists:
            config = compose("sweep", list(overrides), return_hydra_config=True)
            launcher = OmegaConf.to_container(config.hydra.launcher, resolve=False)
            assert launcher
            plain = {key: config[key] for key in config if key != "hydra"}
            whole = OmegaConf.to_container(OmegaConf.create(plain), resolve=True)
            assert isinstance(whole, dict)
            jobs.append(from_mapping({str(key): value for key, value in whole.items()}))
    return jobs


@pytest.mark.parametrize(
    "name",
    # The page on poison trains for a quarter of a minute.
    [pytest.param(n, marks=[pytest.mark.slow] if n == "poison.md" else []) for n in NAMES],
)
def test_python_blocks_run_and_print_what_the_page_shows(name, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = [block for block in blocks_of(name) if not block.title]
    namespace: dict[str, object] = {"__name__": "how_to"}
    for number, block in enumerate(blocks):
        if block.language != "python":
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            # Without the future statements of this file.
            code = compile(block.text, f"{name}, block {number}", "exec", dont_inherit=True)
            exec(code, namespace)
        following = blocks[number + 1] if number + 1 < len(blocks) else None
        if following and following.language == "text":
            assert printed.getvalue() == following.text, f"{name}, block {number}"


@pytest.mark.parametrize(
    "name", [pytest.param("hydra-multirun.md", marks=pytest.mark.slow), "several-devices.md"]
)
def test_console_blocks_run_and_print_what_the_page_shows(name, tmp_path) -> None:
    assert commands_of(name, "console")
    run_console(name, tmp_path)


@pytest.mark.slow
def test_rehearsal_for_slurm_runs(tmp_path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    run_console("slurm.md", tmp_path)


@pytest.mark.slow
def test_two_processes_share_a_store(tmp_path) -> None:
    write_files("several-devices.md", tmp_path)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{found.getsockname()[1]}"
    processes = [
        subprocess.Popen(
            [sys.executable, "hosts.py", address, "2", str(number)],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for number in range(2)
    ]  # fmt: skip
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert said[0].endswith("2 processes: {'converged': 56}\n")


COMMANDS = [(name, line) for name in NAMES for line, _ in commands_of(name, "sh")]


@pytest.mark.parametrize(("name", "line"), COMMANDS, ids=[line[:60] for _, line in COMMANDS])
def test_commands_are_true(name, line) -> None:
    words = shlex.split(line)
    files = [word for word in words if word.endswith(".py")]
    for word in files:
        titles = {block.title for block in blocks_of(name)}
        assert word in titles or (ROOT / word).exists(), word
    if "scripts/sweep.py" in files and not {"--cfg", "--help"} & {*words}:
        if "cluster=ray" in words:
            pytest.importorskip("hydra_plugins.hydra_ray_launcher")
        assert jobs_of(line)
    elif files and files[0].startswith("benchmarks/"):
        source = (ROOT / files[0]).read_text()
        assert all(f'"{word}"' in source for word in words[2:])
    elif words[0] == "make":
        assert f"\n{words[1]}: " in (ROOT / "Makefile").read_text()
    elif words[0] == "pip":
        (extra,) = re.findall(r"\[(\w+)\]", words[-1])
        assert f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text()


def test_commands_mean_what_the_page_says() -> None:
    found = {line: jobs_of(line) for _, line in COMMANDS if "cluster=slurm" in line}
    assert [len(jobs) for jobs in found.values()] == [6, 2, 2]
    (one,) = jobs_of("scripts/sweep.py strength=[0,logspace(-9,3,60)]")
    assert one.grid.shape == (61,)
    assert len(jobs_of("scripts/sweep.py -m strength=0,1,100")) == 3
    assert len(jobs_of("scripts/sweep.py -m seed=1 seq_len=5,7,9 state_dim=10,20")) == 6


def test_every_setting_outcome_and_part_of_a_store_is_described(tmp_path) -> None:
    import ssmbias
    from ssmbias.sweeps.settings import SweepSettings
    from ssmbias.sweeps.starts import OUTCOMES

    page = (ROOT / "docs" / "how-to" / "sweep-from-python.md").read_text()
    assert all(f"| `{name}` |" in page for name in SweepSettings.__dataclass_fields__)
    assert all(f"| {code} | {name} |" in page for code, name in OUTCOMES.items())
    data = ssmbias.sweep({"seed": range(2)}, store=tmp_path / "a.zarr")
    schema = (ROOT / "docs" / "results-schema.md").read_text()
    documented = set(re.findall(r"`([\w/.]+)`", schema))
    assert {str(name) for name in (*data.variables, *data.dims, *data.attrs)} <= documented
    assert {path.name for path in (tmp_path / "a.zarr").iterdir()} <= documented
    assert data.attrs["schema"] in documented
