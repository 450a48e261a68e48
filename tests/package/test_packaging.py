"""The wheel works away from the repository, and the lock pins what pyproject.toml asks for."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Sequence
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPO = Path(__file__).resolve().parents[2]
LOCK = REPO / "requirements.lock"
PYPROJECT: dict[str, Any] = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))["project"]
PYTHONS = ("3.11.7", "3.12.1", "3.13.0")
PLATFORMS = ("linux", "darwin")
PROGRAMS = ("certify", "poison", "reproduce", "sweep", "verify")
EXTRAS = PYPROJECT["optional-dependencies"]
# `ssmbias[docs]` inside the dev extra names this project, whose extras are listed here.
DIRECT = [
    requirement
    for requirement in map(Requirement, PYPROJECT["dependencies"] + EXTRAS["docs"] + EXTRAS["dev"])
    if requirement.name != PYPROJECT["name"]
]
HAS_UV = importlib.util.find_spec("uv") is not None


def clean_env() -> dict[str, str]:
    """The user's environment without anything that could lead back to this checkout."""
    ours = ("PYTHON", "JAX_", "XLA_", "VIRTUAL_ENV", "HYDRA_", "MAKE")
    return {k: v for k, v in os.environ.items() if not k.startswith(ours)}


def run(*commands: Sequence[str | Path], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the first command, or the next one if it fails; all failing fails the test.

    A second way is given where uv comes first: uv does not read pip's settings, so that a
    machine whose registry only pip knows has to take pip.
    """
    said = []
    for command in commands:
        done = subprocess.run(
            [str(word) for word in command],
            cwd=cwd,
            env=clean_env(),
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=900,
        )
        if done.returncode == 0:
            return done
        said.append(f"{done.args} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    pytest.fail("\n".join(said))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: building leaves files beside the sources."""
    source = tmp_path_factory.mktemp("source")
    target = tmp_path_factory.mktemp("dist")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPO / name, source)
    for name in ("ssmbias", "conf", "scripts"):
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(REPO / name, source / name, ignore=ignore)
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", target, source]
    run(*([[*build, "--installer", "uv"]] if HAS_UV else []), build, cwd=target)
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a new environment that holds the wheel and its pinned dependencies."""
    home = tmp_path_factory.mktemp("environment")
    run([sys.executable, "-m", "venv", "--without-pip", home], cwd=home)
    python = home / "bin" / "python"
    what = ["-c", LOCK, wheel]
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *what]
    uv = [sys.executable, "-m", "uv", "pip", "install", "--python", python, *what]
    run(*([uv] if HAS_UV else []), pip, cwd=home)
    return home / "bin"


def test_wheel_holds_package_configuration_and_scripts(wheel: Path) -> None:
    expected = set()
    for top, place in (("ssmbias", ""), ("conf", "ssmbias/"), ("scripts", "ssmbias/")):
        for path in (REPO / top).rglob("*"):
            if path.suffix in {".py", ".yaml", ".html", ".css"} or path.name == "py.typed":
                expected.add(place + path.relative_to(REPO).as_posix())
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {"ssmbias/conf/__init__.py", "ssmbias/scripts/verify.py", "ssmbias/py.typed"} <= names
    assert any(name.startswith("ssmbias/conf/") and name.endswith(".yaml") for name in names)
    assert {"ssmbias/report/templates/page.html", "ssmbias/report/templates/style.css"} <= names
    # Equality also finds a subpackage or a group of conf/ that pyproject.toml leaves out.
    assert names == expected


def test_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (info,) = {name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name}
        metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
        licence = archive.read(f"{info}/licenses/LICENSE").decode()
        commands = archive.read(f"{info}/entry_points.txt").decode()
    assert metadata["Name"] == "ssmbias"
    assert metadata["Version"] == PYPROJECT["version"]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert {"cluster", "cuda", "tpu"} <= set(metadata.get_all("Provides-Extra", []))
    assert "Apache License" in licence
    for name in PROGRAMS:
        assert f"ssmbias-{name} = ssmbias.cli.{name}:main" in commands


def test_installed_package_does_not_come_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    code = "import ssmbias, ssmbias.conf as c; print(ssmbias.__file__, c.__file__)"
    done = run([installed / "python", "-c", code], cwd=tmp_path)
    assert all(str(installed.parent) in path for path in done.stdout.split())
    assert str(REPO) not in done.stdout


def test_installed_main_job_runs_away_from_the_repository(installed: Path, tmp_path: Path) -> None:
    done = run(
        [installed / "python", "-m", "ssmbias.cli.verify", "profile=quick", "claims=M1-limit"],
        cwd=tmp_path,
    )
    (results,) = tmp_path.rglob("results.json")
    evidence = json.loads(results.read_text("utf-8"))["evidence"]
    assert len(evidence) > 0, done.stdout
    assert {item["verdict"] for item in evidence} <= {"holds", "inconclusive"}, done.stdout
    assert all(item["claim"] for item in evidence)
    assert str(REPO) not in results.read_text("utf-8")


def test_installed_command_finds_its_configuration(installed: Path, tmp_path: Path) -> None:
    done = run([installed / "ssmbias-verify", "profile=quick", "--cfg", "job"], cwd=tmp_path)
    assert "num_seeds:" in done.stdout


def test_installed_commands_explain_themselves(installed: Path, tmp_path: Path) -> None:
    for name in PROGRAMS:
        said = run([installed / f"ssmbias-{name}", "--help"], cwd=tmp_path).stdout
        conf = (REPO / "conf" / f"{name}.yaml").read_text("utf-8").partition("\n## ")[2]
        keys = set(re.findall(r"^(\w+):(?! \{\})", conf, re.MULTILINE))
        assert {key for key in keys if f"\n  {key}=" not in said} == set()
        assert len(keys) > 4
    listed = run([installed / "python", "-m", "ssmbias"], cwd=tmp_path).stdout
    assert all(f"  ssmbias-{name} " in listed for name in PROGRAMS)


def locked(python: str, platform: str) -> dict[str, str]:
    """The pins of the lock that apply to one Python on one platform."""
    environment = {
        "python_version": python.rsplit(".", 1)[0],
        "python_full_version": python,
        "sys_platform": platform,
        "platform_system": platform.capitalize(),
    }
    pins: dict[str, str] = {}
    for line in LOCK.read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        requirement = Requirement(line)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", f"{line}: not pinned"
        if requirement.marker is None or requirement.marker.evaluate(environment):
            name = canonicalize_name(requirement.name)
            assert name not in pins, f"{name} is pinned twice for Python {python} on {platform}"
            pins[name] = specifier.version
    return pins


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_lock_satisfies_pyproject(python: str, platform: str) -> None:
    pins = locked(python, platform)
    assert len(DIRECT) > 10
    missing = [str(r) for r in DIRECT if pins.get(canonicalize_name(r.name)) is None]
    assert missing == [], "run `make lock`"
    wrong = [str(r) for r in DIRECT if pins[canonicalize_name(r.name)] not in r.specifier]
    assert wrong == [], "run `make lock`"


def test_lock_holds_no_address() -> None:
    # An address would tie every user to one registry, or to a folder of one machine.
    text = LOCK.read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert "://" not in text
    assert not any(line.startswith("-") or " @ " in line or "/" in line for line in lines)
    assert str(Path.home()) not in text


def test_every_direct_dependency_is_argued_for() -> None:
    argued = (REPO / "docs" / "dependencies.md").read_text("utf-8")
    given = {"jax", "jaxlib", "optax", "flax", "numpy", "matplotlib", "hydra-core", "diffrax"}
    names = {requirement.name for requirement in DIRECT}
    missing = [name for name in sorted(names - given) if f"`{name}`" not in argued]
    assert missing == []
