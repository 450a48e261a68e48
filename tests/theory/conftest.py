"""Oracles of the predictions count in 60 digits."""

from __future__ import annotations

import mpmath
import pytest


@pytest.fixture(autouse=True)
def many_digits():
    with mpmath.workdps(60):
        yield
