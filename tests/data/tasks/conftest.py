"""Files of CIFAR-10 for tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import jax
import pytest

from ssmbias.data.tasks.cifar10_stand_in import write_stand_in


@pytest.fixture(scope="session")
def written(tmp_path_factory) -> Path:
    """A stand-in of 6 x 40 images; copy it before breaking it."""
    return write_stand_in(tmp_path_factory.mktemp("cifar"), jax.random.key(0), num_per_file=40)


@pytest.fixture
def folder(written, tmp_path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "cifar"))
