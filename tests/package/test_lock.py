"""The lock pins what pyproject.toml asks for, and nothing else stands in it."""

from __future__ import annotations

import tomllib
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
EXTRAS = PYPROJECT["optional-dependencies"]
# `ssmbias[docs]` inside the dev extra names this project, whose extras are listed here.
DIRECT = [
    requirement
    for requirement in map(Requirement, PYPROJECT["dependencies"] + EXTRAS["docs"] + EXTRAS["dev"])
    if requirement.name != PYPROJECT["name"]
]


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
