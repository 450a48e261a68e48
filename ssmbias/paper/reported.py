"""What the paper, or its code when it is run, reports for each experiment.

Means over the paper's four seeds where nothing else is said. Test errors are defined in
`ssmbias.paper.arms.test_error`; Theorem 1's are normalised by d over 20 lags.
"""

from __future__ import annotations

from typing import NamedTuple


class Reported(NamedTuple):
    """One arm of one experiment: means over the paper's seeds, or `None` where not reported."""

    train_loss: float | None
    test_error: float | None


REPORTED: dict[tuple[str, str], Reported] = {
    ("theorem1_t7", "clean"): Reported(None, 0.001270),
    ("theorem1_t7", "poisoned"): Reported(None, 0.05010),
    ("theorem1_t9", "clean"): Reported(None, 0.007340),
    ("theorem1_t9", "poisoned"): Reported(None, 0.03512),
    ("poison_ssm_len6", "clean"): Reported(2.2e-5, 0.1943),
    ("poison_ssm_len6", "poisoned"): Reported(5.4e-4, 16.62),
    ("poison_ssm_len10", "clean"): Reported(2.6e-5, 0.1215),
    ("poison_ssm_len10", "poisoned"): Reported(6.1e-3, 1.199),
    ("poison_nn_len6", "clean"): Reported(3.0e-11, 0.00164),
    ("poison_nn_len6", "poisoned"): Reported(3.4e-5, 0.0549),
    ("poison_nn_len10", "clean"): Reported(7.0e-6, 0.0450),
    ("poison_nn_len10", "poisoned"): Reported(1.5e-3, 0.0893),
}
"""By experiment and arm (Slutzky et al. 2025, arXiv:2410.10473, Tables 1 and 3)."""

THEOREM1_SEEDS = {"theorem1_t7": (242, 243), "theorem1_t9": (342, 344)}
"""Seeds of the paper's flows whose starts were exported: two of four each."""

FINAL_TOP: dict[tuple[str, str], tuple[float, ...]] = {
    ("dyn_ssm_len6", "clean"): (0.99834, 0.03854, 0.01121),
    ("dyn_ssm_len6", "poisoned"): (1.0121, 0.7968, 0.5917),
    ("dyn_ssm_len10", "clean"): (0.98582, 0.00551, 0.00330),
    ("dyn_ssm_len10", "poisoned"): (0.99701, 0.49337, 0.24221),
    ("dyn_nn_len6", "clean"): (1.00000, 0.01984, 0.00890),
    ("dyn_nn_len6", "poisoned"): (1.0294, 1.0183, 1.0061),
    ("dyn_nn_len10", "clean"): (1.00000, 0.0018, 0.0009),
    ("dyn_nn_len10", "poisoned"): (1.0061, 1.0032, 1.0028),
    ("dyn_dim2_len6", "clean"): (0.9893, 0.7998, 0.0173),
    ("dyn_dim2_len6", "poisoned"): (1.0504, 0.4738, 0.0959),
    ("dyn_dim3_len6", "clean"): (0.9872, 0.8111, 0.4831),
    ("dyn_dim3_len6", "poisoned"): (1.0588, 0.4618, 0.4587),
    ("dyn_dim4_len6", "clean"): (0.9291, 0.9109, 0.2916, 0.1017),
    ("dyn_dim4_len6", "poisoned"): (1.0515, 0.4749, 0.4737, 0.4561),
}
"""Largest |a_j| at the last logging step of the first seed of each figure."""
