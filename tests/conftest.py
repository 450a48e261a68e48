"""Hostile settings for every test: double precision, no silent broadcasting or promotion."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

DATA = Path(__file__).parent / "data"

# Compiled code is kept between processes and between runs; subprocesses inherit the folder.
CACHE = Path(__file__).parents[1] / ".cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@pytest.fixture(scope="session")
def reference_rows() -> list[dict[str, Any]]:
    """The four Theorem 1 starts with their limits (origin: tests/data/README.md)."""
    rows = json.loads((DATA / "theorem1_reference.json").read_text())
    for row in rows:
        for key in ("a0", "clean_limit", "poisoned_limit"):
            row[key] = np.asarray(row[key], dtype=np.float64)
    return rows


# One process for all mistakes: nothing is computed, and the imports take seconds. What is typed
# comes as a list of words; `prepare` runs before each, and sees it as `words`.
_MAKE_MISTAKES = """
import contextlib, importlib, io, json, os, sys
main = importlib.import_module("ssmbias.cli." + sys.argv[1]).main
prepare, found = sys.argv[2], []
for words in json.loads(sys.argv[3]):
    exec(prepare)
    sys.argv[1:] = words
    os.environ["HYDRA_FULL_ERROR"] = "0"
    said, printed = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(printed):
        try:
            main()
        except SystemExit as end:
            found.append([end.code, said.getvalue(), printed.getvalue()])
print(json.dumps(found))
"""


@pytest.fixture
def assert_refused(tmp_path: Path) -> Callable[..., None]:
    """Asserts that a program answers each mistake with one line and exit code 2."""

    def check(program: str, mistakes: Mapping[tuple[str, ...], str], prepare: str = "") -> None:
        env = {name: value for name, value in os.environ.items() if name != "JAX_NUM_CPU_DEVICES"}
        typed = json.dumps([list(words) for words in mistakes])
        done = subprocess.run(
            [sys.executable, "-c", _MAKE_MISTAKES, program, prepare, typed],
            cwd=tmp_path, env=env | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
            check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout.splitlines()[-1])
        for (code, said, printed), (words, message) in zip(found, mistakes.items(), strict=True):
            assert code == 2, (words, said)
            (line,) = said.strip().splitlines()
            assert line.startswith("error: "), words
            assert message in line, words
            assert "Traceback" not in printed

    return check
