"""Tiny data: F1 with a few sequences, and a stand-in for CIFAR-10 with a few images."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from poison_tiny import F1, SEEDS

from ssmbias.data.tasks.cifar10 import Cifar10, load_cifar10
from ssmbias.data.tasks.cifar10_stand_in import write_stand_in
from ssmbias.poison.training import lanes


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory) -> Path:
    return write_stand_in(tmp_path_factory.mktemp("cifar"), jax.random.key(0), num_per_file=10)


@pytest.fixture(scope="session")
def data(stand_in) -> Cifar10:
    return load_cifar10(stand_in)


@pytest.fixture(scope="session")
def prepared() -> lanes.Prepared:
    """Data and starts of tiny F1."""
    return lanes.prepare(F1, jnp.asarray(SEEDS))
