"""The tableau of Rodas5P as matrices."""

from __future__ import annotations

import numpy as np

from ssmbias.dynamics.theorem1 import rodas5p

NUM_STAGES = rodas5p.NUM_STAGES


def transformed_tableau() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A, C and the weights m of the step in the transformed variables, as full matrices.

    Stages seven and eight sit at u_6 + k_6 and u_7 + k_7, the step ends at u_8 + k_8.
    """
    a, c = np.zeros((NUM_STAGES, NUM_STAGES)), np.zeros((NUM_STAGES, NUM_STAGES))
    for i, weights in enumerate(rodas5p.STAGE_WEIGHTS):
        a[i, : len(weights)] = weights
    for i in range(len(rodas5p.STAGE_WEIGHTS), NUM_STAGES):
        a[i] = a[i - 1]
        a[i, i - 1] = 1.0
    for i, couplings in enumerate(rodas5p.COUPLINGS):
        c[i, : len(couplings)] = couplings
    m = a[-1].copy()
    m[-1] = 1.0
    return a, c, m
