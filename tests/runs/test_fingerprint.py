"""A fingerprint changes with all that numbers depend on, and with nothing else."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import pytest

import ssmbias
from ssmbias.runs import sources
from ssmbias.runs.fingerprint import digest_of_parts, fingerprint, parts
from ssmbias.runs.provenance import NUMERIC_PACKAGES, provenance, versions
from ssmbias.runs.sources import Tree

FLOW, PROOF = "ssmbias.dynamics.flow.solve", "ssmbias.certify.prover.prove"


@dataclasses.dataclass(frozen=True)
class Job:
    seed: int = 0


def test_configuration_and_sources_count():
    marks = [fingerprint(Job(seed), source) for seed in (0, 1) for source in (FLOW, PROOF)]
    marks += [fingerprint(Job(), FLOW, PROOF), fingerprint(Job())]
    assert len(set(marks)) == len(marks)
    assert fingerprint(Job(), FLOW) == marks[0]
    assert fingerprint(Job(), PROOF, FLOW) == fingerprint(Job(), FLOW, PROOF)


@pytest.mark.parametrize("package", ["jax", "jaxlib", "numpy", "scipy", "diffrax", "python-flint"])
def test_the_version_of_every_numeric_package_counts(monkeypatch, package):
    before = fingerprint(Job(), FLOW)
    monkeypatch.setattr("ssmbias.runs.fingerprint.versions", lambda: versions() | {package: "0.0"})
    assert fingerprint(Job(), FLOW) != before


def test_what_the_package_depends_on_is_known():
    """Every dependency counts, except those that compute no number of a result."""
    import tomllib

    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    needed = {
        name.split(">")[0].split("<")[0].strip()
        for name in tomllib.loads(text)["project"]["dependencies"]
    }
    silent = {"hydra-core", "jaxtyping", "latex2mathml", "matplotlib", "rich", "jinja2", "pandas"}
    silent |= {"markupsafe", "pyyaml"}
    assert needed - silent <= {*NUMERIC_PACKAGES}


def test_our_own_version_does_not_count_but_the_source_does(monkeypatch):
    before = fingerprint(Job(), FLOW)
    monkeypatch.setattr(
        "ssmbias.runs.fingerprint.versions", lambda: versions() | {"ssmbias": "9.9"}
    )
    assert fingerprint(Job(), FLOW) == before


def test_the_kind_of_hardware_and_the_precision_count():
    found = parts(Job(), FLOW)["hardware"]
    assert {"platform", "device", "machine", "system", "float64"} <= found.keys()
    assert "cores" not in found
    double = fingerprint(Job(), FLOW)
    with jax.enable_x64(False):
        assert fingerprint(Job(), FLOW) != double


def test_proofs_do_without_jax():
    assert "float64" not in parts(Job(), PROOF)["hardware"]
    code = (
        "import sys; from ssmbias.runs.fingerprint import fingerprint; import ssmbias.runs.units,"
        f"ssmbias.runs.mapping; fingerprint(1, {PROOF!r}); print('jax' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_a_changed_line_changes_exactly_the_marks_that_depend_on_it(tmp_path, monkeypatch):
    root = shutil.copytree(
        Path(ssmbias.__file__).parent,
        tmp_path / "ssmbias",
        ignore=shutil.ignore_patterns("__pycache__"),
    )

    def marks():
        tree = Tree({"ssmbias": root})
        monkeypatch.setattr(sources, "package_tree", lambda: tree)
        return [fingerprint(Job(), source) for source in (FLOW, PROOF)]

    before = marks()
    deep = root / "dynamics" / "flow" / "coordinates.py"
    deep.write_text(deep.read_text(encoding="utf-8").replace("\n\n\n", "\n\n# a line\n\n", 1))
    after = marks()
    assert [old == new for old, new in zip(before, after, strict=True)] == [False, True]


def test_parts_make_the_fingerprint():
    assert digest_of_parts(parts(Job(), FLOW)) == fingerprint(Job(), FLOW)


def test_provenance_says_where_numbers_come_from():
    found = provenance()
    assert found.keys() == {"versions", "git_commit", "hardware"}
    assert found["versions"]["ssmbias"] == ssmbias.__version__
