"""The layers under test, with small shapes."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest

from ssmbias.models.layers import lru, mamba2, s4d

CHANNELS, STATES, LENGTH = 4, 6, 37
# Names, layers and options; the time steps of S4D are long enough to see its decay.
CASES: dict[str, tuple[ModuleType, dict[str, Any]]] = {
    "s4d-lin": (s4d, {"dt_min": 0.02, "dt_max": 0.3}),
    "s4d-real": (s4d, {"variant": "real", "dt_max": 1.0}),
    "lru": (lru, {}),
    "mamba2": (mamba2, {"head_dim": 2}),
}
# Small shapes, many programs: compile them with little optimisation.
COMPILER = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
jit = functools.partial(jax.jit, compiler_options=COMPILER)
INPUT = np.random.default_rng(0).normal(size=(LENGTH, CHANNELS))
all_cases = pytest.mark.parametrize("case", CASES)


@functools.cache
def drawn(case: str) -> Any:
    module, options = CASES[case]
    params = jit(lambda key: module.init(key, CHANNELS, STATES, **options))(jax.random.key(3))
    return jax.tree.map(np.asarray, params)
