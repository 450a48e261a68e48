"""Hostile settings for every test: double precision, no silent broadcasting or promotion."""

from __future__ import annotations

import json
import os
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
