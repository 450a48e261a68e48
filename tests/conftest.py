"""Hostile settings for every test: double precision, no silent broadcasting or promotion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def reference_rows() -> list[dict[str, Any]]:
    """The four Theorem 1 starts with their limits (origin: tests/data/README.md)."""
    rows = json.loads((DATA / "theorem1_reference.json").read_text())
    for row in rows:
        for key in ("a0", "clean_limit", "poisoned_limit"):
            row[key] = np.asarray(row[key], dtype=np.float64)
    return rows
