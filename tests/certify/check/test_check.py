"""The checker of certificates, end to end: what it accepts, what it refuses, and how it says so."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import folder_imports
from certify.check.proved import BOX, FOLDER, command

from ssmbias.certify import check

ROOT = FOLDER.parents[2]


def run_module(*words: str, cwd: Path, python: tuple[str, ...] = ()) -> Any:
    """`python -m …` in a process of its own, without the settings of this one."""
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    line = [sys.executable, *python, "-m", *words]
    return subprocess.run(
        line, cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False
    )


def run_main(monkeypatch, capsys, *words: str) -> tuple[int, str, str]:
    """The command, in this process: exit status, and what it printed."""
    monkeypatch.setattr(sys, "argv", ["check", *words])
    try:
        code = command.main()
    except SystemExit as end:
        code = int(end.code or 0)
    return code, *capsys.readouterr()


# --- what is accepted ----------------------------------------------------------------------------


def test_a_proof_is_accepted_with_its_claims(log, certificate):
    report = check(log)
    assert report.valid
    assert report.reason == ""
    names = ("clean_error_upper", "poisoned_error_lower", "poisoned_error_upper")
    for name in (*names, "seq_len", "strength"):
        assert getattr(report, name) == getattr(certificate, name)
    assert (report.state_dim, report.leaves, report.slabs) == (4, 1, len(certificate.slabs))
    assert report.box == (BOX.a2, BOX.delta, *zip(*BOX.gaps, strict=True))
    # The box that was proved errs less on its clean side than anywhere on its poisoned side.
    assert 4 * report.clean_error_upper < report.poisoned_error_lower
    # More bits change nothing; with very few the checker proves nothing, and says so.
    assert check(log, precision=200).valid
    assert not check(log, precision=20).valid


def test_progress_counts_slabs(log, certificate):
    seen: list[tuple[int, int]] = []
    assert check(log, progress=lambda *counts: seen.append(counts)).valid
    assert seen == [(k + 1, 1) for k in range(len(certificate.slabs))]


def test_the_command_prints_the_theorem(log, certificate, monkeypatch, capsys):
    code, said, errors = run_main(monkeypatch, capsys, str(log))
    assert (code, errors) == (0, "")
    for part in ("Theorem", "EVERY initialisation", "a_1 - a_2 in [", "a_2 - a_4 in ["):
        assert part in said
    assert "q = 6 (1 - S_6)" in said
    assert "rho = 1.0" in said
    clean = re.search(r"error/4 <= (\S+);", said)
    poisoned = re.search(r"(\S+) <= error/4 <= (\S+)[.]\n", said)
    assert clean is not None
    assert poisoned is not None
    # Rounded outward: never better than what was proved, and no worse than in the fifth digit.
    for text, value, sign in (
        (clean[1], certificate.clean_error_upper, 1),
        (poisoned[1], certificate.poisoned_error_lower, -1),
        (poisoned[2], certificate.poisoned_error_upper, 1),
    ):
        assert 0 <= sign * (float(text) - value) <= 1e-4 * value, (text, value)


def test_the_printed_box_is_inside_the_proved_one():
    rng = random.Random(0)
    for _ in range(300):
        low = rng.random() * 10.0 ** rng.randint(-12, 0)
        high = low * (1 + rng.choice([0.0, 1e-16, 1e-9, 0.1, 3.0]) * rng.random())
        text = command._side(low, high)
        first, last = text.strip("[]").split(", ")
        assert command.Decimal(low) <= command.Decimal(first)
        assert command.Decimal(first) <= command.Decimal(last) <= command.Decimal(high)


# --- the command by itself -----------------------------------------------------------------------


def test_bad_usage_is_no_verdict(log, monkeypatch, capsys):
    for words in ((), (str(log), str(log)), ("--fast", str(log))):
        code, printed, said = run_main(monkeypatch, capsys, *words)
        assert (code, printed) == (2, "")
        assert "usage: python -m ssmbias.certify.check" in said


def test_the_folder_alone_is_a_checker(log, tmp_path):
    """A copy elsewhere runs as it is: to trust a proof nothing else of the package is needed."""
    copy = tmp_path / "check"
    shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns("__pycache__"))
    done = run_module("check", str(log), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Theorem")
    (tmp_path / "bad.gz").write_bytes(log.read_bytes()[:-9])
    done = run_module("check", "bad.gz", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("not a proof: line")
    # -S: without installed packages.
    done = run_module("check", str(log), cwd=tmp_path, python=("-S",))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "python-flint is not installed: pip install python-flint\n"
    # Nor does the package's own command need more than that to say so.
    done = run_module("ssmbias.certify.check", str(log), cwd=ROOT, python=("-S",))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "python-flint is not installed: pip install python-flint\n"


_LOADED = """
import json, runpy, sys
before = set(sys.modules)
try:
    runpy.run_module("ssmbias.certify.check", run_name="__main__", alter_sys=True)
except SystemExit as end:
    print(json.dumps([end.code, sorted(set(sys.modules) - before)]))
"""


def test_the_command_loads_nothing_that_it_judges(log):
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, str(log)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    code, loaded = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    ours = {name for name in loaded if name.split(".")[0] == "ssmbias"}
    allowed = {"ssmbias", "ssmbias.certify"}
    assert {name for name in ours if not name.startswith("ssmbias.certify.check")} == allowed
    foreign = {name.split(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    # Compiled packages register helpers of their own.
    foreign = {name for name in foreign if not name.startswith(("_", "cython_runtime"))}
    assert foreign == {"ssmbias", "flint"}


def test_it_imports_python_flint_and_the_standard_library_only():
    seen = folder_imports.imported(FOLDER)
    assert "flint" in seen
    assert seen <= {"flint"} | set(sys.stdlib_module_names)
