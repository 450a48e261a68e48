"""A small grid, its stores, and how they are filled."""

from __future__ import annotations

from pathlib import Path

import pytest
from sweeps.store.store_cases import begin, run


@pytest.fixture
def finished(tmp_path) -> Path:
    run(begin(tmp_path / "finished"))
    return tmp_path / "finished"
