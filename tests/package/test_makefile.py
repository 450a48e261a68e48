"""The Makefile's promises about .venv, tried with a stand-in for Python that installs nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")

# It writes down every call. `-m venv DIR` puts a copy of it into DIR, as venv would, and
# installing the lock fails while a file named `offline` exists.
STAND_IN = """#!/bin/sh
echo "$*" >> "$STAND_IN_LOG"
case "$*" in
  --version) echo "Python 3.11.0" ;;
  "-m venv "*) rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
  *"-r requirements.lock") test ! -e offline ;;
esac
"""


class Checkout:
    """A folder with the Makefile, and what the stand-in was asked to do."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tools = root.parent / "tools"
        self.log = root.parent / "log"
        root.mkdir()
        self.tools.mkdir()
        for name in ("Makefile", "requirements.lock", "pyproject.toml"):
            shutil.copy(REPO / name, root / name)
        for name in ("python3.13", "python3.12", "python3.11", "python3"):
            self.add_python(name, STAND_IN)

    def add_python(self, name: str, script: str) -> None:
        path = self.tools / name
        path.write_text(script)
        path.chmod(0o755)

    def make(self, *words: str, python: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run make as from a shell of its own; `calls` then holds what this run asked for."""
        self.log.write_text("")
        env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "PYTHON", "ARGS"))}
        env["PATH"] = f"{self.tools}{os.pathsep}{env['PATH']}"
        env["STAND_IN_LOG"] = str(self.log)
        choice = [f"PYTHON={python}"] if python else []
        return subprocess.run(
            ["make", *words, *choice],
            cwd=self.root,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )

    @property
    def calls(self) -> list[str]:
        return [call for call in self.log.read_text().splitlines() if call.startswith("-m")]

    @property
    def installs(self) -> list[str]:
        return [call for call in self.calls if "install" in call]

    @property
    def ready(self) -> bool:
        return (self.root / ".venv" / ".ready").exists()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "with a space")


def test_environment_is_made_once(checkout: Checkout) -> None:
    first = checkout.make("test")
    assert first.returncode == 0, first.stderr
    assert "-m venv --clear .venv" in checkout.calls
    assert len(checkout.installs) == 2
    assert checkout.calls[-1] == "-m pytest"

    second = checkout.make("test")
    assert second.returncode == 0, second.stderr
    assert checkout.calls == ["-m pytest"]


def test_a_new_lock_is_installed(checkout: Checkout) -> None:
    assert checkout.make("venv").returncode == 0
    stamp = checkout.root / ".venv" / ".ready"
    later = stamp.stat().st_mtime + 10
    os.utime(checkout.root / "requirements.lock", (later, later))
    assert checkout.make("venv").returncode == 0
    assert "-m venv --clear .venv" not in checkout.calls
    assert len(checkout.installs) == 2


def test_an_interrupted_installation_is_done_again(checkout: Checkout) -> None:
    (checkout.root / "offline").touch()
    failed = checkout.make("test")
    assert failed.returncode != 0
    assert not checkout.ready
    assert "-m pytest" not in checkout.calls

    (checkout.root / "offline").unlink()
    assert checkout.make("test").returncode == 0
    assert checkout.ready
    assert len(checkout.installs) == 2


def test_a_moved_checkout_gets_a_new_environment(checkout: Checkout) -> None:
    # An editable installation holds the folder's path: the old one would be imported.
    assert checkout.make("venv").returncode == 0
    checkout.root = checkout.root.rename(checkout.root.parent / "moved")
    assert checkout.make("venv").returncode == 0
    assert "-m venv --clear .venv" in checkout.calls


def test_an_environment_whose_python_has_gone_is_made_anew(checkout: Checkout) -> None:
    assert checkout.make("venv").returncode == 0
    (checkout.root / ".venv" / "bin" / "python").unlink()
    assert checkout.make("venv").returncode == 0
    assert "-m venv --clear .venv" in checkout.calls


def test_interpreters_that_do_not_run_are_passed_over(checkout: Checkout) -> None:
    # A version manager's shim exists, and fails; an old interpreter fails the version test.
    checkout.add_python("python3.13", "#!/bin/sh\necho 'command not found' >&2\nexit 127\n")
    checkout.add_python("python3.12", "#!/bin/sh\nexit 1\n")
    done = checkout.make("venv")
    assert done.returncode == 0, done.stderr
    assert "command not found" not in done.stderr
    assert checkout.ready


def test_without_a_usable_python_the_message_says_what_to_do(checkout: Checkout) -> None:
    done = checkout.make("verify", python="no-such-python")
    message, *rest = done.stderr.splitlines()
    assert done.returncode != 0
    assert "no Python >= 3.11" in message
    assert "no-such-python" in message
    assert "make PYTHON=" in message
    assert all(line.startswith("make: ***") for line in rest)
    assert not (checkout.root / ".venv").exists()


def test_help_lists_every_target(checkout: Checkout) -> None:
    makefile = (REPO / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)
    targets = set(phony.split()) - {"FORCE"}
    listed = set(re.findall(r"^  make (\S+) ", checkout.make("help").stdout, flags=re.MULTILINE))
    assert {"verify", "test", "lint", "typecheck", "docs", "lock", "help"} <= listed
    assert listed == targets
    # The default goal is the list, so that `make` alone installs nothing.
    assert checkout.make().stdout == checkout.make("help").stdout
    assert not (checkout.root / ".venv").exists()


def test_clean_keeps_results(checkout: Checkout) -> None:
    kept = checkout.root / "outputs" / "results.json"
    built = checkout.root / "build" / "x"
    for path in (kept, built):
        path.parent.mkdir()
        path.touch()
    for name in ("ssmbias", "conf", "scripts", "tests", "benchmarks"):
        (checkout.root / name).mkdir()
    done = checkout.make("distclean")
    assert done.returncode == 0, done.stderr
    assert kept.exists()
    assert not built.exists()
