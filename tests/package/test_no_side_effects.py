"""Importing the package does nothing but define names.

Each check runs in a new interpreter, away from what pytest and conftest.py have set.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).resolve().parents[2]

# What an import could change, looked at before and after. JAX and the libraries that the
# package stands on are imported first: what those do is not ours.
PROBE = """
import json, logging, os, pkgutil, random, signal, sys, warnings
import jax, jaxlib, numpy
from jax._src import xla_bridge

def state():
    return {
        "jax.config": {k: repr(v) for k, v in jax.config.values.items()},
        "environment": dict(os.environ),
        "warning filters": repr(warnings.filters),
        "root log handlers": repr(logging.getLogger().handlers),
        "log level": logging.getLogger().level,
        "numpy random state": repr(numpy.random.get_state()),
        "random state": hash(random.getstate()),
        "numpy errors": repr(numpy.geterr()),
        "interrupt handler": repr(signal.getsignal(signal.SIGINT)),
        "working folder": os.getcwd(),
        "files": sorted(os.listdir()),
    }

before = state()
{imports}
after = state()
report = {
    "changed": [key for key in before if before[key] != after[key]],
    "backend": xla_bridge.backends_are_initialized(),
    "modules": sorted(sys.modules),
}
json.dump(report, sys.stdout)
"""

EVERY_MODULE = """
import importlib, diffrax, equinox, flax, matplotlib, optax, rich, scipy.stats, xarray, zarr
before = state()
import ssmbias
for info in pkgutil.walk_packages(ssmbias.__path__, "ssmbias."):
    if not info.name.startswith(("ssmbias.cli", "ssmbias.conf")):
        importlib.import_module(info.name)
"""


def probe(imports: str, cwd: Path) -> dict[str, Any]:
    """Run PROBE around some import statements, in a new interpreter with default settings."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "PYTHON"))}
    env |= {"PYTHONPATH": str(REPO), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROBE.replace("{imports}", imports)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=env,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) | {"stderr": done.stderr}


@pytest.fixture(scope="module")
def plain_import(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return probe("import ssmbias", tmp_path_factory.mktemp("plain"))


def test_import_changes_nothing(plain_import: dict[str, Any]) -> None:
    assert "ssmbias" in plain_import["modules"]
    assert plain_import["changed"] == []
    assert plain_import["stderr"] == ""


def test_import_starts_no_backend(plain_import: dict[str, Any]) -> None:
    # A backend takes memory on every accelerator, and fixes the configuration before the
    # user has had a chance to set it.
    assert plain_import["backend"] is False


@pytest.mark.parametrize("library", ["hydra", "omegaconf", "matplotlib", "scipy.stats"])
def test_import_leaves_what_few_users_need(plain_import: dict[str, Any], library: str) -> None:
    assert library not in plain_import["modules"]


def test_no_module_has_side_effects(tmp_path: Path) -> None:
    found = probe(EVERY_MODULE, tmp_path)
    assert {"ssmbias.theory", "ssmbias.dynamics", "ssmbias.claims"} <= set(found["modules"])
    assert found["changed"] == []
    assert found["stderr"] == ""
    assert found["backend"] is False
    assert "hydra" not in found["modules"]


# Negative control: the probe sees what it is there to see.
SIDE_EFFECTS = """
import omegaconf
jax.config.update("jax_enable_x64", True)
os.environ["SSMBIAS"] = "1"
numpy.random.seed(0)
open("left_behind", "w").close()
print("hello", file=sys.stderr)
jax.numpy.zeros(1)
"""


def test_side_effects_are_seen(tmp_path: Path) -> None:
    found = probe(SIDE_EFFECTS, tmp_path)
    assert found["changed"] == ["jax.config", "environment", "numpy random state", "files"]
    assert found["backend"] is True
    assert "omegaconf" in found["modules"]
    assert "hello" in found["stderr"]
