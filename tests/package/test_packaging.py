"""The wheel works away from the repository, with claims of files that it has never seen."""

from __future__ import annotations

import hashlib
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
from package.pages import files_of

REPO = Path(__file__).resolve().parents[2]
LOCK = REPO / "requirements.lock"
PYPROJECT: dict[str, Any] = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))["project"]
PROGRAMS = ("certify", "poison", "reproduce", "sweep", "verify")
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
    for name in ("ssmbias", "conf"):
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


def test_wheel_holds_package_and_configuration(wheel: Path) -> None:
    expected = set()
    for top, place in (("ssmbias", ""), ("conf", "ssmbias/")):
        for path in (REPO / top).rglob("*"):
            if path.suffix in {".py", ".yaml", ".html", ".css"} or path.name == "py.typed":
                expected.add(place + path.relative_to(REPO).as_posix())
    # pytest loads this at each start, and must not load the package with it.
    expected.remove("ssmbias/testing/entry/__init__.py")
    expected.add("ssmbias_pytest/__init__.py")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {"ssmbias/conf/__init__.py", "ssmbias/cli/verify.py", "ssmbias/py.typed"} <= names
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
    assert "ssmbias = ssmbias_pytest" in commands
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
        conf = "".join((REPO / "conf" / f"{name}.yaml").read_text("utf-8").partition("\n## ")[1:])
        keys = set(re.findall(r"^(\w+):(?! \{\})", conf, re.MULTILINE))
        assert {key for key in keys if f"\n  {key}=" not in said} == set()
        assert len(keys) > 4
    listed = run([installed / "python", "-m", "ssmbias"], cwd=tmp_path).stdout
    assert all(f"  ssmbias-{name} " in listed for name in PROGRAMS)


# -- claims of files outside, as docs/adding-a-claim.md shows them ------------------------------


def verify(
    installed: Path, *words: str, cwd: Path
) -> tuple[subprocess.CompletedProcess[str], dict[str, dict[str, Any]], dict[str, int]]:
    """Run the installed main job; its claims' rows by subject, and when checks were written."""
    done = subprocess.run(
        [installed / "ssmbias-verify", *words, "hydra.run.dir=out"],
        cwd=cwd, env=clean_env(), capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    rows: dict[str, dict[str, Any]] = {}
    if (cwd / "out" / "results.json").is_file():
        for row in read_results(cwd)["evidence"]:
            rows.setdefault(row["claim"], {})[row["subject"]] = row
    checks = (cwd / "out" / "checks").glob("*.json")
    return done, rows, {path.name: path.stat().st_mtime_ns for path in checks}


def read_results(cwd: Path) -> dict[str, Any]:
    return json.loads((cwd / "out" / "results.json").read_text("utf-8"))


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """A folder away from the repository with the files of the page."""
    for name, text in files_of("adding-a-claim.md").items():
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


def spoil(file: Path, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new), "utf-8")


def test_a_file_about_no_state_space_model(installed: Path, examples: Path) -> None:
    words = ("claims=[M4,diagonal_network.py]", "setting=t7", "num_seeds=1")
    done, rows, before = verify(installed, *words, cwd=examples)
    assert done.returncode == 0, done.stderr
    assert {row["verdict"] for row in rows["DLN"].values()} == {"holds"}
    assert list(rows["DLN"]) == ["dln", "dln α=1"]
    assert all(row["control_rejected"] for row in rows["DLN"].values())
    results = read_results(examples)
    file = examples / "diagonal_network.py"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert results["claims"]["DLN"]["source"] == [{"file": file.name, "sha256": digest}]
    assert str(examples) not in json.dumps(results)
    page = (examples / "out" / "report.html").read_text("utf-8")
    for text in (
        *("woodworth2020kernel", "Woodworth et al. (2020)", digest, file.name),
        *("least l2 norm", "<math", "Limits of the flow, simulated and predicted."),
    ):
        assert text in page, text
    assert [f["file"] for f in results["figures"] if f["claim"] == "DLN"] == [
        "figures/DLN-dln-limits.png",
        "figures/DLN-dln_α=1-limits.png",
    ]
    # A wrong theorem is violated; what does not depend on the file is not checked again.
    spoil(file, "return 2 * subject.alpha**2", "return 2.1 * subject.alpha**2")
    done, rows, after = verify(installed, *words, cwd=examples)
    assert done.returncode == 1, done.stderr
    assert {row["verdict"] for row in rows["DLN"].values()} == {"violated"}
    assert rows["M4"]["t7"]["verdict"] == "holds"
    again = {name for name, time in after.items() if time != before[name]}
    assert len(before) == 4  # with the name of the layout
    assert again == {name for name in before if "DLN" in name}


def test_a_broken_file_is_one_line(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("CLAIMS = (\n")
    done, rows, _ = verify(installed, "claims=broken.py", cwd=tmp_path)
    assert (done.returncode, rows) == (2, {})
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: claims=broken.py: running it raised SyntaxError")


def test_another_setting_of_theorem_1_and_a_claim_inside(installed: Path, examples: Path) -> None:
    (package,) = installed.parent.glob("lib/python*/site-packages/ssmbias")
    inside = package / "claims" / "m1_second_entry.py"
    shutil.move(examples / inside.name, inside)
    try:
        words = ("claims=[cross_ratio.py,M1-second-entry]", "setting=t7", "num_seeds=1")
        done, rows, _ = verify(installed, *words, cwd=examples)
    finally:
        inside.unlink()
    assert done.returncode == 0, done.stderr
    assert {(name, *row, *map(verdict, row.values())) for name, row in rows.items()} == {
        ("CROSS-RATIO", "two baselines", "holds"),
        ("M1-second-entry", "t7", "holds"),
    }
    assert read_results(examples)["claims"]["M1-second-entry"]["source"] == []


def verdict(row: dict[str, Any]) -> str:
    return row["verdict"]


def test_claims_of_a_file_from_python(installed: Path, examples: Path) -> None:
    file = examples / "diagonal_network.py"
    code = (
        "import jax, ssmbias; jax.config.update('jax_enable_x64', True)\n"
        "from ssmbias.testing import assert_holds\n"
        f"rows = ssmbias.verify({file.name!r}, folder='out')\n"
        "print(*(row.verdict for row in rows), rows[-1].reason)"
    )
    command = [installed / "python", "-c", f"{code}\nassert_holds(rows)"]
    assert run(command, cwd=examples).stdout == "holds holds \n"
    # A control that is not rejected: the check could not have failed.
    spoil(file, "wrong=wrong,", "wrong=predict,")
    done = run([installed / "python", "-c", code], cwd=examples)
    assert done.stdout.startswith("inconclusive inconclusive the negative control was not rejected")
