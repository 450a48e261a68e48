"""The pytest plugin, seen from other runs of pytest in folders of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CLAIMS = """
from dataclasses import dataclass
import jax.numpy as jnp
from ssmbias.evidence import Claim, Kind, Premise, Row

WIDE = jnp.zeros(1)  # made when the file is read

@dataclass(frozen=True)
class Coin:
    name: str = "coin"
    share: float = 0.5

def measure(subject, bench):
    if subject.share > 1:
        raise RuntimeError("no such coin")
    return bench.once("share", lambda: jnp.asarray(subject.share) * 1)

def compare(subject, predicted, runs):
    digits = (WIDE.dtype == "float64") and (runs.dtype == "float64")
    return [
        Row(quantity=q, predicted=p, measured=m, residual=abs(p - m), tolerance=0.1,
            derivation="by hand")
        for q, p, m in (("share", predicted, runs), ("digits", float(predicted < 9), digits + 0.0))
    ]

CLAIMS = (Claim(id="COIN", title="x", statement="x", kind=Kind.LIMIT, reference="none",
    subject=Coin, measure=measure, predict=lambda s, r: 0.5, control="far off",
    wrong=lambda s, r: WRONG, compare=compare,
    premises=(Premise("it is a coin", lambda s, r: (s.name != "button", s.name)),)),)
WRONG = 9.0
SUBJECTS = (Coin(),)
"""

SINGLE = """
def test_single_precision():
    import jax.numpy as jnp
    assert jnp.zeros(1).dtype == "float32"
"""

QUIET = """
import sys
def test_nothing_was_loaded():
    assert "ssmbias_pytest" in sys.modules
    assert {"ssmbias", "jax", "numpy", "hypothesis"}.isdisjoint(sys.modules)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    (tmp_path / "claims.py").write_text(CLAIMS)
    return tmp_path


def run(folder: Path, *words: str) -> tuple[int, str]:
    """Run pytest there, with this plugin and xdist as the only ones; its code, and what it says."""
    drop = ("JAX_ENABLE", "PYTEST", "HYDRA")
    env = {key: value for key, value in os.environ.items() if not key.startswith(drop)}
    env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    command = [sys.executable, "-m", "pytest", "-p", "ssmbias_pytest", "-p", "xdist"]
    done = subprocess.run(
        [*command, *words], cwd=folder, env=env, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def outcome(said: str) -> str:
    """The last line, without the time."""
    return re.sub(r" in [\d.]+s.*", "", said.strip().splitlines()[-1].strip("= "))


def test_each_row_is_a_test_and_others_keep_their_precision(folder: Path) -> None:
    (folder / "test_single.py").write_text(SINGLE)
    (folder / "claims.py").write_text(CLAIMS + "SUBJECTS = Coin(), Coin('other')")
    words = ("claims.py::COIN[coin]", "test_single.py", "-v")
    code, said = run(folder, "--ssmbias", "claims.py", *words)
    assert (code, outcome(said)) == (0, "3 passed")
    assert "claims.py::COIN[coin] PASSED (share)" in said
    assert "claims.py::COIN[coin] PASSED (digits)" in said


def test_a_row_that_does_not_hold_fails_with_itself(folder: Path) -> None:
    # In another process, so that reports are sent to and fro as well.
    (folder / "test_single.py").write_text("def test_that_was_not_asked_for(): assert 0")
    subjects = "SUBJECTS = Coin(share=0.75), Coin('button'), Coin('none', 2.0), Coin('fair')"
    (folder / "wrong.py").write_text(CLAIMS + subjects)
    (folder / "loose.py").write_text(CLAIMS.replace("WRONG = 9.0", "WRONG = 0.5"))
    (folder / "empty.py").write_text("x = 1")
    names = ("wrong.py", "claims.py", "loose.py", "empty.py")
    asked = [word for name in names for word in ("--ssmbias", name)]
    code, said = run(folder, *asked, "-n", "1", "--continue-on-collection-errors")
    assert (code, outcome(said)) == (1, "6 failed, 5 passed, 1 error")
    assert "COIN, coin: violated\n  quantity   share\n  predicted  0.5\n  measured   0.75\n" in said
    assert "residual   0.25\n  tolerance  0.1\n  derivation by hand\n  reason     differ" in said
    assert "COIN, button: inconclusive" in said
    assert "premise not met: it is a coin (button)" in said
    assert "the negative control was not rejected" in said
    # An error of the claim's own is shown where it was raised, and nothing of the checker.
    assert 'raise RuntimeError("no such coin")' in said
    assert "raised in measure of claim COIN, subject none" in said
    assert "evidence/check.py" not in said
    assert "empty.py: defines no CLAIMS; see docs/adding-a-claim.md" in said


def test_a_file_that_is_not_there_is_one_line(folder: Path) -> None:
    code, said = run(folder, "--ssmbias", "none.py")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert said.strip().endswith("none.py: there is no such Python file")
    assert "Traceback" not in said


def test_without_the_option_nothing_is_loaded(folder: Path) -> None:
    (folder / "test_quiet.py").write_text(QUIET)
    code, said = run(folder)
    assert (code, outcome(said)) == (0, "1 passed")
